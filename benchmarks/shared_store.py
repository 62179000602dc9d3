"""What `SharedStore` costs beside stores that are neither bounded nor verified, and its bounds.

    python -m benchmarks.shared_store           # in the folder for temporary files
    python -m benchmarks.shared_store /dev/shm  # on tmpfs

100,000 payloads of 384 float32, 1,536 bytes. Batches of 64 are drawn at random, so that the caches
of the processor do not hold them. `SharedStore` is full and evicts when it is written; the others
grow. They are: a table of SQLite (WAL, synchronous off) with the key as its primary key; LMDB (no
sync) with the key as its key; diskcache, which pickles, bounds itself and takes an item at a time;
and LangChain's `LocalFileStore`, a file an item. Times are by the wall clock.
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
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Protocol

from benchmarks.common import Row, note, report, timed
from litcache.stores.base import NewEntry, Scope
from litcache.stores.shared.store import SharedStore

COUNT = 100_000
VECTOR = 1536
BATCH = 64
WRITERS = 4
SECONDS = 600  # a process that takes longer hangs
# A ring takes four fifths of the budget, an entry of 1,536 bytes 1,590 of it.
ENTRY_SHARE = 1600 / 0.78
MIB = 1 << 20
BUDGET = 64 * MIB
LAYOUT = b"f4:384"

Pairs = Sequence[tuple[bytes, bytes]]


class Peer(Protocol):
    """A store that can be measured; `get` returns what is there in order, `None` where nothing."""

    def set(self, pairs: Pairs) -> object: ...
    def get(self, keys: Sequence[bytes]) -> Sequence[object]: ...
    def close(self) -> object: ...


class Ours:
    def __init__(self, path: str, max_bytes: int) -> None:
        self.store = SharedStore(path, max_bytes)
        self.close = self.store.close

    def set(self, pairs: Pairs) -> None:
        entries = {key: NewEntry(LAYOUT, payload) for key, payload in pairs}
        self.store.set_many(Scope("bench"), entries)

    def get(self, keys: Sequence[bytes]) -> Sequence[object]:
        return self.store.get_many(Scope("bench"), keys)


class Sqlite:
    """One table, as one would write it in an afternoon."""

    def __init__(self, path: str, max_bytes: int) -> None:
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

    def get(self, keys: Sequence[bytes]) -> Sequence[object]:
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, payload FROM entries WHERE key IN ({marks})"
        found = dict(self.db.execute(query, keys).fetchall())
        return [found.get(key) for key in keys]


class Lmdb:
    def __init__(self, path: str, max_bytes: int) -> None:
        import lmdb

        self.env = lmdb.open(path, map_size=64 << 30, sync=False, metasync=False)
        self.close = self.env.close

    def set(self, pairs: Pairs) -> None:
        with self.env.begin(write=True) as transaction:
            for key, payload in pairs:
                transaction.put(key, payload)

    def get(self, keys: Sequence[bytes]) -> Sequence[object]:
        with self.env.begin() as transaction:
            return [transaction.get(key) for key in keys]


class Diskcache:
    def __init__(self, path: str, max_bytes: int) -> None:
        import diskcache

        self.cache = diskcache.Cache(path, size_limit=4 * max_bytes, timeout=SECONDS)
        self.close = self.cache.close

    def set(self, pairs: Pairs) -> None:
        with self.cache.transact():
            for key, payload in pairs:
                self.cache.set(key, payload)

    def get(self, keys: Sequence[bytes]) -> Sequence[object]:
        return [self.cache.get(key) for key in keys]


class LangChain:
    def __init__(self, path: str, max_bytes: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from langchain_classic.storage import LocalFileStore

        self.files = LocalFileStore(path)

    def set(self, pairs: Pairs) -> None:
        self.files.mset([(key.hex(), payload) for key, payload in pairs])

    def get(self, keys: Sequence[bytes]) -> Sequence[object]:
        return self.files.mget([key.hex() for key in keys])

    def close(self) -> None:
        """It keeps nothing open."""


OURS, BARE = "SharedStore", "bare sqlite3"
PEERS: dict[str, tuple[str, Callable[[str, int], Peer]]] = {
    OURS: ("litcache", Ours),
    BARE: ("sqlite3", Sqlite),
    "bare LMDB": ("lmdb", Lmdb),
    "diskcache": ("diskcache", Diskcache),
    "LangChain LocalFileStore": ("langchain_classic", LangChain),
}
# What many writers write: how many budgets of payload, and how long each is.
SIZES: dict[str, tuple[float, Callable[[random.Random], int]]] = {
    "1,536 B": (4, lambda rng: VECTOR),
    "100 B": (0.5, lambda rng: 100),  # the ring holds a quarter of it
    "100 B to 600 KB": (10, lambda rng: int(100 * 6000 ** rng.random())),
}
# They get a tenth of the work where four write at once, to be done in seconds too.
SLOW = ("diskcache", "LangChain LocalFileStore")


def present() -> Iterator[tuple[str, Callable[[str, int], Peer]]]:
    for name, (module, make) in PEERS.items():
        if find_spec(module) is not None:
            yield name, make
        else:
            note(f"left out, {module} is not installed: {name}")


def batches(count: int, rng: random.Random) -> Iterator[Pairs]:
    payload = rng.randbytes(VECTOR)
    for _ in range(0, count, BATCH):
        yield [(rng.randbytes(16), payload) for _ in range(BATCH)]


# One process --------------------------------------------------------------------------------


def one_process(folder: str) -> dict[str, list[Row]]:
    """Return what reading and writing costs."""
    opened: dict[str, Peer] = {}
    recent: list[bytes] = []
    for name, make in present():
        note(f"{name}: filling …")
        opened[name] = make(os.path.join(folder, name), int(COUNT * ENTRY_SHARE))
        recent = []
        # A quarter more than ours holds, so that it evicts; all read the newer half.
        for number, pairs in enumerate(batches(COUNT * 5 // 4, random.Random(7))):
            opened[name].set(pairs)
            if number * BATCH > COUNT * 3 // 4:
                recent += [key for key, _ in pairs]
    rng, tables = random.Random(8), {}
    for title, size in ((f"Reads, an item; {BATCH} hits at a time", BATCH), ("Reads, one hit", 1)):
        reads = {name: reader(peer, recent, rng, size) for name, peer in opened.items()}
        rows = measured(reads, per=size)
        if size == BATCH:
            rows[OURS].at_most(6)
        tables[title] = list(rows.values())
    fresh = batches(sys.maxsize, rng)
    writes = {name: writer(peer, fresh) for name, peer in opened.items()}
    rows = measured({"making the batch": lambda: next(fresh), **writes}, per=BATCH)
    rows[OURS].at_most(25)
    tables[f"Writes, an item; {BATCH} at a time, one writer"] = list(rows.values())
    for peer in opened.values():
        peer.close()
    return tables


def measured(calls: dict[str, Callable[[], object]], per: int) -> dict[str, Row]:
    """Time by the wall clock; samples are long enough for the pauses that writes make."""
    clock = time.perf_counter
    return timed(calls, repeats=21, seconds=0.1, per=per, floor=BARE, clock=clock)


def reader(
    peer: Peer, keys: Sequence[bytes], rng: random.Random, size: int
) -> Callable[[], object]:
    drawn = [rng.sample(keys, size) for _ in range(500)]
    assert all(None not in peer.get(batch) for batch in drawn), "not all are hits"
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
    peer = PEERS[name][1](path, BUDGET)
    rng, stream, made, count = random.Random(seed), bytes(600_000), [], 0
    budgets, length_of = SIZES[sizes]
    while count < budgets * BUDGET / WRITERS / (10 if name in SLOW else 1):
        lengths = [length_of(rng) for _ in range(BATCH)]
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
    path = tempfile.mkdtemp(dir=folder)
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
        if name == OURS:  # who keeps a file an item has too many to look at
            peak = max(peak, size_of(path))
        for end in [end for end in waiting if end.poll(0.001)]:
            answers.append(end.recv())
            waiting.remove(end)
    for process in processes:
        process.join(SECONDS)
        assert process.exitcode == 0, f"a writer ended with {process.exitcode}"
    shutil.rmtree(path)
    items, dropped = sum(a[0] for a in answers), sum(a[2] for a in answers)
    return {
        "rate": (items - dropped) / max(a[1] for a in answers),
        "dropped": 100 * dropped / items,
        "peak": peak / BUDGET,
    }


def size_of(path: str) -> int:
    total = 0
    for name in os.listdir(path):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(os.path.join(path, name)).st_size
    return total


def rates_table(folder: str) -> list[Row]:
    rows = []
    for name, _ in present():
        runs = [many_writers(folder, name, "1,536 B") for _ in range(3)]
        rate = Row(f"{name}, written in all", median(runs, "rate"), "items/s")
        rows.append(rate.at_least(25_000) if name == OURS else rate)
        if name == OURS:
            rows.append(Row(f"{name}, dropped", median(runs, "dropped"), "%"))
    return rows


def bounds_table(folder: str) -> list[Row]:
    rows = []
    for sizes, (budgets, _) in SIZES.items():
        runs = [many_writers(folder, OURS, sizes) for _ in range(2)]
        title = f"{budgets:g} budgets of {sizes}, {WRITERS} writers"
        peak, dropped = (max(run[what] for run in runs) for what in ("peak", "dropped"))
        rows.append(Row(f"{title}: most files / budget", peak, "").at_most(1.1))
        rows.append(Row(f"{title}: most dropped", dropped, "%"))
    store = SharedStore(os.path.join(folder, "share"), BUDGET)
    for pairs in batches(60_000, random.Random(7)):
        store.set_many(Scope("bench"), {key: NewEntry(LAYOUT, payload) for key, payload in pairs})
    share = store.info().entries * VECTOR / store.max_bytes
    store.close()
    return [*rows, Row("full of 1,536 B: payload / budget", share, "").at_least(0.55)]


def median(runs: Iterable[dict[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def main(parent: str | None = None) -> bool:
    with tempfile.TemporaryDirectory(prefix="litcache-bench-", dir=parent) as folder:
        tables = one_process(folder)
        for name in os.listdir(folder):
            shutil.rmtree(os.path.join(folder, name))
        tables[f"{WRITERS} writers at once, {BATCH} vectors at a time"] = rates_table(folder)
        tables[f"A budget of {BUDGET // MIB} MiB"] = bounds_table(folder)
    return report("shared_store", tables)


if __name__ == "__main__":
    main(*sys.argv[1:2])
