"""Hit rates on real traces: `MemoryStore` beside SIEVE, LRU, moka and cachebox.

    python -m benchmarks.hit_rate

Entries are of equal size, so that a budget of bytes is a number of entries. SIEVE is written from
the pseudo code of the paper (Zhang et al., NSDI '24, algorithm 1).

Rates of `MemoryStore` differ by 0.1 points or so from run to run: Python's hash seed decides which
evicted keys are forgotten first. `PYTHONHASHSEED` repeats a run.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from importlib.util import find_spec

from benchmarks.common import Row, note, report, retail, web12, zipf
from benchmarks.sieve import Sieve
from litcache.stores import gdsf
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore

SHARES = (0.01, 0.02, 0.05, 0.10, 0.25, 0.50)
# The best of GDSF, S3-FIFO and W-TinyLFU, each by libCacheSim (PyPI `libcachesim` 0.3.5).
BEST = {
    ("web12", 0.01): 0.433,
    ("web12", 0.05): 0.649,
    ("web12", 0.10): 0.721,
    ("web12", 0.25): 0.795,
    ("retail", 0.01): 0.089,
    ("retail", 0.05): 0.280,
    ("retail", 0.10): 0.445,
    ("retail", 0.25): 0.735,
}
POINT = 100.0

Access = Callable[[Hashable], bool]
"""Asks for an id, and stores it if it was missing; whether it was a hit."""


def litcache_access(capacity: int) -> Access:
    entry, scope = NewEntry(b"", bytes(100)), Scope("trace")
    probe = MemoryStore()
    probe.set_many(scope, {bytes(16): entry})
    store = MemoryStore(capacity * probe.info().bytes)

    def access(item: Hashable) -> bool:
        key = int(item).to_bytes(16, "big")  # type: ignore[call-overload]
        if store.get_many(scope, [key])[0] is not None:
            return True
        store.set_many(scope, {key: entry})
        return False

    return access


def lru_access(capacity: int) -> Access:
    entries: OrderedDict[Hashable, None] = OrderedDict()

    def access(item: Hashable) -> bool:
        if item in entries:
            entries.move_to_end(item)
            return True
        if len(entries) >= capacity:
            entries.popitem(last=False)
        entries[item] = None
        return False

    return access


def cachetools_access(capacity: int) -> Access:
    from cachetools import LRUCache

    return _by_get(LRUCache(capacity))


def cachebox_access(capacity: int) -> Access:
    from cachebox import LRUCache

    return _by_get(LRUCache(capacity))


def _by_get(entries: object) -> Access:
    def access(item: Hashable) -> bool:
        if entries.get(item) is not None:  # type: ignore[attr-defined]
            return True
        entries[item] = True  # type: ignore[index]
        return False

    return access


def moka_access(capacity: int) -> Access:
    from moka_py import Moka

    entries: Moka[Hashable, bool] = Moka(capacity, policy="tiny_lfu")

    def access(item: Hashable) -> bool:
        if entries.get(item) is not None:
            return True
        entries.set(item, True)
        return False

    return access


PEERS: dict[str, tuple[str | None, Callable[[int], Access]]] = {
    "SIEVE": (None, Sieve),
    "OrderedDict LRU": (None, lru_access),
    "cachetools LRU": ("cachetools", cachetools_access),
    "cachebox LRU": ("cachebox", cachebox_access),
    "moka TinyLFU": ("moka_py", moka_access),
}


def optimum(trace: Sequence[int], capacity: int) -> float:
    """Return the hit rate of evicting what is needed last (Belady 1966)."""
    never = len(trace)
    upcoming = [never] * never
    last: dict[int, int] = {}
    for index in range(never - 1, -1, -1):
        upcoming[index] = last.get(trace[index], never)
        last[trace[index]] = index
    held: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    hits = 0
    for index, item in enumerate(trace):
        if item in held:
            hits += 1
        elif len(held) >= capacity:
            while held.get(farthest[0][1]) != -farthest[0][0]:
                heapq.heappop(farthest)
            del held[heapq.heappop(farthest)[1]]
        held[item] = upcoming[index]
        heapq.heappush(farthest, (-upcoming[index], item))
    return hits / never


def hit_rate(access: Access, trace: Sequence[int]) -> float:
    return sum(map(access, trace)) / len(trace)


def compare(name: str, trace: Sequence[int]) -> dict[str, list[Row]]:
    """Return a table for each size, and the judgements over all sizes."""
    tables: dict[str, list[Row]] = {}
    gains, leads = [], []
    distinct = len(set(trace))
    for share in SHARES:
        capacity = int(distinct * share)
        note(f"{name}: {share:.0%} of {distinct:,} items …")
        rates = {"MemoryStore": hit_rate(litcache_access(capacity), trace)}
        for peer, (module, make) in PEERS.items():
            if module is None or find_spec(module) is not None:
                rates[peer] = hit_rate(make(capacity), trace)
        rates["optimum"] = optimum(trace, capacity)
        rows = [Row(cache, rate, "hit rate") for cache, rate in rates.items()]
        best = BEST.get((name, share))
        if best is not None:
            rows[0].at_least(round(best - 0.003, 3))
        tables[f"{name}, {share:.0%} of its items ({capacity:,} entries)"] = rows
        gains.append((rates["MemoryStore"] - rates["SIEVE"]) * POINT)
        leads.append((rates["MemoryStore"] - rates["OrderedDict LRU"]) * POINT)
    verdict = "yes" if min(leads) >= 0 else "no"
    tables[f"{name}, over all sizes"] = [
        Row("smallest lead over SIEVE", min(gains), "points").at_least(0.0),
        Row(f"smallest lead over LRU (≥ LRU at every size: {verdict})", min(leads), "points")
        .at_least(0.0),
        Row("largest change by the bound on eviction work", _bound_costs(trace), "points")
        .at_most(0.1),
    ]  # fmt: skip
    return tables


def flooded(sold: Sequence[int]) -> dict[str, list[Row]]:
    """Return a table for each size: between two sales, nine items that are asked for once."""
    once = max(sold) + 1
    trace = [
        item
        for index, sale in enumerate(sold)
        for item in (sale, *range(once + 9 * index, once + 9 * index + 9))
    ]
    tables: dict[str, list[Row]] = {}
    for share in (0.05, 0.25):
        capacity = int(len(set(sold)) * share)
        note(f"90 % once: {capacity:,} entries …")
        sieve = hit_rate(Sieve(capacity), trace)
        tables[f"retail, 90 % of all asked for once ({capacity:,} entries)"] = [
            Row("MemoryStore", hit_rate(litcache_access(capacity), trace), "hit rate")
            .at_least(round(sieve, 4)),
            Row("SIEVE", sieve, "hit rate"),
            Row("OrderedDict LRU", hit_rate(lru_access(capacity), trace), "hit rate"),
        ]  # fmt: skip
    return tables


def _bound_costs(trace: Sequence[int]) -> float:
    """Return by how many points `SCAN_STEPS` changes a hit rate at most."""
    bound, changes = gdsf.SCAN_STEPS, []
    for share in SHARES:
        capacity = int(len(set(trace)) * share)
        bounded = hit_rate(litcache_access(capacity), trace)
        gdsf.SCAN_STEPS = len(trace)
        try:
            changes.append(abs(bounded - hit_rate(litcache_access(capacity), trace)) * POINT)
        finally:
            gdsf.SCAN_STEPS = bound
    return max(changes)


def main() -> bool:
    pages, sales = web12(), retail()
    if pages is None or sales is None:
        note("no real traces here (LITCACHE_DATA): a seeded Zipf trace instead")
        return report("hit_rate", compare("zipf", zipf(100_000, 10_000)))
    tables = compare("web12", pages)
    tables.update(compare("retail", sales.sold[:200_000]))
    tables.update(flooded(sales.sold[:20_000]))
    return report("hit_rate", tables)


if __name__ == "__main__":
    main()
