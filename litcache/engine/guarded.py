"""A store whose failures cost misses, and never raise an error while serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litcache.engine.call import Call
from litcache.errors import StoreError
from litcache.observe.counters import Counters, Sample
from litcache.observe.log import Reporter
from litcache.stores.base import Entry, Scope, Store, StoreInfo


class GuardedStore:
    """Asks a store while serving; it counts failures, and warns of them once.

    Args:
        store: The store.
        counters: Where failures are counted.
        reporter: Warns of failures; in strict mode it raises them.
    """

    def __init__(self, store: Store, counters: Counters, reporter: Reporter) -> None:
        self._store = store
        self._counters = counters
        self._reporter = reporter

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Look up entries; return `None` if the store failed."""
        try:
            entries = self._store.get_many(scope, keys)
            if len(entries) != len(keys):
                raise StoreError(
                    f"{len(entries)} answers to {len(keys)} keys", type(self._store).__name__
                )
        except Exception as error:  # any class may be a store: whatever it raises is a miss
            self._failed(error)
            return None
        return entries

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> bool:
        """Store entries, and return whether the store took them."""
        try:
            self._store.set_many(scope, entries)
        except Exception as error:  # as above
            self._failed(error)
            return False
        self._counters.add(stored=len(entries))
        return True

    def find(self, call: Call) -> list[Entry | None] | None:
        """Look up the keys of a call; return `None` if the store failed."""
        if call.is_plain:
            return self.get_many(call.scope, call.keys)  # type: ignore[arg-type]
        return self.find_each([call])[0]

    def find_each(self, calls: Sequence[Call]) -> list[list[Entry | None] | None]:
        """Look up the keys of calls with one question; `None` for each call if the store failed."""
        keys = dict.fromkeys(k for call in calls for k in call.keys if k not in call.refreshed)
        wanted = [key for key in keys if key is not None]
        known: dict[bytes | None, Entry] = {}
        if wanted or any(call.refreshed for call in calls):  # a refresh needs the epoch
            found = self.get_many(calls[0].scope, wanted)
            if found is None:
                return [None] * len(calls)
            known = {k: e for k, e in zip(wanted, found, strict=True) if e is not None}
        return [
            [None if key in call.refreshed else known.get(key) for key in call.keys]
            for call in calls
        ]

    def set_each(self, writes: Sequence[tuple[Scope, Mapping[bytes, Entry]]]) -> bool:
        """Store the entries of several calls; those of one epoch go together."""
        together: dict[bytes | None, tuple[Scope, dict[bytes, Entry]]] = {}
        for scope, entries in writes:
            together.setdefault(scope.epoch, (scope, {}))[1].update(entries)
        taken = [self.set_many(scope, joined) for scope, joined in together.values()]
        return all(taken)

    def clear(self, namespace: str) -> None:
        """Drop the entries of a namespace, if the store works."""
        try:
            self._store.clear(namespace)
        except Exception as error:  # as above
            self._failed(error)

    def info(self) -> StoreInfo:
        """Return the store's answer to `info`; an empty one if the store failed."""
        try:
            info = self._store.info()
            if not isinstance(info, StoreInfo):
                raise StoreError(f"info() returned {info!r}", type(self._store).__name__)
            return info
        except Exception as error:  # as above; asking for counters counts nothing, raises nothing
            self._warn(error)
            return StoreInfo()

    def sample(self, namespace: str, version: str) -> Sample:
        """Return what the metrics show of a store beside the counters; never raises."""
        about = {"version": version, "namespace": namespace, "store": type(self._store).__name__}
        info = self.info()
        store = self._store
        return Sample(info, store.breaker_open, store.persistent, id(store), about)

    def _failed(self, error: Exception) -> None:
        self._counters.add(store_errors=1)
        self._reporter.raise_if_strict(error)
        self._warn(error)

    def _warn(self, error: Exception) -> None:
        # A store that is left alone has logged that itself, once for all methods.
        if not self._store.breaker_open:
            self._reporter.warn_once(
                ("store", type(error)), f"the store failed and items are computed: {error}"
            )
