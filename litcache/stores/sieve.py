"""SIEVE: a queue of entries, and which of them is evicted next."""

from __future__ import annotations

import math

from litcache.stores.base import Entry, NewEntry

# What an entry takes beside its key, layout and payload, so that the process grows by no more than
# a tenth beyond what is accounted (benchmarks/memory.py): the node (96), the headers of key and
# payload (33 each, rounded up by the allocator) and its share of the dict, which under eviction
# grows to 60 to 120 bytes an entry.
ENTRY_BYTES = 288
EXPIRY_BYTES = 32

# How many entries one eviction looks at, at most: it bounds the slowest, since the mean is bounded
# by the hits that set the flags. benchmarks/hit_rate.py shows that it costs no hits.
SCAN_STEPS = 512


class Space:
    """The entries of one namespace since it was last cleared."""

    __slots__ = ("bytes", "epoch", "nodes")

    def __init__(self, epoch: bytes) -> None:
        self.epoch = epoch
        self.nodes: dict[bytes, Node] = {}
        self.bytes = 0


class Node:
    """An entry, and its place in the queue between an older and a newer one."""

    __slots__ = ("expires", "key", "layout", "newer", "older", "payload", "space", "visited")

    newer: Node
    older: Node
    space: Space

    def __init__(self, key: bytes, entry: Entry) -> None:
        self.key = key
        layout, payload = entry.layout, entry.payload
        # What others could change in place is copied.
        self.layout = layout if type(layout) is bytes else bytes(layout)
        self.payload = payload if type(payload) is bytes else bytes(payload)
        self.expires = entry.expires
        self.visited = False

    def size(self) -> int:
        """Return the bytes accounted for this entry."""
        size = ENTRY_BYTES + len(self.key) + len(self.layout) + len(self.payload)
        return size if self.expires is None else size + EXPIRY_BYTES


class Sieve:
    """The queue of all entries of a store, the oldest first.

    (Zhang et al., "SIEVE is Simpler than LRU", NSDI '24.) A hand goes from the oldest to the newest
    and round again; it evicts the first entry that was not hit since it passed, or has expired.
    Another goes round for entries that have expired, as long as there can be any.

    Concurrency: its user holds a lock. A hit sets `Node.visited` without it.
    """

    def __init__(self) -> None:
        # The queue is a ring: root.newer is its oldest entry, root.older its newest.
        root = Node(b"", NewEntry(b"", b""))
        root.newer = root.older = root
        self._root = self._hand = self._sweep = root
        # No entry expires sooner than the first; than the second, none that this round has seen.
        self._soonest = self._soonest_seen = math.inf

    @property
    def timed(self) -> bool:
        """Whether there can be entries that expire."""
        return self._soonest < math.inf

    def append(self, node: Node) -> None:
        """Add an entry as the newest."""
        root = self._root
        node.older, node.newer = root.older, root
        root.older.newer = node
        root.older = node
        if node.expires is not None and node.expires < self._soonest:
            self._soonest = node.expires

    def remove(self, node: Node) -> None:
        """Take an entry out."""
        if node is self._hand:
            self._hand = node.newer
        if node is self._sweep:
            self._sweep = node.newer
        node.older.newer = node.newer
        node.newer.older = node.older
        # Whoever still holds the entry shall not hold its neighbours.
        del node.older, node.newer

    def victim(self, now: float) -> Node:
        """Return the entry to evict; the queue is not empty."""
        node = self._hand
        for _ in range(SCAN_STEPS):
            if node is self._root:
                node = node.newer
            if not node.visited or (node.expires is not None and node.expires <= now):
                break
            node.visited = False
            node = node.newer
        if node is self._root:
            node = node.newer
        self._hand = node
        return node

    def expired(self, now: float, steps: int) -> list[Node]:
        """Return what has expired among the next entries of the round, none if none can have."""
        found: list[Node] = []
        if now < self._soonest:
            return found
        node = self._sweep
        if node is self._root:  # a new round
            self._soonest_seen = math.inf
            node = node.newer
        for _ in range(steps):
            if node is self._root:
                self._soonest = self._soonest_seen
                break
            if node.expires is not None:
                if node.expires <= now:
                    found.append(node)
                elif node.expires < self._soonest_seen:
                    self._soonest_seen = node.expires
            node = node.newer
        self._sweep = node
        return found
