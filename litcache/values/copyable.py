"""Which objects have a true copy, made of what their classes tell `pickle`."""

from __future__ import annotations

import sys
import weakref
from typing import Any

from litcache.keys.objects import bases_in_c

_LOCKS = frozenset({"_thread", "threading", "asyncio.locks", "multiprocessing.synchronize"})
_QUEUES = frozenset({"queue", "_queue", "asyncio.queues", "multiprocessing.queues"})
# Of other packages, classes written in C may keep what pickle does not see.
_KNOWN = frozenset({*sys.stdlib_module_names, "numpy", "pandas"})
_OURS = frozenset({"litserve", "litcache"})
_CONSTANTS = (("numpy", "dtype"), ("torch", "dtype"), ("torch", "device"))
_PROTOCOL = frozenset(
    {"__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs_ex__"}
)


def loaded(module: str, name: str) -> Any:
    """Return a class of a module that has been imported; else `None`."""
    return getattr(sys.modules.get(module), name, None)


def is_constant(value: object) -> bool:
    """Return whether an object is there once, and nothing changes it, as a dtype is."""
    return any(isinstance(value, loaded(*name) or ()) for name in _CONSTANTS)


def is_lock(kind: type) -> bool:
    """Return whether objects of a class are waited for, so that all must wait for the same one."""
    return any(base.__module__ in _LOCKS for base in kind.__mro__)


def is_ours(kind: type) -> bool:
    """Return whether a class is LitServe's or litcache's."""
    return kind.__module__.partition(".")[0] in _OURS


def hides_state(kind: type, value: object) -> bool:
    """Return whether an object may hold what pickle does not see, or what only one may hold.

    Args:
        kind: Its class.
        value: The object.
    """
    return (
        any(base.__module__ in _QUEUES for base in kind.__mro__)
        or isinstance(value, (weakref.ref, loaded("torch.nn", "Module") or weakref.ref))
        or hasattr(kind, "__del__")  # it would free what the original still uses
        or loaded("numpy", "memmap") in kind.__mro__
        or kind.__module__ == "itertools"  # its classes warn when they are copied
        or not all(map(_is_known, bases_in_c(kind)))
        or _makes_its_own(kind)
    )


def has_protocol(kind: type) -> bool:
    """Return whether a class of the user, or of a library, has a pickle protocol of its own.

    That of a model may load its weights again.
    """
    return _defines(kind, _PROTOCOL)


def _makes_its_own(kind: type) -> bool:
    """Return whether a class makes its objects itself, maybe one for all, or says how to copy."""
    is_tuple = issubclass(kind, tuple)
    return _defines(kind, frozenset({"__deepcopy__"} if is_tuple else {"__deepcopy__", "__new__"}))


def _defines(kind: type, names: frozenset[str]) -> bool:
    model = loaded("pydantic", "BaseModel")
    return any(
        getattr(vars(base)[name], "__module__", None) != "dataclasses"  # which makes some itself
        for base in kind.__mro__
        if base is not model and not _is_known(base)
        for name in names & vars(base).keys()
    )


def _is_known(base: type) -> bool:
    return base.__module__.partition(".")[0] in _KNOWN
