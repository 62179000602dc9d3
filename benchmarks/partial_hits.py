"""What a batch of 64 texts costs beyond the model's own time when a part of it is in the cache.

    python -m benchmarks.partial_hits

The model's time is taken inside the model and subtracted, so what remains is the cache's: keys,
look-up, split, storing, merge. By hand is the least that does this: a dict of digests, the misses
in one batch. A cache by item calls the model once for each miss, which this does not charge to it.
"""

from __future__ import annotations

import hashlib
import logging
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import litserve as ls
import msgpack
import numpy as np

from benchmarks import peers
from benchmarks.common import Row, report, texts
from litcache import cached_predict

BATCH, WIDTH = 64, 384
SHARES = (0, 25, 50, 75, 90, 100)
MODEL_SECONDS = 20e-6  # an item; long enough to do what a model does to the processor's caches
TURNS = 101
TEXTS = texts(BATCH)


class Model:
    """A model of fixed cost an item that notes the time it took."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._vectors = np.random.default_rng(7).random((BATCH, WIDTH), dtype=np.float32)

    def __call__(self, batch: list[str]) -> Any:
        start = time.thread_time()
        vectors = self._vectors[: len(batch)].copy()
        while time.thread_time() - start < MODEL_SECONDS * len(batch):
            pass
        self.calls += 1
        self.seconds += time.thread_time() - start
        return vectors


def by_hand(model: Model) -> Callable[[list[str]], Any]:
    start, pack = hashlib.blake2b(digest_size=16), msgpack.Packer().pack
    stored: dict[bytes, bytes] = {}

    def embed(batch: list[str]) -> Any:
        keys = []
        for text in batch:
            state = start.copy()
            state.update(pack(text))
            keys.append(state.digest())
        missing = [place for place, key in enumerate(keys) if key not in stored]
        if missing:
            vectors = model([batch[place] for place in missing])
            for place, vector in zip(missing, vectors, strict=True):
                stored[keys[place]] = vector.tobytes()
        rows = bytearray().join([stored[key] for key in keys])
        return np.frombuffer(rows, np.float32).reshape(len(batch), WIDTH)

    return embed


def litcache(model: Model) -> Callable[[list[str]], Any]:
    class VectorAPI(ls.LitAPI):
        @cached_predict
        def predict(self, batch: list[str]) -> Any:
            return model(batch)

    api = VectorAPI(max_batch_size=BATCH)
    return lambda batch: api.predict(batch)


def contenders() -> dict[str, tuple[Model, Callable[[list[str]], Any]]]:
    found: dict[str, tuple[Model, Callable[[list[str]], Any]]] = {}
    for name, make in {"by hand": by_hand, "litcache": litcache}.items():
        model = Model()
        found[name] = model, make(model)
    for name in peers.PEERS:
        model = Model()
        cached = peers.made(name, model)
        if cached is not None and not name.startswith("joblib"):  # which knows whole batches only
            found[name] = model, cached
    return found


def batch_of(share: int, turn: int) -> list[str]:
    """Return texts of which so many percent were asked for before, in a seeded order."""
    hits = round(BATCH * share / 100)
    batch = TEXTS[:hits] + [f"{text} ({share}, {turn})" for text in TEXTS[hits:]]
    random.Random(turn).shuffle(batch)
    return batch


def table(share: int) -> list[Row]:
    beyond: dict[str, list[float]] = {}
    calls: dict[str, int] = {}
    found = contenders()
    for _, cached in found.values():
        cached(TEXTS)
    for turn in range(TURNS):
        batch = batch_of(share, turn)
        for name, (model, cached) in found.items():
            before, model.calls = model.seconds, 0
            start = time.thread_time()
            cached(batch)
            total = time.thread_time() - start
            beyond.setdefault(name, []).append((total - model.seconds + before) * 1e6)
            calls[name] = model.calls
    rows = []
    for name, taken in beyond.items():
        ratio = statistics.median(a / b for a, b in zip(taken, beyond["by hand"], strict=True))
        times = "1 model call" if calls[name] == 1 else f"{calls[name]} model calls"
        rows.append(Row(f"{name}: {times}", statistics.median(taken), ratio=ratio))
        if name == "litcache" and share == 90:
            rows[-1].at_most(2, of="ratio")
    return rows


def main() -> bool:
    logging.getLogger("litcache").disabled = True  # its lines would stand in the tables
    tables = {
        f"{share} % hits: time of a batch of {BATCH} beyond the model": table(share)
        for share in SHARES
    }
    return report("partial_hits", tables)


if __name__ == "__main__":
    main()
