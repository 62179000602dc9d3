"""A store in the memory of one process, with GDSF eviction, a budget of bytes, and a ttl."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from litcache.forks import Forkable, begin_anew
from litcache.functions import check_clocks
from litcache.sizes import parse_bytes
from litcache.stores.base import Entry, Scope, Store, StoreInfo
from litcache.stores.gdsf import SCAN_STEPS, Gdsf
from litcache.stores.nodes import NEW, Layouts, Node, Space, nodes_of, weigh

# A write looks for expired entries among so many for each that it stores; more if it needs room.
SWEEP_STEPS = 16

# How many cleared entries each write frees, and a clear itself.
FREED_STEPS = 256

# After how many evictions the number of entries is compared with that of the ghosts.
FIT_EVICTIONS = 256

# Entries of one write go in together up to this part of the budget: room is made for all at once.
LARGE_PART = 8


class MemoryStore(Store, Forkable):
    """Entries in the memory of this process, within a budget of bytes.

    The budget covers keys and bookkeeping, too. When it is used up, the entries that were hit least
    often lately are evicted, by GDSF (Cherkasova 1998) with lazy promotion: a hit only counts.
    Expired entries go first: each write looks for some. An entry that is larger than the whole
    budget is rejected, and an older entry under its key is removed. A clear takes constant time;
    its entries count in the budget until later writes have freed them.

    A look-up returns the entries that the store holds, without a copy and without a check.

    Concurrency: safe in many threads. A look-up that hits takes no lock. Writes, and look-ups that
    meet an expired entry, take one lock. A forked process starts empty.

    Args:
        max_bytes: The budget: bytes, or a string such as `"256 MiB"`.
        clock: The wall clock by which entries expire, in seconds.

    Attributes:
        max_bytes: The budget in bytes.

    Raises:
        ValueError: If `max_bytes` is no size; TypeError if an option is of the wrong type.

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
        self.max_bytes = parse_bytes(max_bytes, name="max_bytes")
        check_clocks(clock=clock)
        self.clock = clock
        self._start()

    def _start(self) -> None:
        """Begin with nothing stored and nothing counted."""
        self._lock = threading.Lock()
        self._whole = _Whole(self)
        # By the tag of the namespace. A namespace without a space has the epoch of the store.
        self._spaces: dict[bytes, Space] = {}
        self._epoch = os.urandom(8)
        # Cleared spaces: nobody finds their entries, and writes free them step by step.
        self._cleared: list[Space] = []
        self._queue = Gdsf()
        self._layouts = Layouts()
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
        """Begin empty: other threads may have left the lock and the queue in any state."""
        self._start()

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look up entries; they are the store's own, not copies.

        Example:
            >>> MemoryStore().get_many(Scope("shop"), [b"k" * 16])
            [None]
        """
        space = self._spaces.get(scope.tag)
        if space is None:
            scope.epoch = self._epoch
            return [None] * len(keys)
        # The epoch first: entries from after a delete must not be noted as from before it.
        scope.epoch = space.epoch
        get = space.nodes.get
        found: list[Any] = [get(keys[0])] if len(keys) == 1 else list(map(get, keys))
        if not any(found):
            return found
        now, stale = self.clock(), False
        for node in found:
            if node is not None:
                if node.expires is not None and node.expires <= now:
                    stale = True
                elif node.uncounted:
                    node.uncounted -= 1
        return self._without_expired(found, now) if stale else found

    def _without_expired(self, found: list[Node | None], now: float) -> list[Entry | None]:
        """Remove expired entries among those found, and return `None` in their places."""
        valid: list[Entry | None] = []
        with self._lock, self._whole:
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
        nodes, size = nodes_of(entries, self._layouts)
        is_timed = self._queue.timed
        now = self.clock() if is_timed else 0.0
        with self._lock, self._whole:
            space = self._space(scope.tag)
            if scope.epoch is not None and scope.epoch != space.epoch:
                self._dropped += len(nodes)
                return
            if scope.seconds:
                space.seconds = scope.seconds
            self._free(FREED_STEPS)
            if is_timed:
                self._drop_expired(now, SWEEP_STEPS * len(nodes))
            self._put_all(space, nodes, size, now)

    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries; outputs that are being computed for the namespace are not stored."""
        now = self.clock()
        deleted = 0
        with self._lock, self._whole:
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
        """Drop entries in constant time: nobody finds them any more, and later writes free them."""
        with self._lock, self._whole:
            if namespace is None:
                spaces, self._epoch = self._spaces, os.urandom(8)
                self._spaces = {}
                self._cleared += spaces.values()
                self._layouts = Layouts()
            else:
                tag = Scope(namespace).tag
                self._cleared.append(self._space(tag))
                self._spaces[tag] = Space(os.urandom(8))
            self._free(FREED_STEPS)

    def info(self) -> StoreInfo:
        """Return what the store holds, without cleared entries, and what it did since it was made.

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

    def lose_all(self) -> None:
        """Lose all entries: what a change did before it was interrupted may fit nothing."""
        for space in (*self._spaces.values(), *self._cleared):
            space.nodes = {}  # look-ups that run now may still have the space
        self._spaces, self._epoch, self._cleared = {}, os.urandom(8), []
        self._queue, self._bytes = Gdsf(), 0
        self._queue.fit(0)

    def _space(self, tag: bytes) -> Space:
        """Return the entries of a namespace, under the epoch that look-ups have noted."""
        space = self._spaces.get(tag)
        if space is None:
            space = self._spaces[tag] = Space(self._epoch)
        return space

    def _put_all(self, space: Space, nodes: dict[bytes, Node], size: int, now: float) -> None:
        """Insert entries of so many bytes, in place of those that have their keys."""
        for key in space.nodes.keys() & nodes.keys():
            node, replaced = nodes[key], space.nodes[key]
            self._remove(replaced)
            node.uncounted, node.worth = replaced.uncounted, max(replaced.worth, NEW)
        looked, is_large = False, size > self.max_bytes // LARGE_PART
        for part, total in self._parts(nodes) if is_large else ((nodes, size),):
            looked = self._add_all(space, part, total, now, looked)

    def _parts(self, nodes: dict[bytes, Node]) -> Iterator[tuple[dict[bytes, Node], int]]:
        """Yield new entries that go in together, and their bytes; reject those too large."""
        limit, total = self.max_bytes // LARGE_PART, 0
        part: dict[bytes, Node] = {}
        for key, node in nodes.items():
            size = node.size()
            if size > self.max_bytes:
                self._rejected += 1
                continue
            if total + size > limit and part:
                yield part, total
                part, total = {}, 0
            part[key] = node
            total += size
        yield part, total

    def _add_all(
        self, space: Space, nodes: dict[bytes, Node], size: int, now: float, looked: bool
    ) -> bool:
        """Make room for new entries of one namespace, whose bytes fit into the budget; add them.

        `looked` says whether this write has already looked for expired entries to make room; the
        result, whether it has now.
        """
        while self._bytes + size > self.max_bytes:
            if self._cleared:
                self._free(SWEEP_STEPS)
            elif not looked:
                looked = True
                self._drop_expired(now, SCAN_STEPS)
            else:
                self._evict(now)
        self._queue.add_all(space, nodes.values())
        self._bytes += size
        space.bytes += size
        space.nodes.update(nodes)
        return looked

    def _evict(self, now: float) -> None:
        """Evict one entry."""
        if self._evicted % FIT_EVICTIONS == 0:
            self._queue.fit(sum(len(space.nodes) for space in self._spaces.values()))
            weigh(self._spaces.values())
        node = self._queue.evict(now)
        if node.expires is not None and node.expires <= now:
            self._expired += 1
        else:
            self._evicted += 1
        space, size = node.space, node.size()
        del space.nodes[node.key]
        self._bytes -= size
        space.bytes -= size

    def _drop_expired(self, now: float, steps: int) -> None:
        """Remove the expired entries among some entries."""
        for node in self._queue.expired(now, steps):
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
        self._queue.remove(node)
        size = node.size()
        self._bytes -= size
        node.space.bytes -= size


class _Whole:
    """Loses the entries of a store if a change fails, as by Ctrl-C."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        pass

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self._store.lose_all()
