"""Values as msgpack: a value of a type that msgpack lacks becomes a list of parts behind a tag.

A tag is an extension of one byte; nothing else is written so. The parts stand beside it in the same
msgpack. If they were packed into the body of an extension, they would be copied once for each level
of nesting, and read by recursion.
"""

from __future__ import annotations

from typing import Any

from litcache.arrays import array_bytes, is_array, is_scalar, is_tensor
from litcache.errors import ValueEncodingError, path_of
from litcache.values import sharing
from litcache.values.elements import encode_elements
from litcache.values.layouts import array_layout, parse
from litcache.values.packing import MALFORMED, packed, unpacked
from litcache.values.responses import is_response, remedy, response_parts
from litcache.values.tags import (
    AGAIN,
    BY_CODE,
    ELEMENTS,
    MAPPING,
    NESTING,
    RESPONSE,
    SCALAR,
    SHARED,
    SIMPLE,
    TEXT,
    Tag,
    int_parts,
)

_LEVELS = 100
_DEEP = f"nested more than {_LEVELS} levels deep, or in itself"

NATIVE: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes})

# A place in a value: the name of the whole, or the place of a container and the step into it.
Place = str | tuple[Any, object]


def encode_plain(value: object, place: Place = "$", store_as: str | None = None) -> bytes:
    """Return the msgpack of a value.

    Args:
        value: Builtins in any nesting, arrays, tensors, numpy scalars, dates, paths and the like.
        place: The name of the whole value in the path of an error.
        store_as: The form in which arrays and tensors of floats are stored; `None`: in full.

    Returns:
        The msgpack.

    Raises:
        ValueEncodingError: If something in the value, at `path`, is of a type that is not stored,
            or is nested more than 100 levels deep.

    Example:
        >>> decode_plain(encode_plain({"label": "cat", "box": (1, 2)}))
        {'label': 'cat', 'box': (1, 2)}
    """
    try:
        return packed(_lowered(value, place, store_as), _pack_int)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        # It is too long for msgpack, another thread changed it meanwhile, or the stack is full.
        raise ValueEncodingError(str(error), path(place), type(value)) from error


def decode_plain(data: bytes, device: object = None) -> Any:
    """Return the value of a msgpack.

    Args:
        data: What `encode_plain` returned.
        device: Where tensors go that were stored from a device of its type; others to the CPU.

    Returns:
        The value, in its own memory.

    Raises:
        ValueEncodingError: If the data are malformed.
    """
    try:
        if b"\xd4" not in data:  # the byte that announces a tag
            return unpacked(data, ext_hook=_unknown)
        reader = _Reader(device)
        value = unpacked(data, ext_hook=reader.tag, list_hook=reader.value)
    except MALFORMED as error:
        raise ValueEncodingError(f"malformed value: {error}") from error
    if reader.open:
        raise ValueEncodingError("malformed value: a tag at the wrong place")
    return value


class _Reader:
    """Makes values of their parts while msgpack reads them, innermost first."""

    __slots__ = ("device", "open", "shared")

    def __init__(self, device: object) -> None:
        self.device = device
        self.open = 0
        self.shared: dict[int, object] = {}

    def tag(self, code: int, data: bytes) -> Tag:
        self.open += 1
        return BY_CODE[code]

    def value(self, parts: list[Any]) -> object:
        if not parts or type(parts[0]) is not Tag:
            return parts
        self.open -= 1
        tag = parts.pop(0)
        if tag is ELEMENTS:
            layout, payload = parts
            return parse(layout).read([payload], self.device)[0]
        if tag is SHARED:
            number, self.shared[number] = parts
            return self.shared[number]
        if tag is AGAIN:
            (number,) = parts
            return self.shared[number]
        return tag.restore(parts)


def _unknown(code: int, data: bytes) -> object:
    raise ValueError(f"unknown extension {code}")


def _pack_int(value: object) -> list[Any]:
    """Return the parts of an integer above 64 bits, the one builtin that msgpack refuses."""
    if type(value) is not int:
        raise TypeError(f"changed meanwhile: {type(value).__name__}")
    return SIMPLE[int].mark(int_parts(value))


def _lowered(value: object, place: Place, store_as: str | None) -> object:
    """Return a value as msgpack can pack it: the value itself, if nothing in it needs a tag."""
    if type(value) in NATIVE:
        return value
    lowering = _Lowering({}, store_as)
    try:
        form = lowering.lower(value, place, 0)
    except _StandsTwice:
        lowering = _Lowering(sharing.numbers(value), store_as)
        form = lowering.lower(value, place, 0)
    if sharing.overlap(lowering.elements):
        reason = "arrays or tensors in it share memory, and those of a hit would not: return copies"
        raise ValueEncodingError(reason, path(place), type(value))
    return form


class _StandsTwice(Exception):
    """A part that can be changed in place stands at several places of a value."""


class _Lowering:
    """Turns a value into a form that msgpack can pack.

    Args:
        numbers: The numbers of the parts that stand at several places, by id; none are expected in
            most values.
        store_as: The form in which arrays and tensors of floats are stored; `None`: in full.

    Attributes:
        elements: The arrays and tensors that were met.
    """

    __slots__ = ("_done", "_numbers", "_seen", "_store_as", "elements")

    def __init__(self, numbers: dict[int, int], store_as: str | None) -> None:
        self._numbers = numbers
        self._store_as = store_as
        self._seen: set[int] = set()
        self._done: set[int] = set()
        self.elements: list[Any] = []

    def lower(self, value: Any, place: Place, level: int) -> object:
        kind = type(value)
        if kind in NATIVE:
            return value
        if id(value) in self._seen and sharing.is_changeable(value):
            if id(value) in self._done:
                return AGAIN.mark([self._numbers[id(value)]])
            if not self._numbers:
                raise _StandsTwice
            raise ValueEncodingError(_DEEP, path(place), kind)  # it contains itself
        self._seen.add(id(value))
        form = self._parts(value, kind, place, level)
        number = self._numbers.get(id(value))
        if number is None:
            return form
        self._done.add(id(value))
        return SHARED.mark([number, form])

    def _parts(self, value: Any, kind: type, place: Place, level: int) -> object:
        if kind is list or kind is dict or kind in NESTING:
            if level == _LEVELS:
                raise ValueEncodingError(_DEEP, path(place), kind)
            if kind is dict:
                return self._dict(value, place, level)
            parts = value
            if not NATIVE.issuperset(map(type, value)):
                lower = self.lower
                parts = [lower(part, (place, at), level + 1) for at, part in enumerate(value)]
            return parts if kind is list else NESTING[kind].mark(parts)
        try:
            tag = SIMPLE.get(kind)
            return self._foreign(value) if tag is None else tag.mark(tag.parts(value))
        except ValueEncodingError as error:
            raise ValueEncodingError(error.reason, path(place), kind) from None
        except (TypeError, ValueError) as error:
            raise ValueEncodingError(str(error), path(place), kind) from error

    def _dict(self, value: dict[Any, Any], place: Place, level: int) -> object:
        native = NATIVE.issuperset(map(type, value))
        if native and NATIVE.issuperset(map(type, value.values())):
            return value
        lower = self.lower
        lowered = [
            (lower(key, (place, key), level + 1), lower(part, (place, key), level + 1))
            for key, part in value.items()
        ]
        if native:
            return dict(lowered)
        return MAPPING.mark([part for pair in lowered for part in pair])

    def _foreign(self, value: Any) -> list[Any]:
        """Return a value of a library as msgpack can pack it; all others are errors."""
        if is_array(value) or is_tensor(value):
            self.elements.append(value)
            return ELEMENTS.mark(list(encode_elements(value, self._store_as)))
        if is_scalar(value):
            if value.dtype.kind in "US":
                return TEXT.mark([value[:]])  # .item() drops zeros at its end
            return SCALAR.mark([array_layout(b"a", value.dtype, ()), array_bytes(value)])
        if is_response(value):
            return RESPONSE.mark(response_parts(value))
        raise ValueEncodingError(f"values of this type are not stored{remedy(value)}")


def path(place: Place) -> str:
    """Return the path to a place, such as `$.images[3].meta`."""
    steps: list[object] = []
    while not isinstance(place, str):
        place, step = place
        steps.append(step)
    return path_of(reversed(steps), place)
