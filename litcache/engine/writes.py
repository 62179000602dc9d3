"""Writes on their way into a store that may wait for I/O: a bounded queue, and a thread for it.

A model should not wait until what it computed is on a disk or in a server. So a call only puts its
entries into the queue of the store, and a thread of litcache's writes them. There is one queue for
each store and process, whatever methods use the store.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple, Protocol

from litcache.engine import stops
from litcache.forks import Forkable, begin_anew
from litcache.stores import queued
from litcache.stores.base import Entry, Lease, Scope, Store

MOST_ENTRIES = 16_384
MOST_BYTES = 64 << 20
"""A queue that holds so many entries, or bytes of payloads, takes no more."""
FLUSH_SECONDS = 2.0
"""So long a process that ends waits for its queues; LitServe kills a worker after five seconds."""
# Writes of single items go together: a transaction, or a round trip, for so many entries.
_TOGETHER = 64
# A thread that has had nothing to write for so long ends, so that no store lives for ever.
_IDLE_SECONDS = 5.0

_Spaces = dict[bytes | None, dict[bytes, Entry]]  # by epoch: entries by key


class Owner(Protocol):
    """Who has put a write into the queue."""

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> bool:
        """Store entries now; return whether the store took them, and never raise an error."""

    def is_current(self, scope: Scope) -> bool:
        """Return whether what was stored for a scope can be found; never raise an error."""


class Write(NamedTuple):
    """Entries of one call.

    Attributes:
        number: Its number in the queue.
        owner: Who writes it, and counts.
        scope: Whose entries, with the epoch that the call's look-up saw.
        entries: The entries by key.
        size: The bytes of their payloads.
        done: What is told whether the store has them now, if somebody wants to know.
    """

    number: int
    owner: Owner
    scope: Scope
    entries: Mapping[bytes, Entry]
    size: int
    done: Future[bool] | None


class WriteQueue(Forkable):
    """The queue of one store in this process; `queue_of` makes it.

    What is queued is found by look-ups of this process, as long as its epoch is that of the
    namespace: what was queued before a clear is found by nobody, and the store drops it. The queue
    takes entries until it is full. So it holds at most what fits, and the outputs of one call.

    Concurrency: safe in many threads. A forked process begins with an empty queue: what was queued
    is written by its parent. What a killed process had queued is lost, and computed again.

    Args:
        store: The store.

    Attributes:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._begin()
        begin_anew(self)

    def after_fork_in_child(self) -> None:
        """Begin with nothing queued, and without a thread."""
        self._begin()

    def _begin(self) -> None:
        lock = threading.RLock()
        self._added = threading.Condition(lock)
        self._written = threading.Condition(lock)
        self._writes: deque[Write] = deque()  # those that are being written stay until they are
        self._last = 0
        self._entries = self._bytes = 0
        # By the tag of a namespace.
        self._queued: dict[bytes, _Spaces] = {}
        self._has_thread = self._is_idle = False

    @property
    def is_empty(self) -> bool:
        """Whether everything is written."""
        return not self._writes

    # ------------------------------------------------------------------ for the calls

    def put(
        self,
        owner: Owner,
        scope: Scope,
        entries: Mapping[bytes, Entry],
        done: Future[bool] | None = None,
    ) -> bool:
        """Queue entries; return false if it is full, or has no thread, and they are dropped.

        Args:
            owner: Who writes them, and counts.
            scope: Whose entries, with the epoch that the call's look-up saw.
            entries: The entries by key; nobody may change the mapping any more.
            done: What to tell whether the store has them, once they are written.
        """
        size = sum([len(entry.payload) for entry in entries.values()])
        with self._added:
            if self._entries >= MOST_ENTRIES or self._bytes >= MOST_BYTES:
                return False
            if not self._has_thread and not self._start():
                return False
            self._last += 1
            scope = scope.copy()  # its call may look up again before this is written
            self._writes.append(Write(self._last, owner, scope, entries, size, done))
            self._entries += len(entries)
            self._bytes += size
            spaces = self._queued.setdefault(scope.tag, {})
            spaces.setdefault(scope.epoch, {}).update(entries)
            if self._is_idle:
                self._is_idle = False
                self._added.notify()
        return True

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look up entries in the queue and in the store, as `Store.get_many` does.

        Raises:
            StoreError: If the store cannot answer: the epoch is not known then.
        """
        # Before the store is asked: what is written meanwhile is found there, or here.
        waiting = self._find(scope.tag, keys) if self._queued else None
        entries = self.store.get_many(scope, keys)
        return self._newest(scope, keys, entries, waiting) if waiting else entries

    def get_or_lease_many(
        self, scope: Scope, keys: Sequence[bytes], lease: Lease
    ) -> tuple[list[Entry | None], Mapping[bytes, bytes]]:
        """Do the same, and lease what the store does not have, as `Store.get_or_lease_many` does.

        Raises:
            StoreError: If the store cannot answer.
        """
        waiting = self._find(scope.tag, keys) if self._queued else None
        entries, holders = self.store.get_or_lease_many(scope, keys, lease)
        return (self._newest(scope, keys, entries, waiting) if waiting else entries), holders

    def get_at_once(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Look up entries in the queue and in the store, as `Store.get_at_once` does.

        Raises:
            StoreError: If the store cannot answer.
        """
        waiting = self._find(scope.tag, keys) if self._queued else None
        entries = self.store.get_at_once(scope, keys)
        return entries and (self._newest(scope, keys, entries, waiting) if waiting else entries)

    def _newest(
        self,
        scope: Scope,
        keys: Sequence[bytes],
        entries: list[Entry | None],
        waiting: _Spaces,
    ) -> list[Entry | None]:
        """Return what is queued where it is valid, and else what the store has answered."""
        newer = waiting.get(scope.epoch)
        if not newer:
            return entries
        now = self.store.clock()
        valid = {k: e for k, e in newer.items() if e.expires is None or e.expires > now}
        return [valid.get(key, entry) for key, entry in zip(keys, entries, strict=True)]

    def _find(self, tag: bytes, keys: Sequence[bytes]) -> _Spaces | None:
        """Return what is queued under some keys, by epoch."""
        with self._added:
            spaces = self._queued.get(tag)
            return spaces and {
                epoch: {key: entries[key] for key in keys if key in entries}
                for epoch, entries in spaces.items()
            }

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until what is queued now is written.

        Args:
            seconds: For how long.

        Returns:
            Whether it is.
        """
        with self._written:
            last = self._last
            return self._written.wait_for(
                lambda: not self._writes or self._writes[0].number > last, seconds
            )

    # ------------------------------------------------------------------ the thread

    def _start(self) -> bool:
        """Start the thread, which waits for the lock; return whether there is one."""
        stops.write_at_exit()
        thread = threading.Thread(target=self._run, name="litcache-writes", daemon=True)
        with suppress(RuntimeError):  # no more threads: the interpreter ends, or the limit is met
            thread.start()
            self._has_thread = True
        return self._has_thread

    def _run(self) -> None:
        try:
            while taken := self._take():
                took = False
                try:
                    first, entries = taken[0], taken[0].entries
                    if len(taken) > 1:
                        entries = {k: e for write in taken for k, e in write.entries.items()}
                    took = first.owner.set_many(first.scope, entries)
                finally:
                    self._forget(taken, took=took)
        except BaseException:  # a store may exit; the next call starts another thread
            self._has_thread = False
            raise

    def _take(self) -> list[Write]:
        """Wait for writes, and return those that go together; none if the thread shall end."""
        with self._added:
            deadline = time.monotonic() + _IDLE_SECONDS
            while not self._writes:
                self._is_idle = True
                left = deadline - time.monotonic()
                if left <= 0 or not self._added.wait(left):
                    self._is_idle = False
                    if not self._writes:
                        self._has_thread = False
                        return []
            self._is_idle = False
            first, count = self._writes[0], 0
            taken: list[Write] = []
            for write in self._writes:
                if taken and (count + len(write.entries) > _TOGETHER or not _alike(first, write)):
                    break
                taken.append(write)
                count += len(write.entries)
            return taken

    def _forget(self, taken: Sequence[Write], *, took: bool) -> None:
        """Take writes out of the queue: they are in the store, or lost."""
        with self._written:
            for write in taken:
                self._writes.popleft()
                self._entries -= len(write.entries)
                self._bytes -= write.size
                spaces = self._queued[write.scope.tag]
                space = spaces[write.scope.epoch]
                for key, entry in write.entries.items():
                    if space.get(key) is entry:
                        del space[key]
                if not space:
                    del spaces[write.scope.epoch]
                if not spaces:
                    del self._queued[write.scope.tag]
            self._written.notify_all()
        asked = [write.done for write in taken if write.done is not None]
        is_there = False
        try:
            if asked and took:
                is_there = taken[0].owner.is_current(taken[0].scope)
        finally:  # a store may exit; requests wait for the answer
            for done in asked:
                done.set_result(is_there)


def _alike(one: Write, other: Write) -> bool:
    """Return whether two writes can be one call of the store."""
    return (
        one.owner is other.owner
        and one.scope.tag == other.scope.tag
        and one.scope.epoch == other.scope.epoch
        and one.scope.version == other.scope.version
    )


def queue_of(store: Store) -> WriteQueue:
    """Return the queue of a store in this process, made at first use."""
    queue = queued.queue_of(store) or queued.enter(WriteQueue(store))
    assert isinstance(queue, WriteQueue)
    return queue
