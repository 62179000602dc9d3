"""The folder of a shared store, as this process opens, repairs, resizes or leaves it alone."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import sqlite3
import threading
import weakref
from collections.abc import Callable
from typing import NoReturn, TypeVar

from litcache.errors import StoreError
from litcache.forks import Forkable, begin_anew
from litcache.stores.breaker import Breaker
from litcache.stores.shared.database import BusyError, NoRoomError, is_busy, is_damage
from litcache.stores.shared.generations import Files
from litcache.stores.shared.ring import Ring
from litcache.stores.shared.sizes import Sizes

logger = logging.getLogger("litcache")

# How often to check whether other processes began with new files.
_CHECK_SECONDS = 0.25
# How often to try again to open the files: before that, a store in front hears of no clears.
_RETRY_SECONDS = 0.4
# How often to check whether a ring that is smaller than its budget can grow.
_GROW_SECONDS = 30.0
_RESIZE_PATIENCE = 0.5
# Others may close or replace the files that this thread is about to use, but not so many times.
_ATTEMPTS = 5

T = TypeVar("T")

# Held while a ring is opened or closed, and while a process forks.
_opening = threading.Lock()
_folders: weakref.WeakSet[Folder] = weakref.WeakSet()


class Folder:
    """The folder of a shared store, opened when it is used.

    Damaged files are replaced by an empty pair. After any other error, which comes from outside,
    the files stay as they are, and the folder is left alone for a while.

    Concurrency: safe in many threads and processes. It is closed before a fork, and opened again.

    Args:
        path: The folder; it is made if it does not exist.
        max_bytes: The budget; `None` for the budget of the files. Then the files are not made,
            repaired or resized, except by a purge.
        monotonic: The clock by which it is tried again, in seconds.

    Attributes:
        counts: The counters of this process.
    """

    def __init__(self, path: str, max_bytes: int | None, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._files = Files(path, max_bytes, monotonic)
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._ring: Ring | None = None
        self._check_at = -math.inf
        self._resize_at = -math.inf if max_bytes is not None else math.inf
        self._warned = False
        self._reason = ""
        self.begin_process()
        with _opening:
            _folders.add(self)

    def begin_process(self) -> None:
        """Count from 0, and forget failures: both belong to one process."""
        self._counting = threading.Lock()
        self.counts: dict[str, int] = {}
        self._breaker = Breaker(1, _RETRY_SECONDS, _RETRY_SECONDS, clock=self._monotonic)

    def count(self, **numbers: int) -> None:
        """Add to the counters."""
        with self._counting:
            for name, number in numbers.items():
                self.counts[name] = self.counts.get(name, 0) + number

    @property
    def is_left_alone(self) -> bool:
        """Whether the folder cannot be used, or written to, for a while."""
        ring = self._ring
        return self._breaker.is_open or (ring is not None and ring.index.stalled)

    def close(self) -> None:
        """Close the files in this process."""
        with _opening:
            self.shut()

    def shut(self) -> None:
        """Close the files in this process; `_opening` is held."""
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    def run(
        self, operation: Callable[[Ring], T], *, repair: bool = True, newest: bool = False
    ) -> T:
        """Return the result of an operation on the ring; after damage, repeat it on new files.

        Args:
            operation: The operation; it raises only the errors below.
            repair: Whether to begin with new files if these are damaged.
            newest: Whether to repeat it if another process began with new files meanwhile.

        Raises:
            BusyError, NoRoomError: As the operation does.
            StoreError: If the ring cannot be opened or used.
        """
        for _ in range(_ATTEMPTS):
            turn = self._breaker.admit()
            if turn is None:
                raise StoreError(self._reason, "SharedStore")
            ring: Ring | None = None
            try:
                ring = self._opened()
                result = operation(ring)
            except BaseException as error:
                self._recover(turn, ring, error, repair)
                continue
            self._breaker.succeeded(turn)
            if newest and ring.replaced():
                self._check_at = -math.inf
                continue
            self._warned = False
            return result
        raise StoreError(f"{self._path} is replaced again and again", "SharedStore")

    def ring_at_hand(self) -> Ring | None:
        """Return the ring if it is open, and was looked at lately; else `run` has to be asked."""
        ring = self._ring
        if ring is None or self._breaker.is_open or self._monotonic() >= self._check_at:
            return None
        return ring

    def purge(self, reason: str) -> None:
        """Begin with empty files, even if others use the old ones; all entries are lost.

        Raises:
            StoreError: If they cannot be made.
        """
        logger.warning("SharedStore: %s: %s: starting with an empty one", self._path, reason)
        try:
            with _opening:
                max_bytes = self._max_bytes or self._opened_with_lock().index.max_bytes
                self.shut()
                self._files.renew(max_bytes)
        except (OSError, sqlite3.Error, BusyError) as error:
            raise StoreError(f"{self._path} cannot be purged: {error}", "SharedStore") from error

    def resize(self) -> None:
        """Give the ring the length of this process's budget, or as much as fits on the disk."""
        now = self._monotonic()
        if self._max_bytes is not None and now >= self._resize_at:
            self._resize_at = now + _CHECK_SECONDS
            with contextlib.suppress(BusyError, NoRoomError):
                full = self.run(self._resized)
                self._resize_at = math.inf if full else now + _GROW_SECONDS

    def _resized(self, ring: Ring) -> bool:
        assert self._max_bytes is not None
        full = Sizes.of_budget(self._max_bytes).capacity
        now = ring.capacity()
        possible = Sizes.of_budget(min(self._max_bytes, self._files.room())).capacity
        wanted = full if now > full else max(now, possible)
        if wanted == full or wanted > 1.1 * now:
            ring.resize(self._max_bytes, wanted, _RESIZE_PATIENCE)
        return wanted == full

    def _recover(self, turn: int, ring: Ring | None, error: BaseException, repair: bool) -> None:
        """Get ready for another attempt after an error, or raise the error that it means."""
        try:
            if ring is None or not isinstance(error, Exception):
                raise error
            if is_damage(error):
                if not repair or self._max_bytes is None:
                    raise StoreError(f"{self._path} is damaged ({error})", "SharedStore") from error
                with _opening:
                    self._files.repair(error, ring)
                    if self._ring is ring:
                        self.shut()
            elif is_busy(error):
                raise BusyError(str(error)) from error
            elif not _is_closed(error):
                raise error
        except (BusyError, NoRoomError, StoreError) as problem:
            if ring is None:
                self._fail(turn, problem)
            self._breaker.succeeded(turn)
            raise
        except Exception as problem:
            self._fail(turn, problem)
        except BaseException:
            self._breaker.failed(turn)
            raise
        self._breaker.succeeded(turn)

    def _fail(self, turn: int, error: Exception) -> NoReturn:
        """Leave the folder alone for a while, with one warning."""
        self.close()
        self._reason = f"{self._path} cannot be used: {error}"
        self._breaker.failed(turn)
        if not self._warned and self._max_bytes is not None:
            self._warned = True
            logger.warning("%s; nothing is cached in it until it can be", self._reason)
        raise StoreError(self._reason, "SharedStore") from error

    def _opened(self) -> Ring:
        """Return the ring, opened in this process."""
        ring = self._ring
        if ring is not None and self._monotonic() < self._check_at:
            return ring
        with _opening:
            return self._opened_with_lock()

    def _opened_with_lock(self) -> Ring:
        """Return the ring, with `_opening` held."""
        if self._ring is not None and self._ring.replaced():
            self.shut()
        if self._ring is None:
            self._ring = self._files.open()
        self._check_at = self._monotonic() + _CHECK_SECONDS
        return self._ring


def _is_closed(error: BaseException) -> bool:
    """Return whether another thread, or a fork, closed the files meanwhile."""
    closed = isinstance(error, OSError) and error.errno == errno.EBADF
    return closed or isinstance(error, sqlite3.ProgrammingError)


class _AtForks(Forkable):
    """Closes all folders before a fork, because SQLite's connections must not be used after it."""

    def before_fork(self) -> None:
        """Close the folders, and keep all threads from opening one."""
        _opening.acquire()
        for folder in list(_folders):
            folder.shut()

    def after_fork_in_parent(self) -> None:
        """Allow the folders to be opened again."""
        _opening.release()

    def after_fork_in_child(self) -> None:
        """Allow the folders to be opened, as folders of this process."""
        for folder in list(_folders):
            folder.begin_process()
        _opening.release()


_at_forks = _AtForks()
begin_anew(_at_forks)
