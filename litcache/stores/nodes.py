"""The entries that a `MemoryStore` holds, by namespace, and the bytes accounted for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from litcache.stores.base import Entry

# The bytes of an entry beside its key, layout and payload. With this number the process grows by at
# most a tenth more than is accounted (benchmarks/memory.py): the node (112), the headers of key and
# payload (33 each, rounded up by the allocator), a share of the dict, which under eviction grows
# to 60 to 120 bytes an entry, and a place among the ghosts (2 to 4).
ENTRY_BYTES = 298
EXPIRY_BYTES = 32
REQUEST_BYTES = 32

# How many layouts are kept so that equal ones share one object, and how long these may be.
SHARED_LAYOUTS = 256
SHARED_LAYOUT_BYTES = 256

# An entry weighs at most so much (as a power of two): some room stays for what is cheap to compute.
MOST_WEIGHT = 4

# The largest number of hits that is counted between two visits of the hand: bursts count once.
MOST_HITS = 3
# Instead of such a number: no store has the entry yet.
UNKEPT = -1
# What a new entry is worth, and one of the newest, which are not evicted.
NEW, YOUNG = 1, 0


class Space:
    """The entries of one namespace since it was last cleared.

    Attributes:
        seconds: About how many seconds the model takes for an item; 0: that is not known.
        weight: How much an entry is worth beside one of the namespace whose are worth least.
    """

    __slots__ = ("bytes", "epoch", "nodes", "seconds", "weight")

    def __init__(self, epoch: bytes) -> None:
        self.epoch = epoch
        self.nodes: dict[bytes, Node] = {}
        self.bytes = 0
        self.seconds = 0.0
        self.weight = 1


def weigh(spaces: Iterable[Space]) -> None:
    """Weigh each namespace: its model seconds for a byte, over those of the cheapest one.

    Weights are powers of two, so that a clock that is not exact changes none.
    """
    worth = {
        space: math.log2(space.seconds) + math.log2(len(space.nodes) / space.bytes)
        for space in spaces
        if 0 < space.seconds < math.inf and space.bytes
    }
    least = min(worth.values(), default=0.0)
    for space, logarithm in worth.items():
        space.weight = 1 << round(min(logarithm - least, MOST_WEIGHT))


class Node:
    """An entry, and its place in the queue between an older and a newer one.

    Attributes:
        uncounted: How many hits would still be counted before the hand meets it again.
        worth: How far ahead of the hand it took its place: 1, in the hand's bucket; 2, in the next.
            It is so many times farther as its namespace weighs.
    """

    __slots__ = (
        "expires", "key", "layout", "newer", "older", "payload", "request", "space", "uncounted",
        "worth",
    )  # fmt: skip

    newer: Node
    older: Node
    space: Space

    key: bytes
    layout: bytes
    payload: bytes
    expires: float | None
    request: int
    uncounted: int
    worth: int

    def size(self) -> int:
        """Return the bytes accounted for this entry."""
        size = ENTRY_BYTES + len(self.key) + len(self.layout) + len(self.payload)
        if self.expires is not None:
            size += EXPIRY_BYTES
        return size + REQUEST_BYTES if self.request else size


class Layouts:
    """The object that all equal short layouts of a store share.

    Concurrency: safe in many threads; at worst two equal layouts are kept.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def shared(self, layout: bytes) -> bytes:
        """Return the object that stands for a layout."""
        known = self._known.get(layout)
        if known is not None or len(layout) > SHARED_LAYOUT_BYTES:
            return known or layout
        if len(self._known) >= SHARED_LAYOUTS:
            self._known = {}
        return self._known.setdefault(layout, layout)


def new_nodes(
    encoded: Iterable[tuple[bytes, bytes]], expires: float | None, requests: Iterable[int]
) -> list[Node]:
    """Return entries for layouts and payloads; the `MemoryStore` that gets one keeps it as it is.

    They are filled here and below, since a constructor would take as long as all of this.
    """
    nodes: list[Node] = []
    for (layout, payload), request in zip(encoded, requests, strict=False):
        node = Node()
        node.layout = layout
        node.payload = payload
        node.expires = expires
        node.request = request
        node.uncounted = UNKEPT
        nodes.append(node)
    return nodes


def nodes_of(entries: Mapping[bytes, Entry], layouts: Layouts) -> tuple[dict[bytes, Node], int]:
    """Return the nodes of entries, without a place and a namespace, and the bytes of all of them.

    An entry that `new_nodes` made, and no store has yet, is its own node.
    """
    nodes: dict[bytes, Node] = {}
    size = ENTRY_BYTES * len(entries) + sum(map(len, entries))
    last = shared = b""
    for key, entry in entries.items():
        node = entry if type(entry) is Node and entry.uncounted == UNKEPT else _copy(entry)
        nodes[key] = node
        if node.layout is not last:
            last = node.layout
            shared = layouts.shared(last)
        if shared is not last:
            node.layout = shared
        node.key = key
        node.uncounted = MOST_HITS
        node.worth = NEW
        size += len(shared) + len(node.payload)
        if node.expires is not None:
            size += EXPIRY_BYTES
        if node.request:
            size += REQUEST_BYTES
    return nodes, size


def _copy(entry: Entry) -> Node:
    """Return a node with what an entry holds; a buffer that others can change is copied."""
    node = Node()
    layout, payload = entry.layout, entry.payload
    node.layout = layout if type(layout) is bytes else bytes(layout)
    node.payload = payload if type(payload) is bytes else bytes(payload)
    node.expires = entry.expires
    node.request = getattr(entry, "request", 0)
    return node
