"""A store whose failures cost misses, and never raise an error while serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from litcache.engine.admission import Admission
from litcache.engine.call import Call
from litcache.engine.writes import queue_of
from litcache.errors import StoreError
from litcache.observe.counters import Counters, Sample
from litcache.observe.log import Reporter
from litcache.stores.base import UNKNOWN_EPOCH, Entry, Lease, Scope, Store, StoreInfo
from litcache.switches import is_strict

Asked = tuple[list[Entry | None] | None, Mapping[bytes, bytes]]
"""Entries, or `None` if the store failed; and who holds the keys that others have leased."""

_FULL = (
    "the queue of its writes is full, because the store is slower than the model, or no thread can "
    "be started for it: entries are dropped and computed again (CacheInfo.overflowed counts them)"
)


class GuardedStore:
    """Asks a store while serving; it counts failures, and warns of them once.

    Args:
        store: The store.
        counters: Where failures are counted.
        reporter: Warns of failures; in strict mode it raises them.
        admission: Wants to know now and then whether the store evicts; `None`: nobody does.
    """

    def __init__(
        self,
        store: Store,
        counters: Counters,
        reporter: Reporter,
        admission: Admission | None = None,
    ) -> None:
        self._store = store
        self._queue = queue_of(store) if store.blocking else None
        self._counters = counters
        self._reporter = reporter
        self._admission = admission

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Look up entries; return `None` if the store failed."""
        try:
            entries = (self._queue or self._store).get_many(scope, keys)
            if len(entries) != len(keys):
                raise self._miscounted(entries, keys)
        except Exception as error:  # any class may be a store: whatever it raises is a miss
            self._failed(error)
            return None
        return entries

    def get_or_lease_many(self, scope: Scope, keys: Sequence[bytes], lease: Lease) -> Asked:
        """Look up entries, and lease the keys without one; `None` for entries if that failed."""
        scope.lease = lease  # what stores an entry ends its lease
        try:
            asked = self._queue or self._store
            entries, holders = asked.get_or_lease_many(scope, keys, lease)
            if len(entries) != len(keys):
                raise self._miscounted(entries, keys)
        except Exception as error:  # as above
            self._failed(error)
            return None, {}
        return entries, holders

    def release_many(self, scope: Scope, keys: Sequence[bytes], lease: Lease) -> None:
        """End leases, if the store works."""
        try:
            self._store.release_many(scope, keys, lease)
        except Exception as error:  # as above
            self._failed(error)

    def _miscounted(self, entries: Sequence[Entry | None], keys: Sequence[bytes]) -> StoreError:
        text = f"{len(entries)} answers to {len(keys)} keys"
        return StoreError(text, type(self._store).__name__)

    def ask(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look up entries, in what is queued, too.

        Raises:
            StoreError: If the store cannot answer.
        """
        return (self._queue or self._store).get_many(scope, keys)

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until what is queued now is written; return whether that came in time."""
        if self._queue is None:
            return True
        return self._queue.flush() if seconds is None else self._queue.flush(seconds)

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> bool:
        """Store entries now, and return whether the store took them."""
        try:
            self._store.set_many(scope, entries)
        except Exception as error:  # as above
            self._failed(error)
            return False
        self._counters.add(stored=len(entries))
        if self._admission is not None and self._admission.is_due:
            self._admission.look()  # here, where no model waits
        return True

    def find(self, call: Call, lease: Lease | None = None) -> list[Entry | None] | None:
        """Look up the keys of a call; return `None` if the store failed.

        With a lease, keys without an entry are leased; the call is told who else has some.
        """
        if not call.is_plain:
            return self.find_each([call], lease)[0]
        keys: Sequence[bytes] = call.keys  # type: ignore[assignment]
        if lease is None:
            return self.get_many(call.scope, keys)
        entries, call.away = self.get_or_lease_many(call.scope, keys, lease)
        return entries

    def find_at_once(self, call: Call) -> list[Entry | None] | None:
        """Look up the keys of a call without waiting for I/O; `None` if `find` has to be asked."""
        if not call.is_plain:
            return None
        return self.get_at_once(call.scope, call.keys)  # type: ignore[arg-type]

    def get_at_once(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Look up entries without waiting for I/O; `None` if `get_many` has to be asked."""
        try:
            if self._queue is None:  # it never waits
                return self._store.get_many(scope, keys)
            return self._queue.get_at_once(scope, keys)
        except Exception:  # `get_many` meets it, too, and counts it
            return None

    def find_each(
        self, calls: Sequence[Call], lease: Lease | None = None
    ) -> list[list[Entry | None] | None]:
        """Look up the keys of calls with one question; `None` for each call if the store failed."""
        keys = dict.fromkeys(
            k for call in calls for k in call.keys if lease is not None or k not in call.refreshed
        )
        wanted = [key for key in keys if key is not None]
        known: dict[bytes | None, Entry] = {}
        if wanted or any(call.refreshed for call in calls):  # a refresh needs the epoch
            if lease is None:
                found = self.get_many(calls[0].scope, wanted)
            else:
                found, away = self.get_or_lease_many(calls[0].scope, wanted, lease)
                for call in calls:
                    call.away = away
            seen = calls[0].scope
            for call in calls[1:]:  # each by itself: one of them may look up again later
                call.scope.epoch, call.scope.lease = seen.epoch, seen.lease
            if found is None:
                return [None] * len(calls)
            known = {k: e for k, e in zip(wanted, found, strict=True) if e is not None}
        return [
            [None if key in call.refreshed else known.get(key) for key in call.keys]
            for call in calls
        ]

    def set_each(
        self,
        writes: Sequence[tuple[Scope, Mapping[bytes, Entry]]],
        done: Future[bool] | None = None,
    ) -> bool:
        """Store the entries of several calls; those of one epoch go together.

        Args:
            writes: Scopes and their entries; nobody may change these any more.
            done: For one write into a store that may wait for I/O: what to tell whether the store
                has the entries then.

        Returns:
            Whether the store took all of them, or its queue did.
        """
        if len(writes) > 1:
            together: dict[bytes | None, tuple[Scope, dict[bytes, Entry]]] = {}
            for scope, entries in writes:
                together.setdefault(scope.epoch, (scope, {}))[1].update(entries)
            writes = list(together.values())
        if self._queue is None or is_strict():
            all_taken = True
            for scope, entries in writes:
                all_taken &= self.set_many(scope, entries)
            if done is not None:
                done.set_result(all_taken and self.is_current(writes[0][0]))
            return all_taken
        taken = [self._queue.put(self, scope, entries, done) for scope, entries in writes]
        for (_, entries), was_taken in zip(writes, taken, strict=True):
            if not was_taken:
                self._counters.add(overflowed=len(entries))
                self._reporter.warn_once("full", _FULL)
        return all(taken)

    def is_current(self, scope: Scope) -> bool:
        """Return whether the epoch of a look-up is still that of the namespace.

        Other processes clear, too. This asks only for the epoch: a question for an entry would
        count as a hit, and `info` may take many round trips.
        """
        now = scope.renewed()
        self.get_many(now, ())
        return scope.epoch not in (None, UNKNOWN_EPOCH) and now.epoch == scope.epoch

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
