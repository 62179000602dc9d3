"""Single-flight: one computation for equal items that are asked for at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
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
        superseded: Keys that a later call has claimed, too: this call no longer stores them.
        entries: The published entries by key; `None` for an output that cannot be stored. A key
            that is missing was not computed: its followers compute it themselves.
        thread: The thread in which the method runs; `None` before it does.
        waits_for: The claim for which this call waits inside its own computation, if it does.
    """

    __slots__ = ("_done", "entries", "epoch", "keys", "superseded", "thread", "waits_for")

    def __init__(self, epoch: bytes | None) -> None:
        self.epoch = epoch
        self.keys: list[bytes] = []
        self.superseded: set[bytes] = set()
        self.entries: Mapping[bytes, Entry | None] = {}
        self.thread: int | None = None
        self.waits_for: Claim | None = None
        self._done: Future[None] = Future()
        # A running future cannot be cancelled, so one cancelled follower disturbs nobody.
        self._done.set_running_or_notify_cancel()

    @property
    def done(self) -> bool:
        """Whether the call has published, or given up."""
        return self._done.done()

    def publish(self, entries: Mapping[bytes, Entry | None]) -> None:
        """Give the followers what was computed, and wake them."""
        self.entries = entries
        self.give_up()

    def give_up(self) -> None:
        """Wake the followers without a result, unless the call has published."""
        with contextlib.suppress(InvalidStateError):  # another thread has just done so
            self._done.set_result(None)

    def serves(self, key: bytes, epoch: bytes | None) -> bool:
        """Return whether waiting for this claim can give an entry of that epoch for the key."""
        return self.epoch == epoch and (not self.done or key in self.entries)

    def wait(self, timeout: float | None) -> bool:
        """Block until published; return false if that took longer than `timeout` seconds."""
        try:
            self._done.result(timeout)
        except FutureTimeoutError:
            return False
        return True

    async def wait_async(self, timeout: float | None) -> bool:
        """Await until published; return false if that took longer than `timeout` seconds."""
        # asyncio.wait leaves the future alone when the waiting task is cancelled.
        done, _ = await asyncio.wait([asyncio.wrap_future(self._done)], timeout=timeout)
        return bool(done)


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
    ) -> dict[bytes, Claim]:
        """Claim keys for a call.

        Args:
            claim: The call's claim.
            keys: The keys that the call misses.
            refreshed: Keys among them that a refresh asks for: a computation that has started
                already is too old for them.
            force: Whether to claim also keys of another call, because that call hangs.

        Returns:
            For each key that another call is computing, the claim of that call.
        """
        taken: dict[bytes, Claim] = {}
        for key in keys:
            # Noted first: if an interrupt comes here, the claim is released with all its keys.
            claim.keys.append(key)
            other = self._claims.setdefault(key, claim)
            if other is claim:
                continue
            is_refresh = key in refreshed
            if force or (is_refresh and other.thread is not None):
                other.superseded.add(key)
            elif other.serves(key, claim.epoch) and not (is_refresh and other.done):
                taken[key] = other
                claim.keys.pop()
                continue
            self._claims[key] = claim
        return taken

    def is_computing(
        self, keys: Iterable[bytes], epoch: bytes | None, refreshed: Collection[bytes] = ()
    ) -> bool:
        """Return whether others compute all of some keys now, for a call of that epoch."""
        return all(
            other is not None
            and other.serves(key, epoch)
            and not (key in refreshed and (other.thread is not None or other.done))
            for key, other in ((key, self._claims.get(key)) for key in keys)
        )

    def release(self, claim: Claim) -> None:
        """Release the keys of a claim; the call's entries are in the store by now."""
        for key in claim.keys:
            if self._claims.get(key) is claim:
                self._claims.pop(key, None)
        self.released = object()  # another one each time
