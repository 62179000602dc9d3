"""FIFO-reinsertion: evict the oldest entries of a ring, except those that were hit meanwhile."""

from __future__ import annotations

import sqlite3

from litcache.stores.shared.frames import KEY_BYTES, Frames
from litcache.stores.shared.places import LAP, advanced, fit
from litcache.stores.shared.sizes import Sizes
from litcache.stores.shared.sketch import Sketch

# The largest share of the checked entries that moves, however many of them were hit.
_MOVES = 0.8


def evict(
    db: sqlite3.Connection,
    frames: Frames,
    sketch: Sketch,
    sizes: Sizes,
    *,
    head: int,
    end: int,
    need: int,
    crowded: bool,
) -> int:
    """Evict the oldest entries until there is room behind the head; move there those that were hit.

    Args:
        db: The index, in a transaction.
        frames: The file of the frames.
        sketch: The sketch of the index.
        sizes: The sizes of the ring.
        head: The place of the next frame.
        end: The first place that may not be overwritten yet.
        need: How many bytes of room to make.
        crowded: Whether to evict many in any case, because the index is full.

    Returns:
        How many were evicted.
    """
    capacity, reserve, limit = sizes.capacity, sizes.reserve, 2 * sizes.chunk_entries
    # Moved frames may take half of the reserve; the other half may be lost at the ring's end.
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
        sketch.add([hash for _, hash in moved], start)
        db.executemany("UPDATE entries SET place = ? WHERE hash = ?", moved)
    db.execute("DELETE FROM touched WHERE place <= ?", (last,))
    return db.execute("DELETE FROM entries WHERE place <= ?", (last,)).rowcount
