"""The canonical msgpack of values without parts: numbers, text, dates, arrays, images.

`None`, `bool`, `int`, `float`, `str` and `bytes` are written as msgpack's own types. Everything
else, and values too large for those, is written as an extension type: a code of its own and a body
of msgpack values. So every value ends where its own bytes say.
"""

from __future__ import annotations

import array
import datetime
import decimal
import enum
import hashlib
import os.path
import pathlib
import struct
import sys
import uuid
from collections.abc import Callable
from typing import Any

import msgpack
from blake3 import blake3

from litcache import arrays
from litcache.arrays import (
    array_elements,
    is_array,
    is_scalar,
    is_tensor,
    tensor_elements,
    tensor_fault,
)

LARGE = 4096
"""Buffers of more bytes, and strings of more characters, stand as their digest."""


class Code:
    """The extension types. They are part of the format: new ones go to the end."""

    LARGE_STR, LARGE_BYTES, SURROGATES, BIG_INT, COMPLEX, BYTEARRAY, MEMORYVIEW = range(7)
    PY_ARRAY, DECIMAL, DATETIME, DATE, TIME, TIMEDELTA, UUID, PATH, ENUM = range(7, 16)
    NP_ARRAY, NP_SCALAR, TENSOR, IMAGE = range(16, 20)
    TUPLE, SET, FROZENSET, ORDERED, DEFAULT, OBJECT = range(20, 26)


_HEADER = struct.Struct(">BIb")
_HASHES: dict[str, Callable[[Any], Any]] = {"blake": blake3, "sha256": hashlib.sha256}
_NUMBERS = frozenset("?cbBhHiIlLqQnNefd")  # formats of PEP 3118 without padding or pointers
_ALL = slice(None)


class Unencodable(Exception):
    """A value has no canonical form. The message says why; the encoder adds where."""


class Writer:
    """Packs msgpack, and hashes large buffers in place.

    Args:
        digest: `"blake"` or `"sha256"`: what large buffers are hashed with.
        root: What paths begin with.

    Attributes:
        pack: Writes the msgpack of exact builtins.
        packer: The packer to which `pack` belongs.
        trail: The steps from the root to the value that is being read.
    """

    __slots__ = ("_hash", "pack", "packer", "root", "trail")

    def __init__(self, digest: str, root: str = "$") -> None:
        self.packer = msgpack.Packer(strict_types=True, buf_size=1024)
        self.pack: Callable[[object], bytes] = self.packer.pack
        self.root = root
        self.trail: list[object] = []
        self._hash = _HASHES[digest]

    def buffer(self, data: Any) -> bytes:
        """Encode bytes, or a one-dimensional buffer of bytes."""
        return self.large(Code.LARGE_BYTES, data) if len(data) > LARGE else self.pack(bytes(data))

    def large(self, code: int, data: Any) -> bytes:
        """Encode a buffer as its digest and length."""
        digest: bytes = self._hash(data).digest()
        return ext(code, digest + len(data).to_bytes(8, "big"))


Handler = Callable[[Any, Any], bytes]  # of a Writer and a value


def ext(code: int, body: bytes) -> bytes:
    """Return an extension value; its length always takes four bytes."""
    return _HEADER.pack(0xC9, len(body), code) + body


def class_name(cls: type) -> str:
    """Return the name that a class has in every process.

    Args:
        cls: Any class.

    Returns:
        `module.qualname`. The module of the script is its file's stem: LitServe's workers import
        the script as `__mp_main__`, and others may import it by its name.

    Example:
        >>> class_name(dict)
        'builtins.dict'
    """
    module = cls.__module__
    if module in ("__main__", "__mp_main__"):
        file = getattr(sys.modules.get(module), "__file__", None)
        module = os.path.splitext(os.path.basename(file))[0] if file else "__main__"
    return f"{module}.{cls.__qualname__}"


# Values of the standard library. Some are of subclasses: only methods of the base are called.


def _str(to: Writer, value: str) -> bytes:
    value = str.__str__(value)
    if len(value) > LARGE:
        return to.large(Code.LARGE_STR, value.encode("utf-8", "surrogatepass"))
    try:
        return to.pack(value)
    except UnicodeEncodeError:  # a lone surrogate, which no UTF-8 can hold
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
    characters = value.typecode in "uw"  # which no memoryview casts
    data = value.tobytes() if characters else memoryview(value).cast("B")
    return ext(Code.PY_ARRAY, head + to.buffer(data))


def _path(to: Writer, value: pathlib.PurePath) -> bytes:
    return ext(Code.PATH, to.pack(type(value).__name__) + _str(to, str(value)))


def _enum(to: Writer, value: enum.Enum) -> bytes:
    """Encode a member by its name, a nameless combination of flags by its value."""
    cls, name = type(value), value._name_
    body = to.pack(name) if name in cls.__members__ else _int(to, value._value_)
    return ext(Code.ENUM, to.pack(class_name(cls)) + body)


def _flat(code: int, read: Callable[[Any], list[Any]]) -> Handler:
    """Return the handler of a type that is made of a few numbers and ASCII strings."""
    return lambda to, value: ext(code, to.pack(read(value)))


def _decimal(value: decimal.Decimal) -> list[Any]:
    sign, digits, exponent = value.as_tuple()  # str() depends on the decimal context
    return [sign, "".join(map(str, digits)), exponent]


def _date(value: datetime.date) -> list[Any]:
    return [value.year, value.month, value.day]


def _clock(value: datetime.datetime | datetime.time) -> list[Any]:
    offset = value.utcoffset()
    if offset is None and value.tzinfo is not None:
        raise Unencodable("its time zone gives no offset")
    wall = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    return [*wall, None if offset is None else _span(offset)]


def _span(value: datetime.timedelta) -> list[Any]:
    return [value.days, value.seconds, value.microseconds]


# Values of libraries that the user may have imported; litcache does not import them for a key.


def _np_array(to: Writer, value: Any, code: int = Code.NP_ARRAY) -> bytes:
    if value.dtype.hasobject:
        raise Unencodable("its dtype holds Python objects")
    head = to.pack([list(value.shape), _dtype(value.dtype)])
    elements = array_elements(arrays.numpy().asarray(value))
    return ext(code, head + b"".join(map(to.buffer, elements)))


def _np_scalar(to: Writer, value: Any) -> bytes:
    return _np_array(to, value, Code.NP_SCALAR)


def _dtype(dtype: Any) -> object:
    """Describe a dtype of numpy without its padding."""
    if dtype.subdtype is not None:
        return [list(dtype.shape), _dtype(dtype.base)]
    if dtype.names is not None:
        fields = [[n, _dtype(dtype[n]), *dtype.fields[n][2:]] for n in dtype.names]
        return [dtype.type.__name__, fields]
    if dtype.isbuiltin == 2:  # made by another library: bfloat16 and float8 of ml_dtypes
        return [class_name(dtype.type), dtype.str]
    if dtype.num not in range(24):  # numpy's own, dates and strings among them
        raise Unencodable("its dtype has parameters that are not known")
    return dtype.str


def _tensor(to: Writer, value: Any) -> bytes:
    fault = tensor_fault(value)
    if fault is not None:
        raise Unencodable(fault)
    head = to.pack([str(value.dtype), list(value.shape)])
    return ext(Code.TENSOR, head + to.buffer(tensor_elements(value)))


def _image(to: Writer, image: Any) -> bytes:
    """Encode what can be seen of an image, and its EXIF orientation, whatever file it is from."""
    if getattr(image, "is_animated", False):
        raise Unencodable("it is an image of several frames")
    image.load()
    palette = image.getpalette(None)
    colors = None if palette is None else [image.im.getpalettemode(), bytes(palette)]
    clear = image.info.get("transparency")
    clear = list(clear) if type(clear) is tuple else clear
    looks = [image.mode, list(image.size), colors, clear, image.getexif().get(0x0112)]
    return ext(Code.IMAGE, to.pack(looks) + to.buffer(image.tobytes()))


def foreign(value: object) -> Handler | None:
    """Return the handler of a value of numpy, torch or Pillow, or of an enum's member, or None."""
    if is_array(value):
        return _np_array
    if is_tensor(value):
        return _tensor
    if is_scalar(value):
        return _np_scalar
    cls = type(value)
    if inherits(cls, enum.Enum):
        return _enum
    if cls is loaded("PIL.Image", "Image") or inherits(cls, loaded("PIL.ImageFile", "ImageFile")):
        return _image
    return None


def loaded(module: str, name: str) -> Any:
    """Return an attribute of a module that the user has imported, else None."""
    return getattr(sys.modules.get(module), name, None)


def inherits(cls: type, base: object) -> bool:
    """Return whether a class has a base; unlike `issubclass` this runs no code of a metaclass."""
    return any(parent is base for parent in cls.__mro__)


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
    datetime.datetime: _flat(Code.DATETIME, lambda value: _date(value) + _clock(value)),
    datetime.date: _flat(Code.DATE, _date),
    datetime.time: _flat(Code.TIME, _clock),
    datetime.timedelta: _flat(Code.TIMEDELTA, _span),
    uuid.UUID: _flat(Code.UUID, lambda value: [value.bytes]),
    pathlib.PurePosixPath: _path,
    pathlib.PureWindowsPath: _path,
    pathlib.PosixPath: _path,
    pathlib.WindowsPath: _path,
}
"""The handlers of types without parts whose subclasses are refused."""
