"""Single-flight: one computation for equal items that are asked for at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import repeat
from typing import Protocol

from litcache.forks import Forkable, begin_anew
from litcache.stores.base import Entry


class Waited(Protocol):
    """Something that another call will do."""

    def wait(self, timeout: float | None) -> bool:
        """Block until it is done; return false if that took longer than `timeout` seconds."""

    async def wait_async(self, timeout: float | None) -> bool:
        """Await until it is done; return false if that took longer than `timeout` seconds."""


class Claim:
    """One call's promise to compute some keys; other calls wait for it.

    Attributes:
        epoch: The epoch that the call's look-up saw: a call of another epoch does not wait for it.
        refreshed: Keys that the call computes whatever the store holds.
        superseded: Keys that a later call has claimed, too: this call no longer stores them.
        followed: Keys that were asked for again meanwhile: they are stored in any case.
        entries: The published entries by key; `None` for an output that cannot be stored. A key
            that is missing was not computed: its followers compute it themselves.
        thread: The thread in which the method runs; `None` before it does.
        waits_for: The claim for which this call waits inside its own computation, if it does.
        done: Whether the call has published, or given up.
        is_away: Whether another process computes the key.
        ran_out: Whether the time was up in which the other process had to be done.
    """

    is_away = ran_out = False

    __slots__ = (
        "_waiting", "done", "entries", "epoch", "followed", "keys", "refreshed", "superseded",
        "thread", "waits_for",
    )  # fmt: skip

    def __init__(self, epoch: bytes | None) -> None:
        self.epoch = epoch
        self.done = False
        self.keys: list[bytes] = []
        self.refreshed: Collection[bytes] = ()
        self.superseded: set[bytes] = set()
        self.followed: set[bytes] = set()
        self.entries: Mapping[bytes, Entry | None] = {}
        self.thread: int | None = None
        self.waits_for: Claim | None = None
        self._waiting: list[Future[None]] = []  # one for each follower that waits now

    @property
    def is_running(self) -> bool:
        """Whether the computation has begun."""
        return self.thread is not None or self.is_away

    def publish(self, entries: Mapping[bytes, Entry | None]) -> None:
        """Give the followers what was computed, and wake them."""
        self.entries = entries
        self.give_up()

    def give_up(self) -> None:
        """Wake the followers without a result, unless the call has published."""
        self.done = True  # first: who begins to wait from now on sees it
        for future in tuple(self._waiting):
            _wake(future)

    def serves(self, key: bytes, epoch: bytes | None) -> bool:
        """Return whether waiting for this claim can give an entry of that epoch for the key."""
        return self.epoch == epoch and (not self.done or key in self.entries)

    def renews(self, key: bytes) -> bool:
        """Return whether the call will compute the key: what has begun is too old for a refresh."""
        return key in self.refreshed and not (self.is_running or self.done)

    def wait(self, timeout: float | None) -> bool:
        """Block until published; return false if that took longer than `timeout` seconds."""
        with self._follower() as future, contextlib.suppress(FutureTimeoutError):
            future.result(timeout)
        return self.done

    async def wait_async(self, timeout: float | None) -> bool:
        """Await until published; return false if that took longer than `timeout` seconds."""
        with self._follower() as future:
            await asyncio.wait([asyncio.wrap_future(future)], timeout=timeout)
        return self.done

    @contextlib.contextmanager
    def _follower(self) -> Iterator[Future[None]]:
        """Give a follower a future of its own, which ends with this claim."""
        future: Future[None] = Future()
        self._waiting.append(future)
        try:
            if self.done:  # perhaps before the future was there
                _wake(future)
            yield future
        finally:
            self._waiting.remove(future)


def _wake(future: Future[None]) -> None:
    """End the wait of a follower, unless it has ended."""
    with contextlib.suppress(InvalidStateError):
        future.set_result(None)


class AwayClaim(Claim):
    """A key that another process computes; `Leases` publishes what it finds in the store."""

    __slots__ = ("ran_out",)

    is_away = True

    def __init__(self, epoch: bytes | None) -> None:
        super().__init__(epoch)
        self.ran_out = False


class Flight(Forkable):
    """The claims of all calls of one cache that are computing in this process.

    Example:
        >>> flight = Flight()
        >>> leader, follower = Claim(b"epoch"), Claim(b"epoch")
        >>> flight.claim(leader, [b"key"])
        {}
        >>> flight.claim(follower, [b"key"]) == {b"key": leader}
        True
        >>> flight.release(leader)
    """

    def __init__(self) -> None:
        self._begin()
        begin_anew(self)

    def after_fork_in_child(self) -> None:
        """Begin without claims: the threads that would have kept them are gone."""
        self._begin()

    def _begin(self) -> None:
        # There is no lock: Ctrl-C in a thread that holds one would stop all others for ever. Each
        # operation on the dict is atomic.
        self._claims: dict[bytes, Claim] = {}
        self.released: object = object()

    def claim(
        self,
        claim: Claim,
        keys: Iterable[bytes],
        *,
        refreshed: Collection[bytes] = (),
        force: bool = False,
        patient: bool = True,
    ) -> dict[bytes, Claim]:
        """Claim keys for a call.

        Args:
            claim: The call's claim.
            keys: The keys that the call misses.
            refreshed: Keys among them that a refresh asks for. Of another call, only a refresh that
                has not begun to compute will do: any other may still find an older entry.
            force: Whether to claim also keys of another call, because that call hangs.
            patient: Whether the call may wait for other processes.

        Returns:
            For each key that another call is computing, the claim of that call.
        """
        taken: dict[bytes, Claim] = {}
        claim.refreshed = refreshed
        if not self._claims and not claim.keys:
            claim.keys += keys
            # Each in one atomic operation, as below.
            others = list(map(self._claims.setdefault, claim.keys, repeat(claim)))
            if others.count(claim) == len(others):
                return taken
            keys, claim.keys = claim.keys, []
        for key in keys:
            # Noted first: if an interrupt comes here, the claim is released with all its keys.
            claim.keys.append(key)
            other = self._claims.setdefault(key, claim)
            if other is claim:
                continue
            is_too_old = key in refreshed and not other.renews(key)
            is_left_alone = force or is_too_old or (other.is_away and not patient)
            if not is_left_alone and other.serves(key, claim.epoch):
                taken[key] = other
                other.followed.add(key)
                claim.keys.pop()
                continue
            # One of another epoch, too: it may look up again, and store under the epoch of now.
            other.superseded.add(key)
            self._claims[key] = claim
        return taken

    def is_computing(
        self, keys: Iterable[bytes], epoch: bytes | None, refreshed: Collection[bytes] = ()
    ) -> bool:
        """Return whether others compute all of some keys now, for a call of that epoch."""
        return all(
            other is not None
            and other.serves(key, epoch)
            and (key not in refreshed or other.renews(key))
            for key, other in ((key, self._claims.get(key)) for key in keys)
        )

    def hand_over(self, own: Claim, key: bytes, other: Claim) -> bool:
        """Put another claim in the place of a call's own; return false if that is not there."""
        if self._claims.get(key) is not own:
            return False
        other.keys.append(key)
        self._claims[key] = other
        own.keys.remove(key)
        return True

    def holder(self, key: bytes) -> Claim | None:
        """Return the claim on a key, if there is one."""
        return self._claims.get(key)

    def release(self, claim: Claim) -> None:
        """Release the keys of a claim; the call's entries are in the store by now."""
        claims = self._claims
        self.released = object()  # another one each time; first, so that who claims a key sees it
        keys = claim.keys
        if claim.superseded:
            keys = [key for key in keys if claims.get(key) is claim]
        removed = list(map(claims.pop, keys, repeat(None)))
        if removed.count(claim) < len(removed):
            for key, other in zip(keys, removed, strict=True):
                if other is not None and other is not claim:  # it came meanwhile
                    claims.setdefault(key, other)
