"""What `SharedStore` costs beside stores that are neither bounded nor verified, and its bounds.

    python -m benchmarks.shared_store           # in the folder for temporary files
    python -m benchmarks.shared_store /dev/shm  # on tmpfs

Payloads are 384 float32, 1,536 bytes. Batches of 64 are drawn at random, so that the caches of the
processor do not hold them. `SharedStore` is full and evicts when it is written; the bare ones grow.
They are: a table of SQLite (WAL, synchronous off) with the key as its primary key; LMDB (no sync)
with the key as its key; and diskcache, which pickles, bounds itself and takes an item at a time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Protocol

from benchmarks.common import Row, note, report, timed
from litcache.stores.base import NewEntry, Scope
from litcache.stores.shared import SharedStore

COUNTS = (10_000, 100_000, 1_000_000)
VECTOR = 1536
BATCH = 64
WRITERS = 4
SECONDS = 600  # a process that takes longer hangs
# Filling diskcache with a million takes many minutes.
MOST_SLOW = 100_000
BUDGET = "64 MiB"
LAYOUT = b"f4:384"

Pairs = Sequence[tuple[bytes, bytes]]


class Peer(Protocol):
    """A store that can be measured."""

    def set(self, pairs: Pairs) -> object: ...
    def get(self, keys: Sequence[bytes]) -> object: ...
    def close(self) -> object: ...


class Ours:
    def __init__(self, path: str, count: int, max_bytes: int | str | None = None) -> None:
        # So that it holds about so many: a frame and its key, in four fifths of the budget.
        self.store = SharedStore(path, max_bytes or max(8 << 20, int(count * 1600 / 0.78)))
        self.close = self.store.close

    def set(self, pairs: Pairs) -> None:
        entries = {key: NewEntry(LAYOUT, payload) for key, payload in pairs}
        self.store.set_many(Scope("bench"), entries)

    def get(self, keys: Sequence[bytes]) -> object:
        return self.store.get_many(Scope("bench"), keys)


class Sqlite:
    """One table, as one would write it in an afternoon."""

    def __init__(self, path: str, count: int) -> None:
        os.makedirs(path, exist_ok=True)
        self.db = sqlite3.connect(f"{path}/entries.db", isolation_level=None, timeout=SECONDS)
        for setting in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -16384"):
            self.db.execute(f"PRAGMA {setting}").fetchall()
        self.db.execute("CREATE TABLE IF NOT EXISTS entries(key BLOB PRIMARY KEY, payload BLOB)")
        self.close = self.db.close

    def set(self, pairs: Pairs) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("REPLACE INTO entries VALUES (?, ?)", pairs)
        self.db.execute("COMMIT")

    def get(self, keys: Sequence[bytes]) -> object:
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, payload FROM entries WHERE key IN ({marks})"
        return dict(self.db.execute(query, keys).fetchall())


class Lmdb:
    def __init__(self, path: str, count: int) -> None:
        import lmdb

        self.env = lmdb.open(path, map_size=64 << 30, sync=False, metasync=False)
        self.close = self.env.close

    def set(self, pairs: Pairs) -> None:
        with self.env.begin(write=True) as transaction:
            for key, payload in pairs:
                transaction.put(key, payload)

    def get(self, keys: Sequence[bytes]) -> object:
        with self.env.begin() as transaction:
            return [transaction.get(key) for key in keys]


class Diskcache:
    def __init__(self, path: str, count: int) -> None:
        import diskcache

        self.cache = diskcache.Cache(path, size_limit=count * 4000)
        self.close = self.cache.close

    def set(self, pairs: Pairs) -> None:
        with self.cache.transact():
            for key, payload in pairs:
                self.cache.set(key, payload)

    def get(self, keys: Sequence[bytes]) -> object:
        return [self.cache.get(key) for key in keys]


PEERS: dict[str, tuple[str, Callable[[str, int], Peer]]] = {
    "SharedStore": ("litcache", Ours),
    "bare sqlite3": ("sqlite3", Sqlite),
    "bare LMDB": ("lmdb", Lmdb),
    "diskcache": ("diskcache", Diskcache),
}


def present(count: int) -> Iterator[tuple[str, Callable[[str, int], Peer]]]:
    for name, (module, make) in PEERS.items():
        if find_spec(module) is not None and (name != "diskcache" or count <= MOST_SLOW):
            yield name, make


def batches(count: int, rng: random.Random) -> Iterator[Pairs]:
    payload = rng.randbytes(VECTOR)
    for _ in range(0, count, BATCH):
        yield [(rng.randbytes(16), payload) for _ in range(BATCH)]


# One process --------------------------------------------------------------------------------


def one_process(folder: str, count: int) -> tuple[list[Row], list[Row]]:
    """Return what reading and writing costs in stores of so many entries."""
    opened: dict[str, Peer] = {}
    recent: list[bytes] = []
    for name, make in present(count):
        note(f"{name}: {count:,} entries …")
        opened[name] = make(os.path.join(folder, f"{name} {count}"), count)
        recent = []
        # A quarter more than it holds, so that it evicts; all read the newer half.
        for number, pairs in enumerate(batches(count * 5 // 4, random.Random(7))):
            opened[name].set(pairs)
            if number * BATCH > count * 3 // 4:
                recent += [key for key, _ in pairs]
    rng, rows, reads = random.Random(8), [], {}
    for name, peer in opened.items():
        reads[f"{name}, {count:,} entries"] = reader(peer, recent, rng)
        reads[f"{name}, {count:,} entries, one at a time"] = reader(peer, recent, rng, 1)
    for name, row in timed(reads, repeats=31, seconds=0.03).items():
        row.value /= 1 if name.endswith("time") else BATCH
        rows.append(row.at_most(6) if name == f"SharedStore, {count:,} entries" else row)
    fresh = batches(sys.maxsize, rng)
    writes: dict[str, Callable[[], object]] = {
        f"making the batch, {count:,} entries": lambda: next(fresh)
    }
    for name, peer in opened.items():
        writes[f"{name}, {count:,} entries"] = writer(peer, fresh)
    written = timed(writes, repeats=9, seconds=0.3, per=BATCH)
    written[f"SharedStore, {count:,} entries"].at_most(25)
    for peer in opened.values():
        peer.close()
    return rows, list(written.values())


def reader(
    peer: Peer, keys: Sequence[bytes], rng: random.Random, size: int = BATCH
) -> Callable[[], object]:
    drawn = [rng.sample(keys, size) for _ in range(500)]
    number = 0

    def read() -> object:
        nonlocal number
        number = (number + 1) % len(drawn)
        return peer.get(drawn[number])

    return read


def writer(peer: Peer, fresh: Iterator[Pairs]) -> Callable[[], object]:
    return lambda: peer.set(next(fresh))


# Many processes -----------------------------------------------------------------------------


def write(
    name: str, path: str, barrier: Barrier, answers: Connection, seed: int, sizes: str
) -> None:
    """Write batches made beforehand, and say how long it took."""
    peer = Ours(path, 0, BUDGET) if name == "SharedStore" else PEERS[name][1](path, 1_000_000)
    rng, stream, made, count = random.Random(seed), bytes(600_000), [], 0
    total = (10 if sizes == "mixed" else 4) * (64 << 20) // WRITERS
    while count < total:
        lengths = [
            int(100 * 6000 ** rng.random()) if sizes == "mixed" else VECTOR for _ in range(BATCH)
        ]
        made.append([(rng.randbytes(16), stream[:length]) for length in lengths])
        count += sum(lengths)
    peer.get([bytes(16)])
    barrier.wait(SECONDS)
    start = time.perf_counter()
    for pairs in made:
        peer.set(pairs)
    taken = time.perf_counter() - start
    dropped = peer.store.info().dropped if isinstance(peer, Ours) else 0
    answers.send((len(made) * BATCH, taken, dropped))
    peer.close()


def many_writers(folder: str, name: str, sizes: str) -> dict[str, float]:
    """Let four processes write at once; watch how long the files are."""
    note(f"{name}: {WRITERS} writers, {sizes} …")
    path = os.path.join(folder, f"{name} {sizes}")
    spawning = multiprocessing.get_context("spawn")
    barrier = spawning.Barrier(WRITERS)
    processes, waiting = [], []
    for seed in range(WRITERS):
        ours, theirs = spawning.Pipe()
        arguments = (name, path, barrier, theirs, seed, sizes)
        processes.append(spawning.Process(target=write, args=arguments))
        processes[-1].start()
        waiting.append(ours)
    answers: list[tuple[int, float, int]] = []
    peak, limit = 0, time.monotonic() + SECONDS
    while waiting:
        assert time.monotonic() < limit, "a writer hangs"
        peak = max(peak, size_of(path))
        for end in [end for end in waiting if end.poll(0.001)]:
            answers.append(end.recv())
            waiting.remove(end)
    for process in processes:
        process.join(SECONDS)
    items, dropped = sum(a[0] for a in answers), sum(a[2] for a in answers)
    return {
        "rate": (items - dropped) / max(a[1] for a in answers),
        "dropped": 100 * dropped / items,
        "peak": peak / (64 << 20),
    }


def size_of(path: str) -> int:
    total = 0
    if os.path.isdir(path):
        for name in os.listdir(path):
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(path, name)).st_size
    return total


def rates_table(folder: str) -> list[Row]:
    rows = []
    for name in ("SharedStore", "bare sqlite3", "bare LMDB"):
        if find_spec(PEERS[name][0]) is None:
            continue
        runs = [many_writers(tempfile.mkdtemp(dir=folder), name, "vectors") for _ in range(3)]
        rate = Row(f"{name}, written in all", median(runs, "rate"), "items/s")
        rows.append(rate.at_least(25_000) if name == "SharedStore" else rate)
        if name == "SharedStore":
            rows.append(Row(f"{name}, dropped", median(runs, "dropped"), "%"))
    return rows


def bounds_table(folder: str) -> list[Row]:
    runs = [many_writers(tempfile.mkdtemp(dir=folder), "SharedStore", "mixed") for _ in range(3)]
    worst = max(run["peak"] for run in runs)
    store = SharedStore(os.path.join(folder, "share"), BUDGET)
    for pairs in batches(60_000, random.Random(7)):
        store.set_many(Scope("bench"), {key: NewEntry(LAYOUT, payload) for key, payload in pairs})
    share = store.info().entries * VECTOR / store.max_bytes
    store.close()
    return [
        Row("10 budgets of 100 B to 600 KB, 4 writers: files / budget", worst, "").at_most(1.1),
        Row("10 budgets of 100 B to 600 KB, 4 writers: dropped", median(runs, "dropped"), "%"),
        Row("full of vectors: payload / budget", share, "").at_least(0.55),
    ]


def median(runs: Iterable[dict[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def main(parent: str | None = None) -> bool:
    tables: dict[str, list[Row]] = {}
    folder = tempfile.mkdtemp(prefix="litcache-bench-", dir=parent)
    try:
        for count in COUNTS:
            reads, writes = one_process(folder, count)
            tables.setdefault("Reads, an item; 64 hits at a time", []).extend(reads)
            tables.setdefault("Writes, an item; 64 at a time, one writer", []).extend(writes)
            for name in os.listdir(folder):
                shutil.rmtree(os.path.join(folder, name))
        tables[f"{WRITERS} writers at once, 64 vectors at a time"] = rates_table(folder)
        tables[f"A budget of {BUDGET}"] = bounds_table(folder)
    finally:
        shutil.rmtree(folder)
    return report("shared_store", tables)


if __name__ == "__main__":
    main(*sys.argv[1:2])
