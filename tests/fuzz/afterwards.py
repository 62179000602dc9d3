"""What users do with an item after it was keyed: it must do what it does without."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from fuzz.facts import describe
from fuzz.keys import key


def _frames(kind: str, **options: Any) -> bytes:
    colours = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
    frames = [Image.new("RGB", (64, 48), colour) for colour in colours]
    for place, frame in enumerate(frames):
        frame.paste((255, 255, 0), (place * 9, 3, place * 9 + 8, 20))
    file = io.BytesIO()
    frames[0].save(file, kind, **options)
    if kind in ("GIF", "TIFF", "WEBP"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


FILES: dict[str, bytes] = {
    "png": _frames("PNG"), "jpeg": _frames("JPEG", quality=60), "gif": _frames("GIF"),
    "tiff": _frames("TIFF"), "bmp": _frames("BMP"), "mpo": _frames("MPO"),
    "webp": _frames("WEBP"), "cut jpeg": _frames("JPEG")[:-90], "cut png": _frames("PNG")[:90],
}  # fmt: skip

ITEMS: dict[str, Callable[[], Any]] = {
    **{name: lambda data=data: Image.open(io.BytesIO(data)) for name, data in FILES.items()},
    "rgb": lambda: Image.new("RGB", (64, 48), 7),
    "tensor": lambda: torch.arange(12.0).reshape(3, 4),
    "tensor of many": lambda: torch.arange(3000.0).reshape(3, 1000),
    "turned tensor": lambda: torch.arange(12.0).reshape(3, 4).T,
    "graph": lambda: torch.arange(12.0).reshape(3, 4).requires_grad_(),
    "tensors": lambda: {"a": [torch.arange(4), torch.ones(2)]},
    "array": lambda: np.arange(12.0).reshape(3, 4),
    "turned array": lambda: np.arange(12.0).reshape(3, 4).T,
    "bytes file": lambda: io.BytesIO(b"one two three"),
    "bytearray": lambda: bytearray(b"one two three"),
    "list": lambda: [3, 1, 2, [4]],
    "dict": lambda: {"b": 1, "a": [2]},
}  # fmt: skip

IMAGE_ACTS: list[Callable[[Any], Any]] = [
    lambda i: i.load() and None, lambda i: i.verify(), lambda i: i.draft("L", (16, 12)),
    lambda i: i.thumbnail((16, 12)), lambda i: i.seek(1), lambda i: i.seek(0), lambda i: i.tell(),
    lambda i: i.paste((1, 2, 3), (0, 0, 9, 9)), lambda i: i.putpixel((1, 1), 0),
    lambda i: getattr(i, "is_animated", None), lambda i: getattr(i, "n_frames", None),
    lambda i: i.convert("RGB"), lambda i: i.resize((5, 5)), lambda i: i.crop((1, 1, 4, 4)),
    lambda i: i.rotate(90), lambda i: i.tobytes(), lambda i: i.getpalette(), lambda i: i.copy(),
    lambda i: i.putpalette([9] * 768), lambda i: dict(i.getexif()), lambda i: sorted(i.info),
    lambda i: i.fp is None, lambda i: i.fp.tell(), lambda i: i.close(), lambda i: i.readonly,
    lambda i: i.mode, lambda i: i.size, lambda i: str(i.tile), lambda i: i.reduce(2),
    lambda i: i.format, lambda i: i.im is None, lambda i: i.getpixel((2, 2)),
]  # fmt: skip
TENSOR_ACTS: list[Callable[[Any], Any]] = [
    lambda t: t.resize_(2, 2), lambda t: _grow(t), lambda t: t.add_(1),
    lambda t: t.set_(torch.ones(2)),
    lambda t: t.t_(),
    lambda t: t.untyped_storage().resizable(),
    lambda t: t.requires_grad_(), lambda t: t.requires_grad, lambda t: t.detach_(),
    lambda t: t.stride(), lambda t: t.is_contiguous(), lambda t: t.untyped_storage().nbytes(),
    lambda t: t.squeeze_(), lambda t: t.unsqueeze_(0), lambda t: t.numpy(), lambda t: t._version,
    lambda t: t.zero_(), lambda t: t.data.fill_(3), lambda t: t.is_leaf, lambda t: t.clone(),
]  # fmt: skip
ARRAY_ACTS: list[Callable[[Any], Any]] = [
    lambda a: a.resize((2, 2)), lambda a: a.resize((50, 40)), lambda a: a.sort(),
    lambda a: a.fill(3), lambda a: a.setflags(write=False), lambda a: a.flags.writeable,
    lambda a: a.strides, lambda a: a.flags.owndata, lambda a: a.__setitem__(0, 9),
    lambda a: a.byteswap(inplace=True), lambda a: a.partition(1), lambda a: a.tobytes(),
]  # fmt: skip
FILE_ACTS: list[Callable[[Any], Any]] = [
    lambda f: f.read(3), lambda f: f.read(), lambda f: f.tell(), lambda f: f.seek(2),
    lambda f: f.write(b"x"), lambda f: f.truncate(4), lambda f: f.getvalue(), lambda f: f.closed,
    lambda f: bytes(f.getbuffer()), lambda f: f.close(), lambda f: f.readline(),
]  # fmt: skip
OTHER_ACTS: dict[type, list[Callable[[Any], Any]]] = {
    bytearray: [
        lambda b: b.extend(b"x" * 99), lambda b: b.clear(), lambda b: b.pop(), lambda b: b[::2],
    ],
    list: [lambda v: v.sort(key=str), lambda v: v.pop(), lambda v: v.append(v[:]), lambda v: v * 2],
    dict: [
        lambda v: v.pop("b", None), lambda v: v.popitem(), lambda v: v.update(c=1),
        lambda v: isinstance(v["a"], list) and v["a"] and _grow(v["a"][0]), lambda v: list(v),
    ],
}  # fmt: skip


def _grow(part: Any) -> Any:
    """Make a tensor larger, without a look at the memory that it then has."""
    if not isinstance(part, torch.Tensor):
        return part
    with torch.no_grad():
        return part.resize_(50, 40).zero_()


def acts_of(item: Any) -> list[Callable[[Any], Any]]:
    """Return what users do with an item of this type."""
    if isinstance(item, Image.Image):
        return IMAGE_ACTS
    if isinstance(item, torch.Tensor):
        return TENSOR_ACTS
    if isinstance(item, np.ndarray):
        return ARRAY_ACTS
    return FILE_ACTS if isinstance(item, io.BytesIO) else OTHER_ACTS[type(item)]


def outcome(act: Callable[[Any], Any], item: Any) -> Any:
    """Return what an act gives, or what it raises."""
    try:
        result = act(item)
        return "itself" if result is item else describe(result)
    except Exception as error:
        return type(error).__name__, str(error).split(" at 0x")[0]


def check(seed: int, name: str = "") -> int:
    """Do the same with an item that was keyed and with one that was not.

    Args:
        seed: What is done.
        name: Which item; drawn if not given.

    Returns:
        How many acts were compared.

    Raises:
        AssertionError: If they do not do the same.
    """
    rng = random.Random(seed)
    name = name or rng.choice(list(ITEMS))
    keyed, twin = ITEMS[name](), ITEMS[name]()
    acts = acts_of(twin)
    places = [rng.randrange(len(acts)) for _ in range(rng.choice((1, 2, 3, 5)))]
    before = rng.randrange(3) if rng.random() < 0.3 else 0  # sometimes it was used before
    for number, place in enumerate(places):
        if number == before:
            key(keyed)
        expected, got = outcome(acts[place], twin), outcome(acts[place], keyed)
        assert expected == got, (
            f"afterwards {seed}: {name}, keyed before act {before} of {places}; act {place} "
            f"(line {acts[place].__code__.co_firstlineno}) gives {got!r:.200}, "
            f"without a key {expected!r:.200}"
        )
    return len(places)
