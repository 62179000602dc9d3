"""What to give instead of a value that has no key: one line for each kind, for warnings."""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from litcache.keys.objects import bases_in_c
from litcache.keys.writer import inherits, loaded

_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_KINDS: tuple[tuple[str, str, str], ...] = (
    ("numpy", "ndarray", "numpy.asarray(value)"),
    ("numpy", "generic", "value.item()"),
    ("torch", "Tensor", "value.as_subclass(torch.Tensor)"),
    ("PIL.Image", "Image", 'value.convert("RGB")'),
    ("pandas", "DataFrame", "pandas.DataFrame(value)"),
    ("pandas", "Series", "pandas.Series(value)"),
    ("polars", "LazyFrame", "value.collect()"),
    ("_io", "_IOBase", "value.read()"),
    ("datetime", "date", "value.isoformat()"),
    ("decimal", "Decimal", "decimal.Decimal(value)"),
    ("_ctypes", "_SimpleCData", "value.value"),
    ("_ctypes", "Structure", "bytes(value)"),
    ("_ctypes", "Union", "bytes(value)"),
    ("_ctypes", "Array", "bytes(value)"),
    ("collections.abc", "Mapping", "dict(value)"),
    ("builtins", "BaseException", "repr(value)"),
)


def remedy(value: Any) -> str:
    """Return what to give instead of a value, as the end of a message.

    Args:
        value: A value that has no canonical form.

    Returns:
        Text such as `"; give it as dict(value)"`.

    Example:
        >>> remedy(iter([1]))
        '; give it as list(value)'
    """
    cls = type(value)
    for module, name, instead in _KINDS:
        if inherits(cls, loaded(module, name)):
            return f"; give it as {instead}"
    if hasattr(cls, "__next__"):
        return "; give it as list(value)"
    if isinstance(value, (type, *_FUNCTIONS)):
        return "; give it as value.__qualname__"
    if hasattr(cls, "keys") and hasattr(cls, "__getitem__"):
        return "; give it as dict(value)"
    # In the vars of an object in C stands nothing of what it holds.
    has_all = hasattr(value, "__dict__") and not bases_in_c(cls)
    instead = "vars(value)" if has_all else "what the model reads of it"
    return f"; give it as {instead}, or name what counts in key="
