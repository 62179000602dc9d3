"""The folder of a shared store, opened in this process: which files in it count, and repairs."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import re
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from typing import NoReturn, TypeVar

from litcache.errors import StoreError
from litcache.stores.namespaces import Notes
from litcache.stores.shared.index import BusyError, NoRoomError, is_busy
from litcache.stores.shared.ring import Ring

logger = logging.getLogger("litcache")

FORMAT = 1
LEAST_BYTES = 4 << 20

_NAME = re.compile(r"litcache-v(\d+)-(\d+)\.db")
_SUFFIXES = (".db", ".db-wal", ".db-shm", ".db-journal", ".ring")
# Whether other processes began a new generation is looked after so often.
_CHECK_SECONDS = 0.25
# What could not be opened is tried again so often: a tier in front does not hear of clears before.
_RETRY_SECONDS = 0.4
# A generation is not replaced sooner.
_REPLACE_SECONDS = 5.0
# Others may close or replace what this thread is about to use; not that often in a row.
_ATTEMPTS = 5

# What is raised where files are not what was written; SQLite's messages may not even be text.
_FAULTS = (OSError, sqlite3.Error, TypeError, ValueError, OverflowError)

T = TypeVar("T")

# Held while rings are opened and closed, and while a process forks.
_opening = threading.Lock()
_folders: weakref.WeakSet[Folder] = weakref.WeakSet()


class Folder:
    """The folder of a shared store, opened when it is used.

    Its files are numbered by generation. The newest counts; damage begins a new one, which no
    number is given to twice, and removes the old ones: who still uses them sees that. No other
    files are touched.

    Concurrency: safe in many threads and processes. Closed before a fork, and opened again.

    Args:
        path: The folder; made if it is not there.
        max_bytes: The budget of a generation made by this process.

    Attributes:
        keep: Whether to raise `StoreError` where a generation would be made or replaced.
        counts: What this process counted.
        notes: What it has yet to tell the others.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self.keep = False
        self._ring: Ring | None = None
        self._sized = self._warned = False
        self._check_at = self._retry_at = self._replaced_at = -math.inf
        self._reason = ""
        self.recount()
        with _opening:
            _folders.add(self)

    def recount(self) -> None:
        """Begin to count anew: counters are of one process."""
        self._counting = threading.Lock()
        self.counts: dict[str, int] = {}
        self.notes = Notes()

    def count(self, **numbers: int) -> None:
        """Add to the counters."""
        with self._counting:
            for name, number in numbers.items():
                self.counts[name] = self.counts.get(name, 0) + number

    def close(self) -> None:
        """Close the files in this process."""
        with _opening:
            self._close()

    def _close(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    def run(
        self, operation: Callable[[Ring], T], *, repair: bool = True, newest: bool = False
    ) -> T:
        """Return what an operation on the ring returns; repeat it on a new ring after damage.

        Args:
            operation: What to do; it raises no errors of its own but those below.
            repair: Whether to begin a new generation if the ring turns out to be damaged.
            newest: Whether to repeat it if others began a new generation meanwhile.

        Raises:
            BusyError, NoRoomError: As the operation does.
            StoreError: If the ring cannot be opened or used.
        """
        for _ in range(_ATTEMPTS):
            ring = self._opened()
            try:
                result = operation(ring)
            except sqlite3.ProgrammingError:
                continue  # closed meanwhile, by another thread or before a fork
            except _FAULTS as error:
                if is_busy(error):
                    raise BusyError(str(error)) from error
                if getattr(error, "errno", None) == errno.EBADF:
                    continue  # as above, after the index was read
                reason = f"is damaged ({error})"
                if not _is_damage(error):
                    self.close()
                    self._fail(error)
                if not repair:
                    raise StoreError(f"{self._path} {reason}", "SharedStore") from error
                self._replace(ring, reason)
            else:
                if newest and ring.replaced():
                    self._check_at = -math.inf
                    continue
                self._warned = False
                return result
        raise StoreError(f"{self._path} is replaced again and again", "SharedStore")

    def resize(self) -> None:
        """Begin a new generation, once, if the ring was made for another budget."""
        if not self._sized:
            ring = self._opened()
            self._sized = True
            if ring.index.max_bytes != self._max_bytes:
                self._replace(ring, f"was made for {ring.index.max_bytes} bytes")

    def _opened(self) -> Ring:
        """Return the newest ring, opened in this process."""
        ring, now = self._ring, time.monotonic()
        if ring is not None and now < self._check_at:
            return ring
        with _opening:
            if now < self._retry_at:
                raise StoreError(self._reason, "SharedStore")
            try:
                if self._ring is not None and self._ring.replaced():
                    self._close()
                if self._ring is None:
                    self._ring = self._open_newest()
            except (*_FAULTS, BusyError, NoRoomError) as error:
                self._close()
                self._fail(error)
            self._check_at = now + _CHECK_SECONDS
            return self._ring

    def _fail(self, error: Exception) -> NoReturn:
        """Give up for a while, with one warning."""
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        self._reason = f"{self._path} cannot be used: {error}"
        if not self._warned and not self.keep:
            self._warned = True
            logger.warning("%s; nothing is cached in it until it can be", self._reason)
        raise StoreError(self._reason, "SharedStore") from error

    def _replace(self, ring: Ring, reason: str) -> None:
        """Begin a new generation unless another thread or process just did."""
        with _opening:
            if self._ring is not ring:
                return
            self._close()
            now = time.monotonic()
            try:
                if now < self._replaced_at + _REPLACE_SECONDS:
                    raise OSError(errno.EIO, f"it {reason} again", self._path)
                self._replaced_at = now
                self._supersede(ring.number, reason)
            except (*_FAULTS, BusyError, NoRoomError) as error:
                self._fail(error)

    # All below are called with `_opening` held.

    def _open_newest(self) -> Ring:
        """Open the newest generation; make one if there is none that is sound."""
        if not hasattr(os, "pread"):
            raise OSError(errno.ENOSYS, "this system cannot read at a place of a file", self._path)
        if self.keep and not (os.path.isdir(self._path) and self._numbers()):
            raise FileNotFoundError(errno.ENOENT, "no store is there", self._path)
        if not os.path.isdir(self._path):
            os.makedirs(self._path, mode=0o700, exist_ok=True)
        for _ in range(_ATTEMPTS):
            number = max(self._numbers(), default=1)
            try:
                ring = self._open(number)
            except _FAULTS as error:
                if not _is_damage(error):
                    raise
                self._supersede(number, f"is damaged ({error})")
                continue
            if max(self._numbers(), default=0) == number:
                if not self.keep:
                    self._remove_before(number)
                return ring
            ring.close()
        raise OSError(errno.EAGAIN, "its files are replaced again and again", self._path)

    def _supersede(self, number: int, reason: str) -> None:
        """Make the next generation, and remove all before it."""
        if self.keep:
            raise OSError(errno.EIO, f"it {reason}", self._path)
        logger.warning("SharedStore: %s %s: starting with an empty one", self._path, reason)
        if max(self._numbers(), default=0) <= number:
            self._open(number + 1).close()
            self._remove_before(number + 1)

    def _open(self, number: int) -> Ring:
        base = os.path.join(self._path, f"litcache-v{FORMAT}-{number}")
        room = self._max_bytes
        if not os.path.exists(f"{base}.db"):
            self._warn_of_others()
            room = min(room, self._room())
            if room < LEAST_BYTES:
                raise OSError(errno.ENOSPC, f"it has room for {room} bytes", self._path)
            if room < self._max_bytes:
                logger.warning(
                    "SharedStore: %s has room for %d of %d bytes: using these",
                    self._path, room, self._max_bytes,
                )  # fmt: skip
        return Ring(base, number, self._max_bytes, room)

    def _numbers(self) -> list[int]:
        """Return the numbers of the generations that are there."""
        matches = filter(None, map(_NAME.fullmatch, os.listdir(self._path)))
        return [int(match[2]) for match in matches if int(match[1]) == FORMAT]

    def _warn_of_others(self) -> None:
        """Warn of stores of another format; they are left alone."""
        for match in filter(None, map(_NAME.fullmatch, os.listdir(self._path))):
            if int(match[1]) != FORMAT:
                logger.warning(
                    "SharedStore: %s is of another version of litcache and left alone; remove it "
                    "and its companions when nothing uses it any more",
                    os.path.join(self._path, match[0]),
                )

    def _remove_before(self, number: int) -> None:
        for old in self._numbers():
            if old < number:
                for suffix in _SUFFIXES:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(self._path, f"litcache-v{FORMAT}-{old}{suffix}"))

    def _room(self) -> int:
        """Return the budget that the disk has room for; our own files count as room."""
        own = 0
        for name in os.listdir(self._path):
            if name.startswith(f"litcache-v{FORMAT}-"):
                with contextlib.suppress(FileNotFoundError):
                    own += os.stat(os.path.join(self._path, name)).st_blocks * 512
        return int((shutil.disk_usage(self._path).free + own) / 1.1)


def _is_damage(error: Exception) -> bool:
    """Say whether an error means that the files are not what was written."""
    if isinstance(error, sqlite3.OperationalError):
        # "disk I/O error" is what SQLite says of a file that ends too early.
        innocent = ("lock", "is full", "readonly", "unable to open")
        return not any(words in str(error) for words in innocent)
    return not isinstance(error, OSError) or error.errno in (errno.EINVAL, errno.EIO)


def _before_fork() -> None:
    _opening.acquire()
    for folder in list(_folders):
        folder._close()


def _after_fork() -> None:
    for folder in list(_folders):
        folder.recount()
    _opening.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_opening.release, after_in_child=_after_fork
    )
