"""Values as msgpack: a value of a type that msgpack lacks becomes a list of parts behind a tag.

A tag is an extension of one byte; nothing else is written so. The parts stand beside it in the same
msgpack. If they were packed into the body of an extension, they would be copied once for each level
of nesting, and read by recursion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID, SafeUUID

import msgpack

from litcache import arrays
from litcache.arrays import array_bytes, is_array, is_scalar, is_tensor
from litcache.errors import ValueEncodingError, path_of
from litcache.values.layouts import array_layout, encode_elements, parse
from litcache.values.packing import MALFORMED, packed, unpacked

_LEVELS = 100
_MICROSECOND = timedelta(microseconds=1)

NATIVE: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes})

# A place in a value: the name of the whole, or the place of a container and the step into it.
Place = str | tuple[Any, object]


@dataclass(frozen=True, eq=False, slots=True)
class _Tag:
    """How a value of one type becomes a list of parts, and how the parts become the value."""

    code: int
    parts: Callable[[Any], list[Any]]
    restore: Callable[[list[Any]], object]

    def mark(self, parts: list[Any]) -> list[Any]:
        return [msgpack.ExtType(self.code, b"\0"), *parts]


def _only(part_type: type, restore: Callable[[Any], object]) -> Callable[[list[Any]], object]:
    """Return a function that restores a value from one part, and refuses a part of another type.

    `bytearray` of a number, for instance, would allocate that number of bytes.
    """

    def checked(parts: list[Any]) -> object:
        (part,) = parts
        if type(part) is not part_type:
            raise TypeError(f"{part_type.__name__} expected")
        return restore(part)

    return checked


def _pairs(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _int_parts(value: int) -> list[Any]:
    return [value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)]


def _date_parts(value: date) -> list[Any]:
    return [value.year, value.month, value.day]


def _time_parts(value: datetime | time) -> list[Any]:
    parts: list[Any] = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    if value.tzinfo is None:
        return parts
    if type(value.tzinfo) is not timezone:
        raise TypeError("of time zones only fixed offsets (datetime.timezone) are stored")
    offset, name = value.tzinfo.utcoffset(None), value.tzinfo.tzname(None)
    parts.append(offset // _MICROSECOND)
    return parts if name == timezone(offset).tzname(None) else [*parts, name]


def _zone(fold: int, offset: int | None = None, *name: str) -> dict[str, Any]:
    zone = None if offset is None else timezone(offset * _MICROSECOND, *name)
    return {"fold": fold, "tzinfo": zone}


def _path_parts(value: PurePosixPath | PureWindowsPath) -> list[Any]:
    if type(value)(str(value)).parts != value.parts:
        raise ValueError("a path whose string is that of another")  # PureWindowsPath("./a:b")
    return [str(value)]


def _scalar(parts: list[Any]) -> Any:
    layout, payload = parts
    array: Any = parse(layout).read([payload])[0]
    return array[()]


def _numpy_text(parts: list[Any]) -> object:
    (text,) = parts
    numpy = arrays.numpy()
    return numpy.str_(text) if type(text) is str else _only(bytes, numpy.bytes_)(parts)


# The codes stand in stored bytes: a change of one raises stores.base.FORMAT.
_NESTING: dict[type, _Tag] = {
    tuple: _Tag(1, list, tuple),
    set: _Tag(2, list, set),
    frozenset: _Tag(3, list, frozenset),
}
_MAPPING = _Tag(4, list, _pairs)
_SIMPLE: dict[type, _Tag] = {
    bytearray: _Tag(5, lambda value: [bytes(value)], _only(bytes, bytearray)),
    int: _Tag(6, _int_parts, _only(bytes, lambda b: int.from_bytes(b, "little", signed=True))),
    complex: _Tag(7, lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    Decimal: _Tag(8, lambda value: [str(value)], _only(str, Decimal)),
    datetime: _Tag(
        9,
        lambda value: _date_parts(value) + _time_parts(value),
        lambda parts: datetime(*parts[:7], **_zone(*parts[7:])),
    ),
    date: _Tag(10, _date_parts, lambda parts: date(*parts)),
    time: _Tag(11, _time_parts, lambda parts: time(*parts[:4], **_zone(*parts[4:]))),
    timedelta: _Tag(
        12,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: timedelta(*parts),
    ),
    UUID: _Tag(
        13,
        lambda value: [value.bytes, value.is_safe.value],
        lambda parts: UUID(bytes=parts[0], is_safe=SafeUUID(parts[1])),
    ),
    PosixPath: _Tag(14, _path_parts, _only(str, PosixPath)),
    WindowsPath: _Tag(15, _path_parts, _only(str, WindowsPath)),
    PurePosixPath: _Tag(16, _path_parts, _only(str, PurePosixPath)),
    PureWindowsPath: _Tag(17, _path_parts, _only(str, PureWindowsPath)),
}
_ELEMENTS = _Tag(18, list, list)  # the reader restores it, since it knows the device
_SCALAR = _Tag(19, list, _scalar)
_TEXT = _Tag(20, list, _numpy_text)
_BY_CODE = {
    tag.code: tag
    for tag in (*_NESTING.values(), _MAPPING, *_SIMPLE.values(), _ELEMENTS, _SCALAR, _TEXT)
}


def encode_plain(value: object, place: Place = "$") -> bytes:
    """Return the msgpack of a value.

    Args:
        value: Builtins in any nesting, arrays, tensors, numpy scalars, dates, paths and the like.
        place: The name of the whole value in the path of an error.

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
        return packed(_lower(value, place, 0), _pack_int)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        # It is too long for msgpack, another thread changed it meanwhile, or the stack is full.
        raise ValueEncodingError(str(error), path(place), type(value)) from error


def decode_plain(data: bytes, device: object = None) -> Any:
    """Return the value of a msgpack.

    Args:
        data: What `encode_plain` returned.
        device: Where tensors go that were stored from a device of its type; others to the CPU.

    Returns:
        The value, in memory of its own.

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

    __slots__ = ("device", "open")

    def __init__(self, device: object) -> None:
        self.device = device
        self.open = 0

    def tag(self, code: int, data: bytes) -> _Tag:
        self.open += 1
        return _BY_CODE[code]

    def value(self, parts: list[Any]) -> object:
        if not parts or type(parts[0]) is not _Tag:
            return parts
        self.open -= 1
        tag = parts.pop(0)
        if tag is _ELEMENTS:
            layout, payload = parts
            return parse(layout).read([payload], self.device)[0]
        return tag.restore(parts)


def _unknown(code: int, data: bytes) -> object:
    raise ValueError(f"unknown extension {code}")


def _pack_int(value: object) -> list[Any]:
    """Return the parts of an integer above 64 bits, the one builtin that msgpack refuses."""
    if type(value) is not int:
        raise TypeError(f"changed meanwhile: {type(value).__name__}")
    return _SIMPLE[int].mark(_int_parts(value))


def _lower(value: Any, place: Place, level: int) -> object:
    """Return a value as msgpack can pack it: the value itself, if nothing in it needs a tag."""
    kind = type(value)
    if kind in NATIVE:
        return value
    if kind is list or kind is dict or kind in _NESTING:
        if level == _LEVELS:
            reason = f"nested more than {_LEVELS} levels deep"
            raise ValueEncodingError(reason, path(place), kind)
        if kind is dict:
            return _lower_dict(value, place, level)
        parts = value
        if not NATIVE.issuperset(map(type, value)):
            parts = [_lower(part, (place, at), level + 1) for at, part in enumerate(value)]
        return parts if kind is list else _NESTING[kind].mark(parts)
    try:
        tag = _SIMPLE.get(kind)
        return _lower_foreign(value) if tag is None else tag.mark(tag.parts(value))
    except ValueEncodingError as error:
        raise ValueEncodingError(error.reason, path(place), kind) from None
    except (TypeError, ValueError) as error:
        raise ValueEncodingError(str(error), path(place), kind) from error


def _lower_dict(value: dict[Any, Any], place: Place, level: int) -> object:
    native = NATIVE.issuperset(map(type, value))
    if native and NATIVE.issuperset(map(type, value.values())):
        return value
    lowered = [
        (_lower(key, (place, key), level + 1), _lower(part, (place, key), level + 1))
        for key, part in value.items()
    ]
    return dict(lowered) if native else _MAPPING.mark([part for pair in lowered for part in pair])


def _lower_foreign(value: Any) -> list[Any]:
    """Return a value of numpy or torch as msgpack can pack it; all others are errors."""
    if is_array(value) or is_tensor(value):
        return _ELEMENTS.mark(list(encode_elements(value)))
    if is_scalar(value):
        if value.dtype.kind in "US":
            return _TEXT.mark([value[:]])  # .item() drops zeros at its end
        return _SCALAR.mark([array_layout(b"a", value.dtype, ()), array_bytes(value)])
    raise ValueEncodingError("values of this type are not stored")


def path(place: Place) -> str:
    """Return the path to a place, such as `$.images[3].meta`."""
    steps: list[object] = []
    while not isinstance(place, str):
        place, step = place
        steps.append(step)
    return path_of(reversed(steps), place)
