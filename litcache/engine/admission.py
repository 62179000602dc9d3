"""Admission: which outputs are worth a write into a store that may wait for I/O."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Collection

from litcache.stores.base import Entry, Store
from litcache.stores.tiered import TieredStore

HIT_WORTH = 256
"""A hit is worth so many writes: admission may lose one for so many outputs that it refuses. As
there are never more of these than items, that is 0.4 points of the hit rate."""
ROUND = 4_096
"""So many misses are stored before the first try; so often the store is asked if it is full."""
LONGEST_PAUSE = 64 * ROUND
"""The pause after a try that lost hits doubles each time, up to so many misses."""

# Of 256 groups of keys: those that a try is made with, and those that need two misses after it.
# The rest lead the duel: they are always stored.
_TRIED, _FOLLOWERS, _GROUPS = 16, 240, 256
# A try succeeds after so many refusals.
_PROOF = 1_024
# Counts are halved at so many refusals, so that old traffic is forgotten.
_MEMORY = 1 << 18
# What differs by more standard deviations than these is no chance: of second and of first misses.
_SECOND, _FIRST = 3.0, 4.0
# How many keys are remembered; each takes two bytes.
_FEWEST, _MOST = 1 << 12, 1 << 22
# Keys are digests: some bits say where a key is remembered, others by what.
_places = struct.Struct("<IH").unpack_from


class Admission:
    """Refuses the outputs of items that are asked for once, where that costs no hits.

    Every output is stored as long as the store has room. Once it evicts, one key of 16 is tried: it
    is stored at its second miss. If that loses less than one hit for `HIT_WORTH` refusals, all keys
    but one of 16 need a second miss, until they lose more, or the store has room again.

    The hits that are lost are told by a duel (set dueling: Qureshi et al., ISCA 2007): keys that
    need a second miss should miss as often as the others, which are stored at once, for their
    share of all keys. Second misses are compared by themselves, since what is asked for once says
    nothing of hits. A doorkeeper knows them (TinyLFU: Einziger, Friedman & Manes, TOS 2017): two
    bytes for each key, which a new key in the same place overwrites, so that it ages by itself.
    First misses show what the doorkeeper has forgotten, and what other processes missed.

    What is refused was answered, and whoever waited for it has it. A hit costs nothing, a miss a
    count; while keys are refused, a miss of a batch costs about 0.3 µs.

    Concurrency: safe in many threads. There is no lock: a count that is lost when two threads
    count at once does no harm.

    Args:
        store: The store.

    Attributes:
        is_due: Whether `look` is to be called by whoever may wait for the store.

    Example:
        >>> from litcache.stores.memory import MemoryStore
        >>> admission = Admission(MemoryStore("1 MiB"))
        >>> admission.choose({b"k" * 16: None}, ())  # at first, everything is stored
        {b'kkkkkkkkkkkkkkkk': None}
    """

    def __init__(self, store: Store) -> None:
        # A front evicts although there is room behind it.
        self._store = store.back if isinstance(store, TieredStore) else store
        self._evicted = 0
        self._pause = self._left = ROUND
        self.is_due = False
        # How many groups of keys need a second miss, and what is remembered of them.
        self._doorkeeper = 0, array("H")
        self._count_anew()

    @property
    def is_refusing(self) -> bool:
        """Whether most keys need a second miss."""
        return self._doorkeeper[0] == _FOLLOWERS

    def choose(
        self, entries: dict[bytes, Entry], wanted: Collection[bytes] = ()
    ) -> dict[bytes, Entry]:
        """Return the entries to store.

        Args:
            entries: The entries of a call that missed, by key.
            wanted: Keys that are stored in any case: somebody waits for them, or they replace an
                entry.
        """
        self._left -= len(entries)
        if self._left <= 0:
            self.is_due = True
        limit, tags = self._doorkeeper
        if not limit:
            return entries
        kept: dict[bytes, Entry] = {}
        refused = leaders = second = leaders_second = 0
        mask = len(tags) - 1
        for key, entry in entries.items():
            number, mark = _places(key)
            place, tag = number & mask, mark | 0x8001
            known, is_tried = tags[place], key[-1] < limit
            if known == tag ^ 1:  # not counted yet
                second += is_tried
                leaders_second += not is_tried
            elif known != tag and key not in wanted:
                tags[place] = tag ^ 1
                if is_tried:
                    refused += 1
                    continue
                leaders += 1
                kept[key] = entry
                continue
            tags[place] = tag
            kept[key] = entry
        self._refused += refused
        self._leaders += leaders
        self._second += second
        self._leaders_second += leaders_second
        self._judge(limit, tags)
        return kept

    def look(self) -> None:
        """Ask the store whether it evicts, and begin or end a try; never raise an error."""
        self.is_due, self._left = False, ROUND
        try:
            info = self._store.info()
        except Exception:  # any class may be a store; it is asked again
            return
        is_full, self._evicted = info.evicted > self._evicted, info.evicted
        limit, _ = self._doorkeeper
        if limit and not is_full:
            self._stop()
        elif is_full and not limit:
            # Twice as many places as entries: what it has forgotten is evicted, too.
            places = 1 << (2 * info.entries).bit_length()
            self._begin(_TRIED, array("H", bytes(2 * min(max(places, _FEWEST), _MOST))))

    def _judge(self, limit: int, tags: array[int]) -> None:
        """Refuse more, or nothing any more, by what was counted."""
        ratio, allowed = limit / (_GROUPS - limit), self._refused / HIT_WORTH
        lost = self._second - ratio * self._leaders_second
        unseen = self._refused - ratio * self._leaders
        if (
            lost > allowed + _SECOND * _chance(self._second, self._leaders_second, ratio)
            or unseen > allowed + _FIRST * _chance(self._refused, self._leaders, ratio)
        ):  # fmt: skip
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._stop()
        elif limit == _TRIED:
            if self._refused >= _PROOF and lost <= allowed:
                self._begin(_FOLLOWERS, tags)
        elif self._refused >= _MEMORY:
            self._refused //= 2
            self._leaders //= 2
            self._second //= 2
            self._leaders_second //= 2

    def _begin(self, limit: int, tags: array[int]) -> None:
        """Refuse the keys of so many groups at their first miss."""
        self._count_anew()
        self._left = ROUND
        self._doorkeeper = limit, tags

    def _stop(self) -> None:
        """Store everything until the pause is over."""
        self._begin(0, array("H"))
        self._left = self._pause

    def _count_anew(self) -> None:
        # First and second misses: of keys that may be refused, and of those that lead the duel.
        self._refused = self._leaders = self._second = self._leaders_second = 0


def _chance(count: int, leaders: int, ratio: float) -> float:
    """Return the standard deviation of a count less that of the leaders times a ratio."""
    return math.sqrt(count + ratio**2 * (leaders + 1))
