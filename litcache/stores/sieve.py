"""SIEVE: a queue of entries that decides which entry is evicted next."""

from __future__ import annotations

import math

from litcache.stores.base import Entry, NewEntry

# The bytes of an entry beside its key, layout and payload. With this number the process grows by at
# most a tenth more than is accounted (benchmarks/memory.py): the node (104), the headers of key and
# payload (33 each, rounded up by the allocator) and a share of the dict, which under eviction grows
# to 60 to 120 bytes an entry.
ENTRY_BYTES = 296
EXPIRY_BYTES = 32
REQUEST_BYTES = 32

# The largest number of entries that one eviction looks at. It bounds the slowest eviction; the hits
# that set the flags bound the mean. benchmarks/hit_rate.py shows that it costs no hits.
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

    __slots__ = (
        "expires", "key", "layout", "newer", "older", "payload", "request", "space", "visited",
    )  # fmt: skip

    newer: Node
    older: Node
    space: Space

    def __init__(self, key: bytes, entry: Entry) -> None:
        self.key = key
        layout, payload = entry.layout, entry.payload
        # A buffer that others can change in place is copied.
        self.layout = layout if type(layout) is bytes else bytes(layout)
        self.payload = payload if type(payload) is bytes else bytes(payload)
        self.expires = entry.expires
        self.request = getattr(entry, "request", 0)
        self.visited = False

    def size(self) -> int:
        """Return the bytes accounted for this entry."""
        size = ENTRY_BYTES + len(self.key) + len(self.layout) + len(self.payload)
        if self.expires is not None:
            size += EXPIRY_BYTES
        return size + REQUEST_BYTES if self.request else size


class Sieve:
    """The queue of all entries of a store, the oldest first.

    A hand goes from the oldest entry to the newest, and round again. It evicts the first entry that
    has expired, or was not hit since the hand passed it. (Zhang et al., NSDI '24.) A second hand
    looks for expired entries, as long as there can be any.

    Concurrency: the caller holds a lock. Only a hit sets `Node.visited` without it.
    """

    def __init__(self) -> None:
        # The queue is a ring: root.newer is its oldest entry, root.older its newest.
        root = Node(b"", NewEntry(b"", b""))
        root.newer = root.older = root
        self._root = self._hand = self._sweep = root
        # No entry expires before the first time; none that this round has seen, before the second.
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
        # Code that still holds the entry must not keep its neighbours alive.
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
        """Return the expired entries among the next ones of the round, if any can have expired."""
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
