"""FIFO-reinsertion: the oldest entries of a ring go, unless they were hit meanwhile."""

from __future__ import annotations

import sqlite3

from litcache.stores.shared.frames import KEY_BYTES, Frames
from litcache.stores.shared.places import LAP, advanced, fit
from litcache.stores.shared.sizes import Sizes

# So much of what is looked at moves at most, however much of it was hit.
_MOVES = 0.8


def evict(
    db: sqlite3.Connection,
    frames: Frames,
    sizes: Sizes,
    *,
    head: int,
    end: int,
    need: int,
    crowded: bool,
) -> int:
    """Evict the oldest until so much room is behind the head, or move there what was hit.

    Args:
        db: The index, in a transaction.
        frames: The frames that it tells the places of.
        sizes: Those of the ring.
        head: Where the next frame goes.
        end: The first place that may not be overwritten yet.
        need: How much room to make.
        crowded: Whether to evict many in any case, since the index is full.

    Returns:
        How many were evicted.
    """
    capacity, reserve, limit = sizes.capacity, sizes.reserve, 2 * sizes.chunk_entries
    # What moves may take half of the reserve, and as much be left over at the ring's end.
    until = head if crowded else advanced(head, need + reserve, capacity) - LAP
    query = "SELECT place, size, hash FROM entries WHERE place < ? ORDER BY place LIMIT ?"
    oldest = db.execute(query, (until, limit)).fetchall()
    if not oldest:
        return 0
    query = "SELECT place FROM touched WHERE place <= ?"
    touched = {place for (place,) in db.execute(query, (oldest[-1][0],)).fetchall()}
    start = fit(head, reserve // 2, capacity)
    space = min(reserve // 2, end - start)
    moved: list[tuple[int, int]] = []
    parts: list[bytes] = []
    length, last = 0, -1
    for place, size, hash in oldest:
        front = start + length if moved else head
        if not crowded and place >= advanced(front, need, capacity) - LAP:
            break
        last, slot = place, size + KEY_BYTES
        if place in touched and len(moved) < _MOVES * limit and length + slot <= space:
            data = frames.read(place, slot)
            if len(data) == slot:
                moved.append((start + length, hash))
                parts.append(data)
                length += slot
    if moved:
        frames.write(start, b"".join(parts))
        db.executemany("UPDATE entries SET place = ? WHERE hash = ?", moved)
    db.execute("DELETE FROM touched WHERE place <= ?", (last,))
    return db.execute("DELETE FROM entries WHERE place <= ?", (last,)).rowcount
