"""The caching toolkit for LitServe: `@cached_predict` on `predict` or `decode_request`."""

from litcache.decorator import cached_predict
from litcache.errors import (
    BatchSizeError,
    KeyEncodingError,
    LitCacheError,
    StoreError,
    UnsupportedMethodError,
    ValueEncodingError,
)
from litcache.loop import CachedBatchedLoop
from litcache.middleware import CacheMiddleware
from litcache.policy import CachePolicy
from litcache.stats import CacheInfo
from litcache.stores.base import Entry, Store
from litcache.stores.memory import MemoryStore
from litcache.stores.redis import RedisStore
from litcache.stores.shared import SharedStore
from litcache.stores.tiered import TieredStore
from litcache.switches import disabled
from litcache.versions import fingerprint

__version__ = "0.3.0"

__all__ = [
    "BatchSizeError",
    "CacheInfo",
    "CacheMiddleware",
    "CachePolicy",
    "CachedBatchedLoop",
    "Entry",
    "KeyEncodingError",
    "LitCacheError",
    "MemoryStore",
    "RedisStore",
    "SharedStore",
    "Store",
    "StoreError",
    "TieredStore",
    "UnsupportedMethodError",
    "ValueEncodingError",
    "cached_predict",
    "disabled",
    "fingerprint",
]
