"""The tags of types that msgpack lacks: how a value becomes parts, and parts a value."""

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
from litcache.values.layouts import parse
from litcache.values.responses import make_response

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, eq=False, slots=True)
class Tag:
    """How a value of one type becomes a list of parts, and how the parts become the value."""

    code: int
    parts: Callable[[Any], list[Any]]
    restore: Callable[[list[Any]], object]

    def mark(self, parts: list[Any]) -> list[Any]:
        """Return the parts behind the tag."""
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


def int_parts(value: int) -> list[Any]:
    """Return the parts of an integer that msgpack refuses."""
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
NESTING: dict[type, Tag] = {
    tuple: Tag(1, list, tuple),
    set: Tag(2, list, set),
    frozenset: Tag(3, list, frozenset),
}
MAPPING = Tag(4, list, _pairs)
SIMPLE: dict[type, Tag] = {
    bytearray: Tag(5, lambda value: [bytes(value)], _only(bytes, bytearray)),
    int: Tag(6, int_parts, _only(bytes, lambda b: int.from_bytes(b, "little", signed=True))),
    complex: Tag(7, lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    Decimal: Tag(8, lambda value: [str(value)], _only(str, Decimal)),
    datetime: Tag(
        9,
        lambda value: _date_parts(value) + _time_parts(value),
        lambda parts: datetime(*parts[:7], **_zone(*parts[7:])),
    ),
    date: Tag(10, _date_parts, lambda parts: date(*parts)),
    time: Tag(11, _time_parts, lambda parts: time(*parts[:4], **_zone(*parts[4:]))),
    timedelta: Tag(
        12,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: timedelta(*parts),
    ),
    UUID: Tag(
        13,
        lambda value: [value.bytes, value.is_safe.value],
        lambda parts: UUID(bytes=parts[0], is_safe=SafeUUID(parts[1])),
    ),
    PosixPath: Tag(14, _path_parts, _only(str, PosixPath)),
    WindowsPath: Tag(15, _path_parts, _only(str, WindowsPath)),
    PurePosixPath: Tag(16, _path_parts, _only(str, PurePosixPath)),
    PureWindowsPath: Tag(17, _path_parts, _only(str, PureWindowsPath)),
}
ELEMENTS = Tag(18, list, list)  # the reader restores it, since it knows the device
SCALAR = Tag(19, list, _scalar)
TEXT = Tag(20, list, _numpy_text)
# A part that stands at several places: with its number at the first, then the number alone.
SHARED = Tag(21, list, list)
AGAIN = Tag(22, list, list)
RESPONSE = Tag(23, list, make_response)
_OTHERS = (MAPPING, ELEMENTS, SCALAR, TEXT, SHARED, AGAIN, RESPONSE)
BY_CODE = {tag.code: tag for tag in (*NESTING.values(), *SIMPLE.values(), *_OTHERS)}
