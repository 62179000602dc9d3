"""A ring of frames on disk, shared by processes: written in order, the oldest evicted."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from litcache.stores.base import Scope
from litcache.stores.frame import EPOCH_BYTES, new_epoch
from litcache.stores.namespaces import Note
from litcache.stores.shared.index import Index, NoRoomError, tokens_in

KEY_BYTES = 16
# An entry takes at least so much of the ring: that bounds how many there are, and so the index.
SLOT_BYTES = 320

# Shares of the budget. With what one write adds to the WAL they stay below 1.1 of it.
RING_SHARE = 0.8
INDEX_SHARE = 0.2
WAL_SHARE = 0.06

# So much of what is looked at moves at most, however much of it was hit.
_MOVES = 0.8
# A write makes room in so many transactions at most.
_ROUNDS = 64
_MOST_PENDING = 4_096
_MOST_TOUCHED = 65_536

_ENDS = """
SELECT (SELECT tokens FROM spaces WHERE tag = ?),
       (SELECT min(place) FROM entries),
       (SELECT place FROM entries ORDER BY place DESC LIMIT 1),
       (SELECT size FROM entries ORDER BY place DESC LIMIT 1)
"""

# A frame as it was read, and its hash and place; it is for the caller to verify.
Found = tuple[int, int, bytes]


class ClearedError(Exception):
    """The namespace was cleared, or an entry of it deleted, since the look-up."""


def hashed(key: bytes) -> int:
    """Return what stands for a key in the index: 63 bits of its XXH3-64."""
    return xxh3_64_intdigest(key) >> 1


class Ring:
    """One generation of a shared store: an index, and the frames it tells the places of.

    A place is a distance from the first byte ever written, so places grow for ever; it is found
    at its remainder by the ring's capacity. What is there: a frame, and then its key.

    A write appends frames and evicts the oldest ahead of the next write: what the index held when
    a transaction began is not overwritten within it. So a process killed in one harms nothing, and
    a reader is overtaken only if it takes longer than that; it verifies what it read anyway.
    What was hit since it was written moves to the front instead of being evicted
    (FIFO-reinsertion, also called CLOCK; Corbató, 1968).

    Concurrency: safe in many threads and processes. It must be closed before a fork.

    Args:
        base: The path of its files, without suffix.
        number: Which generation it is.
        max_bytes: The configured budget.
        room: What the disk has room for: a ring made now takes no more.

    Attributes:
        number: Which generation it is.
        index: Where the entries are.
        largest: The length of the largest frame that it takes.
        chunk_bytes: Frames written at a time, unless a single one is longer.
        chunk_entries: Entries written at a time.

    Raises:
        OSError: If its files cannot be opened.
        sqlite3.Error: If its index cannot be opened, or is damaged.
    """

    def __init__(self, base: str, number: int, max_bytes: int, room: int) -> None:
        self._base = base
        self.number = number
        self._fd = -1
        self.index = Index(f"{base}.db", max_bytes, int(min(max_bytes, room) * RING_SHARE))
        try:
            self._fd = os.open(f"{base}.ring", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._identity = self._files()
            self._capacity = self.index.capacity
            budget = int(self._capacity / RING_SHARE)
            self.index.limit(int(budget * INDEX_SHARE), int(budget * WAL_SHARE))
        except BaseException:
            self.close()
            raise
        self.largest = self._capacity // 16
        self._reserve = min(self._capacity // 16, 4 << 20)
        self.chunk_bytes = self._reserve // 4
        self.chunk_entries = max(1, min(256, budget // 80_000))
        # Places that were hit here, and those of them that no write told the others of yet. The
        # ring has no more entries than slots: what is noted beyond that was evicted since.
        self._most_touched = min(_MOST_TOUCHED, self._capacity // SLOT_BYTES)
        self._touched: set[int] = set()
        self._pending: list[int] = []

    def close(self) -> None:
        """Close the files when nobody uses them; what is done with it afterwards raises."""
        self.index.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if "index" in self.__dict__:
            self.close()

    def replaced(self) -> bool:
        """Say whether other files, or none, are at its path now."""
        return self._files() != self._identity

    def _files(self) -> list[tuple[int, int]]:
        found = []
        for suffix in (".db", ".ring"):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(self._base + suffix)
                found.append((status.st_dev, status.st_ino))
        return found

    # Reading

    def read(self, tag: bytes, hashes: Sequence[int]) -> tuple[bytes | None, list[Found | None]]:
        """Return the tokens of a namespace, and what is found for each hash."""
        with self.index.reading:
            return self._read(self.index.reader, tag, hashes)

    def _read(
        self, db: sqlite3.Connection, tag: bytes, hashes: Sequence[int]
    ) -> tuple[bytes | None, list[Found | None]]:
        rows = self.index.find(db, tag, hashes)
        fd, capacity, largest = self._fd, self._capacity, self.largest
        found: list[Found | None] = []
        for hash in hashes:
            row = rows.get(hash)
            if row is None:
                found.append(None)
                continue
            _, place, size = row
            # A damaged index may say any size.
            data = os.pread(fd, size if size < largest else largest, place % capacity)
            found.append((hash, place, data))
        return tokens_in(rows), found

    def holds(self, hash: int, place: int) -> bool:
        """Say whether the index has this hash at this place."""
        query = "SELECT 1 FROM entries WHERE hash = ? AND place = ?"
        with self.index.reading:
            return bool(self.index.reader.execute(query, (hash, place)).fetchall())

    def touch(self, places: Sequence[int]) -> None:
        """Note hits; the next write tells the other processes."""
        known = self._touched
        fresh = [place for place in places if place not in known]
        if fresh and len(self._pending) < _MOST_PENDING:
            if len(known) > self._most_touched:
                known.clear()
            known.update(fresh)
            self._pending += fresh

    # Writing

    def write(
        self, tag: bytes, tokens: bytes, frames: Sequence[tuple[bytes, bytes]], patience: float
    ) -> int:
        """Write frames by key in one piece.

        Args:
            tag: The tag of their namespace.
            tokens: Its tokens, as the look-up saw them.
            frames: Keys and frames.
            patience: Seconds to wait for the lock.

        Returns:
            How many entries were evicted.

        Raises:
            BusyError: If the lock was not to be had.
            NoRoomError: If there is no room for them.
            ClearedError: If the tokens are others now.
        """
        rows, data = _laid_out(frames)
        evicted = 0
        deadline = time.monotonic() + self.index.patience(patience)
        for _ in range(_ROUNDS):
            with self.index.transaction(max(0.0, deadline - time.monotonic())) as db:
                oldest, head = self._ends(db, tag, tokens)
                start = self._fit(head, len(data))
                end = oldest + self._capacity
                fits = start + len(data) <= end
                need = self._reserve
                if fits:
                    self._store(start, data)
                    added = [(hash, start + offset, size) for hash, offset, size in rows]
                    db.executemany("REPLACE INTO entries VALUES (?, ?, ?)", added)
                    self._tell_touched(db, len(rows) + 64)
                    head = start + len(data)
                else:
                    need += start + len(data) - head
                # Many at a time: neighbours in the index are then often of one page.
                if end - head < need - self._reserve // 4:
                    evicted += self._evict(db, head, end, need)
            if fits:
                return evicted
        raise NoRoomError("so many entries cannot be evicted at a time")

    def _ends(
        self, db: sqlite3.Connection, tag: bytes = b"", tokens: bytes | None = None
    ) -> tuple[int, int]:
        """Return the place of the oldest entry, and the one behind the newest.

        Raises:
            ClearedError: If tokens are given, and those of the namespace are others.
        """
        ((known, oldest, newest, size),) = db.execute(_ENDS, (tag,)).fetchall()
        if tokens is not None and known != tokens:
            raise ClearedError
        return (0, 0) if oldest is None else (oldest, newest + _slot(size))

    def _fit(self, head: int, length: int) -> int:
        """Return the first place from the head on where so many bytes are in one piece."""
        left = self._capacity - head % self._capacity
        return head if length <= left else head + left

    def _store(self, place: int, data: bytes) -> None:
        if os.pwrite(self._fd, data, place % self._capacity) != len(data):
            raise NoRoomError("the disk is full")

    def _tell_touched(self, db: sqlite3.Connection, most: int) -> None:
        """Note in the index what was hit in this process."""
        if self._pending:
            told = [(place,) for place in self._pending[:most]]
            del self._pending[: len(told)]
            db.executemany("INSERT OR IGNORE INTO touched VALUES (?)", told)

    def _evict(self, db: sqlite3.Connection, head: int, end: int, need: int) -> int:
        """Evict the oldest until so much room is behind the head, or move there what was hit.

        Args:
            db: The connection, in a transaction.
            head: Where the next frame goes.
            end: The first place that may not be overwritten yet.
            need: How much room to make.

        Returns:
            How many were evicted.
        """
        # What moves may take half of the reserve, and as much be left over at the ring's end.
        until = head + need + self._reserve - self._capacity
        query = "SELECT place, size, hash FROM entries WHERE place < ? ORDER BY place LIMIT ?"
        limit = 2 * self.chunk_entries
        oldest = db.execute(query, (until, limit)).fetchall()
        if not oldest:
            return 0
        query = "SELECT place FROM touched WHERE place <= ?"
        touched = {place for (place,) in db.execute(query, (oldest[-1][0],)).fetchall()}
        start = self._fit(head, self._reserve // 2)
        room = min(self._reserve // 2, end - start)
        moved: list[tuple[int, int]] = []
        parts: list[bytes] = []
        length, last = 0, -1
        for place, size, hash in oldest:
            if place >= (start + length if moved else head) + need - self._capacity:
                break
            last, slot = place, _slot(size)
            if place in touched and len(moved) < _MOVES * limit and length + slot <= room:
                data = os.pread(self._fd, slot, place % self._capacity)
                if len(data) == slot:
                    moved.append((start + length, hash))
                    parts.append(data)
                    length += slot
        if moved:
            self._store(start, b"".join(parts))
            db.executemany("UPDATE entries SET place = ? WHERE hash = ?", moved)
        db.execute("DELETE FROM touched WHERE place <= ?", (last,))
        return db.execute("DELETE FROM entries WHERE place <= ?", (last,)).rowcount

    def tokens(self, scope: Scope, patience: float) -> bytes:
        """Return the tokens of a namespace, made now if it has none."""
        with self.index.transaction(self.index.patience(patience), urgent=True) as db:
            return self.index.tokens(db, scope)

    def clear(self, scope: Scope | None, patience: float) -> None:
        """Renew the epoch of a namespace, or of all."""
        with self.index.transaction(patience, urgent=True) as db:
            if scope is None:
                self.index.renew_all(db)
            else:
                self.index.renew(db, scope, new_epoch())

    def delete(
        self, scope: Scope, hashes: Sequence[int], patience: float
    ) -> tuple[bytes, list[Found | None]]:
        """Delete entries; return the tokens that their namespace had, and what they were."""
        with self.index.transaction(patience, urgent=True) as db:
            tokens = self.index.tokens(db, scope)
            _, found = self._read(db, scope.tag, hashes)
            db.executemany("DELETE FROM entries WHERE hash = ?", [(hash,) for hash in hashes])
            self.index.renew(db, scope, tokens[:EPOCH_BYTES])
        return tokens, found

    def note(self, notes: Sequence[Note], patience: float) -> None:
        """Note what a process tells the others."""
        with self.index.transaction(self.index.patience(patience)) as db:
            self.index.note(db, notes)

    def forget(self, hashes: Sequence[int], patience: float) -> None:
        """Take hashes out of the index."""
        with self.index.transaction(self.index.patience(patience)) as db:
            db.executemany("DELETE FROM entries WHERE hash = ?", [(hash,) for hash in hashes])

    # All of it

    def totals(self) -> tuple[int, int]:
        """Return how many entries there are, and the bytes that they take with their index."""
        with self.index.reading:
            db = self.index.reader
            ((entries,),) = db.execute("SELECT count(*) FROM entries").fetchall()
            oldest, head = self._ends(db)
            return entries, head - oldest + self.index.used() if entries else 0

    def read_at(self, place: int, size: int) -> tuple[bytes, bytes]:
        """Return the frame and the key at a place."""
        length = min(size, self.largest) + KEY_BYTES
        with self.index.reading:
            data = os.pread(self._fd, length, place % self._capacity)
        return data[:-KEY_BYTES], data[-KEY_BYTES:]


def _slot(size: int) -> int:
    """Return how much of the ring a frame of this length takes."""
    return max(SLOT_BYTES, size + KEY_BYTES)


def _laid_out(frames: Sequence[tuple[bytes, bytes]]) -> tuple[list[tuple[int, int, int]], bytes]:
    """Return frames and keys in one piece, and hash, offset and size of each."""
    rows: list[tuple[int, int, int]] = []
    parts: list[bytes] = []
    offset = 0
    for key, frame in frames:
        slot = _slot(len(frame))
        rows.append((hashed(key), offset, len(frame)))
        parts += (frame, key.ljust(slot - len(frame), b"\0"))
        offset += slot
    return rows, b"".join(parts)
