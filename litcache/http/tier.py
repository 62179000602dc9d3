"""The HTTP tier: the cache of whole responses, which all requests of a middleware share."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from litcache.engine import threads
from litcache.engine.call import Call, Misses, Part
from litcache.engine.run import settle
from litcache.engine.steps import Compute, Steps, Wait
from litcache.engine.tier import Tier
from litcache.errors import ValueEncodingError
from litcache.http.front import with_front
from litcache.http.request_headers import HeaderReader
from litcache.http.request_key import RequestKeyer
from litcache.http.responses import Reply, Stored, of_hit, unpack
from litcache.observe import pages
from litcache.observe.counters import Labels, Sample
from litcache.observe.log import show_log_lines
from litcache.stores.base import Entry, NewEntry, Store
from litcache.stores.base import Scope as StoreScope

_TICK_SECONDS = 1.0
"""How often hits look whether a line of counters is due."""


class Lookup(Call):
    """The look-up of one request: a call with one item, whose output is a whole response.

    Args:
        key: The request's key.
        seconds: The longest time that it waits for an equal request.
        refresh: Whether the client asks for a new answer.

    Attributes:
        stored: The response, if there is one.
        refreshes: How often clients had asked for a new answer when it looked up.
    """

    mode = "response"

    version = 0
    stored: Stored | None = None
    refreshes = 0

    def __init__(self, key: bytes, seconds: float, *, refresh: bool) -> None:
        super().__init__((key,))
        self.keys = (key,)
        self.seconds = seconds
        if refresh:
            self.refreshed, self.is_plain = {key}, False

    def begin(self) -> None:
        self.stored = None


class ResponseTier(Tier):
    """The cache of one middleware.

    Args:
        store: Where the responses live.
        namespace: Whose entries these are.
        version: Which model makes the answers.
        seconds: The longest time that an answer stays valid.
        vary: The request headers that are part of the key, in lower case.
        client_control: Whether requests may ask for a new answer.
        labels: The labels of its counters in the metrics.
        lease: For how many seconds a process leases what it sends on; `None`: not at all.

    Attributes:
        given: The store that the user gave; `store` may have a front of it.
        seconds: The longest time that an answer stays valid.
        vary: The request headers that are part of the key, in lower case.
        reader: Reads the headers of requests.
        keyer: Makes the keys of requests.
        clock: The wall clock by which entries expire, in seconds.
        blocking: Whether the store may wait for I/O.
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
        lease: float | None = None,
    ) -> None:
        show_log_lines()
        # Other processes would not see at once what a client asked anew.
        near = store if client_control else with_front(store)
        scope = StoreScope(namespace, version)
        super().__init__("CacheMiddleware", scope, near, labels, lease=lease)
        self.given = store
        self.seconds = seconds
        self.vary = vary
        self.reader = HeaderReader(vary, client_control=client_control)
        self.keyer = RequestKeyer(namespace, version)
        self.clock = store.clock
        self.blocking = store.blocking
        # In a store that never waits, nothing is queued, either.
        self._ask = self.guarded.get_at_once if store.blocking else near.get_many
        self._ticked = -math.inf
        self._refreshes = 0
        # What is found without waiting stores nothing: nobody reads the epoch that it notes here.
        self._glance = self.scope.renewed()
        pages.of_this_process().enter(self)

    # ------------------------------------------------------------------ one look-up

    def find_at_once(self, key: bytes) -> Stored | None:
        """Return the response that is found without waiting for I/O; else `look_up` is asked."""
        started = time.perf_counter() if self.counters.timed else 0.0
        try:
            entries = self._ask(self._glance, (key,))
            if not entries or (entry := entries[0]) is None:
                return None
            stored = unpack(entry)
        except Exception:  # `look_up` meets it, too, and counts it or warns
            return None
        if started:
            self.counters.add_lookup(time.perf_counter() - started)
        return stored

    def hit(self, stored: Stored) -> Reply:
        """Return a stored response as a hit, and count it."""
        now = self.clock()
        self.counters.add_hit()
        if not 0 <= now - self._ticked < _TICK_SECONDS:  # or the clock was set
            self._ticked = now
            self.reporter.tick(self.info, hit=True)
        _, headers, body, seconds, expires = stored
        left = expires - now
        return [*headers, *of_hit((seconds - left) // 1, left // 1)], body

    async def look_up(self, lookup: Lookup) -> Steps | None:
        """Look up a request; a thread waits for a store that cannot answer at once.

        Returns:
            The remaining steps; `None` if it has its response.
        """
        lookup.scope, lookup.released = self.scope.renewed(), self.flight.released
        self._refreshes += bool(lookup.refreshed)
        lookup.refreshes = self._refreshes
        if not self.blocking:
            entries = self._find(lookup)
        elif self.leases is not None or (entries := self._near(lookup)) is None:
            entries = await threads.run(self._find, lookup)
        entry = entries[0] if entries else None
        lookup.stored = None if entry is None else self._read(entry)
        if lookup.stored is not None:
            return None
        misses = Misses(lookup, store_works=entries is not None)
        misses.unclaimed = [0]
        return settle(self, misses, _sent_on)

    def _find(self, lookup: Lookup) -> list[Entry | None] | None:
        started = time.perf_counter() if self.counters.timed else 0.0
        entries = self.guarded.find(lookup, self.lease)
        if started:
            self.counters.add_lookup(time.perf_counter() - started)
        return entries

    def _near(self, lookup: Lookup) -> list[Entry | None] | None:
        """Return what is found without waiting for I/O; `None` if `_find` has to be asked."""
        started = time.perf_counter() if self.counters.timed else 0.0
        entries = self.guarded.find_at_once(lookup)
        if started and entries is not None:
            self.counters.add_lookup(time.perf_counter() - started)
        return entries

    async def advance(self, steps: Steps) -> Misses | None:
        """Take steps until the request must go on to LitServe.

        Returns:
            The misses that LitServe then computes; `None` if the request has its response.
        """
        reply: object = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration:
                return None
            if isinstance(step, Compute):
                return step.part.places[0][0]
            if isinstance(step, Wait):
                reply = await step.claim.wait_async(step.seconds)
            elif self.blocking:
                reply = await threads.run(step.function)
            else:
                reply = step.function()

    def take(self, misses: Misses, position: int, entry: Entry) -> bool:
        stored = misses.call.stored = self._read(entry)  # type: ignore[attr-defined]
        return stored is not None

    def _read(self, entry: Entry) -> Stored | None:
        try:
            return unpack(entry)
        except ValueEncodingError as error:
            self.reporter.swallow("entry", error, "a stored response cannot be read")
            return None  # and the new answer replaces it

    def remaining(self, misses: Misses) -> float | None:
        return misses.remaining(misses.call.seconds)  # type: ignore[attr-defined]

    def finish(self, misses: Misses) -> None:
        """Count nothing: the outcome of a request is known only when it is answered."""

    # ------------------------------------------------------------------ one answer

    async def keep(self, misses: Misses, entry: NewEntry) -> bool:
        """Give followers an answer and store it; return whether the store has it now.

        Not every store knows that for certain.
        """
        key = misses.keys[0]
        if key is None:  # the answer to an equal request was for nobody else
            return False
        # It came in parts, and let others go on: the store may have a newer answer by now.
        if misses.claim is None and misses.call.refreshes != self._refreshes:  # type: ignore[attr-defined]
            return False
        misses.published[key] = misses.stored[key] = entry
        if not self.blocking:
            # The store refuses an entry above the budget, or from before a clear, without an error.
            before = self._refusals()
            return self.publish([misses]) and self._refusals() == before
        done: Future[bool] = Future()
        done.set_running_or_notify_cancel()  # a client that leaves cancels no write
        return self.publish([misses], done) and await asyncio.wrap_future(done)

    def withhold(self, misses: Misses, *, failed: bool) -> None:
        """Let followers go on without an answer.

        If an answer may not be stored, the answers to equal requests may not be stored either: each
        of them goes on alone. If the request failed, the next one goes on for the others.
        """
        key = misses.keys[0]
        if key is not None and not failed:
            misses.published[key] = None
        self.publish([misses])

    def _refusals(self) -> int:
        info = self.guarded.info()
        return info.rejected + info.dropped

    def started(self, trial: str) -> None:
        """Log what is cached, where, and how it proves itself."""
        scope = self.scope
        self.reporter.started(scope.namespace, scope.version, self.given, "HTTP process", trial)

    def forget(self) -> None:
        """Drop all entries of the namespace, if the store answers."""
        try:
            self.store.clear(self.scope.namespace)
        except Exception as error:  # a store may be anybody's
            self.reporter.warn_once("forget", f"its entries stay in the store: {error}")

    def count_sent_on(self, *, kept: bool, verified: bool, bypassed: bool, seconds: float) -> None:
        """Count a request that LitServe answered.

        Args:
            kept: Whether the answer could be stored.
            verified: Whether the answer was for a hit of a trial.
            bypassed: Whether the request passed through, was refused or failed.
            seconds: How long it took.
        """
        bypassed = bypassed and not verified
        self.counters.add(
            misses=kept, verified=verified, bypassed=bypassed,
            uncacheable=not (kept or verified or bypassed), seconds=seconds,
        )  # fmt: skip
        if kept:
            self.reporter.missed(1, ())
        self.reporter.tick(self.info, hit=verified)

    def sample(self) -> Sample:
        """Return what the metrics show beside the counters; never raises."""
        sample = self.guarded.sample(self.scope.namespace, self.scope.version)
        about = {**sample.about, "store": type(self.given).__name__}
        return replace(sample, store_id=id(self.given), about=about)


def _sent_on(tier: ResponseTier, group: Sequence[Misses]) -> Steps:
    """Let a request go on to LitServe; its answer is recorded while it passes."""
    yield Compute(Part(None, None, [(misses, 0) for misses in group]))
    group[0].to_compute = []
