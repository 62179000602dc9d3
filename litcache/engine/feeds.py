"""A stream that is being computed, and the calls that follow it.

There is no lock, as in `flight.py`: the leader only appends, and each follower has its own seat.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError

from litcache.engine.flight import Claim
from litcache.stores.base import Entry
from litcache.values.chunks import Chunk, size_of


def runner(*, is_async: bool) -> object:
    """Return what runs this code: the task, or for a sync method the thread."""
    return asyncio.current_task() if is_async else threading.get_ident()


class StreamClaim(Claim):
    """One call's promise to compute a stream; others get its chunks as they come.

    Args:
        epoch: The epoch that the call's look-up saw.
        most_bytes: The most bytes that are kept for one who follows.

    Attributes:
        chunks: The chunks so far, without how the stream ended.
        end: How it ended; `None` as long as it has not ended by itself.
        error: What the method raised, if it did.
        is_closed: Whether nobody may join any more: the chunks so far are gone.
        runner: The task or thread that computes it: it cannot wait for itself.
    """

    __slots__ = ("_count", "chunks", "end", "error", "is_closed", "most_bytes", "runner", "seats")

    def __init__(self, epoch: bytes | None, most_bytes: int) -> None:
        super().__init__(epoch)
        self.most_bytes = most_bytes
        self.chunks: list[Chunk] = []
        self.seats: list[Seat] = []
        self.end: Chunk | None = None
        self.error: Exception | None = None
        self.is_closed = False
        self.runner: object = None
        self._count = 0

    def give_up(self) -> None:
        super().give_up()
        for seat in tuple(self.seats):
            seat.wake()

    def publish(self, entries: Mapping[bytes, Entry | None]) -> None:
        self.entries = entries
        self.give_up()

    def pass_on(self, chunk: Chunk) -> None:
        """Give a chunk to those who follow, and to those who will join."""
        if not self.is_closed:
            self.chunks.append(chunk)
        self._count += 1
        for seat in tuple(self.seats):
            seat.put(self._count, chunk)

    def close(self) -> None:
        """Free the chunks so far; those who have joined get the rest."""
        self.is_closed = True
        self.chunks = []

    def join(self) -> Seat | None:
        """Return a seat that gets every chunk; `None` if the first ones are gone."""
        seat = Seat(self)
        self.seats.append(seat)
        # After the seat is there: a chunk that comes now is in the copy, or put, or both.
        seat.begin(list(self.chunks))
        if self.is_closed:
            self.leave(seat)
            return None
        return seat

    def leave(self, seat: Seat) -> None:
        """Give a seat back."""
        with contextlib.suppress(ValueError):
            self.seats.remove(seat)


class Seat:
    """The place of one follower of a stream.

    Args:
        claim: The claim of the call that computes the stream.

    Attributes:
        is_lost: Whether the follower was too slow for the rest to be kept for it.
    """

    __slots__ = ("_before", "_claim", "_event", "_next", "_put", "_since", "_taken", "is_lost")

    def __init__(self, claim: StreamClaim) -> None:
        self.is_lost = False
        self._claim = claim
        self._before: deque[Chunk] = deque()
        self._since: deque[tuple[int, Chunk]] = deque()
        self._next = 1
        self._put = self._taken = 0  # bytes: one is the leader's to change, one the follower's
        self._event: Future[None] | None = None

    def begin(self, chunks: list[Chunk]) -> None:
        """Take the chunks that came before the seat was there."""
        self._before.extend(chunks)

    def put(self, number: int, chunk: Chunk) -> None:
        """Take a chunk, which is number so-and-so of the stream, unless it is too much."""
        self._put += size_of(chunk)
        if self.is_lost or self._put - self._taken > self._claim.most_bytes:
            self.is_lost = True
        else:
            self._since.append((number, chunk))
        self.wake()

    def take(self) -> Chunk | None:
        """Return the next chunk; `None` if it has not come."""
        if self._before:
            self._next += 1
            return self._before.popleft()
        while self._since:
            number, chunk = self._since.popleft()
            self._taken += size_of(chunk)
            if number == self._next:  # else it was among the first ones, too
                self._next += 1
                return chunk
        return None

    @property
    def is_over(self) -> bool:
        """Whether no more chunks will come than those that can be taken now."""
        return self.is_lost or self._claim.done

    # ------------------------------------------------------------------ waiting for a chunk

    def wake(self) -> None:
        """Wake the follower, if it waits."""
        event = self._event
        if event is not None:
            with contextlib.suppress(InvalidStateError):
                event.set_result(None)

    def _awaited(self) -> Future[None]:
        """Return a future that is done once there is something to take, or nothing will come."""
        event: Future[None] = Future()
        event.set_running_or_notify_cancel()
        self._event = event
        # After the future is there: what comes now finds it.
        if self._before or self._since or self.is_over:
            self.wake()
        return event

    def wait(self, timeout: float | None) -> bool:
        """Block until there is more; return false if that took longer than `timeout` seconds."""
        try:
            self._awaited().result(timeout)
        except FutureTimeoutError:
            return False
        return True

    async def wait_async(self, timeout: float | None) -> bool:
        """Await until there is more; return false if that took longer than `timeout` seconds."""
        done, _ = await asyncio.wait([asyncio.wrap_future(self._awaited())], timeout=timeout)
        return bool(done)
