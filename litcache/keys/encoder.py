"""The canonical bytes of items: equal items have equal bytes, and no others have.

The bytes are msgpack. Dicts are sorted by the bytes of their keys, so their order does not count;
everything else counts. Types are compared by identity: `np.float64` is a `float`, and `bool` is an
`int`, but as items they are different.
"""

from __future__ import annotations

import enum
import operator
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any

from litcache.errors import KeyEncodingError, path_of
from litcache.keys import elements, enums, frames, images, objects, services
from litcache.keys.files import FILES
from litcache.keys.leaves import EXACT, SUBCLASSED
from litcache.keys.remedies import remedy
from litcache.keys.writer import (
    LARGE,
    Code,
    Handler,
    Unencodable,
    Writer,
    class_name,
    ext,
    inherits,
)

_NO_FORM = "its type has no canonical form"
_NATIVE = frozenset({type(None), bool, int, float, str, bytes})


def canonical(value: object, digest: str = "blake", root: str = "$") -> bytes:
    """Return the canonical msgpack of a value.

    Args:
        value: Any value of the types that keys are made of, in any nesting.
        digest: `"blake"` or `"sha256"`: what large buffers are hashed with.
        root: The name of the value in the path of an error.

    Returns:
        One self-delimiting value (https://github.com/msgpack/msgpack/blob/master/spec.md).

    Raises:
        KeyEncodingError: If a part of it has no canonical form, or it is nested too deeply.

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
        """Return the canonical bytes of a value; the error says which part has none."""
        try:
            handler = _HANDLERS.get(id(type(value))) or _foreign(value) or _Encoder._object
            return handler(self, value)
        except KeyEncodingError:
            raise
        except Unencodable as error:
            raise self._error(str(error), value) from None
        except Exception as error:  # properties and time zones of users may raise anything
            raise self._error(f"reading it raised {type(error).__name__}", value) from error

    def _error(self, reason: str, value: object) -> KeyEncodingError:
        return KeyEncodingError(reason, path_of(self.trail, self.root), type(value))

    def _pairs(self, items: Collection[tuple[object, object]]) -> list[tuple[bytes, bytes]]:
        keys = self.walk([(key, key) for key, _ in items])
        return list(zip(keys, self.walk(items), strict=True))

    def _map(self, pairs: list[tuple[bytes, bytes]]) -> bytes:
        return b"".join([self.packer.pack_map_header(len(pairs)), *chain.from_iterable(pairs)])

    def _list(self, value: list[Any]) -> bytes:
        self.enter()
        value = value if type(value) is list else list.copy(value)
        if _is_native(value):
            try:
                return self.pack(value)
            except (OverflowError, UnicodeEncodeError):  # a long integer, a lone surrogate
                return self.array(self.walk(enumerate(value)))
        return self.array(self.walk(enumerate(value)))

    def _set(self, code: int, elements: Iterable[object]) -> bytes:
        return ext(code, self.array(sorted(self.walk(enumerate(elements)))))

    def _dict(self, value: dict[Any, Any]) -> bytes:
        self.enter()
        if type(value) is dict and set(map(type, value)) == {str} and _is_native(value.values()):
            try:
                if max(map(len, value)) <= LARGE:
                    return self.pack({key: value[key] for key in sorted(value, key=self.pack)})
            except (OverflowError, UnicodeEncodeError):
                return self._map(sorted(self._pairs(dict.items(value))))
        return self._map(sorted(self._pairs(dict.items(value))))

    def _default_dict(self, value: defaultdict[Any, Any]) -> bytes:
        factory = vars(defaultdict)["default_factory"].__get__(value)
        if factory is not None and not inherits(type(factory), type):
            raise Unencodable("its default_factory is no class")
        name = None if factory is None else class_name(factory)
        return ext(Code.DEFAULT, self.pack(name) + self._dict(value))

    def _object(self, value: object) -> bytes:
        """Encode an instance of a class whose parts are known, by class, base value and state."""
        cls = type(value)
        head = self.pack(class_name(cls))
        fields = objects.fields_of_tuple(cls)
        if fields is not None:
            head += self._list(list(fields))
        base = self.base(value)
        # SimpleNamespace is in C, and holds nothing there.
        if not base and not objects.is_plain(cls) and not objects.bases_in_c(cls):
            raise Unencodable(_NO_FORM + remedy(value))
        return ext(Code.OBJECT, head + base + self._dict(objects.state(value)))

    def base(self, value: object) -> bytes:
        """Return the form of what an object holds in C, without its attributes; maybe nothing."""
        bases = objects.bases_in_c(type(value))
        if not all(id(base) in _BASES for base in bases):
            raise Unencodable(_NO_FORM + remedy(value))
        return _BASES[id(bases[0])](self, value) if bases else b""

    def _deque(self, value: deque[Any]) -> bytes:
        parts = self.walk(enumerate(deque.__iter__(value)))
        size = vars(deque)["maxlen"].__get__(value)
        return ext(
            Code.RECORD, self.pack("collections.deque") + self.pack(size) + self.array(parts)
        )


def _foreign(value: object) -> Handler | None:
    """Return the handler of a value of a library, an enum or a generic class; `None` for others."""
    handler = elements.handler_of(value)
    if handler is not None:
        return handler
    cls = type(value)
    if inherits(cls, enum.Enum):
        return enums.member
    if id(cls) in objects.ALIASES:
        return objects.alias
    return images.handler_of(cls) or frames.handler_of(cls) or services.handler_of(cls)


def _is_native(values: Collection[Any]) -> bool:
    """Return whether the canonical form of these values is msgpack's own."""
    kinds = set(map(type, values))
    if not kinds <= _NATIVE or (float in kinds and any(map(operator.ne, values, values))):
        return False
    sized = (v for v in values if type(v) is str or type(v) is bytes)
    return kinds.isdisjoint({str, bytes}) or all(len(value) <= LARGE for value in sized)


_CONTAINERS: dict[type, Handler] = {
    list: _Encoder._list,
    tuple: lambda to, value: ext(Code.TUPLE, to._list(list(tuple.__iter__(value)))),
    dict: _Encoder._dict,
    OrderedDict: lambda to, value: ext(Code.ORDERED, to._map(to._pairs(OrderedDict.items(value)))),
    defaultdict: _Encoder._default_dict,
    set: lambda to, value: to._set(Code.SET, set.__iter__(value)),
    frozenset: lambda to, value: to._set(Code.FROZENSET, frozenset.__iter__(value)),
    deque: _Encoder._deque,
}
# By id, since a user's metaclass may define __hash__ and __eq__.
_HANDLERS = {
    id(cls): handler for cls, handler in {**EXACT, **FILES, **SUBCLASSED, **_CONTAINERS}.items()
}
_BASES: dict[int, Handler] = {
    id(cls): handler for cls, handler in {**SUBCLASSED, **_CONTAINERS}.items()
}
_BASES[id(types.SimpleNamespace)] = lambda to, value: b""


def differ(item: object, copy: object) -> bool:
    """Return whether an item is another than its copy was."""
    try:
        return item is not copy and canonical(item) != canonical(copy)
    except KeyEncodingError:  # what has no key is told by nothing else
        return True
