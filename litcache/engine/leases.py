"""Leases: of the processes that miss one key, one computes, and the others wait for its entry."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from litcache.engine import threads
from litcache.engine.call import Call, Misses
from litcache.engine.flight import AwayClaim, Claim, Flight
from litcache.engine.guarded import GuardedStore
from litcache.forks import Forkable, begin_anew
from litcache.stores.base import Lease, Scope

HOLDER_BYTES = 8
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.001, 0.05, 1.5
# After so many holders that ended one after the other without an entry, waiting does not help.
_HOLDERS = 2
# A call hears of the end of its time from the thread that looks; if that hangs in the store, a call
# goes on by itself so much later.
_GRACE_SECONDS = 1.0
# So long a call has to claim what its process has leased for it. It may never do so: it was
# cancelled, or it no longer waits for anybody.
_CLAIM_SECONDS = 0.1
# A thread that has had nothing to look for so long ends, so that no cache lives for ever.
_IDLE_SECONDS = 5.0


class Leases(Forkable):
    """The leases of one cache in this process.

    A call that misses a key that another process has leased waits for a claim, as it does for a
    call of its own process. One thread looks for the entries of all such claims.

    Concurrency: safe in many threads. A forked process is another holder, and waits for nothing.

    Args:
        seconds: How long a lease lasts, and how long a call waits in all.
        flight: The claims of the cache.
        guarded: The store.
        clock: The clock by which calls wait, in seconds.

    Attributes:
        lease: What this process asks for.
    """

    def __init__(
        self,
        seconds: float,
        flight: Flight,
        guarded: GuardedStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._flight = flight
        self._guarded = guarded
        self._clock = clock
        self._begin()
        begin_anew(self)

    def after_fork_in_child(self) -> None:
        """Begin as another holder: the leases so far are those of the parent."""
        self._begin()

    def _begin(self) -> None:
        self.lease = Lease(os.urandom(HOLDER_BYTES), self._seconds)
        self._arrivals: SimpleQueue[_Awaited] = SimpleQueue()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------ what others hold

    def is_patient(self, misses: Misses) -> bool:
        """Return whether a call may wait for other processes, or has waited long enough."""
        return misses.patience is None or self._clock() < misses.patience

    def begin_to_wait(self, misses: Misses) -> float:
        """Return until when a call waits for other processes; its time begins with the first."""
        if misses.patience is None:
            misses.patience = self._clock() + self._seconds
        return misses.patience

    def bounded(self, misses: Misses, seconds: float | None) -> float:
        """Return how long a call may still wait for a process, if it may wait so many seconds."""
        left = max(0.0, self.begin_to_wait(misses) + _GRACE_SECONDS - self._clock())
        return left if seconds is None else min(seconds, left)

    def leave(self, misses: Misses, own: Claim, key: bytes, holder: bytes) -> Claim | None:
        """Leave a key that a call has claimed to the process that has leased it.

        Args:
            misses: The misses of the call.
            own: The call's claim.
            key: The key.
            holder: Who has leased it.

        Returns:
            The claim to wait for; `None` if the call has to compute the key: another one has taken
            it over meanwhile, or there are no more threads.
        """
        until, now = self.begin_to_wait(misses), self._clock()
        away = AwayClaim(misses.call.scope.epoch)
        if not self._flight.hand_over(own, key, away):
            return None
        scope = misses.call.scope.renewed()
        awaited = _Awaited(away, scope, key, holder, until, now)
        self._arrivals.put(awaited)
        thread = self._thread
        if (thread is None or not thread.is_alive()) and not self._start():
            self._settle([awaited])
            return None
        return away

    def _start(self) -> bool:
        arguments = (self._arrivals,)
        thread = threading.Thread(
            target=self._watch, args=arguments, name="litcache-leases", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads: the interpreter ends, or the limit is met
            return False
        self._thread = thread
        return True

    def _watch(self, arrivals: SimpleQueue[_Awaited]) -> None:
        """Look for what other processes compute, as long as there is something."""
        awaited: list[_Awaited] = []
        while True:
            try:
                look_at = min((each.look_at for each in awaited), default=None)
                wait = _IDLE_SECONDS if look_at is None else max(0.0, look_at - self._clock())
                awaited.append(arrivals.get(timeout=wait))
                while True:
                    awaited.append(arrivals.get_nowait())
            except Empty:
                if not awaited and self._may_end(arrivals):
                    return
            now = self._clock()
            due = [each for each in awaited if each.look_at <= now]
            self._release_unclaimed([each for each in due if each.is_leased])
            due = [each for each in due if not each.is_over]
            for together in _by_epoch(due):
                self._look(together, now)
            awaited = [each for each in awaited if not each.is_over]

    def _may_end(self, arrivals: SimpleQueue[_Awaited]) -> bool:
        self._thread = None  # before the last look: whoever comes after it starts another thread
        return arrivals.empty()

    def _look(self, together: Sequence[_Awaited], now: float) -> None:
        """Ask the store for what some calls of one epoch wait for."""
        wanted = [each for each in together if not each.claim.done]
        self._settle([each for each in together if each.claim.done])  # all who waited have given up
        if not wanted:
            return
        scope = wanted[0].scope.renewed()
        keys = [each.key for each in wanted]
        try:
            entries, others = self._guarded.get_or_lease_many(scope, keys, self.lease)
        except Exception:  # in strict mode a failing store raises
            entries = None
        if entries is None or scope.epoch != wanted[0].claim.epoch:
            # Nobody knows, or the namespace was cleared: each computes for itself.
            self._settle(wanted)
            return
        for each, entry in zip(wanted, entries, strict=True):
            if entry is not None:
                each.claim.publish({each.key: entry})
            elif each.key in others and each.goes_on(others[each.key], now):
                continue
            self._settle([each])
            if entry is None and each.key not in others:
                each.lease(scope, now)

    def _release_unclaimed(self, leased: Sequence[_Awaited]) -> None:
        """End the leases that no call of this process computes for."""
        for each in leased:
            each.is_over = True
            if self._flight.holder(each.key) is None:
                with suppress(Exception):  # in strict mode a failing store raises
                    self._guarded.release_many(each.scope, [each.key], self.lease)

    def _settle(self, over: Sequence[_Awaited]) -> None:
        """End the waiting for some claims; who has got no entry goes on by itself."""
        for each in over:
            each.is_over = True
            each.claim.give_up()
            self._flight.release(each.claim)

    # ------------------------------------------------------------------ what this process holds

    def end(self, call: Call, claim: Claim, stored: Collection[bytes]) -> None:
        """End the leases on what a call has claimed and does not store.

        Storing an entry ends its lease: an entry that is queued is seen by others only then.

        Args:
            call: The call.
            claim: Its claim.
            stored: The keys that it stores.
        """
        keys = [key for key in claim.keys if key not in stored]
        if keys and call.scope.epoch:
            with suppress(RuntimeError):  # no more threads: the leases end with their time
                threads.submit(self._end, call.scope, claim, keys)

    def _end(self, scope: Scope, claim: Claim, keys: Sequence[bytes]) -> None:
        # Another call of this process may have claimed a key: its lease goes on.
        free = [key for key in keys if self._flight.holder(key) in (None, claim)]
        if free:
            self._guarded.release_many(scope, free, self.lease)


class _Awaited:
    """A key that another process computes.

    Args:
        claim: What the calls of this process wait for.
        scope: The namespace.
        key: The key.
        holder: Who has leased it.
        until: How long to wait at most.
        now: The time.

    Attributes:
        look_at: When to look for its entry the next time.
        is_leased: Whether this process has leased the key now, for a call that has waited.
        is_over: Whether there is nothing to look for any more.
    """

    __slots__ = (
        "_holder", "_holders", "_pause", "_until",
        "claim", "is_leased", "is_over", "key", "look_at", "scope",
    )  # fmt: skip

    def __init__(
        self, claim: AwayClaim, scope: Scope, key: bytes, holder: bytes, until: float, now: float
    ) -> None:
        self.claim = claim
        self.scope = scope
        self.key = key
        self._holder = holder
        self._holders = 1
        self._until = until
        self._pause = _FIRST_PAUSE
        self.look_at = now + self._pause
        self.is_leased = self.is_over = False

    def lease(self, scope: Scope, now: float) -> None:
        """Plan a look at whether a call has claimed what this process has leased."""
        self.scope, self.is_leased, self.is_over = scope, True, False
        self.look_at = now + _CLAIM_SECONDS

    def goes_on(self, holder: bytes, now: float) -> bool:
        """Return whether to wait on for a holder, and plan the next look."""
        if holder != self._holder:
            self._holder, self._holders = holder, self._holders + 1
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
        self.look_at = min(now + self._pause, self._until)
        self.claim.ran_out = now >= self._until
        return not self.claim.ran_out and self._holders <= _HOLDERS


def _by_epoch(awaited: Sequence[_Awaited]) -> Collection[list[_Awaited]]:
    groups: dict[bytes | None, list[_Awaited]] = {}
    for each in awaited:
        groups.setdefault(each.claim.epoch, []).append(each)
    return groups.values()
