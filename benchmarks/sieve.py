"""SIEVE, the eviction that a `MemoryStore` is measured beside."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any


class _Object:
    """An object in the queue of the paper's pseudo code; `prev` is towards the head."""

    __slots__ = ("key", "next", "prev", "visited")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.visited = False
        self.prev: _Object | None = None
        self.next: _Object | None = None


class Sieve:
    """Algorithm 1 of the paper (Zhang et al., NSDI '24), line by line.

    Args:
        capacity: How many items it holds, or how much they take together.
        size: How much an item takes.
    """

    def __init__(self, capacity: int, size: Callable[[Any], int] = lambda item: 1) -> None:
        self.capacity = capacity
        self.size = size
        self.taken = 0
        self.table: dict[Hashable, _Object] = {}
        self.head: _Object | None = None
        self.tail: _Object | None = None
        self.hand: _Object | None = None

    def __call__(self, item: Hashable) -> bool:
        """Ask for an item; return whether it hits."""
        if item in self.table:
            self.table[item].visited = True
            return True
        while self.taken + self.size(item) > self.capacity:
            self.evict()
        new = _Object(item)
        new.next = self.head
        if self.head is not None:
            self.head.prev = new
        self.head = new
        if self.tail is None:
            self.tail = new
        self.table[item] = new
        self.taken += self.size(item)
        return False

    def evict(self) -> None:
        """Evict one item."""
        o = self.hand or self.tail
        assert o is not None
        while o.visited:
            o.visited = False
            o = o.prev or self.tail
            assert o is not None
        self.hand = o.prev
        if o.prev is None:
            self.head = o.next
        else:
            o.prev.next = o.next
        if o.next is None:
            self.tail = o.prev
        else:
            o.next.prev = o.prev
        del self.table[o.key]
        self.taken -= self.size(o.key)
