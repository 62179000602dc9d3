"""The SQLite file of an index: make, open and check it, and tell what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from typing import Any
from urllib.parse import quote

PAGE_BYTES = 2048
IDENTITY_BYTES = 16
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Each connection keeps so much of the file in memory: this part of the budget, within these bounds.
_CACHE_PART, _LEAST_CACHE, _MOST_CACHE = 64, 16 << 20, 64 << 20
_STEP_SECONDS = 0.0004
# How long opening waits for other processes that open the file, or recover it after a kill.
_OPEN_SECONDS = 0.5
_READ_SECONDS = 0.1

# SQLite's codes: SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_IOERR_SHORT_READ.
_CORRUPT, _NO_DATABASE, _SHORT_READ = 11, 26, 522
# Python 3.10 gives no code: a "disk I/O error" counts as none of these there.
_DAMAGED_TEXTS = ("malformed", "is not a database")

_SCHEMA = """
CREATE TABLE ring(identity BLOB NOT NULL, max_bytes INTEGER NOT NULL, capacity INTEGER NOT NULL);
CREATE TABLE entries(hash INTEGER PRIMARY KEY, place INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE UNIQUE INDEX by_place ON entries(place, size);
CREATE TABLE touched(place INTEGER PRIMARY KEY);
CREATE TABLE spaces(tag BLOB PRIMARY KEY, name BLOB NOT NULL, tokens BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE versions(tag BLOB, version BLOB, PRIMARY KEY(tag, version)) WITHOUT ROWID;
CREATE TABLE deleted(number INTEGER PRIMARY KEY AUTOINCREMENT, tag BLOB, token BLOB, key BLOB)
"""


class BusyError(Exception):
    """The write did not get the lock in time."""


class StalledError(BusyError):
    """The write did not get the lock, and the process that holds it does nothing."""


class NoRoomError(Exception):
    """The budget or the disk has no room for a write."""


class DamageError(Exception):
    """The files are not what was written."""


def make(path: str, identity: bytes, max_bytes: int, capacity: int) -> None:
    """Make the file; it is on the disk when this returns."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for setting in (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL",
                        "journal_mode = MEMORY", "synchronous = FULL"):  # fmt: skip
            db.execute(f"PRAGMA {setting}").fetchall()
        db.execute("BEGIN")
        for statement in _SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute("INSERT INTO ring VALUES (?, ?, ?)", (identity, max_bytes, capacity))
        db.execute("COMMIT")
        if db.execute("PRAGMA journal_mode = WAL").fetchall() != [("wal",)]:
            raise OSError(errno.ENOSYS, "this file system does not let processes share a WAL", path)


def connect(path: str) -> sqlite3.Connection:
    """Return a connection to an existing file."""
    db = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        uri=True,
        timeout=_READ_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # Even if it is set already: this opens the WAL.
        if insist(db, "PRAGMA journal_mode = WAL") != [("wal",)]:
            raise OSError(errno.ENOSYS, "this file system does not let processes share a WAL", path)
        # Without mmap_size: if somebody truncates a mapped file, the system kills the process.
        for setting in (
            "synchronous = OFF",
            "mmap_size = 0",
            "wal_autocheckpoint = 0",
        ):
            db.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def set_cache(max_bytes: int, *connections: sqlite3.Connection) -> None:
    """Let each connection keep enough of the file in memory for a store of that budget."""
    size = max(_LEAST_CACHE, min(_MOST_CACHE, max_bytes // _CACHE_PART))
    for db in connections:
        db.execute(f"PRAGMA cache_size = -{size >> 10}").fetchall()


def prepare(db: sqlite3.Connection) -> tuple[bytes, int]:
    """Return the identity and budget in a file; from now on the connection waits for no lock."""
    if not insist(db, "SELECT 1 FROM sqlite_master WHERE name = 'ring'"):
        raise DamageError("it has no tables")
    rows = db.execute("SELECT identity, max_bytes FROM ring").fetchall()
    if [tuple(map(type, row)) for row in rows] != [(bytes, int)]:
        raise DamageError(f"its only row is {rows}")
    db.execute("PRAGMA busy_timeout = 0").fetchall()
    identity, max_bytes = rows[0]
    return identity, max_bytes


def wal_bytes(path: str) -> int:
    """Return the length of the WAL of a file."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def is_busy(error: BaseException) -> bool:
    """Return whether an error means that another process holds a lock."""
    return isinstance(error, sqlite3.OperationalError) and "lock" in str(error)


def is_damage(error: BaseException) -> bool:
    """Return whether an error means that the files are not what was written.

    Other errors do not mean that: a full disk, too little memory or missing rights come from
    outside, and pass.
    """
    if isinstance(error, DamageError | UnicodeDecodeError):
        return True  # a message that is not text quotes a damaged schema
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python 3.10, which drops a message that is not text
        is_silent = type(error) is sqlite3.DatabaseError and not str(error)
        return is_silent or any(text in str(error) for text in _DAMAGED_TEXTS)
    return code == _SHORT_READ or code & 0xFF in (_CORRUPT, _NO_DATABASE)


def unless_locked(db: sqlite3.Connection, statement: str) -> list[Any] | None:
    """Return the rows of a statement, or `None` if a lock was in its way."""
    try:
        return db.execute(statement).fetchall()
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        return None


def insist(db: sqlite3.Connection, statement: str) -> list[Any]:
    """Return the rows of a statement, repeated because SQLite does not always wait for locks."""
    deadline = time.monotonic() + _OPEN_SECONDS
    while (rows := unless_locked(db, statement)) is None:
        if time.monotonic() >= deadline:
            raise BusyError("others hold the lock")
        time.sleep(_STEP_SECONDS)
    return rows


def to_blob(text: str) -> bytes:
    """Return text as the index holds it: SQLite's text type takes no lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def text_of(blob: bytes) -> str:
    """Return the text that the index holds."""
    return str(blob, "utf-8", "surrogatepass")
