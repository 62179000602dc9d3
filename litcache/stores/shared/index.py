"""The index of a ring: an SQLite file, shared by processes, with the place of each entry."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from litcache.stores.base import Scope
from litcache.stores.breaker import Breaker
from litcache.stores.frame import EPOCH_BYTES, new_epoch
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.shared import leases
from litcache.stores.shared.database import (
    DISK_FULL,
    PAGE_BYTES,
    BusyError,
    NoRoomError,
    StalledError,
    connect,
    is_busy,
    prepare,
    set_cache,
    text_of,
    to_blob,
    unless_locked,
    wal_bytes,
)
from litcache.stores.shared.finding import TOKENS_BYTES, find, tokens_in

T = TypeVar("T")

# After this number of writes in a row that did not get the lock, no write waits for it.
_REFUSALS = 3
# SQLite itself waits for a lock up to 100 ms at a time, which is too long if many write.
_STEP_SECONDS = 0.0004
_LOOK_SECONDS = 0.05
# How long a restart of the WAL waits for look-ups.
_RESTART_MS = 3
_SYNCHRONIZE_SECONDS = 0.1
# A write that finds a longer WAL copies it back first, so copying never takes long.
_WAL_BYTES = 4 << 20
# The share of the file that entries may use; the rest must have room for one write.
_FULL = 0.94


class Index:
    """The index of a ring, opened by this process.

    A namespace has tokens of 16 random bytes: its epoch, which `clear` renews, and a token that
    deletes renew.

    A commit does not wait for the disk: SQLite and checksums find what a power failure damages. A
    durable commit waits, also for everything that was written before it.

    Concurrency: one connection to read and one to write, each with its lock.

    Args:
        path: The path of the file, which must exist.

    Attributes:
        path: The path of the file.
        identity: 16 bytes, with which the file of its frames begins, too.
        max_bytes: The budget that was noted last.
        reading: The lock of `reader`.
        reader: The connection for reading.

    Raises:
        OSError: If this file system does not let processes share a WAL.
        DamageError, sqlite3.Error: If the file cannot be opened, or is damaged.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.reading, self._writing = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._wal_limit = self._page_limit = 0
        # It counts writes that waited in vain. There is no probe: each write asks without waiting.
        self._waiting = Breaker(_REFUSALS, math.inf, math.inf)
        self._last_refused: object = None
        with contextlib.ExitStack() as undo:
            self._writer = undo.enter_context(contextlib.closing(connect(path)))
            self.identity, self.max_bytes = prepare(self._writer)
            self.reader = undo.enter_context(contextlib.closing(connect(path)))
            set_cache(self.max_bytes, self._writer, self.reader)
            undo.pop_all()

    def limit(self, index_bytes: int, wal_bytes: int) -> None:
        """Set the largest length of the file, and of its WAL before a write."""
        self._page_limit = index_bytes // PAGE_BYTES
        self._writer.execute(f"PRAGMA max_page_count = {self._page_limit}").fetchall()
        self._wal_limit = wal_bytes

    def close(self) -> None:
        """Close both connections as soon as no thread uses them."""
        self._closing.set()
        with self.reading, self._writing:
            self.reader.close()
            self._writer.close()

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a query finds with the connection for writing, or beside a write, `reader`.

        The former has in its cache what this process wrote; a write empties all other caches.
        """
        locked = False
        try:
            # In here, so that an interrupt leaves no lock that nobody holds.
            locked = self._writing.acquire(blocking=False)
            if locked:
                return query(self._writer)
        except sqlite3.OperationalError as error:
            if not is_busy(error):  # `reader` waits for a lock
                raise
        finally:
            if locked:
                self._writing.release()
        with self.reading:
            return query(self.reader)

    def pages(self, db: sqlite3.Connection) -> int:
        """Return how many pages of the file are in use."""
        ((pages,),) = db.execute("PRAGMA page_count").fetchall()
        ((free,),) = db.execute("PRAGMA freelist_count").fetchall()
        return int(pages - free)

    def is_crowded(self, db: sqlite3.Connection) -> bool:
        """Return whether entries must be evicted before others are added."""
        return self.pages(db) > _FULL * self._page_limit

    def give_back(self) -> None:
        """Cut off the unused end of the file, unless another process is in the way."""
        with self._writing, contextlib.suppress(sqlite3.OperationalError):
            self._writer.execute("PRAGMA incremental_vacuum").fetchall()
            self._checkpoint()

    # Namespaces

    def tokens(self, db: sqlite3.Connection, scope: Scope) -> bytes:
        """Return the tokens of a namespace; this transaction makes them if there are none."""
        known = tokens_in(find(db, scope.tag, ()))
        if known is not None:
            return known
        tokens = new_epoch() + new_epoch()
        name = to_blob(scope.namespace)
        db.execute("REPLACE INTO spaces VALUES (?, ?, ?)", (scope.tag, name, tokens))
        return tokens

    def renew(self, db: sqlite3.Connection, scope: Scope | None) -> list[tuple[object, object]]:
        """Give a new epoch to a namespace, or to all, if they have one; return tags and tokens."""
        where, which = ("", ()) if scope is None else (" WHERE tag = ?", (scope.tag,))
        db.execute(f"UPDATE spaces SET tokens = randomblob({TOKENS_BYTES}){where}", which)
        for table in ("versions", "deleted"):
            db.execute(f"DELETE FROM {table}{where}", which)
        leases.end_all(db, *which)
        return db.execute(f"SELECT tag, tokens FROM spaces{where}", which).fetchall()

    def note_version(self, db: sqlite3.Connection, tag: bytes, version: str) -> None:
        """Note that a version wrote to a namespace."""
        db.execute("INSERT OR IGNORE INTO versions VALUES (?, ?)", (tag, to_blob(version)))

    def spaces(self) -> dict[bytes, NamespaceInfo]:
        """Return the namespaces by their epochs, with no entries yet."""
        query = "SELECT name, tokens, version FROM spaces LEFT JOIN versions USING (tag)"
        spaces: dict[bytes, NamespaceInfo] = {}
        with self.reading:
            rows = self.reader.execute(query).fetchall()
        for name, tokens, version in rows:
            epoch = tokens[:EPOCH_BYTES]
            space = spaces.setdefault(epoch, NamespaceInfo(text_of(name), (), 0, 0))
            if version is not None:
                versions = tuple(sorted((*space.versions, text_of(version))))
                spaces[epoch] = space._replace(versions=versions)
        return spaces

    # Transactions

    @property
    def stalled(self) -> bool:
        """Whether writes do not wait, because the process that holds the lock does nothing."""
        return self._waiting.is_open

    def patience(self, seconds: float) -> float:
        """Return how many seconds a write waits for the lock."""
        return 0.0 if self.stalled else seconds

    @contextlib.contextmanager
    def transaction(
        self,
        patience: float,
        *,
        urgent: bool = False,
        durable: bool = False,
        stalled: float = math.inf,
    ) -> Iterator[sqlite3.Connection]:
        """Hold the write lock, which all processes share, and commit at the end.

        Args:
            patience: Seconds to wait for the lock.
            urgent: Whether to write even if the WAL is too long.
            durable: Whether the commit outlives a power failure.
            stalled: After so many seconds, do not wait for a holder of the lock that does nothing.

        Raises:
            BusyError: If this process did not get the lock; a `StalledError` if the holder of the
                lock does nothing.
            NoRoomError: If the disk is full, or the WAL is too long, because a reader does not end.
        """
        deadline = time.monotonic() + patience
        db, locked = self._writer, False
        try:
            # In here, so that an interrupt leaves no lock that nobody holds.
            locked = self._writing.acquire(timeout=max(patience, _STEP_SECONDS))  # others read
            if not locked:
                raise BusyError("another thread of this process is writing")
            if durable:
                db.execute("PRAGMA synchronous = FULL")
            self._begin(deadline, stalled, urgent)
            yield db
            db.execute("COMMIT")
            if durable:
                self._synchronize()
        except (OSError, sqlite3.OperationalError) as error:
            if getattr(error, "errno", None) in DISK_FULL or "is full" in str(error):
                raise NoRoomError(str(error)) from error
            raise
        finally:
            if locked:
                try:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    if durable:
                        db.execute("PRAGMA synchronous = OFF")
                finally:
                    self._writing.release()

    def _begin(self, deadline: float, stalled: float, urgent: bool) -> None:
        """Begin a transaction; the WAL must not be too long."""
        self._lock(deadline, stalled)
        if wal_bytes(self.path) <= min(_WAL_BYTES, self._wal_limit // 2):
            return
        self._writer.execute("ROLLBACK")
        with contextlib.suppress(sqlite3.OperationalError):  # a reader or writer is in the way
            self._checkpoint()
        self._lock(deadline, stalled)
        if not urgent and wal_bytes(self.path) > self._wal_limit:
            raise NoRoomError("the WAL is too long: a reader does not end")

    def _synchronize(self) -> None:
        """Write the whole file to the disk: earlier copies from the WAL did not wait for it.

        A reader that stands still may prevent this. Then the commit is in the WAL, on the disk.
        """
        deadline = time.monotonic() + _SYNCHRONIZE_SECONDS
        while time.monotonic() < deadline:
            rows = unless_locked(self._writer, "PRAGMA wal_checkpoint(PASSIVE)")
            if rows is not None and rows[0][0] == 0 and rows[0][1] == rows[0][2]:
                return
            self._closing.wait(_STEP_SECONDS)

    def _checkpoint(self) -> None:
        """Copy the WAL back and truncate it."""
        try:
            self._writer.execute(f"PRAGMA busy_timeout = {_RESTART_MS}").fetchall()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._writer.execute("PRAGMA busy_timeout = 0").fetchall()

    def _lock(self, deadline: float, stalled: float) -> None:
        """Get the write lock of all processes."""
        looked = changed = time.monotonic()
        version: object = None
        while unless_locked(self._writer, "BEGIN IMMEDIATE") is None:
            now = time.monotonic()
            if now >= deadline:
                self._count_refusal()
                raise BusyError("others hold the lock")
            if version is None or now >= looked + _LOOK_SECONDS:
                last, looked = version, now
                version = unless_locked(self._writer, "PRAGMA data_version")
                changed = changed if version == last else now
            if now >= changed + stalled:
                self._count_refusal()
                raise StalledError("a process holds the lock and does nothing")
            if self._closing.wait(_STEP_SECONDS):
                raise sqlite3.ProgrammingError("closed while waiting for the lock")
        self._waiting.close()

    def _count_refusal(self) -> None:
        version = unless_locked(self._writer, "PRAGMA data_version")
        if version != self._last_refused:
            self._waiting.close()
        self._last_refused = version
        turn = self._waiting.admit()
        if turn is not None:
            self._waiting.failed(turn)
