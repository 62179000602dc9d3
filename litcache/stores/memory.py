"""A store in the memory of one process: SIEVE eviction, a byte budget, an expiry for each entry."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litcache.forks import Forkable, begin_anew
from litcache.policy import parse_bytes
from litcache.stores.base import Entry, NewEntry, Scope, Store, StoreInfo

# What an entry takes beside its key, layout and payload, so that the process grows by no more than
# a tenth beyond what is accounted (benchmarks/memory.py): the node (96), the headers of key and
# payload (33 each, rounded up by the allocator) and its share of the dict, which under eviction
# grows to 60 to 120 bytes an entry.
ENTRY_BYTES = 288
EXPIRY_BYTES = 32

# How many entries one eviction looks at, at most: it bounds the slowest, since the mean is bounded
# by the hits that set the flags. benchmarks/hit_rate.py shows that it costs no hits.
SCAN_STEPS = 512

# How many layouts are kept to be shared by equal ones, and how long these may be.
SHARED_LAYOUTS = 256
SHARED_LAYOUT_BYTES = 256


class _Node:
    """An entry, and its place in the queue between an older and a newer one."""

    __slots__ = ("expires", "key", "layout", "newer", "older", "payload", "tag", "visited")

    newer: _Node
    older: _Node

    def __init__(self, key: bytes, tag: bytes, entry: Entry) -> None:
        self.key = key
        self.tag = tag
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


class MemoryStore(Store, Forkable):
    """Entries in the memory of this process, the least useful evicted first.

    Eviction is SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI '24) within a budget of
    bytes. What is accounted never exceeds the budget, and it covers keys and bookkeeping. An entry
    that exceeds the budget by itself is rejected, and what was there under its key is removed.

    Entries are handed out as they are held, without a copy, and verified by nobody.

    Concurrency: safe in many threads. A look-up that hits takes no lock and moves nothing; writes,
    and look-ups that meet an expired entry, take one lock. A forked process starts empty, whatever
    other threads were doing at the fork.

    Args:
        max_bytes: The budget: bytes, or a string such as `"256 MiB"`.
        clock: The wall clock by which entries expire, in seconds.

    Attributes:
        max_bytes: The budget in bytes.

    Raises:
        ValueError: If `max_bytes` is no possible size.

    Example:
        >>> from litcache.stores.base import NewEntry
        >>> store = MemoryStore("1 MiB")
        >>> store.set_many(Scope("shop"), {b"k" * 16: NewEntry(b"layout", b"payload")})
        >>> [entry and entry.payload for entry in store.get_many(Scope("shop"), [b"k" * 16, b"?"])]
        [b'payload', None]
        >>> store.info().entries
        1
    """

    def __init__(
        self, max_bytes: int | str = "256 MiB", *, clock: Callable[[], float] = time.time
    ) -> None:
        self.max_bytes = parse_bytes(max_bytes)
        self.clock = clock
        self._start()

    def _start(self) -> None:
        """Begin with nothing stored and nothing counted."""
        self._lock = threading.Lock()
        self._nodes: dict[bytes, _Node] = {}
        # The queue is a ring: root.newer is its oldest entry, root.older its newest.
        root = _Node(b"", b"", NewEntry(b"", b""))
        root.newer = root.older = root
        self._root = self._hand = root
        self._layouts: dict[bytes, bytes] = {}
        self._epoch = os.urandom(8)
        self._epochs: dict[bytes, bytes] = {}
        self._bytes = self._evicted = self._expired = self._rejected = self._dropped = 0
        begin_anew(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes, "clock": self.clock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.max_bytes})"

    def after_fork_in_child(self) -> None:
        """Begin empty: the lock and the queue are as other threads left them."""
        self._start()

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look entries up, and note in `scope` the epoch of its namespace.

        Args:
            scope: Whose entries; its `epoch` is set.
            keys: The keys, 16 bytes each.

        Returns:
            One entry for each key, in order; `None` where there is none that is valid.

        Example:
            >>> MemoryStore().get_many(Scope("shop"), [b"k" * 16])
            [None]
        """
        # The epoch first: entries written after a `clear` must not be taken for older ones.
        scope.epoch = self._epochs.get(scope.tag, self._epoch)
        found: list[Any] = list(map(self._nodes.get, keys))
        now = self.clock()
        stale = False
        for node in found:
            if node is not None:
                if node.expires is not None and node.expires <= now:
                    stale = True
                elif not node.visited:
                    node.visited = True
        return self._without_expired(found, now) if stale else found

    def _without_expired(self, found: list[_Node | None], now: float) -> list[Entry | None]:
        """Remove the expired among the entries found, and answer `None` in their place."""
        valid: list[Entry | None] = []
        with self._lock:
            for node in found:
                if node is None or node.expires is None or node.expires > now:
                    valid.append(node)
                    continue
                valid.append(None)
                if self._nodes.get(node.key) is node:
                    self._remove(node)
                    self._expired += 1
        return valid

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries, unless the namespace was cleared since the look-up of `scope`.

        Payloads and layouts that are not `bytes` are copied.

        Args:
            scope: Whose entries; its `epoch` is the one that the look-up saw.
            entries: The entries by key.

        Example:
            >>> from litcache.stores.base import NewEntry
            >>> store, scope = MemoryStore(), Scope("shop")
            >>> store.set_many(scope, {b"k" * 16: NewEntry(b"", b"payload")})
            >>> store.get_many(scope, [b"k" * 16])[0].payload
            b'payload'
        """
        nodes = [_Node(key, scope.tag, entry) for key, entry in entries.items()]
        with self._lock:
            epoch = self._epochs.get(scope.tag, self._epoch)
            if scope.epoch is not None and scope.epoch != epoch:
                self._dropped += len(nodes)
                return
            for node in nodes:
                self._put(node)

    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries, and give up what is being computed for the namespace.

        Args:
            scope: Whose entries.
            keys: The keys, 16 bytes each.

        Returns:
            How many valid ones there were.

        Example:
            >>> MemoryStore().delete_many(Scope("shop"), [b"k" * 16])
            0
        """
        now = self.clock()
        deleted = 0
        with self._lock:
            if keys:  # an entry that is being computed now must not come back
                self._epochs[scope.tag] = os.urandom(8)
            for key in keys:
                node = self._nodes.get(key)
                if node is None:
                    continue
                self._remove(node)
                if node.expires is not None and node.expires <= now:
                    self._expired += 1
                else:
                    deleted += 1
        return deleted

    def clear(self, namespace: str | None = None) -> None:
        """Drop the entries of a namespace and whatever is being computed for it now.

        Args:
            namespace: Whose entries; `None` for all of this store's.

        Example:
            >>> MemoryStore().clear("shop")
        """
        epoch = os.urandom(8)
        tag = None if namespace is None else Scope(namespace).tag
        with self._lock:
            if tag is None:
                self._epochs = {}
                self._epoch = epoch
            else:
                self._epochs[tag] = epoch
            for node in list(self._nodes.values()):
                if tag is None or node.tag == tag:
                    self._remove(node)
            if not self._nodes:
                # A dict never shrinks.
                self._nodes = {}
                self._layouts = {}

    def info(self) -> StoreInfo:
        """Return what the store holds, and what it did since it was made.

        Example:
            >>> MemoryStore().info().bytes
            0
        """
        return StoreInfo(
            entries=len(self._nodes),
            bytes=self._bytes,
            evicted=self._evicted,
            expired=self._expired,
            rejected=self._rejected,
            dropped=self._dropped,
        )

    # The methods below are called with the lock held.

    def _put(self, node: _Node) -> None:
        """Insert an entry as the newest, in place of the one that has its key."""
        replaced = self._nodes.get(node.key)
        if replaced is not None:
            self._remove(replaced)
            node.visited = replaced.visited
        size = node.size()
        if size > self.max_bytes:
            self._rejected += 1
            return
        while self._bytes + size > self.max_bytes:
            self._evict()
        node.layout = self._shared(node.layout)
        root = self._root
        node.older, node.newer = root.older, root
        root.older.newer = node
        root.older = node
        self._bytes += size
        self._nodes[node.key] = node

    def _evict(self) -> None:
        """Evict the first entry from the hand on that was not hit since the hand passed it."""
        node = self._hand
        for _ in range(SCAN_STEPS):
            if node is self._root:
                node = node.newer
            if not node.visited:
                break
            node.visited = False
            node = node.newer
        if node is self._root:
            node = node.newer
        self._hand = node
        self._remove(node)
        self._evicted += 1

    def _remove(self, node: _Node) -> None:
        """Take an entry out of the dict and of the queue."""
        if node is self._hand:
            self._hand = node.newer
        node.older.newer = node.newer
        node.newer.older = node.older
        # Whoever still holds the entry shall not hold its neighbours.
        del node.older, node.newer
        del self._nodes[node.key]
        self._bytes -= node.size()

    def _shared(self, layout: bytes) -> bytes:
        """Return the one object that stands for all equal short layouts."""
        if len(layout) > SHARED_LAYOUT_BYTES:
            return layout
        if len(self._layouts) >= SHARED_LAYOUTS:
            self._layouts = {}
        return self._layouts.setdefault(layout, layout)
