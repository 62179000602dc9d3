"""The canonical msgpack of values of the standard library without parts: numbers, text, dates."""

from __future__ import annotations

import array
import datetime
import decimal
import fractions
import ipaddress
import pathlib
import sys
import uuid
from collections.abc import Callable
from typing import Any

from litcache.keys.writer import LARGE, Code, Handler, Unencodable, Writer, class_name, ext

_NUMBERS = frozenset("?cbBhHiIlLqQnNefd")  # formats of PEP 3118 without padding or pointers
_ALL = slice(None)


# Values may be of subclasses: only methods of the base class are called.


def _str(to: Writer, value: str) -> bytes:
    value = str.__str__(value)
    if len(value) > LARGE:
        return to.large(Code.LARGE_STR, value.encode("utf-8", "surrogatepass"))
    try:
        return to.pack(value)
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot hold
        return ext(Code.SURROGATES, value.encode("utf-8", "surrogatepass"))


def _int(to: Writer, value: int) -> bytes:
    value = int.__int__(value)
    if -(1 << 63) <= value < 1 << 64:
        return to.pack(value)
    return ext(Code.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _float(to: Writer, value: float) -> bytes:
    value = float.__float__(value)
    return to.pack(value if value == value else float("nan"))


def _complex(to: Writer, value: complex) -> bytes:
    real, imag = complex.real.__get__(value), complex.imag.__get__(value)
    return ext(Code.COMPLEX, _float(to, real) + _float(to, imag))


def _bytearray(to: Writer, value: bytearray) -> bytes:
    data = value if type(value) is bytearray else bytearray.__getitem__(value, _ALL)
    return ext(Code.BYTEARRAY, to.buffer(data))


def _memoryview(to: Writer, value: memoryview) -> bytes:
    number = value.format.removeprefix("@")
    if number not in _NUMBERS:
        raise Unencodable("its format is not that of native numbers")
    head = to.pack([sys.byteorder, number, value.itemsize, list(value.shape or ())])
    in_place = value.c_contiguous and value.nbytes > LARGE
    return ext(Code.MEMORYVIEW, head + to.buffer(value.cast("B") if in_place else value.tobytes()))


def _py_array(to: Writer, value: array.array[Any]) -> bytes:
    head = to.pack([sys.byteorder, value.typecode, value.itemsize])
    characters = value.typecode in "uw"  # a memoryview cannot cast them
    data = value.tobytes() if characters else memoryview(value).cast("B")
    return ext(Code.PY_ARRAY, head + to.buffer(data))


def _path(to: Writer, value: pathlib.PurePath) -> bytes:
    text = str(value)
    # PureWindowsPath("./a:b") is written like the path "b" on the drive "a:"; since Python 3.12,
    # with a dot that only such paths have.
    dotted = isinstance(value, pathlib.PureWindowsPath) and text.startswith(".\\")
    same = not dotted and type(value)(text).parts == value.parts
    body = _str(to, text) if same else to.array([_str(to, part) for part in value.parts])
    return ext(Code.PATH, to.pack(type(value).__name__) + body)


def _range(to: Writer, value: range) -> bytes:
    return to.record("builtins.range", start=value.start, stop=value.stop, step=value.step)


def _fraction(to: Writer, value: fractions.Fraction) -> bytes:
    return to.record("fractions.Fraction", over=value.numerator, under=value.denominator)


def _address(to: Writer, value: Any) -> bytes:
    """Encode an IP address, network or interface by its text, with the zone of an IPv6 address."""
    return to.record(class_name(type(value)), text=str(value))


def _flat(code: int, read: Callable[[Any], list[Any]]) -> Handler:
    """Return the handler of a type that consists of a few numbers and ASCII strings."""
    return lambda to, value: ext(code, to.pack(read(value)))


def _decimal(value: decimal.Decimal) -> list[Any]:
    sign, digits, exponent = value.as_tuple()  # str() depends on the decimal context
    return [sign, "".join(map(str, digits)), exponent]


def date(value: datetime.date) -> list[Any]:
    """Return the numbers of a date."""
    return [value.year, value.month, value.day]


def clock(value: datetime.datetime | datetime.time) -> list[Any]:
    """Return the numbers of a time of day: the wall clock, its fold, its offset."""
    offset = value.utcoffset()
    if offset is None and value.tzinfo is not None:
        raise Unencodable("its time zone gives no offset")
    wall = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    return [*wall, None if offset is None else _span(offset)]


def _span(value: datetime.timedelta) -> list[Any]:
    return [value.days, value.seconds, value.microseconds]


SUBCLASSED: dict[type, Handler] = {
    str: _str,
    bytes: lambda to, value: to.buffer(bytes.__getitem__(value, _ALL)),
    bytearray: _bytearray,
    int: _int,
    float: _float,
    complex: _complex,
}
"""The handlers of builtins without parts that read subclasses too."""

EXACT: dict[type, Handler] = {
    type(None): lambda to, value: b"\xc0",
    bool: lambda to, value: b"\xc3" if value else b"\xc2",
    memoryview: _memoryview,
    array.array: _py_array,
    decimal.Decimal: _flat(Code.DECIMAL, _decimal),
    datetime.datetime: _flat(Code.DATETIME, lambda value: date(value) + clock(value)),
    datetime.date: _flat(Code.DATE, date),
    datetime.time: _flat(Code.TIME, clock),
    datetime.timedelta: _flat(Code.TIMEDELTA, _span),
    uuid.UUID: _flat(Code.UUID, lambda value: [value.bytes]),
    pathlib.PurePosixPath: _path,
    pathlib.PureWindowsPath: _path,
    pathlib.PosixPath: _path,
    pathlib.WindowsPath: _path,
    range: _range,
    fractions.Fraction: _fraction,
    ipaddress.IPv4Address: _address,
    ipaddress.IPv4Interface: _address,
    ipaddress.IPv4Network: _address,
    ipaddress.IPv6Address: _address,
    ipaddress.IPv6Interface: _address,
    ipaddress.IPv6Network: _address,
}
"""The handlers of types without parts whose subclasses are refused."""
