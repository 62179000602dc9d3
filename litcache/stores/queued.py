"""Which store has writes that are queued for it in this process: `close` has them written first."""

from __future__ import annotations

import weakref
from typing import Protocol

from litcache.stores.base import Store


class Queue(Protocol):
    """Writes of this process on their way into a store."""

    store: Store

    @property
    def is_empty(self) -> bool:
        """Whether everything is written."""

    def flush(self, seconds: float = ...) -> bool:
        """Wait until what is queued now is written; return whether that came in time."""


# By the id of the store. A queue holds its store, so no other store can have that id meanwhile.
_queues: weakref.WeakValueDictionary[int, Queue] = weakref.WeakValueDictionary()


def enter(queue: Queue) -> Queue:
    """Make a queue known as that of its store, unless there is one; return the one that counts."""
    return _queues.setdefault(id(queue.store), queue)


def queues() -> list[Queue]:
    """Return the queues of all stores of this process."""
    return list(_queues.values())


def queue_of(store: Store) -> Queue | None:
    """Return the queue of a store, if there is one."""
    return _queues.get(id(store))


def write_queued(store: Store) -> None:
    """Have everything written that is queued for a store, within a bound: it is about to close."""
    queue = queue_of(store)
    if queue is not None:
        queue.flush()
