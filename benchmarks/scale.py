"""How many machines a load takes: a model of hit rates, processes, memory and network.

    python -m benchmarks.scale                       # checks the model against the store
    python -m benchmarks.scale --requests 1000000    # what that load takes

The hit rate of a store that evicts lies between those of LRU and of keeping the most frequent. The
first is Che's approximation (Che, Tung, Wang: Hierarchical web caching systems, JSAC 2002), the
second a sum. Where litcache's own policy lies between them is a fit to simulations, which `check`
repeats with the real `MemoryStore`. Requests are taken to be independent and to follow Zipf's law.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields

import numpy as np

from benchmarks.common import Row, note, report, zipf
from benchmarks.hit_rate import litcache_access

# Ranks up to here are taken one by one; beyond, in groups whose members are about equally frequent.
_EXACT, _GROUPS = 10_000, 2_000


@dataclass(frozen=True)
class Load:
    """What comes in, and what a model takes.

    Attributes:
        requests: A second.
        items: Distinct items that are asked for.
        skew: The exponent of Zipf's law.
        entry_bytes: What an entry takes: 1,850 for 384 floats, 1,080 with `store_as="float16"`.
        answer_bytes: What an answer takes on the network, with its headers.
        model_ms: Milliseconds that a worker takes for an item, in a batch.
    """

    requests: float = 1_000_000
    items: float = 100_000_000
    skew: float = 1.0
    entry_bytes: float = 1_080
    answer_bytes: float = 8_500
    model_ms: float = 0.05


@dataclass(frozen=True)
class Machines:
    """What one process or server does, as measured by the benchmarks on one core.

    Attributes:
        http_hits: Hits a second that an HTTP process answers (`benchmarks.middleware`).
        http_misses: Requests a second that it hands to a worker and back (`stock LitServe`).
        shard_reads: Keys a second of a Valkey shard (`benchmarks.redis_store`).
        http_bytes: Memory of the front in an HTTP process.
        shard_bytes: Memory of a shard.
        busy: The share of its time that a process may be busy.
    """

    http_hits: float = 8_500
    http_misses: float = 1_150
    shard_reads: float = 150_000
    http_bytes: float = 2e9
    shard_bytes: float = 64e9
    busy: float = 0.7


@dataclass(frozen=True)
class Plan:
    """What the load takes; shares are of all requests."""

    http_hit_rate: float
    hit_rate: float
    http_processes: int
    workers: int
    workers_without_a_cache: int
    shards: int
    store_bytes: float
    store_gbit_per_second: float
    answers_gbit_per_second: float


def popularity(items: float, skew: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how often an item of each group is asked for, and how many items a group has."""
    exact = np.arange(1, min(items, _EXACT) + 1)
    edges = np.unique(np.geomspace(_EXACT, max(items, _EXACT), _GROUPS).round())
    counts = np.concatenate([np.ones(len(exact)), np.diff(edges)])
    ranks = np.concatenate([exact, np.sqrt(edges[1:] * (edges[:-1] + 1))])
    shares = ranks**-skew
    return shares / (shares * counts).sum(), counts


def hit_rate(load: Load, capacity: float) -> float:
    """Return the share of requests that hit in a store that holds so many entries."""
    if capacity >= load.items:
        return 1.0
    shares, counts = popularity(load.items, load.skew)
    recent = _lru(shares, counts, capacity)
    frequent = _most_frequent(shares, counts, capacity)
    place = min(1.0, max(0.0, 1.02 - 0.65 * math.sqrt(capacity / load.items)))
    return recent + place * (frequent - recent)


def _lru(shares: np.ndarray, counts: np.ndarray, capacity: float) -> float:
    low, high = 1.0, 1e30  # the characteristic time, in requests
    for _ in range(200):
        middle = math.sqrt(low * high)
        if (counts * -np.expm1(-shares * middle)).sum() < capacity:
            low = middle
        else:
            high = middle
    return float((shares * counts * -np.expm1(-shares * low)).sum())


def _most_frequent(shares: np.ndarray, counts: np.ndarray, capacity: float) -> float:
    kept = np.clip(capacity - (np.cumsum(counts) - counts), 0, counts)
    return float((shares * kept).sum())


def plan(load: Load, machines: Machines, share_kept: float = 0.1) -> Plan:
    """Return what a load takes.

    Args:
        load: What comes in.
        machines: What a process does.
        share_kept: How much of the items Valkey holds, from 0 to 1.
    """
    capacity = share_kept * load.items
    in_front = min(capacity, machines.http_bytes / (load.entry_bytes + load.answer_bytes))
    front, whole = hit_rate(load, in_front), hit_rate(load, capacity)
    to_workers = load.requests * (1 - front)
    in_http = load.requests * front / machines.http_hits + to_workers / machines.http_misses
    computing = load.requests * load.model_ms / 1000
    stored = capacity * load.entry_bytes
    read, busy = to_workers * load.entry_bytes, machines.busy
    return Plan(
        http_hit_rate=front,
        hit_rate=whole,
        http_processes=math.ceil(in_http / busy),
        workers=math.ceil(computing * (1 - whole) / busy),
        workers_without_a_cache=math.ceil(computing / busy),
        shards=math.ceil(
            max(stored / machines.shard_bytes, to_workers / machines.shard_reads / busy)
        ),
        store_bytes=stored,
        store_gbit_per_second=8e-9 * read,
        answers_gbit_per_second=8e-9 * load.requests * load.answer_bytes,
    )


def check() -> list[Row]:
    """Return how far the model's hit rates are from those of the real store, in points."""
    rows = []
    for skew in (0.7, 0.9, 1.1):
        requests = zipf(300_000, 20_000, exponent=skew)
        for share in (0.01, 0.05, 0.2, 0.5):
            access = litcache_access(int(20_000 * share))
            hits = [access(item) for item in requests][100_000:]
            found = sum(hits) / len(hits)
            said = hit_rate(Load(items=20_000, skew=skew), 20_000 * share)
            row = Row(f"skew {skew}, {share:.0%}: {found:.3f}, by the model {said:.3f}",
                      100 * abs(said - found), "points")  # fmt: skip
            rows.append(row.at_most(2))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--share-kept", type=float, default=0.1, help="of the items, in Valkey")
    for field in fields(Load):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float)
    given = vars(parser.parse_args())
    share = given.pop("share_kept")
    load = {name: value for name, value in given.items() if value is not None}
    if not load:
        report("scale", {"hit rate of MemoryStore beside the model's": check()})
        return
    for name, value in vars(plan(Load(**load), Machines(), share)).items():
        note(f"{name:26}{value:16,.3f}" if isinstance(value, float) else f"{name:26}{value:16,}")


if __name__ == "__main__":
    main()
