"""Values without parts, no two of which are the same item: each must have a key of its own."""

from __future__ import annotations

import datetime as dt
import io
import pathlib
import random
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from PIL import Image

from fuzz.items import RECORD, Data, Model, Named, Number, Text

LINES = np.dtype([("m", "i8"), ("name", "U12"), ("b", "u1")])
NOON = dt.datetime(2024, 2, 29, 12)
EAST = dt.timezone(dt.timedelta(hours=1))


def _image(mode: str = "RGB", size: tuple[int, int] = (2, 3), pixel: Any = 0) -> Image.Image:
    return Image.new(mode, size, pixel)


def _palette(color: int) -> Image.Image:
    image = Image.new("P", (2, 3))
    image.putpalette([color] * 768)
    return image


def _saved(kind: str, **options: Any) -> Image.Image:
    file = io.BytesIO()
    _image().save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def _exif(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = text
    return exif


def _attributed(text: str, attribute: int) -> Text:
    value = Text(text)
    value.n = attribute  # type: ignore[attr-defined]
    return value


def _read(text: bytes, place: int) -> io.BytesIO:
    file = io.BytesIO(text)
    file.seek(place)
    return file


BUILTINS: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: 1, lambda: -1, lambda: 127,
    lambda: 128, lambda: 255, lambda: 256, lambda: 2**63, lambda: 2**64, lambda: -(2**63) - 1,
    lambda: 0.0, lambda: -0.0, lambda: 1.0, lambda: float("nan"), lambda: float("inf"),
    lambda: 5e-324, lambda: "", lambda: "0", lambda: "1", lambda: "1.0", lambda: "None",
    lambda: "é", lambda: "e\u0301", lambda: "\ud800", lambda: "a\0", lambda: "a",
    lambda: "x" * 4096, lambda: "x" * 4097, lambda: "x" * 4096 + "y", lambda: b"", lambda: b"0",
    lambda: b"1", lambda: b"x" * 4096, lambda: b"x" * 4097, lambda: bytearray(b"1"),
    lambda: memoryview(b"1"), lambda: 1j, lambda: 1 + 0j, lambda: complex(-0.0, 1),
    lambda: Decimal("1"), lambda: Decimal("1.0"), lambda: Decimal("-0"), lambda: Decimal("NaN"),
    lambda: NOON, lambda: NOON.replace(fold=1), lambda: NOON.replace(tzinfo=dt.timezone.utc),
    lambda: NOON.replace(tzinfo=EAST), lambda: NOON.replace(hour=13, tzinfo=EAST),
    lambda: NOON.date(), lambda: NOON.time(), lambda: dt.time(12, fold=1),
    lambda: dt.timedelta(1), lambda: dt.timedelta(hours=1), lambda: uuid.UUID(int=1),
    lambda: pathlib.PurePosixPath("1"), lambda: pathlib.PurePosixPath("a/b"),
    lambda: pathlib.PureWindowsPath("1"), lambda: pathlib.PureWindowsPath("a/b"),
    lambda: Number.N1, lambda: Number.N2, lambda: Named(1, "x"), lambda: Named("1", "x"),
    lambda: Data(1, []), lambda: Data(1, [1]), lambda: Data(True, []), lambda: Model(n=1),
    lambda: Model(n=1, tags=[1]), lambda: Model(n=1, more=1), lambda: Text("a"),
]  # fmt: skip
NUMPY: list[Callable[[], Any]] = [
    lambda: np.float32(1), lambda: np.float64(1), lambda: np.float16(1), lambda: np.int64(1),
    lambda: np.int32(1), lambda: np.uint8(1), lambda: np.bool_(True), lambda: np.str_("1"),
    lambda: np.bytes_(b"1"), lambda: np.float32("nan"), lambda: np.float32(-0.0),
    lambda: np.complex64(1), lambda: np.datetime64(1, "s"), lambda: np.datetime64(1, "ms"),
    lambda: np.timedelta64(1, "s"), lambda: np.array(1), lambda: np.array([1]),
    lambda: np.array([[1]]), lambda: np.array([1.0]), lambda: np.array([True]),
    lambda: np.array([1], np.int32), lambda: np.array([1], ">i8"), lambda: np.array([1], "u8"),
    lambda: np.arange(6).reshape(2, 3), lambda: np.arange(6).reshape(3, 2), lambda: np.arange(6),
    lambda: np.empty((0, 3)), lambda: np.empty((3, 0)), lambda: np.empty(0),
    lambda: np.array(["1"]), lambda: np.array(["1"], "U2"), lambda: np.array([b"1"]),
    lambda: np.array([1], "M8[s]"), lambda: np.array([1], "M8[ms]"), lambda: np.zeros(1, RECORD),
    lambda: np.zeros(1, LINES), lambda: np.zeros((1, 1), RECORD), lambda: np.zeros(600),
    lambda: np.zeros(600, "i8"), lambda: np.zeros((30, 20)), lambda: -np.zeros(600),
    lambda: np.array([float("nan"), 1]), lambda: np.array([-float("nan"), 1]),
]  # fmt: skip
TENSORS: list[Callable[[], Any]] = [
    lambda: torch.tensor(1), lambda: torch.tensor([1]), lambda: torch.tensor([[1]]),
    lambda: torch.tensor([1.0]), lambda: torch.tensor([True]), lambda: torch.tensor([1j]),
    lambda: torch.tensor([1], dtype=torch.int32), lambda: torch.tensor([1], dtype=torch.uint8),
    lambda: torch.tensor([1], dtype=torch.float16), lambda: torch.tensor([1], dtype=torch.bfloat16),
    lambda: torch.tensor([1.0]).to(torch.float8_e4m3fn), lambda: torch.arange(6).reshape(2, 3),
    lambda: torch.tensor([1.0]).to(torch.float8_e5m2), lambda: torch.arange(6).reshape(3, 2),
    lambda: torch.empty(0, 3), lambda: torch.empty(3, 0), lambda: torch.zeros(2000),
    lambda: torch.zeros(2000, dtype=torch.int32), lambda: -torch.zeros(2000),
]  # fmt: skip
IMAGES: list[Callable[[], Any]] = [
    _image, lambda: _image(pixel=(0, 0, 1)), lambda: _image(size=(3, 2)), lambda: _image("L"),
    lambda: _image("RGBA"), lambda: _image("1"), lambda: _image("F"), lambda: _image("I"),
    lambda: _palette(1), lambda: _palette(2),
]  # fmt: skip

OTHERS: list[Callable[[], Any]] = [
    lambda: np.longlong(1), lambda: np.array([1], "q") if np.dtype("q") != np.dtype("l") else 1.5,
    lambda: pathlib.PureWindowsPath("./a:b"), lambda: pathlib.PureWindowsPath("a:b"),
    lambda: Model(n=1, name="a name"), lambda: Model(n=1, tags=[]),
    lambda: _attributed("b", 1), lambda: _attributed("b", 2),
    lambda: _saved("PNG"), lambda: _saved("PNG", dpi=(72, 72)), lambda: _saved("PNG", dpi=(96, 96)),
    lambda: _saved("PNG", icc_profile=b"profile"), lambda: _saved("BMP"),
    lambda: _saved("JPEG", exif=_exif("one")), lambda: _saved("JPEG", exif=_exif("two")),
    lambda: _read(b"ab", 0), lambda: _read(b"ab", 1), lambda: _read(b"ac", 0),
]  # fmt: skip

LEAVES = [*BUILTINS, *NUMPY, *TENSORS, *IMAGES, *OTHERS]


def _names() -> list[int]:
    """Return which builtins may stand together in a set: no two that Python takes for equal."""
    seen: set[Any] = set()
    places = []
    for place, make in enumerate(BUILTINS):
        value = make()
        unhashable = isinstance(value, (bytearray, memoryview, Data, Model))
        if not unhashable and value not in seen:
            seen.add(value)
            places.append(place)
    return places


NAMES = _names()
"""The builtins that are names of dicts and members of sets."""


def another_layout(value: Any, rng: random.Random) -> Any:
    """Return an equal value that lies otherwise in memory."""
    if type(value) is np.ndarray and value.ndim:
        turn = rng.choice(("as it is", "columns", "strided", "read only"))
        if turn == "columns":
            return np.asfortranarray(value)
        if turn == "strided":
            return np.repeat(value, 2, axis=0)[::2]
        if turn == "read only":
            value.flags.writeable = False
        return value
    if type(value) is torch.Tensor and value.ndim:
        turn = rng.choice(("as it is", "strided", "graph"))
        if turn == "strided":
            return value.repeat_interleave(2, dim=0)[::2] if value.element_size() > 1 else value
        if turn == "graph" and value.dtype in (torch.float32, torch.complex64):
            return value.requires_grad_()
    return value
