"""The caching toolkit for LitServe: `@cached_predict` on `predict` or `decode_request`."""

from litcache.errors import (
    BatchSizeError,
    DisagreementError,
    KeyEncodingError,
    LitCacheError,
    StoreError,
    UnsupportedMethodError,
    ValueEncodingError,
)
from litcache.http.middleware import CacheMiddleware
from litcache.keys.contents import contents
from litcache.keys.fingerprint import fingerprint
from litcache.litapi.decorator import cached_predict
from litcache.loop.batched import CachedBatchedLoop
from litcache.observe.counters import CacheInfo
from litcache.policy import CachePolicy
from litcache.stores.base import Entry, Store
from litcache.stores.memory import MemoryStore
from litcache.stores.redis.store import RedisStore
from litcache.stores.shared.store import SharedStore
from litcache.stores.tiered import TieredStore
from litcache.switches import disabled
from litcache.trial_policy import Trial

__version__ = "0.8.0"

__all__ = [
    "BatchSizeError",
    "CacheInfo",
    "CacheMiddleware",
    "CachePolicy",
    "CachedBatchedLoop",
    "DisagreementError",
    "Entry",
    "KeyEncodingError",
    "LitCacheError",
    "MemoryStore",
    "RedisStore",
    "SharedStore",
    "Store",
    "StoreError",
    "TieredStore",
    "Trial",
    "UnsupportedMethodError",
    "ValueEncodingError",
    "cached_predict",
    "contents",
    "disabled",
    "fingerprint",
]
