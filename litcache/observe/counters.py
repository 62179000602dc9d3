"""The counters of each cache, for `info()` and for the metrics."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict

from litcache.stores.base import StoreInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class CacheInfo:
    """The counters of one cached method in this process.

    Every item counts once in one of the first six.

    Attributes:
        hits: Items answered from the store.
        misses: Items that were looked up and computed; a refresh is a miss.
        coalesced: Items answered by the computation of an equal item.
        verified: Items that were in the store, and were computed to compare the two: the trial.
        bypassed: Items for which `bypass_if` was true: neither looked up nor stored.
        uncacheable: Items whose key or output cannot be encoded.
        stored: Entries given to the store.
        rejected: Entries that the store refused because each is larger than the whole budget.
        evicted: Entries that the store dropped to make room.
        expired: Entries that the store found expired.
        overflowed: Entries that were dropped because the queue of writes was full.
        not_admitted: Outputs that were not stored because most items are asked for once.
        store_errors: Calls of the store that failed.
        entries: Entries that the store holds; 0 if it does not answer.
        bytes: Bytes that the store accounts for them; 0 if it does not answer.
        seconds_computing: Seconds that the cached method took.
        seconds_saved: Mean seconds to compute an item × items that were not computed: an estimate.
        seconds_verifying: Mean seconds to compute an item × verified items: what the trial cost,
            and with `Trial(observe=True)` what answering from the store would have saved.
        disagreements: Verified items for which the store had another answer than the method.
        state: `"trial"` while the first hits are verified, `"on"`, or `"off"` after a disagreement.
        disagreement: What differed in the first disagreement; empty if nothing did.

    Example:
        >>> CacheInfo(hits=3, misses=1).hit_rate
        0.75
    """

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    verified: int = 0
    bypassed: int = 0
    uncacheable: int = 0
    stored: int = 0
    rejected: int = 0
    evicted: int = 0
    expired: int = 0
    overflowed: int = 0
    not_admitted: int = 0
    store_errors: int = 0
    entries: int = 0
    bytes: int = 0
    seconds_computing: float = 0.0
    seconds_saved: float = 0.0
    seconds_verifying: float = 0.0
    disagreements: int = 0
    state: str = "on"
    disagreement: str = ""

    @property
    def hit_rate(self) -> float:
        """The share of looked-up items that were in the store or coalesced; 0.0 before the first.

        Verified items are in it: after the trial they would be hits.
        """
        found = self.hits + self.coalesced + self.verified
        return found / (found + self.misses) if found + self.misses else 0.0


STATES = ("on", "trial", "off")
"""The states of a cache; the place of each here is its number in `Counters`."""


# The place of each count among the numbers of `Counters`.
(HITS, MISSES, COALESCED, BYPASSED, UNCACHEABLE, STORED, STORE_ERRORS, SECONDS,
 LISTS, FULL, PARTIAL, EMPTY, BATCH_ITEMS, LOOKUP_SECONDS,
 VERIFIED, DISAGREEMENTS, OVERFLOWED, NOT_ADMITTED, STATE) = range(19)  # fmt: skip
PLACES = {
    "hits": HITS,
    "misses": MISSES,
    "coalesced": COALESCED,
    "verified": VERIFIED,
    "bypassed": BYPASSED,
    "uncacheable": UNCACHEABLE,
    "disagreements": DISAGREEMENTS,
    "stored": STORED,
    "overflowed": OVERFLOWED,
    "not_admitted": NOT_ADMITTED,
    "store_errors": STORE_ERRORS,
    "seconds": SECONDS,
}
"""The place of each count that `Counters.add` takes, by its name there."""
COMPUTED = (MISSES, VERIFIED, BYPASSED, UNCACHEABLE)
"""The counts whose sum is how many items were computed."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""The upper bounds of the buckets for the sizes of model batches; one more has no bound."""
LOOKUP_TIMES = (25e-6, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 0.01, 0.025, 0.1, 1.0)
"""The upper bounds, in seconds, of the buckets for look-ups; one more has no bound."""
BATCHES = slice(STATE + 1, STATE + 1 + len(BATCH_SIZES) + 1)
LOOKUPS = slice(BATCHES.stop, BATCHES.stop + len(LOOKUP_TIMES) + 1)
NUMBERS = LOOKUPS.stop
"""How many numbers `Counters` has."""


class Counts(TypedDict, total=False):
    """What `Counters.add` takes: items, entries and calls, as `CacheInfo` has them; seconds."""

    hits: int
    misses: int
    coalesced: int
    verified: int
    bypassed: int
    uncacheable: int
    disagreements: int
    stored: int
    overflowed: int
    not_admitted: int
    store_errors: int
    seconds: float


class Counters:
    """The counts from which `CacheInfo` and the metrics are made.

    Concurrency: safe in many threads.

    Args:
        lists: Whether a request may hold several items, so that `add_requests` counts requests.

    Attributes:
        timed: Whether to time look-ups, which only the metrics show.
        disagreement: What differed when the cache was found to be wrong; empty until then.
    """

    __slots__ = ("_base", "_lists", "_lock", "_numbers", "_state", "disagreement", "timed")

    def __init__(self, *, lists: bool = False) -> None:
        self._lists = lists
        self._state = STATES[0]
        self.disagreement = ""
        self.reset()

    def reset(self) -> None:
        """Begin at 0, in the memory of this process alone; a forked child must do so.

        The state stays: the child has inherited the verdict, too.
        """
        self._lock = threading.Lock()  # at the fork another thread may have held the old one
        self._numbers: list[float] | memoryview[float] = [0] * NUMBERS
        self._numbers[LISTS] = self._lists
        self._numbers[STATE] = STATES.index(self._state)
        self._base = [0.0] * NUMBERS
        self.timed = False

    def share(self, numbers: memoryview[float]) -> None:
        """From now on, count in memory that other processes read.

        Args:
            numbers: At least `NUMBERS` doubles, with the counts of an earlier process.
        """
        with self._lock:
            for place in range(NUMBERS):
                own = self._numbers[place] - self._base[place]
                self._base[place] = numbers[place]
                numbers[place] += own
            numbers[STATE] = STATES.index(self._state)  # not that of an earlier process
            self._numbers = numbers
            self.timed = True

    @property
    def state(self) -> str:
        """Whether the cache is on `"trial"`, `"on"` or `"off"`; other processes see it, too."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        number = STATES.index(state)
        with self._lock:
            self._state = state
            self._numbers[STATE] = number

    def add_hits(self, count: int) -> None:
        """Count items of a call in which every item hit."""
        with self._lock:
            self._numbers[HITS] += count

    def add_hit(self) -> None:
        """Count a hit where one thread alone counts hits, as that of an event loop: no lock."""
        self._numbers[HITS] += 1

    def add(self, **counts: Unpack[Counts]) -> None:
        """Add to the counts, all at once."""
        with self._lock:
            numbers = self._numbers
            for name, count in counts.items():
                numbers[PLACES[name]] += count  # type: ignore[operator]

    def add_requests(self, full: int = 0, partial: int = 0, empty: int = 0) -> None:
        """Count requests of several items by how many of the items were not computed.

        Args:
            full: Requests of which no item was computed.
            partial: Requests of which some items were computed.
            empty: Requests of which all items were computed.
        """
        with self._lock:
            self._numbers[FULL] += full
            self._numbers[PARTIAL] += partial
            self._numbers[EMPTY] += empty

    def add_batch(self, items: int) -> None:
        """Count one call of the user's method by the number of its items."""
        with self._lock:
            self._numbers[BATCHES.start + bisect_left(BATCH_SIZES, items)] += 1
            self._numbers[BATCH_ITEMS] += items

    def add_lookup(self, seconds: float) -> None:
        """Count one look-up by the time that it took."""
        with self._lock:
            self._numbers[LOOKUPS.start + bisect_left(LOOKUP_TIMES, seconds)] += 1
            self._numbers[LOOKUP_SECONDS] += seconds

    def info(self, store: StoreInfo) -> CacheInfo:
        """Return the counts of this process and those of the store."""
        with self._lock:
            own = [now - base for now, base in zip(self._numbers, self._base, strict=False)]
        computed = sum(own[place] for place in COMPUTED)
        mean = own[SECONDS] / computed if computed else 0.0
        return CacheInfo(
            hits=int(own[HITS]),
            misses=int(own[MISSES]),
            coalesced=int(own[COALESCED]),
            verified=int(own[VERIFIED]),
            bypassed=int(own[BYPASSED]),
            uncacheable=int(own[UNCACHEABLE]),
            stored=int(own[STORED]),
            rejected=store.rejected,
            evicted=store.evicted,
            expired=store.expired,
            overflowed=int(own[OVERFLOWED]),
            not_admitted=int(own[NOT_ADMITTED]),
            store_errors=int(own[STORE_ERRORS]),
            entries=store.entries,
            bytes=store.bytes,
            seconds_computing=own[SECONDS],
            seconds_saved=mean * (own[HITS] + own[COALESCED]),
            seconds_verifying=mean * own[VERIFIED],
            disagreements=int(own[DISAGREEMENTS]),
            state=self._state,
            disagreement=self.disagreement,
        )


class Labels(NamedTuple):
    """The labels of counts; counts with equal labels add up."""

    api: str
    method: str
    tier: str


@dataclass(frozen=True)
class Sample:
    """The answer of a source, which is asked now and then.

    Attributes:
        store: What its store holds, and what it did.
        breaker_open: Whether the store is left alone because it fails.
        shared: Whether other processes use the same store.
        store_id: A number for the store in this process; 0 if no other source uses it.
        about: Facts in words: `version`, `namespace`, `store`.
    """

    store: StoreInfo
    breaker_open: bool = False
    shared: bool = False
    store_id: int = 0
    about: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Anything that has counts: a cache of any tier."""

    @property
    def labels(self) -> Labels:
        """The labels of its counts."""

    @property
    def counters(self) -> Counters:
        """The counts."""

    def sample(self) -> Sample:
        """Return the facts that no counter holds; never raises."""
