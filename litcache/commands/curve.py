"""The hit rate of a store by its size, from a log of requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import stdev
from typing import NamedTuple

from litcache.commands.sample import Sample
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore

SIZES = 10
FEWEST = 32
_GROUPS = 8
_STUDENT = 2.36  # of seven degrees of freedom, 95 % on both sides
_POINT = 0.01
_KEY_BYTES = 16


class Point(NamedTuple):
    """What a store of one size does.

    Attributes:
        max_bytes: The size.
        hit_rate: The hit rate, from 0 to 1.
        error: How much it may be off, in 95 of 100 samples; 0 if nothing was sampled.
    """

    max_bytes: int
    hit_rate: float
    error: float


class Entries:
    """Entries of the sizes that were measured; each item has one of them, by its hash.

    Args:
        sizes: The bytes that entries take in a `MemoryStore`, with its bookkeeping.

    Attributes:
        mean: The mean of the sizes.

    Raises:
        ValueError: If a size is less than the bookkeeping takes.

    Example:
        >>> Entries([1850]).mean
        1850.0
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        least = accounted(NewEntry(b"", b""))
        if min(sizes) < least:
            raise ValueError(
                f"an entry of {min(sizes)} bytes is none: a store takes {least} bytes for its key "
                "and bookkeeping alone"
            )
        self.mean = sum(sizes) / len(sizes)
        made = {size: NewEntry(b"", bytes(size - least)) for size in set(sizes)}
        self._entries = [made[size] for size in sizes]

    def of(self, item: int) -> NewEntry:
        """Return the entry of an item.

        Args:
            item: Its hash.

        Returns:
            The entry.
        """
        return self._entries[(item >> 8) % len(self._entries)]


def accounted(entry: NewEntry) -> int:
    """Return the bytes that a `MemoryStore` accounts for an entry.

    Args:
        entry: The entry.

    Returns:
        The bytes, with those of a key.
    """
    store = MemoryStore()
    store.set_many(Scope("plan"), {bytes(_KEY_BYTES): entry})
    return store.info().bytes


def sizes_of(sample: Sample, entries: Entries) -> list[int]:
    """Return the sizes to look at: that of all entries, and smaller ones in equal ratios.

    The smallest is a 512th of it, or that of `FEWEST` entries: how few entries are hit is luck.

    Args:
        sample: The requests.
        entries: The entries.

    Returns:
        The sizes, the smallest first.
    """
    whole = entries.mean * sample.distinct / sample.rate
    ratio = min(512.0, max(2.0, sample.distinct / FEWEST))
    powers = [step / (SIZES - 1) for step in range(SIZES - 1, -1, -1)]
    return [math.ceil(whole / ratio**power) for power in powers]


def curve(
    sample: Sample,
    entries: Entries,
    sizes: Sequence[int],
    show: Callable[[int, float], None] = lambda count, part: None,
) -> list[Point]:
    """Return the hit rate at each size, by running a `MemoryStore` on the requests.

    A sample of a rate runs on a store that is smaller by this rate (miniature simulation;
    Waldspurger et al., USENIX ATC '17). How far parts of the sample lie apart tells the error.

    Args:
        sample: The requests.
        entries: The entry of each item.
        sizes: The sizes of the store, in bytes.
        show: Is told how many requests were simulated, and which part of all that is.

    Returns:
        A point for each size.
    """
    groups = sample.groups(_GROUPS) if sample.rate < 1 else []
    whole = max(1, (2 if groups else 1) * len(sizes) * len(sample.asked))
    done = 0

    def rate_of(part: Sample, size: int) -> float:
        nonlocal done
        hits = _hits(part, entries, max(1, int(size * part.rate)))
        done += len(part.asked)
        show(done, done / whole)
        requests = len(part.asked) + part.extra
        return min(1.0, max(0.0, (hits + part.extra) / requests)) if requests else 0.0

    points = []
    for size in sizes:
        error = 0.0
        if groups:
            error = _STUDENT * stdev(rate_of(group, size) for group in groups) / _GROUPS**0.5
        points.append(Point(size, rate_of(sample, size), error))
    return points


def _hits(sample: Sample, entries: Entries, max_bytes: int) -> int:
    """Return how many requests hit in a store of this size."""
    store, scope = MemoryStore(max_bytes), Scope("plan")
    get, put, of = store.get_many, store.set_many, entries.of
    hits = 0
    for item in sample.asked:
        key = item.to_bytes(_KEY_BYTES, "big")  # a store remembers the last byte
        if get(scope, [key])[0] is not None:
            hits += 1
        else:
            put(scope, {key: of(item)})
    return hits


def enough(points: Sequence[Point]) -> Point:
    """Return where more memory stops to pay: the smallest size within a point of the best.

    Args:
        points: The hit rates by size.

    Returns:
        One of the points.

    Example:
        >>> enough([Point(1, 0.2, 0.0), Point(2, 0.795, 0.0), Point(4, 0.8, 0.0)]).max_bytes
        2
    """
    best = max(point.hit_rate for point in points)
    return next(point for point in points if point.hit_rate >= best - _POINT)
