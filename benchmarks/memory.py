"""What an entry of `MemoryStore` takes, whether its account is honest, and how fast it is.

    python -m benchmarks.memory

Each measurement of memory is made in a process of its own. "Beyond" is resident memory, less the
16-byte keys and the payloads. Under churn four times the budget is written, so that entries are
evicted all the time; there, entries number just over 2^19 / 3, where the dict takes most an entry.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common import ROOT, Row, note, report, timed
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore

COUNTS = (10_000, 100_000, 1_000_000)
VECTOR = 1536  # 384 float32
BATCH = 64

HELD: list[MemoryStore] = []

Set = Callable[[bytes, bytes], object]


def resident() -> int:
    """Return the resident bytes of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def batches(count: int, low: int, high: int, ttl: float | None) -> Iterator[dict[bytes, NewEntry]]:
    """Return entries, each with a payload (and expiry) of its own, a batch at a time."""
    rng, layout = random.Random(7), b"f4:384"
    for start in range(0, count, BATCH):
        yield {
            rng.randbytes(16): NewEntry(
                layout,
                rng.randbytes(rng.randint(low, high)),
                None if ttl is None else time.time() + ttl,
            )
            for _ in range(min(BATCH, count - start))
        }


# In a process of its own --------------------------------------------------------------------


def filled(count: int, payload: int, ttl: float | None) -> MemoryStore:
    store, scope = MemoryStore("64 GiB"), Scope("fill")
    for entries in batches(count, payload, payload, ttl):
        store.set_many(scope, entries)
    assert store.info().entries == count
    return store


def take_up_free_memory() -> None:
    """Use what the imports left free, until the process ends, so that growth is growth."""
    HELD.extend(filled(20_000, payload, ttl=3600.0) for payload in (16, 100, VECTOR))


def fill(count: int, payload: int, ttl: float | None) -> dict[str, float]:
    take_up_free_memory()
    before = resident()
    store = filled(count, payload, ttl)
    grown = resident() - before
    return {"beyond": grown / count - 16 - payload, "grown": grown / store.info().bytes}


def churn(count: int, low: int, high: int, ttl: float | None) -> dict[str, float]:
    scope, probe = Scope("churn"), MemoryStore()
    for entries in batches(1000, low, high, ttl):
        probe.set_many(scope, entries)
    budget = probe.info().bytes * count // 1000
    store = MemoryStore(budget)
    take_up_free_memory()
    before, grown, accounted = resident(), 0.0, 0
    for number, entries in enumerate(batches(count * 4, low, high, ttl)):
        store.set_many(scope, entries)
        accounted = max(accounted, store.info().bytes)
        if number % 100 == 0 and store.info().evicted:
            grown = max(grown, (resident() - before) / store.info().bytes)
    return {"grown": grown, "accounted": accounted / budget}


def peer(name: str, count: int, payload: int) -> dict[str, float]:
    put = PEERS[name][1](count)
    take_up_free_memory()
    before = resident()
    for entries in batches(count, payload, payload, None):
        for key, entry in entries.items():
            put(key, bytes(entry.payload))
    return {"beyond": (resident() - before) / count - 16 - payload}


def _functools(count: int) -> Set:
    computed: list[bytes] = []

    @lru_cache(count)
    def function(key: bytes) -> bytes:
        return computed.pop()

    def put(key: bytes, payload: bytes) -> None:
        computed.append(payload)
        function(key)

    return put


def _ordered_dict(count: int) -> Set:
    return OrderedDict[bytes, bytes]().__setitem__


def _cachetools(count: int) -> Set:
    from cachetools import LRUCache

    entries: LRUCache[bytes, bytes] = LRUCache(count)
    return entries.__setitem__


def _cachebox(count: int) -> Set:
    from cachebox import LRUCache

    entries: LRUCache[bytes, bytes] = LRUCache(count)
    return entries.__setitem__


def _moka(count: int) -> Set:
    from moka_py import Moka

    entries: Moka[bytes, bytes] = Moka(count)
    return entries.set


PEERS: dict[str, tuple[str, Callable[[int], Set]]] = {
    "OrderedDict": ("collections", _ordered_dict),
    "functools.lru_cache": ("functools", _functools),
    "cachetools.LRUCache": ("cachetools", _cachetools),
    "cachebox.LRUCache": ("cachebox", _cachebox),
    "moka-py": ("moka_py", _moka),
}
MEASUREMENTS: dict[str, Callable[..., dict[str, float]]] = {
    "fill": fill,
    "churn": churn,
    "peer": peer,
}


def in_a_process(measurement: str, *arguments: object) -> dict[str, float]:
    """Run a measurement in a fresh process."""
    note(f"{measurement} {arguments} …")
    command = [sys.executable, "-m", "benchmarks.memory", measurement, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


# Tables ------------------------------------------------------------------------------------


def entries_table() -> list[Row]:
    rows = []
    for count in COUNTS:
        for payload in (100, VECTOR):
            for ttl, limit in ((None, 260), (3600.0, 292)):
                name = f"{count:>9,} entries of {payload} bytes{', ttl' if ttl else ''}"
                measured = in_a_process("fill", count, payload, ttl)
                row = Row(name, measured["beyond"], "bytes")
                rows.append(row.at_most(limit) if count == COUNTS[-1] else row)
    return rows


def peers_table() -> list[Row]:
    return [
        Row(f"{count:>9,} entries of 100 bytes, {name}", measured["beyond"], "bytes")
        for name, (module, _) in PEERS.items()
        if find_spec(module) is not None
        for count in COUNTS
        for measured in [in_a_process("peer", name, count, 100)]
    ]


def account_table() -> list[Row]:
    full = in_a_process("fill", 1_000_000, VECTOR, None)
    rows = [Row("1 M vectors: RSS growth / accounted", full["grown"], "").at_most(1.1)]
    for name, low, high in (
        ("16 bytes", 16, 16),
        ("1,536 bytes", VECTOR, VECTOR),
        ("0–3,000 bytes", 0, 3000),
    ):
        for ttl in (None, 3600.0):
            measured = in_a_process("churn", 180_000, low, high, ttl)
            kind = f"churn, {name}{', ttl' if ttl else ''}"
            rows.append(Row(f"{kind}: RSS growth / accounted", measured["grown"], "").at_most(1.1))
            most = Row(f"{kind}: most accounted / budget", measured["accounted"], "")
            rows.append(most.at_most(1.0))
    return rows


def reads_table() -> list[Row]:
    """Look up batches of 64 of 100,000 entries, all of them hits."""
    rng, scope, store = random.Random(7), Scope("reads"), MemoryStore()
    for entries in batches(100_000, 100, 100, None):
        store.set_many(scope, entries)
    timed_store = MemoryStore()
    for entries in batches(100_000, 100, 100, 3600.0):
        timed_store.set_many(scope, entries)
    plain = {key: True for entries in batches(100_000, 100, 100, None) for key in entries}
    keys = rng.sample(list(plain), BATCH)
    get, one = plain.get, keys[:1]
    rows = timed(
        {
            "dict.get (floor)": lambda: [get(key) for key in keys],
            "MemoryStore.get_many, 64 hits": lambda: store.get_many(scope, keys),
            "MemoryStore.get_many, 64 hits, ttl": lambda: timed_store.get_many(scope, keys),
        },
        per=BATCH,
        floor="dict.get (floor)",
    )
    for name in list(rows)[1:]:
        # 0.17 µs where dict.get takes 0.054.
        rows[name].at_most(3.1, of="ratio")
    single = timed({"MemoryStore.get_many, 1 hit": lambda: store.get_many(scope, one)})
    return [*rows.values(), *single.values()]


def writes_table() -> list[Row]:
    """Write new entries, a batch of 64 at a time, with room and without."""
    scope, roomy = Scope("writes"), MemoryStore("8 GiB")
    full = MemoryStore(100_000 * 404)
    for entries in batches(110_000, 100, 100, None):
        full.set_many(scope, entries)
    layout, payload, rng = b"f4:384", bytes(100), random.Random(8)
    entry = NewEntry(layout, payload)

    def fresh() -> dict[bytes, NewEntry]:
        return {rng.randbytes(16): entry for _ in range(BATCH)}

    rows = timed(
        {
            "making the batch (floor)": fresh,
            "made and set, 64 new": lambda: roomy.set_many(scope, fresh()),
            "made and set, 64 new, 64 evicted": lambda: full.set_many(scope, fresh()),
        },
        per=BATCH,
        floor="making the batch (floor)",
    )
    return list(rows.values())


def main() -> bool:
    return report(
        "memory",
        {
            "MemoryStore: resident bytes an entry beyond key and payload": entries_table(),
            "Peers: resident bytes an entry beyond key and payload": peers_table(),
            "The account": account_table(),
            "Reads, an item": reads_table(),
            "Writes, an item": writes_table(),
        },
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(MEASUREMENTS[sys.argv[1]](*json.loads(sys.argv[2]))))
    else:
        main()
