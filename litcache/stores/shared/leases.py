"""The table of leases in the index of a shared store: who computes a key that has no entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from litcache.stores.base import Lease

# Made with the first lease: most stores have none, and those of 0.5 lack it.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases(
hash INTEGER PRIMARY KEY, tag BLOB NOT NULL, holder BLOB NOT NULL, since REAL, until REAL)
"""
_MOST = 64
# A lease that begins later than now is of another boot, or from before a step of the clock.
_VALID = "since <= ? AND until > ?"
_HELD = {
    width: f"SELECT hash, holder FROM leases WHERE hash IN ({', '.join('?' * width)}) "
    f"AND {_VALID} AND holder <> ?"
    for width in (1, 8, _MOST)
}
_NO_HASHES = (-1,) * _MOST


def held(
    db: sqlite3.Connection, hashes: Sequence[int], lease: Lease, now: float
) -> dict[int, bytes]:
    """Return those of the hashes that others than the lease's holder have, with their holders."""
    found: dict[int, bytes] = {}
    for start in range(0, len(hashes), _MOST):
        part = hashes[start : start + _MOST]
        few = len(part)
        width = 1 if few < 2 else 8 if few < 9 else _MOST
        values = (*part, *_NO_HASHES[few:width], now, now, lease.holder)
        try:
            found.update(db.execute(_HELD[width], values).fetchall())
        except sqlite3.OperationalError as error:
            if not _has_none(error):
                raise
            return {}
    return found


def take(
    db: sqlite3.Connection, tag: bytes, hashes: Iterable[int], lease: Lease, now: float
) -> None:
    """Lease hashes in a transaction, whoever had them."""
    db.execute(_SCHEMA)
    rows = [(hash, tag, lease.holder, now, now + lease.seconds) for hash in hashes]
    db.executemany("REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", rows)


def end(db: sqlite3.Connection, hashes: Iterable[int], lease: Lease | None = None) -> None:
    """Remove leases in a transaction: those of one holder, or of all."""
    where, which = ("", ()) if lease is None else (" AND holder = ?", (lease.holder,))
    _change(db, f"DELETE FROM leases WHERE hash = ?{where}", [(hash, *which) for hash in hashes])


def end_all(db: sqlite3.Connection, tag: bytes | None = None) -> None:
    """Remove the leases of a namespace, or of all, in a transaction."""
    where, which = ("", ()) if tag is None else (" WHERE tag = ?", (tag,))
    _change(db, f"DELETE FROM leases{where}", [which])


def end_old(db: sqlite3.Connection, now: float) -> None:
    """Remove the leases whose time is over, in a transaction."""
    _change(db, f"DELETE FROM leases WHERE NOT ({_VALID})", [(now, now)])


def _change(db: sqlite3.Connection, statement: str, rows: list[tuple[object, ...]]) -> None:
    try:
        db.executemany(statement, rows)
    except sqlite3.OperationalError as error:
        if not _has_none(error):
            raise


def _has_none(error: sqlite3.OperationalError) -> bool:
    """Return whether an error means that nobody has taken a lease yet."""
    return "no such table: leases" in str(error)
