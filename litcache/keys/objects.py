"""The state of objects whose classes are known by what they are made of, not one by one."""

from __future__ import annotations

import dataclasses
import types
import typing
from contextlib import suppress
from functools import cached_property
from typing import Any

from litcache.keys.writer import Unencodable, Writer, class_name, inherits, loaded

_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_IN_C = frozenset({types.MethodDescriptorType, types.WrapperDescriptorType})
_ALIASES = (types.GenericAlias, type(typing.List[int]))  # noqa: UP006 - the class of such an alias

# Classes written in Python, all of whose state is in their attributes; subclasses of them too.
_PLAIN = (
    ("collections", "UserDict"),
    ("collections", "UserList"),
    ("collections", "UserString"),
    ("pydantic", "BaseModel"),
    ("pydantic.networks", "_BaseUrl"),
    ("pydantic.networks", "_BaseMultiHostUrl"),
    ("pydantic.networks", "NameEmail"),
    ("pydantic.types", "_SecretBase"),
    ("pydantic.types", "_SecretField"),
    ("starlette.datastructures", "Headers"),
    ("starlette.datastructures", "ImmutableMultiDict"),
    ("starlette.datastructures", "UploadFile"),
)
# What objects keep of what was computed from the rest of them.
_DERIVED = (
    ("starlette.datastructures", "ImmutableMultiDict", "_dict"),
    ("starlette.datastructures", "UploadFile", "_max_mem_size"),
)


def is_plain(cls: type) -> bool:
    """Return whether the attributes of an instance are all that there is of it."""
    return (
        dataclasses.is_dataclass(cls)
        or "__attrs_attrs__" in vars(cls)
        or any(inherits(cls, loaded(*name)) for name in _PLAIN)
    )


def bases_in_c(cls: type) -> list[type]:
    """Return the bases written in C: instances may hold there what Python cannot see."""
    return [base for base in cls.__mro__[:-1] if base is not typing.Generic and _is_in_c(base)]


def _is_in_c(cls: type) -> bool:
    """Return whether a class is written in C.

    A class statement makes no immutable class and no C functions of the class's own.
    """
    return bool(cls.__flags__ & _IMMUTABLE) or any(
        (type(attribute) in _IN_C and attribute.__objclass__ is cls)
        or (type(attribute) is types.BuiltinFunctionType and attribute.__self__ is cls)
        for attribute in vars(cls).values()
    )


def state(value: object) -> dict[Any, object]:
    """Return the attributes of an instance: slots, `__dict__` and the fields of a dataclass.

    What a `cached_property` keeps is left out: it is computed from the others.
    """
    cls = type(value)
    found: dict[Any, object] = {}
    for base in cls.__mro__:
        fields_of_attrs = vars(base).get("__attrs_attrs__")
        for name, slot in vars(base).items() if "__slots__" in vars(base) else ():
            if type(slot) is not types.MemberDescriptorType:
                continue
            if fields_of_attrs and name not in {field.name for field in fields_of_attrs}:
                continue  # where attrs keeps a cached property
            with suppress(AttributeError):  # not set
                found.setdefault(name, slot.__get__(value))
    found.update(_own_dict(value))
    if dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(value)  # type: ignore[arg-type]
        found.update({field.name: getattr(value, field.name) for field in fields})
    for name in [name for name in found if _is_derived(cls, name)]:
        del found[name]
    return found


def _own_dict(value: object) -> dict[str, object]:
    """Return the `__dict__` of an instance, without asking its class."""
    for base in type(value).__mro__:
        found = vars(base).get("__dict__")
        if isinstance(found, (types.GetSetDescriptorType, types.MemberDescriptorType)):
            return dict(found.__get__(value))
        if found is not None:
            raise Unencodable("its class hides its attributes")
    return {}


def _is_derived(cls: type, name: object) -> bool:
    """Return whether an attribute is made of the others, and there only if it was asked for."""
    if name == "_attrs_cached_hash":
        return True
    for base in cls.__mro__:
        if name in vars(base):
            return inherits(type(vars(base)[name]), cached_property)  # type: ignore[index]
    return any(name == own and inherits(cls, loaded(*base)) for *base, own in _DERIVED)


def alias(to: Writer, value: Any) -> bytes:
    """Encode which generic class an object was made by, such as `Box[int]`."""
    names = [class_name(part) if isinstance(part, type) else part for part in value.__args__]
    return to.record("typing.GenericAlias", origin=class_name(value.__origin__), arguments=names)


ALIASES = frozenset(map(id, _ALIASES))
