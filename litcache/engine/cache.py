"""The engine: two halves around the model call, which it never makes itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from litcache.engine.call import ROWS, Call
from litcache.engine.entries import OutputEncoder
from litcache.engine.flight import Claim, Flight
from litcache.engine.guarded import GuardedStore
from litcache.engine.predicates import Rules
from litcache.errors import KeyEncodingError, ValueEncodingError
from litcache.keys.contexts import Context, snapshot
from litcache.keys.keyer import Keyring
from litcache.observe.counters import CacheInfo, Counters, Labels, Sample
from litcache.observe.log import Reporter
from litcache.policy import CachePolicy
from litcache.stores.base import Entry, Scope, Store
from litcache.stores.memory import MemoryStore
from litcache.values import codec


class Cache:
    """The entries of one method of one API, and the way to and from them.

    Args:
        method: The method's qualified name, for messages.
        namespace: Whose entries.
        policy: The method's policy.
        store: Where they live.
        api: The object that the method belongs to: its `device` and `request_timeout` are read,
            and the policy's functions of an api are given it.
        reads_context: Whether the method reads and writes a context.
        labels: Whose counts the metrics take its counters for.
    """

    def __init__(
        self,
        method: str,
        namespace: str,
        policy: CachePolicy,
        store: Store,
        api: Any,
        *,
        reads_context: bool,
        labels: Labels,
    ) -> None:
        self.method = method
        self.labels = labels
        self.policy = policy
        self.store = store
        self.api = api
        self.reads_context = reads_context
        self.scope = Scope(namespace)
        self.keyring = Keyring(
            method, namespace, policy, api,
            persistent=store.persistent, reads_context=reads_context,
        )  # fmt: skip
        self.counters = Counters(lists=policy.items == "list")
        self.reporter = Reporter(method)
        self.flight = Flight()
        self._guarded = GuardedStore(store, self.counters, self.reporter)
        self._encoder = OutputEncoder(method, policy.seconds, self.reporter)
        self.rules = Rules(policy, self.keyring, self.reporter)
        self._plain = not (policy.bypass_if or policy.refresh_if or policy.key)
        # A miss by the short way asks twice, which only this store does not notice.
        self._short = self._plain and type(store) is MemoryStore
        self._peek = self.scope.renewed()  # its epoch is used by nobody

    @property
    def device(self) -> Any:
        """The device that the API serves on, or `None`."""
        return getattr(self.api, "device", None)

    def info(self) -> CacheInfo:
        """Return the counters; entries and bytes are 0 when the store is silent."""
        return self.counters.info(self._guarded.info())

    def sample(self) -> Sample:
        """Return what the metrics tell beside the counters; never raises."""
        return self._guarded.sample(self.scope.namespace, self.keyring.known_version)

    # ------------------------------------------------------------------ the first half

    def hit(self, item: object) -> tuple[Any] | None:
        """Return the output of one item alone if it is stored: a third less than `lookup` takes.

        Args:
            item: The item as decoded; it has no context.

        Returns:
            The output in a tuple, counted as a hit; `None` if the call must go through `lookup`.
        """
        if not self._short:
            return None
        started = time.perf_counter() if self.counters.timed else 0.0
        try:
            keys = self.keyring.keyer("single").keys((item,))
            entry = self.store.get_many(self._peek, keys)[0]
            if entry is None:
                return None
            value = codec.decode(entry.layout, entry.payload, getattr(self.api, "device", None))
        except Exception:  # lookup meets it again, and swallows or raises it as it must
            return None
        self.counters.add_hits(1)
        if started:
            self.counters.add_lookup(time.perf_counter() - started)
        self.reporter.tick(self.info, hit=True)
        return (value,)

    def lookup(
        self, mode: str, items: Sequence[object], contexts: Sequence[Context] | None = None
    ) -> Call:
        """Look items up and sort them into hits, misses, and what other calls compute.

        Args:
            mode: How the method is called: `single`, `batch`, `row` or `list`.
            items: The items as decoded, in order of arrival.
            contexts: A context for each item, if the method or its policy takes one.

        Returns:
            The call. While it has `misses`, compute those and give them to `complete`, or
            `abandon` the call; then, while it has `waits`, wait for one and `resume`; then
            `finish` it. A call without either is all hits, and finished.
        """
        if not self.counters.timed:
            return self._lookup(mode, items, contexts)
        started = time.perf_counter()
        call = self._lookup(mode, items, contexts)
        self.counters.add_lookup(time.perf_counter() - started)
        return call

    def _lookup(self, mode: str, items: Sequence[object], contexts: Any) -> Call:
        call = Call(mode, items, contexts, self.scope.renewed())
        released = self.flight.released
        if self._plain and contexts is None:
            try:
                keys = self.keyring.keyer(mode).keys(items)
            except KeyEncodingError:
                pass  # one of them: they are told apart below
            else:
                entries = self._guarded.get_many(call.scope, keys)
                if entries is not None and all(entries) and self._accept(call, entries):
                    return call
                call.spread(released)
                call.keys = list(keys)
                return self._sort(call, entries)
        call.spread(released)
        call.keys = self.rules.keys(call)
        return self._sort(call, self._guarded.find([call])[0])

    def lookup_each(
        self, mode: str, asked: Sequence[tuple[Sequence[object], Sequence[Context] | None]]
    ) -> list[Call]:
        """Look several calls up by one question to the store.

        Args:
            mode: As for `lookup`.
            asked: Of each call its items, and a context for each of them or `None`.

        Returns:
            The calls, each with claims of its own, as `lookup` would return them.
        """
        started = time.perf_counter()
        scope, released = self.scope.renewed(), self.flight.released
        calls = [Call(mode, items, contexts, scope) for items, contexts in asked]
        for call in calls:
            call.spread(released)
            call.keys = self.rules.keys(call)
        found = self._guarded.find(calls)
        try:
            for call, each in zip(calls, found, strict=True):
                self._sort(call, each)
        except BaseException:  # in strict mode
            for call in calls:
                self._release([(call, {}, {})])
            raise
        if self.counters.timed:
            self.counters.add_lookup(time.perf_counter() - started)
        return calls

    def _accept(self, call: Call, entries: list[Entry | None]) -> bool:
        """Take a call whose items all hit; false if an entry cannot be read."""
        if call.mode in ROWS:
            call.entries = entries
        else:
            try:
                call.values = codec.decode_many(entries, self.device)  # type: ignore[arg-type]
            except ValueEncodingError:
                return False
        self.counters.add_hits(len(entries))
        self.reporter.tick(self.info, hit=True)
        return True

    def _sort(self, call: Call, entries: Sequence[Entry | None] | None) -> Call:
        """Take the hits of a call and claim its misses; `None`: the store failed."""
        call.store_works = entries is not None
        missing = []
        for position, entry in enumerate(entries or call.entries):
            if entry is None or not self._take(call, position, entry):
                missing.append(position)
            else:
                call.hits += 1
        self._claim(call, missing)
        if not call.misses and not call.waits:
            self.finish(call)
        return call

    def _take(self, call: Call, position: int, entry: Entry) -> bool:
        """Take an entry as the output of an item; false if it cannot be read."""
        try:
            call.take(position, entry, self.device)
        except ValueEncodingError as error:
            self.reporter.swallow("decode", error, "an entry cannot be read and is deleted")
            self._guarded.delete(call.scope, call.keys[position] or b"")
            return False
        return True

    def _claim(self, call: Call, missing: Sequence[int], *, force: bool = False) -> None:
        """Sort what misses into what to compute here, now, and what to wait for."""
        leaders: dict[bytes, int] = {}
        for position in missing:
            key = call.keys[position]
            if key is None:
                call.misses.append(position)
            elif key in leaders:
                call.equals.setdefault(leaders[key], []).append(position)
            else:
                leaders[key] = position
        if leaders:
            if call.claim is None:
                call.claim = Claim(call.scope.epoch)
            forced = leaders.keys() if force else leaders.keys() & call.refreshed
            self.flight.claim(call.claim, forced, force=True)
            taken = self.flight.claim(call.claim, leaders.keys() - forced)
            for key, claim in taken.items():
                position = leaders.pop(key)
                for waiting in (position, *call.equals.pop(position, ())):
                    call.waits[waiting] = claim
            try:
                if not force:
                    self._look_again(call, leaders)
            except BaseException:  # in strict mode, a store that fails
                self._release([(call, {}, {})])
                raise
            if not leaders:
                self._release([(call, {}, {})])
        call.misses = sorted([*call.misses, *leaders.values()])

    def _look_again(self, call: Call, leaders: dict[bytes, int]) -> None:
        """Look claimed keys up again if others finished between the look-up and the claim."""
        released = self.flight.released
        if released == call.released or not call.store_works:
            return
        call.released = released
        keys = [key for key in leaders if key not in call.refreshed]
        for key, entry in zip(keys, self._guarded.get_many(call.scope, keys) or (), strict=False):
            position = leaders[key]
            if entry is not None and self._take(call, position, entry):
                del leaders[key]
                equals = call.equals.pop(position, ())
                call.coalesced += 1 + sum(self._take(call, equal, entry) for equal in equals)

    # ------------------------------------------------------------------ the second half

    def before_compute(self, *calls: Call) -> float:
        """Note the contexts of the misses as the method finds them; return the time."""
        for call in calls:
            if call.contexts is not None and self.reads_context:
                for position in call.misses:
                    call.snapshots[position] = snapshot(call.contexts[position])
        return time.perf_counter()

    def complete(self, calls: Sequence[Call], outputs: Sequence[Any], started: float) -> None:
        """Store the outputs of the misses of calls and give them to whoever waits.

        Args:
            calls: Calls of one mode, whose misses were computed together.
            outputs: An output for each of their misses, call by call; in the modes of `ROWS`, the
                containers that the method returned, whose rows are one for each.
            started: What `before_compute` returned.

        Raises:
            BatchSizeError: If the number of outputs is another one; nothing was stored.
            NotRows: If a container is none.
        """
        self.counters.add(seconds=time.perf_counter() - started)
        numbered = enumerate(self._encoder.entries(calls, outputs, self.store.clock))
        settled = []
        for call in calls:
            positions, call.misses = call.misses, []
            published: dict[bytes, Entry | None] = {}
            stored: dict[bytes, Entry] = {}
            for position in positions:
                index, entry = next(numbered)
                output = None if call.mode in ROWS else outputs[index]
                call.keep(position, entry, output, self.device)
                key = call.keys[position]
                if key is None:
                    continue
                published[key] = entry
                if entry is not None and self.rules.may_store(call, position, outputs, index):
                    stored[key] = entry
                self._share(call, position, entry)
            settled.append((call, published, stored))
        self._release(settled)

    def _share(self, call: Call, position: int, entry: Entry | None) -> None:
        """Give the entry of a computed item to its equals in the same call."""
        for equal in call.equals.pop(position, ()):
            if entry is not None and self._take(call, equal, entry):
                call.coalesced += 1
            else:  # there is nothing to share: it is computed for itself
                self._compute_alone(call, equal)

    def _compute_alone(self, call: Call, position: int) -> None:
        call.keys[position] = None
        call.uncacheable.add(position)
        call.misses.append(position)

    def _release(
        self, settled: Sequence[tuple[Call, Mapping[bytes, Entry | None], Mapping[bytes, Entry]]]
    ) -> None:
        """Let followers go on, store, and only then take the claims back."""
        claims, writes = [], []
        for call, published, stored in settled:
            claim, call.claim = call.claim, None
            if claim is not None:
                claims.append(claim)
                claim.publish(published)
                if claim.superseded:  # a refresh has what is newer
                    stored = {k: e for k, e in stored.items() if k not in claim.superseded}
            if stored and call.store_works:
                call.scope.version = self.keyring.version
                writes.append((call.scope, stored))
        try:
            self._guarded.set_each(writes)
        finally:
            for claim in claims:
                self.flight.release(claim)

    # ------------------------------------------------------------------ waiting for other calls

    def resume(self, call: Call) -> None:
        """Take what the calls waited for have published; claim what they did not compute."""
        missing: list[int] = []
        for position, claim in list(call.waits.items()):
            key = call.keys[position]
            if not claim.done or key is None:
                continue
            del call.waits[position]
            if key not in claim.entries:
                missing.append(position)
                continue
            entry = claim.entries[key]
            if entry is not None and self._take(call, position, entry):
                call.coalesced += 1
            else:
                self._compute_alone(call, position)
        self._claim(call, missing)

    def overtake(self, call: Call) -> None:
        """Compute here what other calls have not published in time."""
        waiting = sorted(call.waits)
        call.waits.clear()
        self._claim(call, waiting, force=True)

    def remaining(self, call: Call) -> float | None:
        """Return how many seconds a call may still wait; `None` without a limit."""
        timeout = getattr(self.api, "request_timeout", None)
        # As LitServe's loops read it.
        return None if timeout in (None, False, -1) else call.remaining(float(timeout))

    # ------------------------------------------------------------------ the end of a call

    def abandon(self, call: Call) -> None:
        """Give a call up whose method raised or was cancelled: followers compute for themselves."""
        self._release([(call, {}, {})])
        self.finish(call)
        call.misses, call.waits = [], {}

    def finish(self, call: Call) -> None:
        """Count a call that was not all hits."""
        outcomes = call.outcomes()
        self.counters.add(**outcomes)
        if not call.hits:
            contexts = call.contexts if self.reads_context else None
            self.reporter.missed(outcomes["misses"], contexts or ())
        self.reporter.tick(self.info, hit=call.hits > 0)
