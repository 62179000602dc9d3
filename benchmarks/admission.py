"""Writes and hit rates with admission, beside always storing: real traces, and floods.

    python -m benchmarks.admission

Traces are asked for item by item in a store that holds so many entries, and evicts as a
`MemoryStore` does. The last tables ask a real service with a `SharedStore`, and time the choice.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import NamedTuple, Protocol

import litserve as ls

from benchmarks.common import Row, note, report, retail, timed, web12, zipf
from litcache import SharedStore, cached_predict
from litcache.engine.admission import Admission
from litcache.stores.base import Entry, NewEntry, Scope, Store, StoreInfo
from litcache.stores.memory import MemoryStore
from litcache.testing import strict

SHARES = (0.01, 0.05, 0.10, 0.25)
POINT = 100.0
MOST_POINTS, MOST_WRITES = 1.0, 0.3
"""What may be lost of the hit rate of always storing, and what a flood may write an item."""
ONCE = 9
"""So many items that are asked for once come between two that are asked for again."""
FEW = 1_000
FLOOD = 40_000
BATCH = 64
BATCHES = 500
ENTRY = NewEntry(b"", bytes(100))


class Chooser(Protocol):
    """What decides which entries are written."""

    is_due: bool

    def choose(self, entries: dict[bytes, Entry]) -> dict[bytes, Entry]: ...

    def look(self) -> None: ...


class Always:
    """Writes everything."""

    is_due = False

    def __init__(self, store: Store) -> None:
        pass

    def choose(self, entries: dict[bytes, Entry]) -> dict[bytes, Entry]:
        return entries

    def look(self) -> None: ...


class SecondMiss(Always):
    """Writes what misses a second time, and never forgets."""

    def __init__(self, store: Store) -> None:
        self.seen: set[bytes] = set()

    def choose(self, entries: dict[bytes, Entry]) -> dict[bytes, Entry]:
        again = {key: entry for key, entry in entries.items() if key in self.seen}
        self.seen.update(entries)
        return again


class Run(NamedTuple):
    """What became of the items of a trace.

    Attributes:
        hits: The share that hit.
        writes: The share whose output was written.
    """

    hits: float
    writes: float


def key_of(item: int) -> bytes:
    return (item * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)).to_bytes(16, "big")


def holding(capacity: int) -> MemoryStore:
    """Return a store with room for so many entries."""
    probe = MemoryStore()
    probe.set_many(Scope("trace"), {bytes(16): ENTRY})
    return MemoryStore(capacity * probe.info().bytes)


def replay(trace: Sequence[int], capacity: int, make: Callable[[Store], Chooser]) -> Run:
    """Return what becomes of a trace in a store of so many entries."""
    store, scope = holding(capacity), Scope("trace")
    chooser = make(store)
    hits = writes = 0
    for item in trace:
        key = key_of(item)
        if store.get_many(scope, [key])[0] is not None:
            hits += 1
            continue
        chosen = chooser.choose({key: ENTRY})
        if chosen:
            writes += 1
            store.set_many(scope, chosen)
        if chooser.is_due:
            chooser.look()
    return Run(hits / len(trace), writes / len(trace))


def flooded(repeated: Sequence[int]) -> list[int]:
    """Return a trace with items between those given that are asked for once."""
    once = max(repeated) + 1
    return [
        item
        for index, again in enumerate(repeated)
        for item in (again, *range(once + ONCE * index, once + ONCE * (index + 1)))
    ]


def rows_of(
    where: str, always: Run, adaptive: Run, *, most_writes: float | None = None
) -> list[Row]:
    points = (always.hits - adaptive.hits) * POINT
    writes = Row(f"written, {where}", adaptive.writes, "an item")
    return [
        Row(f"hit rate lost, {where}", points, "points").at_most(MOST_POINTS),
        writes if most_writes is None else writes.at_most(most_writes),
        Row("hit rate of always storing", always.hits, ""),
        Row("written by always storing", always.writes, "an item"),
    ]


def traced(name: str, trace: Sequence[int]) -> dict[str, list[Row]]:
    tables = {}
    for share in SHARES:
        capacity = int(len(set(trace)) * share)
        note(f"{name}: {capacity:,} entries …")
        always, adaptive, second = (
            replay(trace, capacity, make) for make in (Always, Admission, SecondMiss)
        )
        points = (always.hits - second.hits) * POINT
        tables[f"{name}, {share:.0%} of its items ({capacity:,} entries)"] = [
            *rows_of(f"{name} {share:.0%}", always, adaptive),
            Row("hit rate lost by storing at every second miss", points, "points"),
            Row("written by storing at every second miss", second.writes, "an item"),
        ]
    return tables


def floods() -> dict[str, list[Row]]:
    trace, tables = flooded(zipf(FLOOD, FEW)), {}
    for capacity in (2 * FEW, 10 * FEW, FEW // 2):
        note(f"90 % once: {capacity:,} entries …")
        tables[f"90 % once, {FEW:,} others, a store of {capacity:,} entries"] = rows_of(
            f"90 % once, {capacity:,} entries",
            replay(trace, capacity, Always),
            replay(trace, capacity, Admission),
            most_writes=MOST_WRITES,
        )
    return tables


class NeverFull(SharedStore):
    """A store that does not tell what it evicts, so that everything is written."""

    def info(self) -> StoreInfo:
        return replace(super().info(), evicted=0)


def served(trace: Sequence[int], kind: type[SharedStore]) -> Run:
    """Return what becomes of a trace in a service, batch by batch."""
    with tempfile.TemporaryDirectory() as folder:

        class TextAPI(ls.LitAPI):
            @cached_predict(store=kind(folder, "4 MiB"), namespace="flood", version="1")
            def predict(self, batch: list[str]) -> list[str]:
                return [text * 100 for text in batch]

        api = TextAPI(max_batch_size=BATCH)
        with strict():  # writes happen at once: what hits depends on no thread's turn
            for start in range(0, len(trace), BATCH):
                api.predict([str(item) for item in trace[start : start + BATCH]])
        info = api.predict.cache.info()
        api.predict.cache.policy.store.close()
    return Run((info.hits + info.coalesced) / len(trace), info.stored / len(trace))


def service() -> dict[str, list[Row]]:
    note("a service with a SharedStore …")
    trace = flooded(zipf(FLOOD, FEW))
    always, adaptive = served(trace, NeverFull), served(trace, SharedStore)
    rows = rows_of("90 % once, SharedStore", always, adaptive, most_writes=MOST_WRITES)
    return {f"90 % once, a service with a SharedStore of 4 MiB, batches of {BATCH}": rows}


def times() -> dict[str, list[Row]]:
    store, scope = holding(FEW), Scope("trace")
    busy, idle = Admission(store), Admission(store)
    while not busy.is_refusing:
        entries: dict[bytes, Entry] = {os.urandom(16): ENTRY for _ in range(BATCH)}
        store.set_many(scope, busy.choose(entries))
        if busy.is_due:
            busy.look()
    # More keys than are remembered: each is new when its turn comes again.
    batches = cycle([{os.urandom(16): ENTRY for _ in range(BATCH)} for _ in range(BATCHES)])
    calls: dict[str, Callable[[], object]] = {
        "storing everything, of a batch": lambda: idle.choose(next(batches)),
        "refusing, of a batch": lambda: busy.choose(next(batches)),
    }
    rows = timed(calls, repeats=101, per=BATCH)
    assert busy.is_refusing
    rows["refusing, of a batch"].at_most(0.5)
    return {"the choice, an item of a batch of 64 that misses": list(rows.values())}


def main() -> bool:
    pages, sales = web12(), retail()
    tables: dict[str, list[Row]] = {}
    if pages is None or sales is None:
        note("no real traces here (LITCACHE_DATA): a seeded Zipf trace instead")
        tables.update(traced("zipf", zipf(100_000, 10_000)))
    else:
        tables.update(traced("web12", pages))
        tables.update(traced("retail", sales.sold[:200_000]))
    return report("admission", tables | floods() | service() | times())


if __name__ == "__main__":
    main()
