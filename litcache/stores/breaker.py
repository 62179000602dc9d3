"""A circuit breaker: leave alone what does not answer, and ask it again now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Breaker:
    """Decides which calls may be made to something that fails.

    While the breaker is closed, it admits every call. After `limit` failures in a row it opens: it
    admits no call until `delay` seconds have passed, and then only one, the probe. If the probe
    succeeds, the breaker closes; if it fails, the delay doubles, up to `longest`. (M. Nygard,
    "Release It!", 2007.)

    A call reports how it ended, with the turn that `admit` gave it. A call that began before the
    breaker last opened, or before the probe, says nothing about the present: it is ignored. A probe
    that reports nothing for `lost` seconds, because its thread was interrupted, is followed by
    another one.

    Concurrency: safe in many threads; not to be used across a fork.

    Args:
        limit: The number of failures in a row that open it.
        delay: Seconds until the first probe; infinite: there is none, and only `close` closes it.
        longest: The largest number of seconds between two probes.
        lost: Seconds after which a probe that has not ended counts as lost; more than a call takes.
        clock: A clock that never goes back, in seconds.

    Example:
        >>> breaker = Breaker(limit=1)
        >>> breaker.failed(breaker.admit())
        True
        >>> breaker.admit() is None
        True
    """

    def __init__(
        self,
        limit: int = 3,
        delay: float = 0.25,
        longest: float = 0.4,
        *,
        lost: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._first = delay
        self._longest = longest
        self._lost = lost
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = 0
        self._failures = 0
        self._delay = delay
        self._until: float | None = None
        self._probing = False
        self._lost_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether no call is admitted, apart from a probe."""
        return self._until is not None

    def admit(self) -> int | None:
        """Return the turn of a call that may be made.

        Returns:
            The turn to give to `succeeded` or `failed`, one of which must follow; `None` if the
            call must not be made.

        Example:
            >>> Breaker().admit()
            0
        """
        until = self._until
        if until is None:
            return self._turn
        with self._lock:
            until = self._until
            if until is None:
                return self._turn
            now = self._clock()
            if now < (self._lost_at if self._probing else until):
                return None
            self._probing = True
            self._lost_at = now + self._lost
            self._turn += 1
            return self._turn

    def succeeded(self, turn: int) -> bool:
        """Note that a call was answered.

        Args:
            turn: What `admit` returned for it.

        Returns:
            Whether that closed the breaker.

        Example:
            >>> Breaker().succeeded(0)
            False
        """
        if self._failures == 0:
            return False
        with self._lock:
            if turn != self._turn or self._failures == 0:
                return False
            return self._close()

    def close(self) -> bool:
        """Close the breaker, because somebody else knows that what it guards answers.

        Returns:
            Whether it was open.

        Example:
            >>> breaker = Breaker(limit=1)
            >>> breaker.failed(0), breaker.close(), breaker.is_open
            (True, True, False)
        """
        if self._failures == 0:
            return False
        with self._lock:
            return self._close()

    def _close(self) -> bool:
        was_open = self._until is not None
        self._failures = 0
        self._delay = self._first
        self._until = None
        self._probing = False
        return was_open

    def failed(self, turn: int) -> bool:
        """Note that a call was not answered.

        Args:
            turn: What `admit` returned for it.

        Returns:
            Whether that opened the breaker; false for a probe, which found it open.

        Example:
            >>> Breaker().failed(0)
            False
        """
        with self._lock:
            if turn != self._turn:
                return False
            self._failures += 1
            if self._probing:
                self._probing = False
                self._delay = min(2 * self._delay, self._longest)
                self._until = self._clock() + self._delay
                self._turn += 1
                return False
            if self._failures < self._limit:
                return False
            self._until = self._clock() + self._delay
            self._turn += 1
            return True
