"""What a key costs, by type and size of the item, beside a bare hash of the same bytes.

    python -m benchmarks.keys

The peers' key functions are timed on what they take. Some are cheaper because they look at less:
`hash` is 64 bits and differs from process to process, and `str` of a large array leaves most of
its elements out.
"""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
from blake3 import blake3

from benchmarks.common import Row, note, report, texts, timed
from litcache.keys.keyer import Keyer

Call = Callable[[], object]

KEYER = Keyer("benchmarks.keys.EmbeddingAPI.predict/predict", "single", "v1")
RNG = random.Random(7)
KIB = 1024


def bare_small(form: object) -> Call:
    """Return the bare hash of a small item: msgpack and BLAKE2b by copied state."""
    pack, start = msgpack.Packer().pack, hashlib.blake2b(bytes(64), digest_size=16)

    def run() -> bytes:
        state = start.copy()
        state.update(pack(form))
        return state.digest()

    return run


def bare_large(data: Any) -> Call:
    flat = data.reshape(-1).view("u1") if isinstance(data, np.ndarray) else data
    return lambda: blake3(flat).digest()


def text_of(size: int) -> str:
    prose = " ".join(texts(500))
    return (prose * (size // len(prose) + 1))[:size]


def small_items() -> dict[str, object]:
    question = texts(1)[0]
    return {
        f"text of {len(question)} characters": question,
        "text of 1 KB": text_of(KIB),
        "512 token ids": [RNG.randrange(30_000) for _ in range(512)],
        "dict: text, number, flag": {"text": question, "top_k": 5, "normalize": True},
        "dict: messages of a chat": {
            "model": "m",
            "messages": [{"role": "user", "content": text} for text in texts(3)],
        },
    }


def small_table() -> list[Row]:
    rows: list[Row] = []
    for name, item in small_items().items():
        calls: dict[str, Call] = {
            f"{name}: bare": bare_small(item),
            f"{name}: litcache": lambda item=item: KEYER.key(item),
        }
        batch = [item] * 64
        calls |= peer_keys(name, item)
        rows += timed(calls, floor=f"{name}: bare").values()
        many = timed(
            {"bare": bare_small(item), "keys": lambda batch=batch: KEYER.keys(batch)}, floor="bare"
        )["keys"]
        many.ratio = (many.ratio or 0) / 64
        rows.append(Row(f"{name}: litcache, 64 at once, each", many.value / 64, ratio=many.ratio))
    return rows


def large_table() -> list[Row]:
    rows: list[Row] = []
    for size in (16 * KIB, 128 * KIB, KIB * KIB):
        text = text_of(size)
        rows += beside(f"text of {size // KIB} KB", text, text.encode())
    generator = np.random.default_rng(7)
    image = generator.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    floats = image.astype(np.float32) / 255
    rows += beside("bytes of 64 KB", RNG.randbytes(64 * KIB))
    rows += beside("224×224×3 uint8 array", image)
    rows += beside("224×224×3 float32 array", floats, target=True)
    rows += beside("… not contiguous", floats[:, ::-1], np.ascontiguousarray(floats[:, ::-1]))
    rows += beside("dict of a 224×224×3 float32 array", {"image": floats, "size": 224}, floats)
    try:
        import torch

        rows += beside("224×224×3 float32 tensor", torch.from_numpy(floats), floats)
    except ModuleNotFoundError:
        note("left out, torch is not installed: tensors")
    try:
        from PIL import Image

        rows += beside("224×224 RGB PIL image", Image.fromarray(image), image)
    except ModuleNotFoundError:
        note("left out, pillow is not installed: images")
    return rows


def beside(name: str, item: Any, data: Any = None, *, target: bool = False) -> list[Row]:
    """Return the rows of one large item, beside BLAKE3 of its bytes."""
    data = item if data is None else data
    floor, ours = f"{name}: bare BLAKE3", f"{name}: litcache"
    calls: dict[str, Call] = {floor: bare_large(data), ours: lambda: KEYER.key(item)}
    # The verdict is between these two alone, in many short turns.
    rows = timed(calls, repeats=201 if target else 21, seconds=0.003, floor=floor)
    if target:
        speed = Row(f"{name}: share of bare BLAKE3's speed", 100 / (rows[ours].ratio or 1), "%")
        rows["speed"] = speed.at_least(90)
    calls |= peer_keys(name, item)
    others = timed(calls, repeats=7, floor=floor)
    return [*rows.values(), *[row for key, row in others.items() if key not in rows]]


def peer_keys(name: str, item: Any) -> dict[str, Call]:
    """Return the key functions of other caches that take this item."""
    calls: dict[str, Call] = {
        f"{name}: SHA-256 of a pickle": lambda: hashlib.sha256(pickle.dumps(item, 5)).digest()
    }
    try:
        import joblib

        calls[f"{name}: joblib.hash"] = lambda: joblib.hash(item)
    except ModuleNotFoundError:
        note("left out, joblib is not installed: joblib.hash")
    try:
        from cachetools.keys import hashkey

        hash(hashkey(item))
        calls[f"{name}: hash of cachetools' hashkey"] = lambda: hash(hashkey(item))
    except ModuleNotFoundError:
        note("left out, cachetools is not installed: hashkey")
    except TypeError:  # not hashable: cachetools does not take it
        pass
    try:
        from dogpile.cache.util import function_key_generator, sha1_mangle_key

        generate = function_key_generator(None, small_table)
        calls[f"{name}: dogpile's key, SHA-1 mangled"] = lambda: sha1_mangle_key(
            generate(item).encode()
        )
    except ModuleNotFoundError:
        note("left out, dogpile.cache is not installed: its keys")
    return calls


def main() -> bool:
    return report(
        "keys",
        {
            "Keys of small items, beside msgpack + BLAKE2b": small_table(),
            "Keys of large items, beside BLAKE3": large_table(),
        },
    )


if __name__ == "__main__":
    main()
