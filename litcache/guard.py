"""A store behind promise 3: whatever it does costs misses, never an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litcache.errors import StoreError
from litcache.log import Reporter
from litcache.stats import Counters
from litcache.stores.base import Entry, Scope, Store, StoreInfo


class GuardedStore:
    """Asks a store on behalf of serving: failures are counted and warned of once.

    Args:
        store: The store.
        counters: Where failures are counted.
        reporter: What warns of them; in strict mode it raises them.
    """

    def __init__(self, store: Store, counters: Counters, reporter: Reporter) -> None:
        self._store = store
        self._counters = counters
        self._reporter = reporter

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Look entries up; `None` if the store failed."""
        try:
            entries = self._store.get_many(scope, keys)
            if len(entries) != len(keys):
                raise StoreError(
                    f"{len(entries)} answers to {len(keys)} keys", type(self._store).__name__
                )
        except Exception as error:  # a store may be anybody's: whatever it raises is a miss
            self._failed(error)
            return None
        return entries

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> bool:
        """Store entries, and say whether the store took them."""
        try:
            self._store.set_many(scope, entries)
        except Exception as error:  # as above
            self._failed(error)
            return False
        self._counters.add(stored=len(entries))
        return True

    def delete(self, scope: Scope, key: bytes) -> None:
        """Delete an entry that cannot be read."""
        try:
            self._store.delete_many(scope, [key])
        except Exception as error:  # as above
            self._failed(error)

    def info(self) -> StoreInfo:
        """Return what the store says of itself; nothing if it is silent."""
        try:
            info = self._store.info()
            if not isinstance(info, StoreInfo):
                raise StoreError(f"info() returned {info!r}", type(self._store).__name__)
            return info
        except Exception as error:  # as above; asking for counters counts nothing
            self._reporter.warn_once(("info", type(error)), f"the store is silent: {error}")
            return StoreInfo()

    def _failed(self, error: Exception) -> None:
        self._counters.add(store_errors=1)
        self._reporter.swallow("store", error, "the store failed and items are computed")
