"""The state of objects of any class that is made of known parts."""

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

# Classes written in Python; all state of their instances, and of subclasses, is in attributes.
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
# Attributes that an object computes from its other attributes.
_DERIVED = (
    ("starlette.datastructures", "ImmutableMultiDict", "_dict"),
    ("starlette.datastructures", "UploadFile", "_max_mem_size"),
)


def is_plain(cls: type) -> bool:
    """Return whether the attributes of an instance are all of its state."""
    return (
        dataclasses.is_dataclass(cls)
        or "__attrs_attrs__" in vars(cls)
        or any(inherits(cls, loaded(*name)) for name in _PLAIN)
    )


def bases_in_c(cls: type) -> list[type]:
    """Return the bases written in C, in which instances may hold state that Python cannot see."""
    return [base for base in cls.__mro__[:-1] if base is not typing.Generic and _is_in_c(base)]


def _is_in_c(cls: type) -> bool:
    """Return whether a class is written in C.

    A class statement makes neither an immutable class nor C functions in the class.
    """
    return bool(cls.__flags__ & _IMMUTABLE) or any(
        (type(attribute) in _IN_C and attribute.__objclass__ is cls)
        or (type(attribute) is types.BuiltinFunctionType and attribute.__self__ is cls)
        for attribute in vars(cls).values()
    )


def fields_of_tuple(cls: type) -> tuple[str, ...] | None:
    """Return the names of the fields of named tuples of a class; `None` for any other class.

    A class of one name may have others each time: `namedtuple("Request", request)`.
    """
    if not inherits(cls, tuple):
        return None
    fields = next((vars(base)["_fields"] for base in cls.__mro__ if "_fields" in vars(base)), None)
    return fields if type(fields) is tuple and set(map(type, fields)) <= {str} else None


def state(value: object) -> dict[Any, object]:
    """Return the attributes of an instance: slots, `__dict__` and the fields of a dataclass.

    The value of a `cached_property` is left out: it is computed from the other attributes. A slot
    that another attribute of its name hides stands beside it.
    """
    cls = type(value)
    found: dict[Any, object] = {}
    hidden: dict[Any, object] = {}
    own = _own_dict(value)
    for place, base in enumerate(cls.__mro__):
        fields_of_attrs = vars(base).get("__attrs_attrs__")
        for name, slot in vars(base).items() if "__slots__" in vars(base) else ():
            if type(slot) is not types.MemberDescriptorType:
                continue
            if fields_of_attrs and name not in {field.name for field in fields_of_attrs}:
                continue  # where attrs keeps a cached property
            with suppress(AttributeError):  # not set
                part = slot.__get__(value)
                if name in found or name in own:
                    hidden[place, name] = part
                else:
                    found[name] = part
    found.update(own)
    if dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(value)  # type: ignore[arg-type]
        found.update({field.name: getattr(value, field.name) for field in fields})
    for name in [name for name in found if _is_derived(cls, name)]:
        del found[name]
    return {**found, **hidden} if hidden else found


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
    """Return whether an attribute is computed from the others when somebody asks for it."""
    if name == "_attrs_cached_hash":
        return True
    for base in cls.__mro__:
        if name in vars(base):
            return inherits(type(vars(base)[name]), cached_property)  # type: ignore[index]
    return any(name == own and inherits(cls, loaded(*base)) for *base, own in _DERIVED)


def alias(to: Writer, value: Any) -> bytes:
    """Encode the generic class that made an object, such as `Box[int]`."""
    # Up to Python 3.10, `list[int]` says that it is a type.
    args = value.__args__
    names = [class_name(part) if inherits(type(part), type) else part for part in args]
    return to.record("typing.GenericAlias", origin=class_name(value.__origin__), arguments=names)


ALIASES = frozenset(map(id, _ALIASES))
