"""What a cache counted."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litcache.stores.base import StoreInfo


@dataclass(frozen=True)
class CacheInfo:
    """The counters of one cached method in this process.

    Every item counts once in one of the first five.

    Attributes:
        hits: Items answered from the store.
        misses: Items computed and looked up before; a refresh is a miss.
        coalesced: Items answered by the computation of an equal item in flight.
        bypassed: Items computed without look-up and storing, as `bypass_if` asked.
        uncacheable: Items computed whose key or output cannot be encoded.
        stored: Entries given to the store.
        rejected: Entries that the store refused because they exceed its budget by themselves.
        evicted: Entries that the store dropped to make room.
        expired: Entries that the store found past their expiry.
        store_errors: Calls of the store that failed.
        entries: Entries that the store holds; 0 when it is silent.
        bytes: Bytes that the store accounts for them; 0 when it is silent.
        seconds_computing: Seconds spent in the cached method.
        seconds_saved: Mean seconds an item × items answered without computing.

    Example:
        >>> CacheInfo(hits=3, misses=1).hit_rate
        0.75
    """

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    bypassed: int = 0
    uncacheable: int = 0
    stored: int = 0
    rejected: int = 0
    evicted: int = 0
    expired: int = 0
    store_errors: int = 0
    entries: int = 0
    bytes: int = 0
    seconds_computing: float = 0.0
    seconds_saved: float = 0.0

    @property
    def hit_rate(self) -> float:
        """The share of looked-up items that were not computed; 0.0 before the first."""
        answered = self.hits + self.coalesced
        return answered / (answered + self.misses) if answered + self.misses else 0.0


# Where each count stands among the numbers of `Counters`.
(HITS, MISSES, COALESCED, BYPASSED, UNCACHEABLE, STORED, STORE_ERRORS, SECONDS,
 LISTS, FULL, PARTIAL, EMPTY, BATCH_ITEMS, LOOKUP_SECONDS) = range(14)  # fmt: skip
OUTCOMES = ("hits", "misses", "coalesced", "bypassed", "uncacheable")
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Upper bounds of the sizes that model batches are counted by; there is no last one."""
LOOKUP_TIMES = (25e-6, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 0.01, 0.025, 0.1, 1.0)
"""Upper bounds, in seconds, that look-ups are counted by; there is no last one."""
BATCHES = slice(14, 14 + len(BATCH_SIZES) + 1)
LOOKUPS = slice(BATCHES.stop, BATCHES.stop + len(LOOKUP_TIMES) + 1)
NUMBERS = LOOKUPS.stop
"""How many numbers `Counters` has."""


class Counters:
    """The running counts behind `CacheInfo` and the metrics, added to from any thread.

    Args:
        lists: Whether a request may be of several items, so that `add_requests` counts them.

    Attributes:
        timed: Whether look-ups are to be timed, as somebody will read that.
    """

    __slots__ = ("_base", "_lists", "_lock", "_numbers", "timed")

    def __init__(self, *, lists: bool = False) -> None:
        self._lists = lists
        self.reset()

    def reset(self) -> None:
        """Begin at 0 in memory of this process alone, as a forked child must."""
        self._lock = threading.Lock()  # another thread may have held the old one at the fork
        self._numbers: list[float] | memoryview[float] = [0] * NUMBERS
        self._numbers[LISTS] = self._lists
        self._base = [0.0] * NUMBERS
        self.timed = False

    def share(self, numbers: memoryview[float]) -> None:
        """Count on in memory that others read, which may hold counts of a process before.

        Args:
            numbers: At least `NUMBERS` doubles.
        """
        with self._lock:
            for place in range(NUMBERS):
                own = self._numbers[place] - self._base[place]
                self._base[place] = numbers[place]
                numbers[place] += own
            self._numbers = numbers
            self.timed = True

    def add_hits(self, count: int) -> None:
        """Count items of a call in which every item hit."""
        with self._lock:
            self._numbers[HITS] += count

    def add(
        self,
        *,
        hits: int = 0,
        misses: int = 0,
        coalesced: int = 0,
        bypassed: int = 0,
        uncacheable: int = 0,
        stored: int = 0,
        store_errors: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Add to the counts, all at once."""
        with self._lock:
            numbers = self._numbers
            numbers[HITS] += hits
            numbers[MISSES] += misses
            numbers[COALESCED] += coalesced
            numbers[BYPASSED] += bypassed
            numbers[UNCACHEABLE] += uncacheable
            numbers[STORED] += stored
            numbers[STORE_ERRORS] += store_errors
            numbers[SECONDS] += seconds

    def add_requests(self, full: int = 0, partial: int = 0, empty: int = 0) -> None:
        """Count requests of several items: answered wholly, partly or not without computing.

        Requests of one item are not counted here: they are that item.
        """
        with self._lock:
            self._numbers[FULL] += full
            self._numbers[PARTIAL] += partial
            self._numbers[EMPTY] += empty

    def add_batch(self, items: int) -> None:
        """Count a call of the user's method with so many items."""
        with self._lock:
            self._numbers[BATCHES.start + bisect_left(BATCH_SIZES, items)] += 1
            self._numbers[BATCH_ITEMS] += items

    def add_lookup(self, seconds: float) -> None:
        """Count a look-up that took so long."""
        with self._lock:
            self._numbers[LOOKUPS.start + bisect_left(LOOKUP_TIMES, seconds)] += 1
            self._numbers[LOOKUP_SECONDS] += seconds

    def info(self, store: StoreInfo) -> CacheInfo:
        """Return the counts together with what the store says of itself."""
        with self._lock:
            own = [now - base for now, base in zip(self._numbers, self._base, strict=False)]
        computed = own[MISSES] + own[BYPASSED] + own[UNCACHEABLE]
        mean = own[SECONDS] / computed if computed else 0.0
        return CacheInfo(
            hits=int(own[HITS]),
            misses=int(own[MISSES]),
            coalesced=int(own[COALESCED]),
            bypassed=int(own[BYPASSED]),
            uncacheable=int(own[UNCACHEABLE]),
            stored=int(own[STORED]),
            rejected=store.rejected,
            evicted=store.evicted,
            expired=store.expired,
            store_errors=int(own[STORE_ERRORS]),
            entries=store.entries,
            bytes=store.bytes,
            seconds_computing=own[SECONDS],
            seconds_saved=mean * (own[HITS] + own[COALESCED]),
        )
