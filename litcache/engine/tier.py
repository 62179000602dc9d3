"""What the caches of all tiers have: a store, claims and counters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from litcache.engine import trials
from litcache.engine.admission import Admission
from litcache.engine.call import COALESCED, HIT, MISS, UNCACHEABLE, VERIFIED, Misses
from litcache.engine.flight import Claim, Flight
from litcache.engine.guarded import GuardedStore
from litcache.engine.leases import Leases
from litcache.keys.contexts import Context
from litcache.observe.counters import CacheInfo, Counters, Labels
from litcache.observe.log import Reporter
from litcache.stores.base import Entry, Lease, Scope, Store

_STEP = 1.05


class Tier(ABC):
    """A cache as `run.settle` needs it: the cache of a method, or the cache of the HTTP tier.

    Args:
        name: Its name in messages.
        scope: Its namespace and version.
        store: Where its entries live.
        labels: The labels of its counters in the metrics.
        lists: Whether a request may hold several items.
        lease: For how many seconds a process leases what it computes; `None`: not at all.
    """

    def __init__(
        self,
        name: str,
        scope: Scope,
        store: Store,
        labels: Labels,
        *,
        lists: bool = False,
        lease: float | None = None,
    ) -> None:
        self.scope = scope
        self.store = store
        self.labels = labels
        self.counters = Counters(lists=lists)
        self.reporter = Reporter(name)
        self.flight = Flight()
        is_leased = lease is not None and store.grants_leases
        # Another process may wait for what is leased; a store in memory evicts better by itself.
        self.admission = Admission(store) if store.blocking and not is_leased else None
        self.guarded = GuardedStore(store, self.counters, self.reporter, self.admission)
        self.leases: Leases | None = None
        if lease is not None and is_leased:
            self.leases = Leases(lease, self.flight, self.guarded)

    def info(self) -> CacheInfo:
        """Return the counters; entries and bytes are 0 if the store does not answer."""
        return self.counters.info(self.guarded.info())

    @property
    def lease(self) -> Lease | None:
        """What a look-up asks for beside entries."""
        return None if self.leases is None else self.leases.lease

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

    def took(self, seconds: float, items: int) -> None:
        """Count the seconds that the method took for some items.

        The scope tells stores the median of the seconds an item, by steps towards each (Ma,
        Muthukrishnan & Sandler 2013): one call that takes long moves it no more than any other.
        """
        self.counters.add(seconds=seconds)
        known, now = self.scope.seconds, seconds / items
        self.scope.seconds = known * (_STEP if now > known else 1 / _STEP) if known else now

    def publish(self, group: Sequence[Misses], done: Future[bool] | None = None) -> bool:
        """Give followers what was computed, store it, and release the claims.

        Args:
            group: The misses of calls.
            done: For one call and a store that may wait for I/O: what to tell whether the store
                has the entries, once they are written.

        Returns:
            Whether there are entries, and the store took all of them, or its queue did.
        """
        claims: list[tuple[Misses, Claim, Collection[bytes]]] = []
        writes: list[tuple[Scope, Mapping[bytes, Entry]]] = []
        for misses in group:
            if misses.tried:
                trials.prove(misses, self.device)
            positions, misses.to_compute = misses.to_compute, []
            for position in positions if misses.equals else ():
                key = misses.keys[position] or b""
                entry = misses.published.get(key)
                if misses.claim is not None and misses.equals.get(position):
                    misses.claim.followed.add(key)
                self.share(misses, misses.equals.pop(position, ()), entry)
            claim, stored = misses.claim, misses.stored
            if claim is not None:
                claim.publish(misses.published)
                if claim.superseded:  # by a call that has newer outputs, such as a refresh
                    stored = {k: e for k, e in stored.items() if k not in claim.superseded}
            if stored and not self.may_store(misses):
                stored = {}
            if stored and self.admission is not None:
                stored = self._admitted(self.admission, misses, stored)
            if stored:
                writes.append((misses.call.scope, stored))
            if claim is not None:
                claims.append((misses, claim, stored))
            misses.published, misses.stored = {}, {}
        was_taken = False
        try:
            was_taken = bool(writes) and self.guarded.set_each(writes, done)
        finally:  # from now on, look-ups find the entries
            for misses, claim, kept in claims:
                self.flight.release(claim)
                if self.leases is not None:
                    self.leases.end(misses.call, claim, kept if was_taken else ())
                misses.claim = None  # what is computed after this is for the call alone
        return was_taken

    def _admitted(
        self, admission: Admission, misses: Misses, stored: dict[bytes, Entry]
    ) -> dict[bytes, Entry]:
        """Return the entries of a call that are worth a write; count the others."""
        claim, refreshed = misses.claim, misses.call.refreshed
        kept = admission.choose(stored, claim.followed | refreshed if claim else refreshed)
        if len(kept) < len(stored):
            self.counters.add(not_admitted=len(stored) - len(kept))
        return kept

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
            is_over = claim.done  # it was published, or takes too long
            claim.give_up()
            self.flight.release(claim)
            if not is_over and self.leases is not None:
                self.leases.end(misses.call, claim, ())
        misses.to_compute, misses.unclaimed, misses.waits = [], [], {}

    def finish(self, misses: Misses) -> None:
        """Count the items of a call that had misses."""
        counts = misses.counted()
        self.counters.add(**counts)
        found = HIT in counts or VERIFIED in counts
        if not found:
            self.reporter.missed(counts.get(MISS, 0), self.contexts(misses))
        self.reporter.tick(self.info, hit=found)
