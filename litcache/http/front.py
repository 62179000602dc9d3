"""The front of a store that processes share: answers for which no request waits in a thread."""

from __future__ import annotations

from litcache.stores.base import Store
from litcache.stores.memory import MemoryStore
from litcache.stores.tiered import TieredStore

FRONT_BYTES = 16 << 20
"""The budget of a front in each HTTP process: a quarter of a middleware's default."""


def with_front(store: Store) -> Store:
    """Put a small `MemoryStore` in front of a store that may wait for I/O.

    Args:
        store: The store of a middleware.

    Returns:
        A `TieredStore`; the store itself if it is one, or never waits.

    Example:
        >>> with_front(MemoryStore("1 MiB"))
        MemoryStore(1048576)
    """
    if not store.blocking or isinstance(store, TieredStore):
        return store
    return TieredStore(MemoryStore(FRONT_BYTES, clock=store.clock), store)
