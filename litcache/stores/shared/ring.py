"""A ring of frames on disk, shared by processes: written in order, the oldest evicted first."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import time
from collections.abc import Sequence

from litcache.stores.base import Scope
from litcache.stores.frame import EPOCH_BYTES
from litcache.stores.namespaces import Told
from litcache.stores.shared import leases
from litcache.stores.shared.database import PAGE_BYTES, DamageError, NoRoomError
from litcache.stores.shared.deletes import renew_deletes
from litcache.stores.shared.eviction import evict
from litcache.stores.shared.finding import find, hashed, hashes_of, tokens_in
from litcache.stores.shared.frames import KEY_BYTES, Found, Frames
from litcache.stores.shared.index import Index
from litcache.stores.shared.places import LAP, fit, room
from litcache.stores.shared.sizes import Sizes
from litcache.stores.shared.sketch import Sketch
from litcache.stores.shared.touched import Touched

# The largest number of transactions in which a write makes room.
_ROUNDS = 64
# Before a longer frame is read, the length of the file is checked.
_LONGEST = 64 << 20
# A process that holds the lock this long without a commit counts as stopped.
STALLED_SECONDS = 3.0

_ENDS = """
SELECT (SELECT tokens FROM spaces WHERE tag = ?),
       (SELECT min(place) FROM entries),
       (SELECT place FROM entries ORDER BY place DESC LIMIT 1),
       (SELECT size FROM entries ORDER BY place DESC LIMIT 1),
       (SELECT capacity FROM ring)
"""


class ClearedError(Exception):
    """The namespace was cleared, or one of its entries deleted, after the look-up."""


class ReplacedError(Exception):
    """Another process replaced the files while this one opened them."""


class Ring:
    """Three files: the frames of entries, an index with their places, and a sketch of the index.

    All hold the same identity, so files that were not made together are not used together. A
    place is a lap and an offset; a frame is there, and behind it its key.

    A write appends frames, and evicts the oldest ones ahead of the next write. A transaction does
    not overwrite what the index held when it began. So a process that is killed in a transaction
    harms nothing. A frame is overwritten under a reader only if the reader takes longer than that,
    and the reader verifies what it read. An entry that was hit since it was written moves to the
    front instead of being evicted (FIFO-reinsertion, also called CLOCK; Corbató, 1968).

    Concurrency: safe in many threads and processes. It must be closed before a fork.

    Args:
        base: The path of its files, without suffix.
        max_bytes: The budget of this process; `None` for that of the process that wrote last.

    Attributes:
        index: The file with the places of the frames.
        frames: The file with the frames.
        sketch: What is surely not in the index.
        touched: The hits of this process.
        told: The versions that this process has noted in the index.
        sizes: The length of the ring, and the sizes that follow from it.

    Raises:
        FileNotFoundError: If there is no index.
        DamageError, sqlite3.Error: If the files are damaged.
        ReplacedError: If another process replaced them meanwhile.
        OSError: If they cannot be opened.
    """

    def __init__(self, base: str, max_bytes: int | None) -> None:
        self._base = base
        self._most = LAP if max_bytes is None else Sizes.of_budget(max_bytes).capacity
        found = os.lstat(f"{base}.db")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ELOOP, "it is no file of its own", f"{base}.db")
        with contextlib.ExitStack() as undo:
            self.index = undo.enter_context(contextlib.closing(Index(f"{base}.db")))
            try:
                frames = Frames(f"{base}.ring", self.index.identity)
                self.frames = undo.enter_context(contextlib.closing(frames))
                sketch = Sketch(f"{base}.sketch", self.index.identity)
                self.sketch = undo.enter_context(contextlib.closing(sketch))
                damage = None
            except (FileNotFoundError, DamageError) as error:
                damage = error
            self._identity = self._files()
            # A replacement begins with the index: while it exists, its WAL and its frames do, too.
            if (found.st_dev, found.st_ino) not in self._identity:
                raise ReplacedError
            if damage is not None:
                raise DamageError("other files are gone, or of another index") from damage
            self.touched, self.told = Touched(), Told()
            self.measure(self.capacity())
            undo.pop_all()

    def measure(self, capacity: int) -> None:
        """Take over the length of the ring from the index, up to the budget of this process."""
        least = Sizes.of_budget(0).capacity
        self.sizes = Sizes(max(least, min(capacity, self._most)))
        self.index.limit(self.sizes.index_bytes, self.sizes.wal_bytes)
        self.frames.longest = min(self.sizes.largest, _LONGEST)
        self.touched.most = self.sizes.most_entries

    def close(self) -> None:
        """Close the files as soon as no thread uses them; any later use of the ring raises."""
        self.index.close()
        self.frames.close()
        self.sketch.close()

    def __del__(self) -> None:
        if "told" in self.__dict__:
            self.close()

    def replaced(self) -> bool:
        """Return whether its files were replaced or removed."""
        return self._files() != self._identity

    def _files(self) -> list[tuple[int, int]]:
        found = []
        for suffix in (".db", ".ring"):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(self._base + suffix)
                found.append((status.st_dev, status.st_ino))
        return found

    # Reading

    def absent(self, tag: bytes, hashes: Sequence[int]) -> bytes | None:
        """Return the tokens of a namespace if surely none of the hashes has a frame."""
        return self.sketch.tokens(tag) if self.sketch.lacks(hashes) else None

    def read(self, tag: bytes, hashes: Sequence[int]) -> tuple[bytes | None, list[Found | None]]:
        """Return the tokens of a namespace, and the frame of each hash that has one."""
        tokens = self.absent(tag, hashes)
        if tokens is not None:
            return tokens, [None] * len(hashes)
        return self.index.read(lambda db: self._read(db, tag, hashes))

    def _read(
        self, db: sqlite3.Connection, tag: bytes, hashes: Sequence[int]
    ) -> tuple[bytes | None, list[Found | None]]:
        rows = find(db, tag, hashes)
        if rows.keys() <= {None}:  # all miss
            return tokens_in(rows), [None] * len(hashes)
        return tokens_in(rows), self.frames.read_all(map(rows.get, hashes))

    def read_at(self, place: int, size: int) -> tuple[bytes, bytes]:
        """Return the frame and the key at a place."""
        with self.index.reading:
            data = self.frames.read(place, size + KEY_BYTES)
        return data[:-KEY_BYTES], data[-KEY_BYTES:]

    def holds(self, hash: int, place: int) -> bool:
        """Return whether the index has this hash at this place."""
        query = "SELECT 1 FROM entries WHERE hash = ? AND place = ?"
        with self.index.reading:
            return bool(self.index.reader.execute(query, (hash, place)).fetchall())

    def totals(self) -> tuple[int, int]:
        """Return the number of entries, and the bytes that they take with their index."""
        query = "SELECT count(*), total(size) FROM entries"
        with self.index.reading:
            ((entries, size),) = self.index.reader.execute(query).fetchall()
            pages = self.index.pages(self.index.reader)
        return entries, int(size) + entries * KEY_BYTES + pages * PAGE_BYTES if entries else 0

    def capacity(self) -> int:
        """Return the length of the ring according to the index, whatever the budget here is."""
        with self.index.reading:
            ((capacity,),) = self.index.reader.execute("SELECT capacity FROM ring").fetchall()
        if type(capacity) is not int:
            raise DamageError(f"its ring is {capacity!r} long")
        return capacity

    # Writing

    def write(
        self, scope: Scope, tokens: bytes, frames: Sequence[tuple[bytes, bytes]], patience: float
    ) -> int:
        """Write frames by key in one piece.

        Args:
            scope: Their namespace and version.
            tokens: The tokens of the namespace that the look-up saw.
            frames: Keys and frames.
            patience: Seconds to wait for the lock.

        Returns:
            How many entries were evicted.

        Raises:
            BusyError: If this process did not get the lock.
            NoRoomError: If there is no room for the frames.
            ClearedError: If the tokens have changed.
        """
        rows, data = _laid_out(frames)
        evicted = 0
        deadline = time.monotonic() + self.index.patience(patience)
        for _ in range(_ROUNDS):
            with self.index.transaction(max(0.0, deadline - time.monotonic())) as db:
                oldest, head, capacity = self._ends(db, scope.tag, tokens)
                if capacity != self.sizes.capacity:
                    self.measure(capacity)
                sizes, length = self.sizes, self.sizes.capacity
                start = fit(head, len(data), length)
                end, crowded = oldest + LAP, self.index.is_crowded(db)
                fits = start + len(data) <= end and not crowded
                need = sizes.reserve
                if fits:
                    self.frames.write(start, data)
                    self.sketch.add([hash for hash, _, _ in rows], start)
                    added = [(hash, start + offset, size) for hash, offset, size in rows]
                    db.executemany("REPLACE INTO entries VALUES (?, ?, ?)", added)
                    if scope.lease is not None:
                        leases.end(db, [hash for hash, _, _ in rows], scope.lease)
                    self._tell(db, scope, tokens[:EPOCH_BYTES], len(rows) + 64)
                    head = start + len(data)
                elif not crowded:
                    need += room(head, start, length) + len(data)
                # Many at a time: then neighbours in the index are often on one page.
                if crowded or room(head, end, length) < need - sizes.reserve // 4:
                    files = self.frames, self.sketch
                    evicted += evict(
                        db, *files, sizes, head=head, end=end, need=need, crowded=crowded
                    )
            if fits:
                self.told.add(tokens[:EPOCH_BYTES], scope.version)
                return evicted
        raise NoRoomError("so many entries cannot be evicted at a time")

    def _ends(
        self, db: sqlite3.Connection, tag: bytes = b"", tokens: bytes | None = None
    ) -> tuple[int, int, int]:
        """Return the place of the oldest entry, the place behind the newest, and the ring's length.

        Raises:
            ClearedError: If tokens are given, and the namespace has other tokens now.
        """
        ((known, oldest, newest, size, capacity),) = db.execute(_ENDS, (tag,)).fetchall()
        if tokens is not None and known != tokens:
            self.sketch.note([(tag, known)])
            raise ClearedError
        if oldest is None:
            oldest, newest, size = 0, 0, -KEY_BYTES
        if not all(type(number) is int for number in (oldest, newest, size, capacity)):
            raise DamageError("its index holds no places")
        return oldest, newest + size + KEY_BYTES, capacity

    def _tell(self, db: sqlite3.Connection, scope: Scope, epoch: bytes, most: int) -> None:
        """Note in the index what was hit in this process, and which version writes."""
        self.touched.tell(db, most)
        if self.told.lacks(epoch, scope.version):
            self.index.note_version(db, scope.tag, scope.version)

    def resize(self, max_bytes: int, capacity: int, patience: float) -> None:
        """Give the ring the length that this process wants; entries beyond the new end go."""
        with self.index.transaction(self.index.patience(patience)) as db:
            shorter = capacity < self._ends(db)[2]
            db.execute("UPDATE ring SET max_bytes = ?, capacity = ?", (max_bytes, capacity))
            self.measure(capacity)
            if shorter:
                query = "DELETE FROM entries WHERE (place & ?) + size + ? > ?"
                db.execute(query, (LAP - 1, KEY_BYTES, self.sizes.capacity))
        if shorter:
            # Closed meanwhile, its number could be that of another file, which would be cut off.
            with self.index.reading:
                self.index.reader.execute("SELECT 1").fetchall()  # raises if it is closed
                self.frames.shorten(self.sizes.capacity)
            self.index.give_back()

    def tokens(self, scope: Scope, patience: float) -> bytes:
        """Return the tokens of a namespace; make them if it has none."""
        with self.index.transaction(self.index.patience(patience), urgent=True) as db:
            tokens = self.index.tokens(db, scope)
            self.sketch.note([(scope.tag, tokens)])
        return tokens

    def clear(self, scope: Scope | None, patience: float) -> None:
        """Renew the epoch of a namespace, or of all; it is on the disk when this returns."""
        with self.index.transaction(
            patience, urgent=True, durable=True, stalled=STALLED_SECONDS
        ) as db:
            self.sketch.note(self.index.renew(db, scope))

    def delete(
        self, scope: Scope, keys: Sequence[bytes], patience: float
    ) -> tuple[bytes | None, list[Found | None]]:
        """Delete entries; return the tokens that their namespace had, and the entries."""
        hashes = hashes_of(keys)
        with self.index.transaction(
            patience, urgent=True, durable=True, stalled=STALLED_SECONDS
        ) as db:
            tokens, found = self._read(db, scope.tag, hashes)
            db.executemany("DELETE FROM entries WHERE hash = ?", [(hash,) for hash in hashes])
            leases.end(db, hashes)
            self.sketch.note(renew_deletes(db, scope, keys))
        return tokens, found

    def forget(self, hashes: Sequence[int], patience: float) -> None:
        """Remove hashes from the index."""
        with self.index.transaction(self.index.patience(patience)) as db:
            db.executemany("DELETE FROM entries WHERE hash = ?", [(hash,) for hash in hashes])


def _laid_out(frames: Sequence[tuple[bytes, bytes]]) -> tuple[list[tuple[int, int, int]], bytes]:
    """Return frames and keys as one piece of bytes, with hash, offset and size of each frame."""
    rows: list[tuple[int, int, int]] = []
    parts: list[bytes] = []
    offset = 0
    for key, frame in frames:
        rows.append((hashed(key), offset, len(frame)))
        parts += (frame, key.ljust(KEY_BYTES, b"\0"))
        offset += len(frame) + KEY_BYTES
    return rows, b"".join(parts)
