"""A twin of an API: what `encode_response` does to it in a rehearsal is not seen in the API."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from queue import SimpleQueue
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any

from litserve import LitAPI

from litcache.arrays import is_array, is_tensor
from litcache.litapi.state import ApiState, state_of
from litcache.values.copies import Copies, UncopyableError

_CONTAINERS = frozenset({dict, list, tuple, set, frozenset, deque, bytearray})


def twin_of(api: LitAPI, copies: Copies, names: Collection[str] | None = None) -> LitAPI:
    """Return an object of the class of an API with true copies of its attributes.

    Args:
        api: The API.
        names: Those that are copied; the others are the API's own. `None`: all are.
        copies: Makes the copies; a bound method of the API becomes one of the twin. What cannot be
            copied, such as a model, is the same object in both, and stands in `copies.shared`.

    Returns:
        The twin. Its cached methods have no entries.

    Raises:
        UncopyableError: If an attribute leads back to the API, as a function that keeps it does, if
            arrays among the attributes share memory, or if one is too large for its changes to be
            seen.
    """
    twin: LitAPI = copies.put(api, object.__new__(type(api)))
    watch = state_of(api).encode_watch
    attributes = list(vars(api).items())  # at once: another thread may add one
    for name, value in attributes:
        if names is not None and name not in names:
            vars(twin)[name] = value
        elif type(value) is not ApiState and value is not watch:
            vars(twin)[name] = copies.sharing(value)
    for slot in _slots(type(api)):
        with suppress(AttributeError):  # not set
            slot.__set__(twin, copies.sharing(slot.__get__(api)))
    copies.check_memory()
    vars(twin).pop("_litcache", None)
    if any(map(_is_large, copies.shared)):
        raise UncopyableError("an attribute is too large to be copied")
    if vars(twin).get("_logger_queue") is not None:  # LitServe's loggers hear of answers only
        vars(twin)["_logger_queue"] = SimpleQueue()
    if any(_keeps(value, api) for value in copies.shared):
        raise UncopyableError("a function among the attributes keeps the API")
    return twin


def _is_large(value: Any) -> bool:
    """Return whether a value was not copied because of its size alone."""
    return type(value) in _CONTAINERS or is_array(value) or is_tensor(value)


def _slots(cls: type) -> list[Any]:
    found = (attribute for base in cls.__mro__ for attribute in vars(base).values())
    return [each for each in found if isinstance(each, MemberDescriptorType)]


def _keeps(value: Any, api: LitAPI) -> bool:
    """Return whether a function keeps the API, or one of its methods, in a variable."""
    if type(value) is not FunctionType:
        parts = list(getattr(value, "__dict__", {}).values())
        return any(type(part) is weakref.ref and part() is api for part in (value, *parts))
    for cell in value.__closure__ or ():
        with suppress(ValueError):  # not set yet
            kept = cell.cell_contents
            if kept is api or (isinstance(kept, MethodType) and kept.__self__ is api):
                return True
    return False
