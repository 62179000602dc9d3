"""The cache of one method: its look-up, and its work before and after the model runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from litcache.engine import outcomes, threads, trials
from litcache.engine.call import BYPASSED, HIT, Call, Misses, Place, uncached
from litcache.engine.cutting import Cutting
from litcache.engine.entries import Entries
from litcache.engine.files import FileWatch
from litcache.engine.predicates import Predicates
from litcache.engine.tier import Tier
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.keys.keyer import Keyring
from litcache.observe.counters import Labels, Sample
from litcache.policy import CachePolicy
from litcache.stores.base import Entry, NewEntry, Scope, Store
from litcache.trial.verdict import Verdict
from litcache.values import codec

BY_HAND_SECONDS = 30.0
"""How long a call waits for another's computation where no server sets a `request_timeout`."""
_PREDICTIONS = ("request", "prediction")
_ADVICE = '; result="response" stores what encode_response makes of it'


class Cache(Tier):
    """The cache of one method of one API.

    Args:
        method: The method's qualified name, for messages.
        namespace: The namespace of its entries.
        policy: The method's policy.
        store: Where its entries live.
        api: The API. The cache reads its `device` and `request_timeout`, and calls the policy's
            functions of an API with it.
        reads_context: Whether the method reads and writes a context.
        labels: The labels of its counters in the metrics.
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
        super().__init__(
            method, Scope(namespace), store, labels,
            lists=policy.items == "list", lease=policy.lease_seconds,
        )  # fmt: skip
        self.method = method
        self.policy = policy
        self.api = api
        self.reads_context = reads_context
        self.keyring = Keyring(
            method, namespace, policy, api,
            persistent=store.persistent, reads_context=reads_context,
        )  # fmt: skip
        self.predicates = Predicates(policy, self.keyring, self.reporter)
        self.files = FileWatch(self.reporter, items=policy.key is None)
        in_place = labels.method == "predict" and (policy.items, policy.result) == _PREDICTIONS
        self._entries = Entries(
            method, policy.seconds, self.predicates, self.reporter, self.files, policy.outcome_in,
            store_as=policy.store_as, is_answer=policy.result == "response",
            advice=_ADVICE if in_place else "",
        )  # fmt: skip
        self._plain = not (policy.bypass_if or policy.refresh_if or policy.key)
        self.verdict: Verdict | None = None
        self.cutting = Cutting()

    @property
    def device(self) -> Any:
        """The device that the API serves on, or `None`."""
        return getattr(self.api, "device", None)

    def sample(self) -> Sample:
        """Return what the metrics show beside the counters; never raises."""
        return self.guarded.sample(self.scope.namespace, self.keyring.known_version)

    # ------------------------------------------------------------------ the first half

    def lookup(self, call: Call) -> Misses | None:
        """Look up the items of a call.

        Args:
            call: The call.

        Returns:
            The misses, for `run.settle`. `None` if every item hit: then the call has its outputs,
            and is counted.
        """
        if self.verdict is not None and self.verdict.is_off:
            return uncached(call, BYPASSED)
        started = time.perf_counter() if self.counters.timed else 0.0
        self.ask(call, self.scope.renewed())
        if call.is_plain and self.leases is None:  # the keys are all there
            entries = self.guarded.get_many(call.scope, call.keys)  # type: ignore[arg-type]
        else:
            entries = self.guarded.find(call, self.lease)
        misses = self.sort(call, entries)
        if started:
            self.counters.add_lookup(time.perf_counter() - started)
        return misses

    def lookup_each(self, calls: Sequence[Call], *, lease: bool = True) -> list[Misses | None]:
        """Look up several calls with one question to the store; like `lookup` for each.

        Args:
            calls: The calls.
            lease: Whether all of them are computed here if they miss. If not, those that are take
                their leases later.
        """
        if self.is_off:
            return [uncached(call, BYPASSED) for call in calls]
        started = time.perf_counter() if self.counters.timed else 0.0
        for call in calls:
            self.ask(call, self.scope.renewed())
        found = self.guarded.find_each(calls, self.lease if lease else None)
        misses = [self.sort(*pair) for pair in zip(calls, found, strict=True)]
        if started:
            self.counters.add_lookup(time.perf_counter() - started)
        return misses

    def ask(self, call: Call, scope: Scope) -> None:
        """Give a call its keys; they are made before user code can change the items."""
        call.scope = scope
        call.version, call.released = self.keyring.turn, self.flight.released
        if self._plain:
            try:
                call.keys = call.keys_at_once(self.keyring)
            except Exception:  # a context may be anything; below, each is tried alone
                pass
            else:
                return
            self.keyring.keyer(call.mode)  # a version that is none raises here, not below
        self.predicates.ask(call)

    def sort(self, call: Call, entries: list[Entry | None] | None) -> Misses | None:
        """Take the hits of a call, and return its misses.

        Args:
            call: The call, with its keys.
            entries: The answer of the store; `None` if the store failed.
        """
        tried: Collection[int] = ()
        if call.verdict is not None and entries is not None:
            tried = call.verdict.choose(call.requests, entries)
        if (
            entries is not None
            and not tried
            and all(entries)
            and (call.contexts is None or self._is_silent(call, entries))
        ):
            try:
                call.accept(entries, self.api)
            except ValueEncodingError:
                pass  # at least one of them fails; below, each is tried alone
            else:
                self.counters.add_hits(len(entries))
                self.reporter.tick(self.info, hit=True)
                return None
        misses = Misses(call, store_works=entries is not None)
        if entries is not None and self._accept(misses, entries, tried):
            return misses
        for position in range(len(call.items)):
            entry = entries[position] if entries is not None else None
            if entry is None:
                misses.unclaimed.append(position)
            elif position in tried and trials.take_up(misses, position, entry, self.device):
                continue
            elif self.take(misses, position, entry):
                misses.outcomes[position] = HIT
            else:
                misses.unclaimed.append(position)
        if misses.is_open:
            return misses
        self.finish(misses)
        return None

    def _is_silent(self, call: Call, entries: Sequence[Entry | None]) -> bool:
        """Return whether the hits of a call leave its contexts as they are."""
        if self.policy.outcome_in is not None:
            return False
        layouts = {entry.layout for entry in entries if entry is not None}
        return not any(map(codec.has_context, layouts))

    def _accept(self, misses: Misses, entries: list[Entry | None], tried: Collection[int]) -> bool:
        """Take the hits of a call together; return false if each must be looked at by itself."""
        call = misses.call
        if tried or not call.is_plain or None not in entries:
            return False
        if call.contexts is not None and not self._is_silent(call, entries):
            return False
        unclaimed = [at for at, entry in enumerate(entries) if entry is None]
        if len(unclaimed) < len(entries):
            try:
                call.accept(entries, self.api)
            except ValueEncodingError:
                return False
            misses.outcomes = [HIT] * len(entries)
            for at in unclaimed:
                misses.outcomes[at] = None
        misses.unclaimed = unclaimed
        return True

    def take(self, misses: Misses, position: int, entry: Entry) -> bool:
        """Take an entry as the output of an item; return false if it cannot be read."""
        call = misses.call
        try:
            changes = codec.context_changes(entry.layout, entry.payload)
            if changes is not None:
                entry = NewEntry(changes[0], changes[1], entry.expires)
            call.take(position, entry, self.device)
        except ValueEncodingError as error:
            self.reporter.swallow("decode", error, "an entry cannot be read and is computed anew")
            return False
        if changes is not None:
            call.change(position, changes[2], changes[3])
        return True

    # ------------------------------------------------------------------ the trial

    @property
    def is_off(self) -> bool:
        """Whether the trial has found a disagreement, so that nothing is cached."""
        return self.verdict is not None and self.verdict.is_off

    def drop(self) -> None:
        """Clear the namespace: an entry of it may be wrong."""
        namespace = self.scope.namespace
        if self.store.blocking:
            threads.submit(self.guarded.clear, namespace)
        else:
            self.guarded.clear(namespace)

    def is_computing(self, misses: Misses) -> bool:
        """Return whether other calls compute all that a call misses."""
        if misses.to_compute:  # tried, or not cached at all
            return False
        keys = [misses.keys[position] for position in misses.unclaimed]
        wanted = [key for key in keys if key is not None]
        call = misses.call
        return len(wanted) == len(keys) and self.flight.is_computing(
            wanted, call.scope.epoch, call.refreshed
        )

    # ------------------------------------------------------------------ the second half

    def before_compute(self, group: Sequence[Misses]) -> None:
        """Get the items of the misses ready for the method."""
        for misses in group:
            misses.call.restore()
            self.cutting.prepare(misses)
            self.files.look_at_items(misses)
            if misses.has_computed:
                misses.call.hold()
            misses.has_computed = True
            if misses.claim is not None:
                misses.claim.thread = threading.get_ident()

    def hold(self, group: Sequence[Misses]) -> None:
        """Give the outputs of calls memory of their own before the method runs again."""
        for misses in group:
            misses.call.hold()

    def keep(self, places: Sequence[Place], output: Any, seconds: float) -> None:
        """Take the output of the method for some items, before the method runs again.

        Args:
            places: The items that the method was called with.
            output: What it returned.
            seconds: How long it took.

        Raises:
            BatchSizeError: If it did not return one output for each item.
            NotRowsError: If it did not return rows although rows are expected.
        """
        self.took(seconds, len(places))
        device = getattr(self.api, "device", None)
        self._entries.keep(places, output, device, self.store.clock)
        self.cutting.cuts = True

    def may_store(self, misses: Misses) -> bool:
        """Return whether the model is still the one of the time when the call looked up."""
        keyring, verdict = self.keyring, self.verdict
        if misses.call.version != keyring.turn or keyring.suspended:
            return False
        if verdict is not None and verdict.is_off:
            return False
        misses.call.scope.version = keyring.version
        return misses.store_works

    def remaining(self, misses: Misses) -> float | None:
        """Return how many seconds a call may still wait for others; `None` without a limit."""
        timeout = getattr(self.api, "request_timeout", None)
        if timeout is None:
            return misses.remaining(BY_HAND_SECONDS)
        # As LitServe's loops read it.
        return None if timeout in (False, -1) else misses.remaining(float(timeout))

    def tell(self, misses: Misses) -> None:
        """Tell the requests of a call what became of their items."""
        misses.call.outcomes = misses.outcomes
        outcomes.tell(self.policy, misses.call)

    def finish(self, misses: Misses) -> None:
        """Count the items of a call, and tell its requests what became of them."""
        misses.call.outcomes = misses.outcomes
        if self.policy.outcome_in is not None:
            outcomes.tell(self.policy, misses.call)
        super().finish(misses)

    def contexts(self, misses: Misses) -> Sequence[Context]:
        """Return the contexts that the method reads."""
        return (misses.call.request_contexts if self.reads_context else None) or ()
