"""How a loop answers requests: from the cache if `predict` is cached, else by computing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from litserve import LitAPI

from litcache.engine import run
from litcache.engine.cache import Cache
from litcache.engine.call import Misses, NotRowsError, Part
from litcache.engine.inside import computing
from litcache.engine.lists import Lists, answered
from litcache.engine.modes import Batch as BatchCall
from litcache.engine.steps import Compute, Steps, Wait
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.litapi import arrivals, rehearsal
from litcache.litapi.answers import list_of, note_not_cut, note_uncut
from litcache.litapi.batches import BatchSizeMismatch
from litcache.litapi.state import state_of
from litcache.litapi.tokens import Answer
from litcache.loop.model import Model
from litcache.loop.originals import Originals
from litcache.loop.requests import COMPUTES, DONE, LEFT, WAITS, Batch, Request
from litcache.observe.log import logger
from litcache.values.containers import own
from litcache.values.cuts import is_empty
from litcache.values.devices import beside


class Strategy(Protocol):
    """How the requests of a loop get their outputs; each step sets `Request.state`."""

    @property
    def at_once(self) -> int:
        """The largest number of requests that are looked up together."""

    @property
    def hits(self) -> bool:
        """Whether there are requests that do not need the model."""

    def look_up(self, requests: Sequence[Request], most: int | None = None) -> None:
        """Look up decoded requests; take at most `most` requests that need the model."""

    def look_again(self, request: Request) -> None:
        """Go on with a request that waits, if its waiting is over."""

    def compute(self, batch: Batch) -> None:
        """Compute the misses of the requests of a batch; called in the thread of the model."""

    def computed(self, request: Request) -> None:
        """Go on with a request whose batch was computed."""

    def beside(self, request: Request) -> AbstractContextManager[Any]:
        """Return a context in which a request is answered that is done."""

    def give_up(self, request: Request) -> None:
        """End a request that failed; others then compute the keys that it has claimed."""

    def follows(self, request: Request, other: Request, *, wholly: bool) -> bool:
        """Return whether a request waits for what another one computes; `wholly`: for all of it."""

    def note(self, request: Request) -> None:
        """Note the state of a request before its batch, which may fail."""

    def restore(self, request: Request, decode: Callable[[Request], None]) -> bool:
        """Restore item and context of a request whose batch failed; return whether it worked."""


class Plain:
    """The strategy of an API whose `predict` is not cached: the model computes every request.

    Args:
        model: Computes the requests.
    """

    at_once = 1
    hits = False

    def __init__(self, model: Model) -> None:
        self._model = model
        self._originals = Originals()

    def look_up(self, requests: Sequence[Request], most: int | None = None) -> None:
        for position, request in enumerate(requests):
            request.state = COMPUTES if most is None or position < most else LEFT

    def look_again(self, request: Request) -> None:
        raise AssertionError("no request waits for another")

    def compute(self, batch: Batch) -> None:
        items = [request.decoded for request in batch.requests]
        contexts = [request.context for request in batch.requests]
        outputs = self._model.compute_batch(items, contexts).outputs
        # A hook may put other contexts in their places; LitServe zips them as well.
        for request, output, context in zip(batch.requests, outputs, contexts, strict=False):
            request.output, request.context = output, context

    def computed(self, request: Request) -> None:
        request.state = DONE

    def beside(self, request: Request) -> AbstractContextManager[Any]:
        return nullcontext()

    def give_up(self, request: Request) -> None:
        """Do nothing: nobody waits for this request."""

    def follows(self, request: Request, other: Request, *, wholly: bool) -> bool:
        return False

    def note(self, request: Request) -> None:
        self._originals.note(request)

    def restore(self, request: Request, decode: Callable[[Request], None]) -> bool:
        return self._originals.restore(request, decode)


class Cached:
    """The strategy of an API whose `predict` is cached.

    Args:
        api: The API.
        cache: The cache of its `predict`.
        model: Computes the misses.
        wants_context: Whether the method or its policy reads contexts.
    """

    hits = True

    def __init__(self, api: LitAPI, cache: Cache, model: Model, *, wants_context: bool) -> None:
        self._cache = cache
        self._model = model
        self._originals = Originals(cache)
        self._model_lock = state_of(api).model_lock
        self._lists = cache.policy.items == "list"
        self._encodes = cache.policy.result == "response"
        self._wants_context = wants_context
        # One question to a store that waits for I/O costs as much as many keys.
        self.at_once = int(api.max_batch_size) if cache.store.blocking else 1

    # ------------------------------------------------------------------ look-ups

    def look_up(self, requests: Sequence[Request], most: int | None = None) -> None:
        for request in requests:
            request.call, request.state = self._call(request), COMPUTES
            if request.call is not None and self._cache.verdict is not None:
                arrivals.enter(self._cache, request.call, (request.decoded,))
        calls = [request.call for request in requests if request.call is not None]
        takes_all = most is None or most >= len(requests)  # what is left to others is not leased
        found = iter(self._cache.lookup_each(calls, lease=takes_all) if calls else ())
        for request in requests:
            is_full = most is not None and most <= 0
            if request.call is not None:
                if (misses := next(found)) is not None:
                    request.call.seen = (request.context,)
                    request.rehearsals = rehearsal.begin(self._cache, misses, (request.context,))
                self._look_at(request, misses, joins=is_full)
            elif is_full:
                request.state = LEFT
            if most is not None and request.state == COMPUTES:
                most -= 1

    def _look_at(self, request: Request, misses: Misses | None, *, joins: bool) -> None:
        """Take the misses of a request; with `joins`, only if others compute all of them."""
        if misses is None:
            request.is_hit = True
            self._finish(request)
        elif joins and not self._cache.is_computing(misses):
            request.state = LEFT
        else:
            request.misses = misses
            request.steps = run.settle(self._cache, misses, _with_others)
            self._go_on(request, None)

    def _call(self, request: Request) -> BatchCall | Lists | None:
        """Return the call of a request; `None` if it is computed without the cache."""
        context = request.context if self._wants_context else None
        if self._lists:
            return list_of(self._cache.policy, request.decoded, context)
        return BatchCall((request.decoded,), None if context is None else (context,))

    def _go_on(self, request: Request, reply: Any) -> None:
        """Take the steps of a request until it needs the model, waits, or is done."""
        assert request.steps is not None
        try:
            step = request.steps.send(reply)
            while not isinstance(step, Compute | Wait):
                step = request.steps.send(step.function())
        except StopIteration:
            self._finish(request)
            return
        if isinstance(step, Compute):
            request.state = COMPUTES
        else:
            request.state, request.waits_for = WAITS, step.claim
            seconds = step.seconds
            request.waits_until = None if seconds is None else time.monotonic() + seconds

    def _finish(self, request: Request) -> None:
        """Give a request the output of its call, when every item has one."""
        call = request.call
        request.state = DONE
        if isinstance(call, Lists):
            self._cache.counters.add_requests(*answered(request.misses, call.sizes))
        try:
            assert call is not None
            request.output = call.result(self._cache.device)
            self._cache.cutting.note_joined(request.misses)
            if not self._lists:
                (request.output,) = request.output
                if call.contexts is not None:
                    (request.context,) = call.contexts  # what `predict` left there
            if self._encodes:
                request.output = Answer(request.output)
            rehearsal.expect(self._cache, (request.output,), request.rehearsals)
        except ValueEncodingError as error:  # rows of containers that do not fit together
            note_not_cut(self._cache, error)
            self._leave(request)
            request.state = COMPUTES

    def look_again(self, request: Request) -> None:
        assert request.waits_for is not None
        if request.waits_for.done:
            self._go_on(request, True)
        elif request.waits_until is not None and time.monotonic() >= request.waits_until:
            self._go_on(request, False)

    # ------------------------------------------------------------------ computing

    def compute(self, batch: Batch) -> None:
        # A call without misses failed, in strict mode, when its output was stored.
        group = [r.misses for r in batch.requests if r.misses is not None and r.misses.to_compute]
        rehearsals = [request.rehearsals for request in batch.requests]
        with self._model_lock, rehearsal.before(self._cache, rehearsals):
            if group:
                self._compute_group(group, batch)
            for request in batch.requests:
                if request.steps is None:  # it cannot be cut into items, or its rows do not fit
                    self._cache.hold(group)
                    self._compute_uncached(request)

    def _compute_group(self, group: list[Misses], batch: Batch) -> None:
        cache = self._cache

        def compute(part: Part) -> Any:
            if self._lists:
                return self._model.compute(part.argument, part.contexts, len(part.places))
            return self._model.compute_batch(part.argument, part.contexts, encodes=self._encodes)

        try:
            run.drive(cache, run.computation(cache, group), compute)
        except BatchSizeError as error:
            logger.error("%s", error)  # clients only get "Batch size mismatch"
            raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
        except (NotRowsError, ValueEncodingError) as error:
            if not self._lists:
                raise
            note_not_cut(cache, error)
            for request in batch.requests:
                self._leave(request)

    def _leave(self, request: Request) -> None:
        """Compute a request without the cache."""
        self.give_up(request)
        request.misses = request.steps = None

    def _compute_uncached(self, request: Request) -> None:
        argument = request.decoded
        if isinstance(request.call, Lists):
            argument = request.call.argument(0)
        else:
            note_uncut(self._cache, argument, request.context)
        count = 0 if is_empty(argument, self._cache.policy.list_at) else None
        context = request.context if self._wants_context else None
        with computing(self._cache):
            # In memory of its own: the next request may use the same output buffer.
            request.output = own(self._model.compute(argument, context, count))

    def computed(self, request: Request) -> None:
        if request.steps is None:
            request.state = DONE
        else:
            self._go_on(request, None)

    # ------------------------------------------------------------------ ends

    def beside(self, request: Request) -> AbstractContextManager[Any]:
        """Return the stream of hits for a hit, so that it waits for no kernel of the model."""
        return beside(self._cache.device) if request.is_hit else nullcontext()

    def give_up(self, request: Request) -> None:
        if request.steps is not None:
            request.steps.close()

    def follows(self, request: Request, other: Request, *, wholly: bool) -> bool:
        ours, theirs = request.misses, other.misses
        if not (ours and theirs and theirs.claim and request.waits_for is theirs.claim):
            return False
        computed = {theirs.keys[position] for position in theirs.to_compute}
        awaited = {ours.keys[at] for at, claim in ours.waits.items() if claim is theirs.claim}
        # Nobody waits for a key that is `None`.
        return computed <= awaited if wholly else bool(computed & awaited)

    def note(self, request: Request) -> None:
        self._originals.note(request)

    def restore(self, request: Request, decode: Callable[[Request], None]) -> bool:
        if request.misses is not None and not request.misses.to_compute:
            return True  # it was computed, but another request of its batch failed
        return self._originals.restore(request, decode, self._take)

    def _take(self, request: Request) -> bool:
        """Give a call the items of its request, which was decoded again."""
        call = request.call
        fresh = self._call(request)
        if call is None or fresh is None:
            return call is fresh
        call.renew(fresh)
        return True


def _with_others(cache: Cache, group: Sequence[Misses]) -> Steps:
    """Wait until a batch with the misses of this call, and maybe of others, was computed."""
    yield Compute(_OF_A_BATCH)


_OF_A_BATCH = Part(None, None, [])
