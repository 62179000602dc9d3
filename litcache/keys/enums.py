"""The canonical msgpack of members of enums.

Where an enum stands in its module under its name, its code is that of the module: a member is its
name and its value. An enum that was made at run time, maybe of the request, counts as a whole.
"""

from __future__ import annotations

import enum
import sys
from typing import Any

from litcache.errors import KeyEncodingError
from litcache.keys.objects import state
from litcache.keys.writer import MAX_DEPTH, Code, Unencodable, Writer, class_name, ext, inherits

# What Python keeps in members for itself, some of it only after they were used.
_OF_PYTHON = frozenset({"__objclass__", "_sort_order_", "_inverted_"})


def member(to: Writer, value: enum.Enum) -> bytes:
    """Encode a member of any enum, or a combination of flags."""
    cls = type(value)
    members: dict[str, Any] = vars(cls)["_member_map_"]
    is_code = _is_in_its_module(cls)
    if members.get(value._name_) is value:
        body = to.encode(value._name_) + (_value(to, value) if is_code else b"")
    elif inherits(cls, enum.Flag):
        body = to.encode(value._value_)
    else:  # its enum's `_missing_` has made it
        body = _held(to, [value])
    if not is_code:
        body = to.encode(list(members)) + _held(to, members.values()) + body
    return ext(Code.ENUM, to.pack(class_name(cls)) + body)


def _is_in_its_module(cls: type) -> bool:
    """Return whether the module of a class has it under its name; this runs no code of either.

    A script that was run by its path is no module that one can look into: there the name decides.
    """
    module = sys.modules.get(cls.__module__)
    if module is None:
        return "<locals>" not in cls.__qualname__
    found: Any = module
    for name in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    return found is cls


def _value(to: Writer, value: enum.Enum) -> bytes:
    """Encode the value of a member; nothing if it has no form, since the name stands for it."""
    depth = len(to.trail)
    try:
        return to.encode(value._value_)
    except KeyEncodingError as error:
        _raise_unless_formless(to, error)
    del to.trail[depth:]
    return b""


def _held(to: Writer, members: Any) -> bytes:
    """Encode all that members hold: the builtins that they are, names, values, other attributes."""
    depth, parts = len(to.trail), []
    try:
        for each in members:
            attributes = state(each)
            own = {name: attributes[name] for name in attributes if name not in _OF_PYTHON}
            parts.append(to.array([form for form in (to.base(each), to.encode(own)) if form]))
    except (KeyEncodingError, Unencodable) as error:
        _raise_unless_formless(to, error)
        del to.trail[depth:]
        raise Unencodable(
            "it is of an enum made at run time, and a member of that holds what has no canonical "
            "form; give it as value.name, or name what counts in key="
        ) from error
    return to.array(parts)


def _raise_unless_formless(to: Writer, error: Exception) -> None:
    """Raise an error that does not say that a value has no form: it was not read to its end.

    The stack may have been full. A circle would be walked again from each of its members.
    """
    if error.__cause__ is not None or len(to.trail) >= MAX_DEPTH:
        raise error
