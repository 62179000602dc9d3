"""The shapes of items: what `decode_request` makes of a number, and how that is read again."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import io
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pydantic
import torch
from PIL import Image

Named = collections.namedtuple("Named", "n name")
RECORD = np.dtype([("n", "i8"), ("name", "U12"), ("b", "u1")], align=True)
EPOCH = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)


@dataclasses.dataclass
class Data:
    n: int
    tags: list[Any]


class Model(pydantic.BaseModel):
    model_config = {"extra": "allow"}
    n: int
    name: str = "a name"
    tags: list[int] = []


class Number(enum.Enum):
    N0, N1, N2, N3, N4, N5, N6, N7 = range(8)


class Opaque:
    """What has no key and is not stored."""

    def __init__(self, n: int) -> None:
        self.n = n


class Text(str):
    """Text with an attribute that its characters do not show."""


class Lazy:
    """A dataclass-like object whose property is kept once it was read."""

    def __init__(self, n: int) -> None:
        self.n = n

    @functools.cached_property
    def twice(self) -> int:
        return self.n * 2


@dataclasses.dataclass(frozen=True)
class Shape:
    """One shape of items.

    Attributes:
        make: Makes the item of a number, 0 to 7; another object at each call.
        read: Reads the number.
        keyable: Whether it has a key.
        stored: Whether it can be stored, as the output of a cached `decode_request`.
        fill: Writes another number into an item that is used again and again, if that can be done.
        stacks: How LitServe's `batch` stacks it: `""`, `"array"`, `"tensor"`, or `"fails"`.
        read_as_row: Reads the number of a row of a stacked batch, if that is another type.
    """

    make: Callable[[int], Any]
    read: Callable[[Any], int]
    keyable: bool = True
    stored: bool = True
    fill: Callable[[Any, int], None] | None = None
    stacks: str = ""


def _text(n: int) -> str:
    return f"item {n}"


def _number(text: Any) -> int:
    return int(str(text).split()[-1])


def _dict(n: int) -> dict[str, Any]:
    return {"n": n, "tags": ["a", n], "deep": {"x": (None, 1.5), b"y": [{"z": n}]}}


def _refill_dict(item: dict[str, Any], n: int) -> None:
    item.clear()
    item.update(_dict(n))


def _refill_list(item: list[Any], n: int) -> None:
    item[:] = [n, "x", [n]]


def _refill_array(item: Any, n: int) -> None:
    item[...] = n


def _image(n: int, mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (3, 2))
    image.putdata([n * 20] * 6 if mode in "LP" else [(n * 20, 1, 2)] * 6)
    if mode == "P":
        image.putpalette([n] * 768)
    return image


def _png(n: int) -> Image.Image:
    file = io.BytesIO()
    _image(n).save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()))


def _read_image(image: Image.Image) -> int:
    return image.convert("RGB").getpixel((0, 0))[0] // 20


def _read_stream(file: io.BytesIO) -> int:
    return _number(file.read().decode())


def _attributed(n: int) -> Text:
    text = Text("the same")
    text.n = n  # type: ignore[attr-defined]
    return text


def _read_lazy(item: Lazy) -> int:
    return item.twice // 2


def _read_float(item: Any) -> int:
    return int(float(item))


def _first(item: Any) -> int:
    return int(item.reshape(-1)[0])


SHAPES: dict[str, Shape] = {
    "text": Shape(_text, _number),
    "long_text": Shape(lambda n: "é" * 4096 + f" {n}", _number),
    "bytes": Shape(lambda n: b"item %d" % n, lambda item: _number(item.decode())),
    "bytearray": Shape(
        lambda n: bytearray(b"item %d" % n),
        lambda item: _number(item.decode()),
        fill=lambda item, n: item.__setitem__(slice(None), b"item %d" % n),
    ),
    "int": Shape(int, int),
    "float": Shape(lambda n: n + 0.5, int),
    "none": Shape(lambda n: None, lambda item: 0),
    "dict": Shape(_dict, lambda item: item["n"], fill=_refill_dict),
    "list": Shape(lambda n: [n, "x", [n]], lambda item: item[0], fill=_refill_list),
    "tokens": Shape(lambda n: [n, 7, n], lambda item: item[0]),
    "tuple": Shape(lambda n: (n, {"a": [n]}), lambda item: item[0]),
    "set": Shape(lambda n: {n, "x"}, lambda item: next(i for i in item if type(i) is int)),
    "frozenset": Shape(lambda n: frozenset([n]), lambda item: next(iter(item))),
    "array": Shape(lambda n: np.full(3, n, np.float32), _first, fill=_refill_array, stacks="array"),
    "array_int": Shape(lambda n: np.full((2, 2), n), _first, fill=_refill_array, stacks="array"),
    "array_big": Shape(
        lambda n: np.full((40, 40), n, order="F"), _first, fill=_refill_array, stacks="array"
    ),
    "array_text": Shape(
        lambda n: np.array([f"item {n}"]), lambda item: _number(item[0]), stacks="array"
    ),
    "record": Shape(
        lambda n: np.array([(n, "name", 1)], RECORD), lambda item: int(item["n"][0]), stacks="array"
    ),
    "ragged": Shape(lambda n: np.full(n + 1, n), _first, stacks="fails"),
    "scalar": Shape(np.float32, _read_float),
    "tensor": Shape(
        lambda n: torch.full((3,), float(n)), _first, fill=_refill_array, stacks="tensor"
    ),
    "tensor_16": Shape(
        lambda n: torch.full((2, 2), n, dtype=torch.bfloat16), _first, stacks="tensor"
    ),
    "image": Shape(_image, _read_image, stored=False),
    "grey": Shape(lambda n: _image(n, "L"), _read_image, stored=False),
    "png": Shape(_png, _read_image, stored=False),
    "palette": Shape(lambda n: _image(n, "P"), lambda i: i.getpalette()[0], stored=False),
    "data": Shape(lambda n: Data(n, [n]), lambda item: item.n, stored=False),
    "model": Shape(lambda n: Model(n=n, tags=[n]), lambda item: item.n, stored=False),
    "named": Shape(lambda n: Named(n, ["x"]), lambda item: item.n, stored=False),
    "enum": Shape(lambda n: Number(n), lambda item: item.value, stored=False),
    "decimal": Shape(decimal.Decimal, int),
    "date": Shape(lambda n: EPOCH + dt.timedelta(n), lambda item: (item - EPOCH).days),
    "uuid": Shape(lambda n: uuid.UUID(int=n), lambda item: item.int),
    "path": Shape(lambda n: pathlib.PurePosixPath(f"a/item {n}"), _number),
    "opaque": Shape(Opaque, lambda item: item.n, keyable=False, stored=False),
    "stream": Shape(
        lambda n: io.BytesIO(b"item %d" % n), _read_stream, keyable=False, stored=False
    ),
    "attributed": Shape(_attributed, lambda item: item.n, stored=False),
    "lazy": Shape(Lazy, _read_lazy, keyable=False, stored=False),
}
