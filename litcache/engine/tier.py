"""The store, the flight and the counts of a cache, whichever tier it is of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from litcache.engine.call import COALESCED, HIT, MISS, UNCACHEABLE, Misses
from litcache.engine.flight import Claim, Flight
from litcache.engine.guarded import GuardedStore
from litcache.keys.contexts import Context
from litcache.observe.counters import CacheInfo, Counters, Labels
from litcache.observe.log import Reporter
from litcache.stores.base import Entry, Scope, Store


class Tier(ABC):
    """What `run.settle` needs of a cache: that of a method, or that of the HTTP tier.

    Args:
        name: Its name in messages.
        scope: Whose entries.
        store: Where they live.
        labels: Whose counts the metrics take its counters for.
        lists: Whether a request may be of several items.
    """

    def __init__(
        self, name: str, scope: Scope, store: Store, labels: Labels, *, lists: bool = False
    ) -> None:
        self.scope = scope
        self.store = store
        self.labels = labels
        self.counters = Counters(lists=lists)
        self.reporter = Reporter(name)
        self.flight = Flight()
        self.guarded = GuardedStore(store, self.counters, self.reporter)

    def info(self) -> CacheInfo:
        """Return the counters; entries and bytes are 0 when the store is silent."""
        return self.counters.info(self.guarded.info())

    # ------------------------------------------------------------------ what differs by tier

    @abstractmethod
    def take(self, misses: Misses, position: int, entry: Entry) -> bool:
        """Take an entry as the output of an item; false if it cannot be read."""

    @abstractmethod
    def remaining(self, misses: Misses) -> float | None:
        """Return how many seconds a call may still wait for others; `None` without a limit."""

    def may_store(self, misses: Misses) -> bool:
        """Return whether what a call computed may be stored."""
        return misses.store_works

    def contexts(self, misses: Misses) -> Sequence[Context]:
        """Return the contexts that may explain why a call missed."""
        return ()

    # ------------------------------------------------------------------ what was computed

    def publish(self, group: Sequence[Misses]) -> Callable[[], bool] | None:
        """Give followers what was computed; return what stores it and takes the claims back.

        Returns:
            `None` if there is nothing to store.
        """
        claims: list[Claim] = []
        writes: list[tuple[Scope, Mapping[bytes, Entry]]] = []
        for misses in group:
            positions, misses.to_compute = misses.to_compute, []
            for position in positions:
                entry = misses.published.get(misses.keys[position] or b"")
                self.share(misses, misses.equals.pop(position, ()), entry)
            claim, stored = misses.claim, misses.stored
            if claim is not None:
                claims.append(claim)
                claim.publish(misses.published)
                # A refresh has what is newer.
                stored = {k: e for k, e in stored.items() if k not in claim.superseded}
            if stored and self.may_store(misses):
                writes.append((misses.call.scope, stored))
            misses.published, misses.stored = {}, {}
        if writes:
            return partial(self._store, writes, claims)
        for claim in claims:
            self.flight.release(claim)
        return None

    def _store(
        self, writes: Sequence[tuple[Scope, Mapping[bytes, Entry]]], claims: Sequence[Claim]
    ) -> bool:
        """Store entries, and only then take the claims back; return whether all were taken."""
        try:
            return self.guarded.set_each(writes)
        finally:
            for claim in claims:
                self.flight.release(claim)

    def share(self, misses: Misses, positions: Sequence[int], entry: Entry | None) -> None:
        """Give items the entry of an equal one; without one each is computed for itself."""
        for position in positions:
            if entry is not None and self.take(misses, position, entry):
                misses.outcomes[position] = COALESCED
            else:
                misses.keys[position] = None
                misses.outcomes[position] = UNCACHEABLE
                misses.to_compute.append(position)

    # ------------------------------------------------------------------ the end of a call

    def abandon(self, misses: Misses) -> None:
        """Give a call up that failed or was cancelled: followers compute for themselves."""
        claim, misses.claim = misses.claim, None
        if claim is not None:
            claim.give_up()
            self.flight.release(claim)
        misses.to_compute, misses.unclaimed, misses.waits = [], [], {}

    def finish(self, misses: Misses) -> None:
        """Count a call that was not all hits."""
        counts = misses.counted()
        self.counters.add(**counts)
        if not counts[HIT]:
            self.reporter.missed(counts[MISS], self.contexts(misses))
        self.reporter.tick(self.info, hit=bool(counts[HIT]))
