"""Everything that a `torch.nn.Module` computes with, as values that have a canonical form.

The weights are not enough: `eps`, a slope, the number of heads, a hook or the active adapter change
the output, and none of them is in a `state_dict`.
"""

from __future__ import annotations

import enum
import functools
import re
import sys
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical
from litcache.keys.objects import fields_of_tuple, state
from litcache.keys.writer import class_name, inherits, loaded

_DEPTH = 8
_MANGLED = re.compile(r"\.?___torch_mangle_\d+")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
# Attributes that say where a module is or came from, or that change while it runs.
_ELSEWHERE = frozenset({
    "device", "_target_device", "name_or_path", "_name_or_path", "base_model_name_or_path",
    "transformers_version", "_commit_hash", "_is_hf_initialized", "warnings_issued",
    "model_card_data", "_model_card_vars", "_model_card_text", "cache_folder",
    "_is_torch_compile", "_compiled_call_impl",
})  # fmt: skip


def read_module(module: Any) -> list[object]:
    """Return everything that a module computes with, without its wrappers.

    Args:
        module: A `torch.nn.Module`.

    Returns:
        Values that have a canonical form. They do not depend on the device of the module or on
        the name of its file.
    """
    if isinstance(module, sys.modules["torch"].jit.ScriptModule):
        # Without source lines, which name files, and without the count of compilations of a class.
        graph = _MANGLED.sub("", module.inlined_graph.str(False))
        return ["script", module.training, graph, plain_state(module.state_dict())]
    names: dict[int, str] = {}
    parts: list[object] = []
    for name, part in _walk(module, ""):
        first = names.setdefault(id(part), name)
        parts.append([name, first] if first != name else [name, *_read(part)])
    return parts


def plain_state(mapping: Mapping[Any, Any]) -> dict[object, object]:
    """Return a state dict as plain dicts of detached tensors."""
    parameter: Any = loaded("torch.nn", "Parameter") or ()
    return {
        name: value.detach() if isinstance(value, parameter)
        else plain_state(value) if isinstance(value, Mapping)
        else value
        for name, value in mapping.items()
    }  # fmt: skip


def _walk(module: Any, name: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield a module and the modules in it by name, without wrappers that compile or copy them."""
    nn = sys.modules["torch"].nn
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif "_orig_mod" in module._modules:  # torch.compile
            module = module._orig_mod
        else:
            break
    yield name, module
    if id(module) in above:
        return
    for step, child in module._modules.items():
        if child is not None:
            yield from _walk(child, f"{name}.{step}", (*above, id(module)))


def _read(module: Any) -> list[object]:
    """Return everything that one module computes with, without the modules in it."""
    weights: dict[str, Any] = {}
    module._save_to_state_dict(weights, "", True)
    weights.update((n, buffer) for n, buffer in module._buffers.items() if buffer is not None)
    usual = vars(sys.modules["torch"].nn.Module())
    own = {n: v for n, v in vars(module).items() if n not in usual and n not in _ELSEWHERE}
    hooks = [[_form(hook, _DEPTH) for hook in vars(module)[name].values()] for name in _HOOKS]
    asked = [_asked(module, name) for name in ("extra_repr", "get_config_dict")]
    form: dict[str, object] = {
        name: _form(value, _DEPTH)
        for name, value in own.items()
        if not (name[0] == "_" and _is_object(value))
    }
    return [_name(type(module)), module.training, plain_state(weights), asked, form, hooks]


def _asked(module: Any, name: str) -> object:
    """Return the answer of a method of a module; lists of parameters answer only where they are."""
    nn = sys.modules["torch"].nn
    if isinstance(module, (nn.ParameterList, nn.ParameterDict)) or not hasattr(module, name):
        return None
    return _form(getattr(module, name)(), _DEPTH)


def _name(cls: type) -> str:
    """Return the name of a class; for a class of the user, without its file."""
    return class_name(cls) if cls.__module__.startswith("torch.") else cls.__qualname__


def _is_object(value: object) -> bool:
    try:
        canonical(value)
    except KeyEncodingError:
        return True
    return False


def _form(value: Any, depth: int) -> object:
    """Return a form of any value; for an object, a form of the parts that Python can see."""
    torch = sys.modules["torch"]
    if isinstance(value, (type, torch.dtype)):
        return _name(value) if isinstance(value, type) else str(value)
    if isinstance(value, torch.device) or not depth:
        return _name(type(value))
    if isinstance(value, torch.nn.Module):
        return read_module(value)
    if callable(getattr(value, "to_dict", None)) and not inherits(type(value), torch.Tensor):
        value = value.to_dict()  # a configuration
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, (str, int)) else repr(type(key)): _form(part, depth - 1)
            for key, part in value.items()
            if key not in _ELSEWHERE
        }
    if isinstance(value, (list, tuple)):
        form = [type(value).__name__, [_form(part, depth - 1) for part in value]]
        fields = fields_of_tuple(type(value))
        return form if fields is None else [*form, list(fields)]
    if not _is_object(value):
        return value
    return _callable(value, depth) or _object(value, depth)


def _callable(value: Any, depth: int) -> object:
    """Return the form of a function, by its name and what is bound to it; `None` for others."""
    if isinstance(value, functools.partial):
        return ["partial", _form([value.func, value.args, value.keywords], depth - 1)]
    if isinstance(value, MethodType):
        return ["method", value.__func__.__qualname__]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        made_with = [value.__defaults__, value.__kwdefaults__, cells]
        form = ["function", value.__qualname__, _form(made_with, depth - 1)]
        # A lambda, or one that a function has made: its name says nothing of what it does.
        return [*form, _code(value.__code__)] if "<" in value.__qualname__ else form
    return ["function", value.__qualname__] if isinstance(value, BuiltinFunctionType) else None


def _code(code: CodeType) -> list[object]:
    """Return the form of what Python has compiled, wherever it stands; each Python has its own."""
    constants = list(map(_constant, code.co_consts))
    return [code.co_code, constants, list(code.co_names), list(code.co_varnames)]


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, tuple):
        return list(map(_constant, value))
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _object(value: Any, depth: int) -> object:
    seen = {str(name): part for name, part in state(value).items() if str(name)[:1] != "_"}
    if isinstance(value, enum.Enum):  # its name and its value have such names
        seen.update(name=value._name_, value=value._value_)
    return ["object", _name(type(value)), _form(seen, depth - 1)]
