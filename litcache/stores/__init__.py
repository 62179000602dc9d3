"""Where entries live: the interface of every store, and the stores that litcache brings."""

from litcache.stores.base import Entry, Lease, NewEntry, Scope, Store, StoreInfo
from litcache.stores.memory import MemoryStore
from litcache.stores.redis.store import RedisStore
from litcache.stores.shared.store import SharedStore
from litcache.stores.tiered import TieredStore

__all__ = [
    "Entry",
    "Lease",
    "MemoryStore",
    "NewEntry",
    "RedisStore",
    "Scope",
    "SharedStore",
    "Store",
    "StoreInfo",
    "TieredStore",
]
