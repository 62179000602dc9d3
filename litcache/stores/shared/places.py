"""Places in a ring: a lap of writing, and an offset in it."""

from __future__ import annotations

LAP = 1 << 40
"""How far places of one lap are from those of the next: no ring is longer."""

OFFSET = LAP - 1
"""The bits of a place that are its offset."""


def offset_of(place: int) -> int:
    """Return the offset of a place in the ring."""
    return place & OFFSET


def fit(head: int, length: int, capacity: int) -> int:
    """Return the first place, from the head on, with room for that many bytes in one piece."""
    return head if (head & OFFSET) + length <= capacity else next_lap(head)


def next_lap(place: int) -> int:
    """Return the first place of the next lap."""
    return (place | OFFSET) + 1


def advanced(head: int, length: int, capacity: int) -> int:
    """Return the place that many bytes after the head, over the ends of laps."""
    left = room(head, next_lap(head), capacity)
    return head + length if length <= left else next_lap(head) + length - left


def room(head: int, end: int, capacity: int) -> int:
    """Return how many bytes are between the head and an end, which is at most a lap away."""
    if end < next_lap(head):
        return max(0, end - head)
    # The head of a ring that was shortened may be beyond its end.
    left = max(0, capacity - (head & OFFSET))
    return left + (min(end & OFFSET, capacity) if end < next_lap(head) + LAP else capacity)
