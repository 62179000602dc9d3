"""The canonical bytes of items: equal items have equal bytes, and no others have.

The bytes are msgpack. Dicts are sorted by the bytes of their keys, so that their order does not
count; everything else counts. Types are compared by identity: `np.float64` is a `float`, and `bool`
is an `int`, but they make other items.
"""

from __future__ import annotations

import dataclasses
import operator
import types
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import chain
from typing import Any

from litcache.errors import KeyEncodingError, path_of
from litcache.keys.leaves import (
    EXACT,
    LARGE,
    SUBCLASSED,
    Code,
    Handler,
    Unencodable,
    Writer,
    class_name,
    ext,
    foreign,
    inherits,
    loaded,
)

MAX_DEPTH = 100
"""How many levels of containers an item may have; a cycle has more than any number of them."""

_NATIVE = frozenset({type(None), bool, int, float, str, bytes})
_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_IN_C = frozenset({types.MethodDescriptorType, types.WrapperDescriptorType})


def canonical(value: object, digest: str = "blake", root: str = "$") -> bytes:
    """Return the canonical msgpack of a value.

    Args:
        value: Any value of the types that keys are made of, in any nesting.
        digest: `"blake"` or `"sha256"`: what large buffers are hashed with.
        root: What the value is called in the path of an error.

    Returns:
        One self-delimiting value (https://github.com/msgpack/msgpack/blob/master/spec.md).

    Raises:
        KeyEncodingError: If a value in it has no canonical form, or it is nested too deeply.

    Example:
        >>> canonical({"b": 1, "a": (2.0,)}) == canonical({"a": (2.0,), "b": 1})
        True
        >>> canonical(1) == canonical(True)
        False
    """
    return _Encoder(digest, root).encode(value)


class _Encoder(Writer):
    """Encodes a value and its parts."""

    __slots__ = ()

    def encode(self, value: object) -> bytes:
        """Return the canonical bytes of a value; the error says where a part has none."""
        try:
            handler = _HANDLERS.get(id(type(value))) or foreign(value) or _Encoder._object
            return handler(self, value)
        except KeyEncodingError:
            raise
        except Unencodable as error:
            raise self._error(str(error), value) from None
        except Exception as error:  # properties and time zones of users may raise anything
            raise self._error(f"reading it raised {type(error).__name__}", value) from error

    def _error(self, reason: str, value: object) -> KeyEncodingError:
        return KeyEncodingError(reason, path_of(self.trail, self.root), type(value))

    def _enter(self) -> None:
        if len(self.trail) >= MAX_DEPTH:
            raise Unencodable(f"it is more than {MAX_DEPTH} levels deep, or contains itself")

    def _walk(self, steps: Iterable[tuple[object, object]]) -> list[bytes]:
        """Encode parts, each with the step that leads to it."""
        self._enter()
        trail, encode, parts = self.trail, self.encode, []
        trail.append(None)
        for step, part in steps:
            trail[-1] = step
            parts.append(encode(part))
        trail.pop()
        return parts

    def _pairs(self, items: Collection[tuple[object, object]]) -> list[tuple[bytes, bytes]]:
        keys = self._walk([(key, key) for key, _ in items])
        return list(zip(keys, self._walk(items), strict=True))

    def _array(self, parts: list[bytes]) -> bytes:
        return b"".join([self.packer.pack_array_header(len(parts)), *parts])

    def _map(self, pairs: list[tuple[bytes, bytes]]) -> bytes:
        return b"".join([self.packer.pack_map_header(len(pairs)), *chain.from_iterable(pairs)])

    def _list(self, value: list[Any]) -> bytes:
        self._enter()
        value = value if type(value) is list else list.copy(value)
        if _is_native(value):
            try:
                return self.pack(value)
            except (OverflowError, UnicodeEncodeError):  # a long integer, a lone surrogate
                return self._array(self._walk(enumerate(value)))
        return self._array(self._walk(enumerate(value)))

    def _set(self, code: int, elements: Iterable[object]) -> bytes:
        return ext(code, self._array(sorted(self._walk(enumerate(elements)))))

    def _dict(self, value: dict[Any, Any]) -> bytes:
        self._enter()
        if type(value) is dict and set(map(type, value)) == {str} and _is_native(value.values()):
            try:
                if max(map(len, value)) <= LARGE:
                    return self.pack({key: value[key] for key in sorted(value, key=self.pack)})
            except (OverflowError, UnicodeEncodeError):
                return self._map(sorted(self._pairs(dict.items(value))))
        return self._map(sorted(self._pairs(dict.items(value))))

    def _default_dict(self, value: defaultdict[Any, Any]) -> bytes:
        factory = vars(defaultdict)["default_factory"].__get__(value)
        if factory is not None and not isinstance(factory, type):
            raise Unencodable("its default_factory is no class")
        name = None if factory is None else class_name(factory)
        return ext(Code.DEFAULT, self.pack(name) + self._dict(value))

    def _object(self, value: object) -> bytes:
        """Encode a dataclass, pydantic model or subclass of a builtin: class, base value, state."""
        cls = type(value)
        bases = [base for base in cls.__mro__[:-1] if _is_in_c(base)]
        model = inherits(cls, loaded("pydantic", "BaseModel"))
        known = bases or model or dataclasses.is_dataclass(cls)
        if not known or not all(id(base) in _BASES for base in bases):
            raise Unencodable("its type has no canonical form")
        state = _state(value)
        if model:  # which fields were set is no part of a model's value, nor of its __eq__
            state.pop("__pydantic_fields_set__", None)
        base = _HANDLERS[id(bases[0])](self, value) if bases else b""
        return ext(Code.OBJECT, self.pack(class_name(cls)) + base + self._dict(state))


def _is_native(values: Collection[Any]) -> bool:
    """Return whether the canonical form of these values is msgpack's own."""
    kinds = set(map(type, values))
    if not kinds <= _NATIVE or (float in kinds and any(map(operator.ne, values, values))):
        return False
    sized = (v for v in values if type(v) is str or type(v) is bytes)
    return kinds.isdisjoint({str, bytes}) or all(len(value) <= LARGE for value in sized)


def _is_in_c(cls: type) -> bool:
    """Return whether a class is written in C: its instances may hold what Python cannot see.

    A class statement makes no immutable class and no C functions of the class's own.
    """
    return bool(cls.__flags__ & _IMMUTABLE) or any(
        (type(attribute) in _IN_C and attribute.__objclass__ is cls)
        or (type(attribute) is types.BuiltinFunctionType and attribute.__self__ is cls)
        for attribute in vars(cls).values()
    )


def _state(value: object) -> dict[Any, object]:
    """Return the attributes of an instance: slots, `__dict__` and the fields of a dataclass."""
    found: dict[Any, object] = {}
    for base in type(value).__mro__:
        for name, slot in vars(base).items() if "__slots__" in vars(base) else ():
            if type(slot) is types.MemberDescriptorType:
                with suppress(AttributeError):  # not set
                    found.setdefault(name, slot.__get__(value))
    found.update(getattr(value, "__dict__", ()))
    if dataclasses.is_dataclass(type(value)):
        fields = dataclasses.fields(value)  # type: ignore[arg-type]
        found.update({field.name: getattr(value, field.name) for field in fields})
    return found


_CONTAINERS: dict[type, Handler] = {
    list: _Encoder._list,
    tuple: lambda to, value: ext(Code.TUPLE, to._list(list(tuple.__iter__(value)))),
    dict: _Encoder._dict,
    OrderedDict: lambda to, value: ext(Code.ORDERED, to._map(to._pairs(OrderedDict.items(value)))),
    defaultdict: _Encoder._default_dict,
    set: lambda to, value: to._set(Code.SET, set.__iter__(value)),
    frozenset: lambda to, value: to._set(Code.FROZENSET, frozenset.__iter__(value)),
}
# By id, since a user's metaclass may define __hash__ and __eq__.
_HANDLERS = {id(cls): run for cls, run in {**EXACT, **SUBCLASSED, **_CONTAINERS}.items()}
_BASES = frozenset(map(id, {**SUBCLASSED, **_CONTAINERS}))
