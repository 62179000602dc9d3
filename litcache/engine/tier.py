"""What the caches of all tiers have: a store, claims and counters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from litcache.engine import trials
from litcache.engine.call import COALESCED, HIT, MISS, UNCACHEABLE, VERIFIED, Misses
from litcache.engine.flight import Claim, Flight
from litcache.engine.guarded import GuardedStore
from litcache.keys.contexts import Context
from litcache.observe.counters import CacheInfo, Counters, Labels
from litcache.observe.log import Reporter
from litcache.stores.base import Entry, Scope, Store


class Tier(ABC):
    """A cache as `run.settle` needs it: the cache of a method, or the cache of the HTTP tier.

    Args:
        name: Its name in messages.
        scope: Its namespace and version.
        store: Where its entries live.
        labels: The labels of its counters in the metrics.
        lists: Whether a request may hold several items.
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
        """Return the counters; entries and bytes are 0 if the store does not answer."""
        return self.counters.info(self.guarded.info())

    # ------------------------------------------------------------------ what differs by tier

    @property
    def device(self) -> Any:
        """The device for tensors, or `None`."""
        return None

    @abstractmethod
    def take(self, misses: Misses, position: int, entry: Entry) -> bool:
        """Take an entry as the output of an item; return false if it cannot be read."""

    @abstractmethod
    def remaining(self, misses: Misses) -> float | None:
        """Return how many seconds a call may still wait for others; `None` without a limit."""

    def may_store(self, misses: Misses) -> bool:
        """Return whether the outputs of a call may be stored."""
        return misses.store_works

    def contexts(self, misses: Misses) -> Sequence[Context]:
        """Return the contexts of a call, which may explain why it missed."""
        return ()

    # ------------------------------------------------------------------ what was computed

    def publish(self, group: Sequence[Misses]) -> Callable[[], bool] | None:
        """Give followers what was computed.

        Returns:
            A function that stores it and then releases the claims; `None` if there is nothing to
            store.
        """
        claims: list[Claim] = []
        writes: list[tuple[Scope, Mapping[bytes, Entry]]] = []
        for misses in group:
            if misses.tried:
                trials.prove(misses, self.device)
            positions, misses.to_compute = misses.to_compute, []
            for position in positions if misses.equals else ():
                entry = misses.published.get(misses.keys[position] or b"")
                self.share(misses, misses.equals.pop(position, ()), entry)
            claim, stored = misses.claim, misses.stored
            if claim is not None:
                claims.append(claim)
                claim.publish(misses.published)
                if claim.superseded:  # by a refresh, which has newer outputs
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
        """Store entries, then release the claims; return whether the store took all entries."""
        try:
            return self.guarded.set_each(writes)
        finally:
            for claim in claims:
                self.flight.release(claim)

    def share(self, misses: Misses, positions: Sequence[int], entry: Entry | None) -> None:
        """Give items the entry of an equal item; without an entry, have each computed alone."""
        for position in positions:
            if entry is not None and trials.take_up_shared(misses, position, entry, self.device):
                continue
            if entry is not None and self.take(misses, position, entry):
                misses.outcomes[position] = COALESCED
            else:
                misses.keys[position] = None
                misses.outcomes[position] = UNCACHEABLE
                misses.to_compute.append(position)

    # ------------------------------------------------------------------ the end of a call

    def abandon(self, misses: Misses) -> None:
        """Give up a call that failed or was cancelled: its followers compute for themselves."""
        claim, misses.claim = misses.claim, None
        if claim is not None:
            claim.give_up()
            self.flight.release(claim)
        misses.to_compute, misses.unclaimed, misses.waits = [], [], {}

    def finish(self, misses: Misses) -> None:
        """Count the items of a call that had misses."""
        counts = misses.counted()
        self.counters.add(**counts)
        found = bool(counts[HIT] or counts[VERIFIED])
        if not found:
            self.reporter.missed(counts[MISS], self.contexts(misses))
        self.reporter.tick(self.info, hit=found)
