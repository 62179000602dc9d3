"""An SQLite file that says where in a ring each entry is, shared by processes."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from litcache.stores.base import Scope
from litcache.stores.frame import EPOCH_BYTES, new_epoch
from litcache.stores.namespaces import NamespaceInfo, Note

TOKENS_BYTES = 2 * EPOCH_BYTES

_PAGE_BYTES = 2048
_CACHE_KIB = 16_384
_CREATE_SECONDS = 0.5
# After so many that did not get the lock, with nobody writing in between, none waits for it.
_REFUSALS = 3
# SQLite's own waiting for a lock grows to 100 ms at a time: too coarse where many write.
_STEP_SECONDS = 0.0004
# What readers wait for: who recovers the WAL after a process was killed.
_RECOVERY_SECONDS = 0.1
# What the WAL's restart waits for: look-ups under way.
_RESTART_MS = 3
# A write that finds a longer WAL copies it back first; so this never takes long.
_WAL_BYTES = 4 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_SCHEMA = """
CREATE TABLE ring(max_bytes INTEGER NOT NULL, capacity INTEGER NOT NULL);
CREATE TABLE entries(hash INTEGER PRIMARY KEY, place INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE UNIQUE INDEX by_place ON entries(place, size);
CREATE TABLE touched(place INTEGER PRIMARY KEY);
CREATE TABLE spaces(tag BLOB PRIMARY KEY, name BLOB NOT NULL, tokens BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE looked_up(
  tag BLOB PRIMARY KEY, epoch BLOB NOT NULL, hits INTEGER NOT NULL, misses INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE versions(
  tag BLOB, epoch BLOB, version BLOB, PRIMARY KEY(tag, epoch, version)
) WITHOUT ROWID
"""
# The tokens ride along, so that one statement sees one state of them and of the entries.
_MOST = 64
_FIND = {
    width: "SELECT NULL, tokens, NULL FROM spaces WHERE tag = ? UNION ALL "
    f"SELECT hash, place, size FROM entries WHERE hash IN ({', '.join('?' * width)})"
    for width in (1, 8, _MOST)
}
_NO_HASHES = (-1,) * _MOST

_COUNT = """
INSERT INTO looked_up VALUES (?, ?, ?, ?)
ON CONFLICT(tag) DO UPDATE SET hits = hits + excluded.hits, misses = misses + excluded.misses
"""
_SPACES = f"""
SELECT substr(tokens, 1, {EPOCH_BYTES}) AS current, name, hits, misses
FROM spaces LEFT JOIN looked_up ON looked_up.tag = spaces.tag AND looked_up.epoch = current
"""

# By hash: the hash, the place and the size of a frame. By None: a namespace's tokens in the middle.
Rows = dict[int | None, tuple[int, int, int]]


class BusyError(Exception):
    """The lock was not to be had in time."""


class NoRoomError(Exception):
    """The budget or the disk has no room for a write."""


class Index:
    """The index of a ring, opened by this process.

    It never waits for the disk: what a power failure damages, checksums find out.

    A namespace has tokens of 16 random bytes: its epoch, which `clear` renews, and a token that
    deletes renew.

    Concurrency: one connection to read and one to write, each with its lock.

    Args:
        path: The path of the file.
        max_bytes: The configured budget, noted if the index is made now.
        capacity: How long the ring is to be, noted if the index is made now.

    Attributes:
        path: The path of the file.
        max_bytes: The configured budget that it was made with.
        capacity: How long the ring is.
        reading: The lock of `reader`.
        reader: The connection to read.

    Raises:
        OSError: If this file system does not let processes share a WAL.
        sqlite3.Error: If the file cannot be opened, or is damaged.
    """

    def __init__(self, path: str, max_bytes: int, capacity: int) -> None:
        self.path = path
        self.reading, self._writing = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._wal_limit = self._refused = 0
        self._last_refused: list[Any] | None = None
        with contextlib.ExitStack() as undo:
            writer = _connect(path, _CREATE_SECONDS)
            self._writer = undo.enter_context(contextlib.closing(writer))
            self.max_bytes, self.capacity = _prepare(self._writer, max_bytes, capacity)
            reader = _connect(path, _RECOVERY_SECONDS)
            self.reader = undo.enter_context(contextlib.closing(reader))
            undo.pop_all()

    def limit(self, index_bytes: int, wal_bytes: int) -> None:
        """Set how long the file may become, and its WAL before a write."""
        self._writer.execute(f"PRAGMA max_page_count = {index_bytes // _PAGE_BYTES}").fetchall()
        self._wal_limit = wal_bytes

    def close(self) -> None:
        """Close both connections when nobody uses them."""
        self._closing.set()
        with self.reading, self._writing:
            self.reader.close()
            self._writer.close()

    def find(self, db: sqlite3.Connection, tag: bytes, hashes: Sequence[int]) -> Rows:
        """Return the rows of the hashes that are there, and the tokens of the namespace."""
        found: Rows = {}
        for start in range(0, len(hashes) or 1, _MOST):
            part = hashes[start : start + _MOST]
            few = len(part)
            width = 1 if few < 2 else 8 if few < 9 else _MOST
            rows = db.execute(_FIND[width], (tag, *part, *_NO_HASHES[few:width])).fetchall()
            # The tokens as first seen: what was written after a clear is not of an older epoch.
            found = {row[0]: row for row in rows} | found
        return found

    def used(self) -> int:
        """Return how many bytes of the file are in use; `reading` must be held."""
        ((pages,),) = self.reader.execute("PRAGMA page_count").fetchall()
        ((free,),) = self.reader.execute("PRAGMA freelist_count").fetchall()
        return int(pages - free) * _PAGE_BYTES

    # Namespaces

    def tokens(self, db: sqlite3.Connection, scope: Scope) -> bytes:
        """Return the tokens of a namespace, made in this transaction if it has none."""
        known = tokens_in(self.find(db, scope.tag, ()))
        return known or self.renew(db, scope, new_epoch())

    def renew(self, db: sqlite3.Connection, scope: Scope, epoch: bytes) -> bytes:
        """Give a namespace an epoch, new or as before, and a new token of deletes."""
        tokens = epoch + new_epoch()
        name = _stored(scope.namespace)
        db.execute("REPLACE INTO spaces VALUES (?, ?, ?)", (scope.tag, name, tokens))
        return tokens

    def renew_all(self, db: sqlite3.Connection) -> None:
        """Give every namespace a new epoch."""
        db.execute(f"UPDATE spaces SET tokens = randomblob({TOKENS_BYTES})")

    def note(self, db: sqlite3.Connection, notes: Sequence[Note]) -> None:
        """Add up what a process tells; what was told of older epochs of a namespace goes."""
        for tag, epoch, hits, misses, versions in notes:
            tokens = tokens_in(self.find(db, tag, ()))
            if tokens is None or tokens[:EPOCH_BYTES] != epoch:
                continue  # cleared since: others may have told of the epoch after it
            stale = db.execute("DELETE FROM looked_up WHERE tag = ? AND epoch != ?", (tag, epoch))
            if stale.rowcount:
                db.execute("DELETE FROM versions WHERE tag = ? AND epoch != ?", (tag, epoch))
            db.execute(_COUNT, (tag, epoch, hits, misses))
            rows = [(tag, epoch, _stored(version)) for version in versions]
            db.executemany("INSERT OR IGNORE INTO versions VALUES (?, ?, ?)", rows)

    def spaces(self) -> dict[bytes, NamespaceInfo]:
        """Return the namespaces by their epochs, with no entries yet."""
        with self.reading:
            rows = self.reader.execute(_SPACES).fetchall()
            told = self.reader.execute("SELECT epoch, version FROM versions").fetchall()
        versions: dict[bytes, list[str]] = {}
        for epoch, version in told:
            versions.setdefault(epoch, []).append(_text(version))
        return {
            epoch: NamespaceInfo(
                _text(name), tuple(sorted(versions.get(epoch, ()))), 0, 0, hits or 0, misses or 0
            )
            for epoch, name, hits, misses in rows
        }

    # Transactions

    def patience(self, seconds: float) -> float:
        """Return how long a write waits for the lock: not at all while its holder does nothing."""
        return seconds if self._refused < _REFUSALS else 0.0

    @contextlib.contextmanager
    def transaction(self, patience: float, *, urgent: bool = False) -> Iterator[sqlite3.Connection]:
        """Hold the one write lock of all processes, and commit in the end.

        Args:
            patience: Seconds to wait for the lock.
            urgent: Whether to write however long the WAL is.

        Raises:
            BusyError: If the lock was not to be had.
            NoRoomError: If the disk is full, or the WAL too long, since a reader does not end.
        """
        deadline = time.monotonic() + patience
        if not self._writing.acquire(timeout=patience):
            raise BusyError("another thread of this process is writing")
        db = self._writer
        try:
            self._begin(deadline, urgent)
            yield db
            db.execute("COMMIT")
        except (OSError, sqlite3.OperationalError) as error:
            if getattr(error, "errno", None) in _DISK_FULL or "is full" in str(error):
                raise NoRoomError(str(error)) from error
            raise
        finally:
            try:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            finally:
                self._writing.release()

    def _begin(self, deadline: float, urgent: bool) -> None:
        """Begin a transaction, with a WAL that is not too long."""
        self._lock(deadline)
        if self._wal_bytes() <= min(_WAL_BYTES, self._wal_limit // 2):
            return
        self._writer.execute("ROLLBACK")
        with contextlib.suppress(sqlite3.OperationalError):
            # Copies it back and truncates it, unless a reader or writer is in the way.
            self._writer.execute(f"PRAGMA busy_timeout = {_RESTART_MS}").fetchall()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._writer.execute("PRAGMA busy_timeout = 0").fetchall()
        self._lock(deadline)
        if not urgent and self._wal_bytes() > self._wal_limit:
            raise NoRoomError("the WAL is too long: a reader does not end")

    def _lock(self, deadline: float) -> None:
        """Get the write lock of all processes."""
        while _unless_locked(self._writer, "BEGIN IMMEDIATE") is None:
            if time.monotonic() >= deadline:
                self._count_refusal()
                raise BusyError("others hold the lock")
            if self._closing.wait(_STEP_SECONDS):
                raise sqlite3.ProgrammingError("closed while waiting for the lock")
        self._refused = 0

    def _count_refusal(self) -> None:
        version = _unless_locked(self._writer, "PRAGMA data_version")
        self._refused = self._refused + 1 if version == self._last_refused else 1
        self._last_refused = version

    def _wal_bytes(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0


def tokens_in(rows: Rows) -> bytes | None:
    """Return the tokens among the rows found, if they are any."""
    tokens: object = rows.get(None, (None, None))[1]
    return tokens if isinstance(tokens, bytes) and len(tokens) == TOKENS_BYTES else None


def _stored(text: str) -> bytes:
    """Return text as the index holds it: SQLite's own takes no lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _text(stored: bytes) -> str:
    return str(stored, "utf-8", "surrogatepass")


def is_busy(error: Exception) -> bool:
    """Say whether an error means that others hold a lock."""
    return isinstance(error, sqlite3.OperationalError) and "lock" in str(error)


def _unless_locked(db: sqlite3.Connection, statement: str) -> list[Any] | None:
    """Return the rows of a statement, or `None` if a lock was in its way."""
    try:
        return db.execute(statement).fetchall()
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        return None


def _insist(db: sqlite3.Connection, statement: str) -> list[Any]:
    """Return the rows of a statement on which SQLite does not always wait for locks."""
    deadline = time.monotonic() + _CREATE_SECONDS
    while (rows := _unless_locked(db, statement)) is None:
        if time.monotonic() >= deadline:
            raise BusyError("others hold the lock")
        time.sleep(_STEP_SECONDS)
    return rows


def _connect(path: str, timeout: float) -> sqlite3.Connection:
    """Return a connection whose writes go to a WAL and wait for no disk."""
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        # Before the file is made: others wait for that.
        db.execute("PRAGMA synchronous = OFF")
        if _insist(db, "PRAGMA journal_mode = WAL") != [("wal",)]:
            raise OSError("this file system does not let processes share a WAL")
        # Without mmap_size: a mapped file that somebody truncates ends the process.
        for setting in (
            "mmap_size = 0",
            "wal_autocheckpoint = 0",
            f"cache_size = -{_CACHE_KIB}",
        ):
            db.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, max_bytes: int, capacity: int) -> tuple[int, int]:
    """Make the tables unless they are there, and return the numbers of the ring."""
    # Without the write lock first: who holds it shall keep nobody from reading.
    if not _has_tables(db):
        _insist(db, "BEGIN IMMEDIATE")
        if not _has_tables(db):
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute("INSERT INTO ring VALUES (?, ?)", (max_bytes, capacity))
        db.execute("COMMIT")
    rows = db.execute("SELECT max_bytes, capacity FROM ring").fetchall()
    if len(rows) != 1 or not all(type(n) is int and n > 0 for n in rows[0]):
        raise sqlite3.DatabaseError(f"the size of the ring is {rows}")
    db.execute("PRAGMA busy_timeout = 0").fetchall()
    known, made = rows[0]
    return known, made


def _has_tables(db: sqlite3.Connection) -> bool:
    return bool(_insist(db, "SELECT 1 FROM sqlite_master LIMIT 1"))
