"""What a cache counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass


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


class Counters:
    """The running counts behind `CacheInfo`, added to from any thread."""

    __slots__ = ("_lock", "bypassed", "coalesced", "hits", "misses", "seconds", "store_errors",
                 "stored", "uncacheable")  # fmt: skip

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0
        self.coalesced = 0
        self.bypassed = 0
        self.uncacheable = 0
        self.stored = 0
        self.store_errors = 0
        self.seconds = 0.0

    def renew_lock(self) -> None:
        """Replace the lock, which another thread may have held when this process was forked."""
        self._lock = threading.Lock()

    def add_hits(self, count: int) -> None:
        """Count items of a call in which every item hit."""
        with self._lock:
            self.hits += count

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
            self.hits += hits
            self.misses += misses
            self.coalesced += coalesced
            self.bypassed += bypassed
            self.uncacheable += uncacheable
            self.stored += stored
            self.store_errors += store_errors
            self.seconds += seconds

    def info(
        self,
        *,
        entries: int = 0,
        bytes: int = 0,
        rejected: int = 0,
        evicted: int = 0,
        expired: int = 0,
    ) -> CacheInfo:
        """Return the counts together with what the store says of itself."""
        with self._lock:
            computed = self.misses + self.bypassed + self.uncacheable
            mean = self.seconds / computed if computed else 0.0
            return CacheInfo(
                hits=self.hits,
                misses=self.misses,
                coalesced=self.coalesced,
                bypassed=self.bypassed,
                uncacheable=self.uncacheable,
                stored=self.stored,
                rejected=rejected,
                evicted=evicted,
                expired=expired,
                store_errors=self.store_errors,
                entries=entries,
                bytes=bytes,
                seconds_computing=self.seconds,
                seconds_saved=mean * (self.hits + self.coalesced),
            )
