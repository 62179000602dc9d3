"""Hit rates and model calls of one, two and four workers: each with a memory of its own, or shared.

    python -m benchmarks.workers

Real processes, spawned as LitServe spawns its workers, answer the requests of `web12` (without the
data: of a seeded Zipf trace) through a cached `predict` that LitServe's checks have prepared. They
take them from one queue, the free one the next. The model counts its calls and sleeps for 0.2 ms,
so that others get their turn as they do while a model computes. An output is 384 float32; each
answer is checked.

Whatever the stores and workers, the budget is 8 MiB in all, the files of `SharedStore` included; it
holds about a third of what is asked for. A `MemoryStore` gets an equal part of it in each worker.
Below a `TieredStore`, the fronts of all workers get a quarter and the shared store the rest. For
comparison, a row gives each worker 8 MiB of memory of its own, N × 8 MiB in all, which is what the
default store does with its budget.

Without a lease, workers do not wait for each other. `web12` asks for a page again within three
requests in 9 % of the cases, and here no time passes between requests: two workers then compute it
at once. Such calls are counted; apart from them, what is shared may lose at most a point with four
workers. With `lease=2.0`, one of them computes, and of all requests at most a thousandth may be
computed twice.
"""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import litserve as ls
import numpy as np

from benchmarks.common import Row, note, report, web12, zipf
from litcache import MemoryStore, SharedStore, Store, TieredStore, cached_predict
from litcache.testing import APIRunner

WORKERS = (1, 2, 4)
BUDGET = 8 << 20
WIDTH = 384
MODEL_SECONDS = 0.0002
NOTHING = -1
SECONDS = 300  # a process that takes longer hangs


class PageAPI(ls.LitAPI):
    """A model of shop pages, one request at a time."""

    def setup(self, device: str) -> None:
        self.at_once = 0

    def vector(self, page: int) -> Any:
        self.at_once += page in self.computing[:]
        self.computing[self.worker] = page
        time.sleep(MODEL_SECONDS)
        return np.full(WIDTH, page, np.float32)

    @cached_predict(namespace="pages", version="1", trial=0)
    def predict(self, page: int) -> Any:
        return self.vector(page)


class LeasedAPI(PageAPI):
    """The same; of workers that miss one page, one computes it."""

    @cached_predict(namespace="pages", version="1", trial=0, lease=2.0, store=lambda api: api.store)
    def predict(self, page: int) -> Any:
        return self.vector(page)


def own_part(path: str, workers: int) -> Store:
    return MemoryStore(BUDGET // workers)


def own_whole(path: str, workers: int) -> Store:
    return MemoryStore(BUDGET)


def shared(path: str, workers: int) -> Store:
    # Its files may exceed the budget by a tenth, but not in sum with what others may.
    return SharedStore(path, int(BUDGET / 1.1), timeout=1.0)


def tiered(path: str, workers: int) -> Store:
    back = SharedStore(path, int(BUDGET * 0.75 / 1.1), timeout=1.0)
    return TieredStore(MemoryStore(BUDGET // 4 // workers), back)


LEASED = "SharedStore, lease"
STORES: dict[str, Callable[[str, int], Store]] = {
    "MemoryStore": own_part,
    "SharedStore": shared,
    "TieredStore": tiered,
    LEASED: shared,
    "MemoryStore, 8 MiB each": own_whole,
}


class Counts(NamedTuple):
    """What one worker, or all of them, did."""

    hits: int
    calls: int
    at_once: int  # calls for what another worker was computing


def trace() -> tuple[str, list[int]]:
    pages = web12()
    return ("web12", pages) if pages is not None else ("zipf", zipf(95_607, 13_000))


class Share(NamedTuple):
    """What the workers of one run share."""

    path: str
    turn: Synchronized[int]  # the number of the next request
    computing: Any  # what each worker computes now
    start: Barrier


def work(kind: str, share: Share, worker: int, end: Connection) -> None:
    """Answer requests as long as there are any, and say what was done."""
    logging.disable(logging.INFO)
    (_, requests), computing = trace(), share.computing
    api, answered = LeasedAPI() if kind == LEASED else PageAPI(), 0
    api.computing, api.worker = computing, worker
    with APIRunner(api, store=STORES[kind](share.path, len(computing))) as runner:
        share.start.wait(SECONDS)
        while True:
            with share.turn.get_lock():
                number = share.turn.value
                share.turn.value += 1
            if number >= len(requests):
                break
            vector = api.predict(requests[number])
            computing[worker] = NOTHING
            answered += 1
            assert vector.shape == (WIDTH,), vector.shape
            assert vector[0] == vector[-1] == requests[number], "another page's answer"
        info, calls = api.predict.cache.info(), len(runner.model_batches)
        assert (info.hits + info.coalesced, info.misses) == (answered - calls, calls), info
        end.send(Counts(answered - calls, calls, api.at_once))


def run(kind: str, workers: int) -> Counts:
    """Let so many workers answer the trace."""
    note(f"{kind}: {workers} workers …")
    spawning = multiprocessing.get_context("spawn")
    turn, start = spawning.Value("q", 0), spawning.Barrier(workers)
    computing = spawning.RawArray("q", [NOTHING] * workers)
    counts: list[Counts] = []
    with tempfile.TemporaryDirectory(prefix="litcache-bench-") as path:
        ends, processes = [], []
        share = Share(path, turn, computing, start)
        for worker in range(workers):
            ours, theirs = spawning.Pipe(duplex=False)
            arguments = (kind, share, worker, theirs)
            processes.append(spawning.Process(target=work, args=arguments))
            processes[-1].start()
            theirs.close()
            ends.append(ours)
        for ours in ends:
            assert ours.poll(SECONDS), "a worker hangs"
            counts.append(ours.recv())
        for process in processes:
            process.join(SECONDS)
    return Counts(*map(sum, zip(*counts, strict=True)))


def main() -> bool:
    name, requests = trace()
    done = {
        (kind, workers): run(kind, workers)
        for workers in WORKERS
        for kind in STORES
        if workers > 1 or (kind != LEASED and STORES[kind] is not own_whole)
    }
    distinct = len(set(requests))
    rates, calls = [], []
    for (kind, workers), counts in done.items():
        title = f"{name}, {workers} worker{'s' if workers > 1 else ''}, {kind}"
        rates.append(Row(title, counts.hits / len(requests), "hit rate"))
        calls.append(Row(title, counts.calls, "calls", counts.calls / distinct))
    kept = ("MemoryStore", "SharedStore", "TieredStore")
    few, many = ({kind: done[kind, n] for kind in kept} for n in (WORKERS[0], WORKERS[-1]))
    percent = 100 / len(requests)
    lost = {kind: (few[kind].hits - many[kind].hits) * percent for kind in kept}
    at_once = many["SharedStore"].at_once * percent
    leased = done[LEASED, WORKERS[-1]].at_once * percent
    losses = [
        *(Row(f"{name}, {kind}", points, "points") for kind, points in lost.items()),
        Row(f"{name}, SharedStore: computed by two at once", at_once, "points"),
        Row(f"{name}, {LEASED}: computed by two at once", leased, "points").at_most(0.1),
        Row(f"{name}, SharedStore: the rest", lost["SharedStore"] - at_once, "points").at_most(1),
    ]
    tables: dict[str, Sequence[Row]] = {
        "Hit rate": rates,
        f"Model calls; × the {distinct:,} distinct items": calls,
        "Hit rate lost from one worker to four": losses,
    }
    return report("workers", tables)


if __name__ == "__main__":
    main()
