"""The set of files that a shared store uses; a lock on the folder guards making new ones."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator

from litcache.checks import told
from litcache.errors import StoreError
from litcache.sizes import format_bytes
from litcache.stores import base
from litcache.stores.shared import database, frames, sketch
from litcache.stores.shared.database import BusyError
from litcache.stores.shared.ring import ReplacedError, Ring
from litcache.stores.shared.sizes import LEAST_BYTES, Sizes

try:
    import fcntl
except ImportError:  # on Windows, where SharedStore does not work
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("litcache")

_LONGEST_NAME = "/litcache-v000-00.new-journal"
# The layout of the files, beside the format of entries: raise it with any change.
_LAYOUT = 2
# SQLite opens no file of a longer path.
_LONGEST_PATH = 511
_FOLDER = "the path of a folder"
_INDEX_NAME = re.compile(r"litcache-v\d+(-\d+)?\.db")
# The index goes first: while it exists, the other files exist, too.
_SUFFIXES = (".db", ".db-wal", ".db-shm", ".db-journal", ".ring", ".sketch", ".new", ".new-wal",
             ".new-shm", ".new-journal")  # fmt: skip
# The shortest time between two replacements of damaged files.
_REPLACE_SECONDS = 5.0
# How long to wait for the folder's lock, which other processes hold while they make files.
_LOCK_SECONDS = 0.5
_STEP_SECONDS = 0.002
_ATTEMPTS = 5


class Files:
    """The set of files in a folder; a new set is made if there is no sound one.

    A process that still uses replaced files notices that they are gone. Other files in the folder
    stay as they are.

    Concurrency: one thread of a process at a time; safe in many processes.

    Args:
        path: The folder; it is made if it does not exist.
        max_bytes: The budget; `None` for the budget of the files, which are then not made.
        monotonic: The clock by which repairs are limited, in seconds.
    """

    def __init__(self, path: str, max_bytes: int | None, monotonic: Callable[[], float]) -> None:
        if fcntl is None:
            raise StoreError(
                "it needs POSIX file locks, which Windows does not have; use RedisStore, or a "
                "MemoryStore in each process",
                "SharedStore",
            )
        self._path = path
        # The names hold format and layout: other files are neither read nor removed.
        self._name = f"litcache-v{base.FORMAT}-{_LAYOUT}"
        self._base = os.path.join(path, self._name)
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._repaired_at = -math.inf

    def open(self) -> Ring:
        """Return the ring of the files; they are made if there are no sound ones.

        Raises:
            OSError, sqlite3.Error, BusyError, DamageError: If they cannot be opened or made.
        """
        self._check_folder()
        for _ in range(_ATTEMPTS):
            try:
                return Ring(self._base, self._max_bytes)
            except Exception as error:  # noqa: PERF203 - each attempt is a new one
                if isinstance(error, ReplacedError):
                    continue
                if self._are_lost(error):
                    self.repair(error)
                elif not isinstance(error, FileNotFoundError):  # else others made them meanwhile
                    raise
        raise OSError(errno.EAGAIN, "its files are replaced again and again", self._path)

    def _check_folder(self) -> None:
        if not hasattr(os, "pread"):
            raise OSError(errno.ENOSYS, "this system cannot read at a place of a file", self._path)
        if not os.path.isdir(self._path):
            if self._max_bytes is None:
                raise FileNotFoundError(errno.ENOENT, "no store is there", self._path)
            os.makedirs(self._path, mode=0o700, exist_ok=True)
        status = os.stat(self._path)
        # Other users could put links and files of their own there.
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
            raise PermissionError(
                errno.EPERM, "others own it or can write to it; give a folder in it", self._path
            )

    def repair(self, damage: Exception, ring: Ring | None = None) -> None:
        """Make an empty set of files, unless another process has just done so.

        Args:
            damage: What is wrong with the existing files, if there are any.
            ring: The ring that was open.

        Raises:
            OSError, sqlite3.Error, BusyError: If they cannot be made.
        """
        with self._locked():
            if ring.replaced() if ring is not None else self._is_sound():
                return
            there = os.path.exists(f"{self._base}.db")
            if self._max_bytes is None:
                text = f"it is damaged ({damage})" if there else "no store is there"
                raise OSError(errno.EIO if there else errno.ENOENT, text, self._path)
            if there:
                now = self._monotonic()
                if now < self._repaired_at + _REPLACE_SECONDS:
                    raise OSError(errno.EIO, f"it is damaged again ({damage})", self._path)
                self._repaired_at = now
                text = "SharedStore: %s is damaged (%s): starting with an empty one"
                logger.warning(text, self._path, damage)
            if ring is not None:
                ring.close()
            self._make(self._max_bytes)

    def renew(self, max_bytes: int) -> None:
        """Make an empty set of files, even if there is a sound one.

        Raises:
            OSError, sqlite3.Error, BusyError: If they cannot be made.
        """
        with self._locked():
            self._make(max_bytes)

    def _is_sound(self) -> bool:
        try:
            Ring(self._base, self._max_bytes).close()
        except Exception as error:
            # Another process may have made new ones: what comes from outside must not end them.
            if not isinstance(error, ReplacedError) and not self._are_lost(error):
                raise
            return False
        return True

    def _are_lost(self, error: Exception) -> bool:
        return database.is_damage(error) or not os.path.exists(f"{self._base}.db")

    def _make(self, max_bytes: int) -> None:
        """Replace any existing files by an empty set."""
        room = min(max_bytes, self.room())
        if room < LEAST_BYTES:
            raise OSError(errno.ENOSPC, f"it has room for {format_bytes(room)}", self._path)
        if room < max_bytes:
            shares = format_bytes(room), format_bytes(max_bytes)
            text = "SharedStore: %s has room for %s of %s: using these"
            logger.warning(text, self._path, *shares)
        self._warn_of_others()
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._base + suffix)
        identity = os.urandom(database.IDENTITY_BYTES)
        frames.make(f"{self._base}.ring", identity)
        sizes = Sizes.of_budget(room)
        sketch.make(f"{self._base}.sketch", identity, sizes.sketch_bytes)
        database.make(f"{self._base}.new", identity, max_bytes, sizes.capacity)
        os.rename(f"{self._base}.new", f"{self._base}.db")
        with self._opened() as folder:
            # A power failure must not bring back the old files: they may have been cleared.
            os.fsync(folder)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        folder = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock on the folder, which making files needs."""
        deadline = time.monotonic() + _LOCK_SECONDS
        with self._opened() as folder:
            while True:
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise BusyError("another process is making its files") from None
                    time.sleep(_STEP_SECONDS)
            yield

    def _warn_of_others(self) -> None:
        """Warn of files of another format, which are left alone."""
        for name in sorted(os.listdir(self._path)):
            if _INDEX_NAME.fullmatch(name) and name != f"{self._name}.db":
                logger.warning(
                    "SharedStore: %s is of another version of litcache and left alone; remove it "
                    "and its companions when nothing uses it any more",
                    os.path.join(self._path, name),
                )

    def room(self) -> int:
        """Return the budget that fits on the disk; the space of our own files counts as free."""
        own = 0
        for name in os.listdir(self._path):
            if name.startswith(f"{self._name}."):
                with contextlib.suppress(FileNotFoundError):
                    own += os.stat(os.path.join(self._path, name)).st_blocks * 512
        return int((shutil.disk_usage(self._path).free + own) / 1.1)


def folder_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a folder that SQLite can open files in."""
    try:
        text: object = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(told("path", path, f"{_FOLDER}, as text or a Path"))
    if not text or "\0" in text:
        raise ValueError(told("path", path, _FOLDER))
    whole = os.path.abspath(os.path.expanduser(text))
    most = _LONGEST_PATH - len(_LONGEST_NAME)
    try:
        length = len(os.fsencode(whole))
    except UnicodeEncodeError:
        raise ValueError(told("path", path, f"{_FOLDER} that the system can name")) from None
    if length > most:
        raise ValueError(f"path={path!r} is longer than the {most} bytes that SQLite can open")
    return whole
