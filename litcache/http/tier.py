"""The HTTP tier: the key, the store, the flight and the counts that its requests share."""

from __future__ import annotations

import time

from litcache.engine import threads
from litcache.engine.flight import Flight
from litcache.engine.guarded import GuardedStore
from litcache.http.request_key import RequestKeyer
from litcache.observe import pages
from litcache.observe.counters import CacheInfo, Counters, Labels, Sample
from litcache.observe.log import Reporter
from litcache.stores.base import Entry, NewEntry, Store
from litcache.stores.base import Scope as StoreScope


class Tier:
    """What all requests of one middleware have in common.

    Args:
        store: Where the responses live.
        namespace: Whose entries these are.
        version: Which model makes the answers.
        seconds: How long an answer stays valid at most.
        vary: The request headers that are part of the key, in lower case.
        client_control: Whether requests may ask for a new answer.
        labels: Whose counts these are.

    Attributes:
        seconds: How long an answer stays valid at most.
        vary: The request headers that are part of the key, in lower case.
        client_control: Whether requests may ask for a new answer.
        read: The request headers that are read; others are skipped at once.
        key: Makes the key of a request.
        clock: The wall clock by which entries expire, in seconds.
        flight: The requests that are sent on now.
        counters: What is counted.
        labels: Whose counts these are.
        reporter: What a person reads in the log.
    """

    def __init__(
        self,
        store: Store,
        *,
        namespace: str,
        version: str,
        seconds: float,
        vary: frozenset[bytes],
        client_control: bool,
        labels: Labels,
    ) -> None:
        self.seconds = seconds
        self.vary = vary
        self.client_control = client_control
        wishes = (b"cache-control",) if client_control else ()
        self.read = vary.union((b"content-type", b"content-length"), wishes)
        self.key = RequestKeyer(namespace, version).key
        self.clock = store.clock
        self.flight = Flight()
        self.counters = Counters()
        self.labels = labels
        self.reporter = Reporter("CacheMiddleware")
        self._store = store
        self._guarded = GuardedStore(store, self.counters, self.reporter)
        self._scope = StoreScope(namespace, version)
        pages.of_this_process().enter(self)

    def scope(self) -> StoreScope:
        """Return the scope of one request's look-ups."""
        return self._scope.renewed()

    async def look_up(self, scope: StoreScope, key: bytes) -> Entry | None:
        """Return the entry of a key, if there is one."""
        started = time.perf_counter() if self.counters.timed else 0.0
        if self._store.blocking:
            entry = await threads.run(self._peek, scope, key)
        else:
            entry = self._peek(scope, key)
        if started:
            self.counters.add_lookup(time.perf_counter() - started)
        return entry

    def _peek(self, scope: StoreScope, key: bytes) -> Entry | None:
        entries = self._guarded.get_many(scope, (key,))
        return entries[0] if entries else None

    async def put(self, scope: StoreScope, key: bytes, entry: NewEntry) -> bool:
        """Store an entry, and return whether the store took it."""
        if self._store.blocking:
            return await threads.run(self._guarded.set_many, scope, {key: entry})
        return self._guarded.set_many(scope, {key: entry})

    def started(self) -> None:
        """Log what is cached, and where."""
        size = getattr(self._store, "max_bytes", None)
        self.reporter.started(
            self._scope.namespace, self._scope.version, type(self._store).__name__,
            f"{size} bytes for each HTTP process" if size else "its own budget",
        )  # fmt: skip

    def count_hit(self) -> None:
        """Count a request that was answered out of the store."""
        self.counters.add_hits(1)
        self.reporter.tick(self.info, hit=True)

    def count_sent_on(self, *, kept: bool, bypassed: bool, seconds: float) -> None:
        """Count a request that LitServe answered.

        Args:
            kept: Whether the answer could be kept.
            bypassed: Whether the request passed through, was refused or failed.
            seconds: How long it took.
        """
        uncacheable = not (kept or bypassed)
        self.counters.add(misses=kept, bypassed=bypassed, uncacheable=uncacheable, seconds=seconds)
        if kept:
            self.reporter.missed(1, ())
        self.reporter.tick(self.info)

    def info(self) -> CacheInfo:
        """Return the counters, together with what the store says of itself."""
        return self.counters.info(self._guarded.info())

    def sample(self) -> Sample:
        """Return what the metrics tell beside the counters; never raises."""
        return self._guarded.sample(self._scope.namespace, self._scope.version)
