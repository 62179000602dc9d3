"""Values without parts: subclasses of numbers and text, dates, paths, enums, buffers, files."""

from __future__ import annotations

import array
import datetime as dt
import enum
import io
import types
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from threading import Lock, RLock
from typing import Any
from uuid import UUID

from litcache.keys.writer import inherits, loaded
from litcache.trial.answers.freezer import Freezer, Unfit, class_kind
from litcache.trial.answers.frozen import Exact, Node, Number
from litcache.trial.answers.objects import with_attributes

_TEXTUAL = (dt.date, dt.time, dt.timedelta, Decimal, Fraction, UUID, PurePath)
# What has a name and is the same wherever it is named.
_NAMED = (
    type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType,
    types.MethodDescriptorType, types.WrapperDescriptorType, type(...), type(NotImplemented),
)  # fmt: skip
_FILE = io.IOBase.__base__
_LOCKS = (type(Lock()), type(RLock()))


def read(to: Freezer, cls: type, value: Any) -> Node | None:
    """Freeze a value without parts; `None` for others."""
    kind = class_kind(cls)
    if inherits(cls, enum.Enum):
        name = value._name_ or repr(value._value_)
        return Exact(kind, name, name)
    if any(inherits(cls, base) for base in _TEXTUAL):
        return Exact(kind, _moment(value) if inherits(cls, dt.datetime) else str(value), str(value))
    if any(inherits(cls, base) for base in _NAMED):
        return Exact(kind, (getattr(value, "__module__", ""), _name(value)), _name(value))
    if cls in _LOCKS:
        return Exact(kind, None, "a lock")
    return _builtin(to, cls, value, kind) or _buffer(to, cls, value, kind)


def _moment(value: Any) -> object:
    if value is loaded("pandas", "NaT"):
        return "NaT"
    return str(value), value.fold, value.tzname()


def _name(value: Any) -> str:
    return str(getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or value)


def _builtin(to: Freezer, cls: type, value: Any, kind: str) -> Node | None:
    """Freeze a value of a subclass of a plain class."""
    content: Node
    if inherits(cls, int):
        content = Exact(kind, int.__add__(value, 0))
    elif inherits(cls, float):
        content = Number(kind, float.__add__(value, 0.0))
    elif inherits(cls, complex):
        content = Number(kind, complex.__add__(value, 0j))
    elif inherits(cls, str):
        content = Exact(kind, str.__str__(value))
    elif inherits(cls, bytes):
        content = Exact(kind, bytes.__getitem__(value, slice(None)))
    else:
        return None
    return with_attributes(to, value, content)


def _buffer(to: Freezer, cls: type, value: Any, kind: str) -> Node | None:
    """Freeze a buffer, a file in memory, or an image."""
    if inherits(cls, bytearray):
        to.take(size=bytearray.__len__(value))
        return with_attributes(to, value, Exact(kind, bytes(memoryview(value))))
    if cls is memoryview:
        to.take(size=value.nbytes)
        return Exact(kind, (value.tobytes(), value.format, value.shape), f"{value.nbytes} bytes")
    if cls is array.array:
        return to.items(f"array.array of {value.typecode}", len(value), value)
    if inherits(cls, io.BytesIO):
        to.take(size=io.BytesIO.getbuffer(value).nbytes)
        return with_attributes(to, value, Exact(kind, io.BytesIO.getvalue(value)))
    if inherits(cls, io.StringIO):
        return with_attributes(to, value, Exact(kind, io.StringIO.getvalue(value)))
    if inherits(cls, _FILE):
        raise Unfit("which is a file")
    if inherits(cls, loaded("PIL.Image", "Image")):
        return _image(to, value)
    if any(hasattr(cls, name) for name in ("__next__", "__anext__", "__await__")):
        raise Unfit("which can be read only once")
    return None


def _image(to: Freezer, image: Any) -> Node:
    to.take(size=image.width * image.height * len(image.getbands()))
    palette = image.getpalette() if image.mode in ("P", "PA") else None
    parts = {
        "mode": image.mode,
        "size": image.size,
        "palette": palette,
        "pixels": image.tobytes(),
        "info": image.info,  # as it is once the pixels are read
    }
    return to.fields("PIL.Image", parts)
