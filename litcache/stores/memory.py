"""A store in the memory of one process: SIEVE eviction, a byte budget, an expiry for each entry."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litcache.forks import Forkable, begin_anew
from litcache.policy import parse_bytes
from litcache.stores.base import Entry, Scope, Store, StoreInfo
from litcache.stores.sieve import SCAN_STEPS, Node, Sieve, Space

# How many entries a write looks at for those that have expired: so many for each that it brings,
# and as many as an eviction does once, if it needs their room.
SWEEP_STEPS = 16

# How many cleared entries each write frees, and a clear at once.
FREED_STEPS = 256

# How many layouts are kept to be shared by equal ones, and how long these may be.
SHARED_LAYOUTS = 256
SHARED_LAYOUT_BYTES = 256


class MemoryStore(Store, Forkable):
    """Entries in the memory of this process, the least useful evicted first.

    Eviction is SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI '24) within a budget of
    bytes. What is accounted never exceeds the budget, and it covers keys and bookkeeping. An entry
    that exceeds the budget by itself is rejected, and what was there under its key is removed.
    Entries that have expired go first: each write looks for some. A clear takes constant time; what
    it dropped counts in the budget until later writes have freed it.

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
        # By the tag of the namespace. One that was never used has the epoch of all.
        self._spaces: dict[bytes, Space] = {}
        self._epoch = os.urandom(8)
        # Spaces that were cleared: nobody finds their entries, writes free them by and by.
        self._cleared: list[Space] = []
        self._sieve = Sieve()
        self._layouts: dict[bytes, bytes] = {}
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
        """Look entries up; what is found is the store's own, not a copy.

        Example:
            >>> MemoryStore().get_many(Scope("shop"), [b"k" * 16])
            [None]
        """
        space = self._spaces.get(scope.tag)
        if space is None:
            scope.epoch = self._epoch
            return [None] * len(keys)
        # The epoch first: after a delete, entries must not be taken for those before it.
        scope.epoch = space.epoch
        found: list[Any] = list(map(space.nodes.get, keys))
        now = self.clock()
        stale = False
        for node in found:
            if node is not None:
                if node.expires is not None and node.expires <= now:
                    stale = True
                elif not node.visited:
                    node.visited = True
        return self._without_expired(found, now) if stale else found

    def _without_expired(self, found: list[Node | None], now: float) -> list[Entry | None]:
        """Remove the expired among the entries found, and answer `None` in their place."""
        valid: list[Entry | None] = []
        with self._lock:
            for node in found:
                if node is None or node.expires is None or node.expires > now:
                    valid.append(node)
                    continue
                valid.append(None)
                if node.space.nodes.get(node.key) is node:
                    self._remove(node)
                    self._expired += 1
        return valid

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries; payloads and layouts that are not `bytes` are copied."""
        nodes = [Node(key, entry) for key, entry in entries.items()]
        now = self.clock() if self._sieve.timed else 0.0
        with self._lock:
            space = self._space(scope.tag)
            if scope.epoch is not None and scope.epoch != space.epoch:
                self._dropped += len(nodes)
                return
            self._free(FREED_STEPS)
            self._drop_expired(now, SWEEP_STEPS * len(nodes))
            looked = False
            for node in nodes:
                node.space = space
                looked = self._put(node, now, looked)

    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries, and give up what is being computed for the namespace."""
        now = self.clock()
        deleted = 0
        with self._lock:
            space = self._space(scope.tag)
            if keys:  # an entry that is being computed now must not come back
                space.epoch = os.urandom(8)
            for key in keys:
                node = space.nodes.get(key)
                if node is None:
                    continue
                self._remove(node)
                if node.expires is not None and node.expires <= now:
                    self._expired += 1
                else:
                    deleted += 1
        return deleted

    def clear(self, namespace: str | None = None) -> None:
        """Drop entries in constant time: nobody finds them, and later writes free their memory."""
        with self._lock:
            if namespace is None:
                spaces, self._epoch = self._spaces, os.urandom(8)
                self._spaces = {}
                self._cleared += spaces.values()
                self._layouts = {}
            else:
                tag = Scope(namespace).tag
                self._cleared.append(self._space(tag))
                self._spaces[tag] = Space(os.urandom(8))
            self._free(FREED_STEPS)

    def info(self) -> StoreInfo:
        """Return what the store holds, without what was cleared, and did since it was made.

        Example:
            >>> MemoryStore().info().bytes
            0
        """
        with self._lock:
            spaces = list(self._spaces.values())
        return StoreInfo(
            entries=sum(len(space.nodes) for space in spaces),
            bytes=sum(space.bytes for space in spaces),
            evicted=self._evicted,
            expired=self._expired,
            rejected=self._rejected,
            dropped=self._dropped,
        )

    # The methods below are called with the lock held.

    def _space(self, tag: bytes) -> Space:
        """Return the entries of a namespace, under the epoch that look-ups have noted."""
        space = self._spaces.get(tag)
        if space is None:
            space = self._spaces[tag] = Space(self._epoch)
        return space

    def _put(self, node: Node, now: float, looked: bool) -> bool:
        """Insert an entry as the newest, in place of the one that has its key.

        Args:
            node: The entry.
            now: The wall clock.
            looked: Whether this write has looked for expired entries to make room.

        Returns:
            Whether it has now.
        """
        space = node.space
        replaced = space.nodes.get(node.key)
        if replaced is not None:
            self._remove(replaced)
            node.visited = replaced.visited
        size = node.size()
        if size > self.max_bytes:
            self._rejected += 1
            return looked
        while self._bytes + size > self.max_bytes:
            if self._cleared:
                self._free(SWEEP_STEPS)
            elif not looked:
                looked = True
                self._drop_expired(now, SCAN_STEPS)
            else:
                self._evict(now)
        node.layout = self._shared(node.layout)
        self._sieve.append(node)
        self._bytes += size
        space.bytes += size
        space.nodes[node.key] = node
        return looked

    def _evict(self, now: float) -> None:
        """Evict one entry."""
        node = self._sieve.victim(now)
        if node.expires is not None and node.expires <= now:
            self._expired += 1
        else:
            self._evicted += 1
        self._remove(node)

    def _drop_expired(self, now: float, steps: int) -> None:
        """Remove what has expired among some entries."""
        for node in self._sieve.expired(now, steps):
            self._remove(node)
            self._expired += 1

    def _free(self, steps: int) -> None:
        """Free entries that were cleared."""
        while self._cleared:
            nodes = self._cleared[-1].nodes
            while nodes:
                if steps == 0:
                    return
                self._unlink(nodes.popitem()[1])
                steps -= 1
            self._cleared.pop()

    def _remove(self, node: Node) -> None:
        """Take an entry out of its namespace and of the queue."""
        del node.space.nodes[node.key]
        self._unlink(node)

    def _unlink(self, node: Node) -> None:
        """Take an entry out of the queue, and give its bytes back."""
        self._sieve.remove(node)
        size = node.size()
        self._bytes -= size
        node.space.bytes -= size

    def _shared(self, layout: bytes) -> bytes:
        """Return the one object that stands for all equal short layouts."""
        if len(layout) > SHARED_LAYOUT_BYTES:
            return layout
        if len(self._layouts) >= SHARED_LAYOUTS:
            self._layouts = {}
        return self._layouts.setdefault(layout, layout)
