"""A batch of requests that miss: what computes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.engine.call import Call
from litcache.engine.entries import NotRows
from litcache.engine.flight import Claim
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi.calls import NOT_CUT, Method, call_hook, compute_batch, pooled
from litcache.litapi.state import BatchSizeMismatch, computing
from litcache.observe.log import logger
from litcache.values.items import split_items


class Request:
    """One request of a loop, from its arrival to its answer.

    Attributes:
        consumer: Who waits for the answer: LitServe's id of a response queue.
        uid: The request's id.
        payload: What `decode_request` gets.
        since: When it arrived (monotonic clock, seconds).
        decoded: What `decode_request` returned.
        context: Its context.
        call: Its call of the cached method; `None` if it is computed without the cache.
        output: What was computed without the cache.
    """

    __slots__ = ("call", "consumer", "context", "decoded", "output", "payload", "since", "uid")

    def __init__(self, consumer: int, uid: str, payload: Any) -> None:
        self.consumer = consumer
        self.uid = uid
        self.payload = payload
        self.since = time.monotonic()
        self.decoded: Any = None
        self.context: Context = {}
        self.call: Call | None = None
        self.output: Any = None


class Batch:
    """Requests whose misses are computed together.

    Args:
        requests: The requests.
        waiting: Requests that wait for what others compute.

    Attributes:
        requests: The requests.
        followers: Those of `waiting` that wait for this batch.
        error: What one of the user's hooks raised, if it did.
    """

    def __init__(self, requests: list[Request], waiting: Sequence[Request]) -> None:
        self.requests = requests
        claims = {request.call.claim for request in requests if request.call is not None}
        self.followers = [each for each in waiting if claims & _claims_waited_for(each)]
        self.error: Exception | None = None


def _claims_waited_for(request: Request) -> set[Claim | None]:
    return set(request.call.waits.values()) if request.call is not None else set()


class Computer:
    """Runs the user's `batch`, `predict` and `unbatch` on misses alone.

    Args:
        api: The API.
        cache: The cache of its `predict`; `None` if that is not cached.
        around: Called with what calls `predict`, to announce it before and after.
    """

    def __init__(
        self, api: LitAPI, cache: Cache | None, around: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self._api = api
        self._cache = cache
        self._method = _Announced(api, cached=cache is not None, around=around)

    def run(self, batch: Batch) -> None:
        """Compute a batch; afterwards its requests have outputs, or the batch has an error."""
        try:
            # A call without misses has failed in storing what was computed, in strict mode.
            calls = [r.call for r in batch.requests if r.call is not None and r.call.misses]
            if self._cache is not None and calls:
                self._compute_calls(self._cache, calls, batch.requests)
            self._compute_uncached([r for r in batch.requests if r.call is None])
        except Exception as error:  # whatever the user's hooks raise is answered to the clients
            batch.error = error

    def _compute_calls(self, cache: Cache, calls: list[Call], requests: list[Request]) -> None:
        items = [call.items[position] for call in calls for position in call.misses]
        started = cache.before_compute(*calls)
        try:
            with computing(cache):
                if calls[0].mode == "list":
                    parts = pooled(items, cache.policy.max_items)
                    outputs: Sequence[Any] = [self._method.compute(*part) for part in parts]
                else:
                    outputs = compute_batch(self._api, self._method, items, _contexts(calls))
            cache.complete(calls, outputs, started)
        except BatchSizeError as error:
            logger.error("%s", error)  # clients are told no more than "Batch size mismatch"
            raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
        except (NotRows, ValueEncodingError) as error:
            if calls[0].mode != "list":
                raise
            cache.reporter.swallow("rows", error, NOT_CUT)
            for request in requests:
                if request.call is not None:
                    cache.abandon(request.call)
                    request.call = None

    def _compute_uncached(self, requests: list[Request]) -> None:
        if self._cache is not None:  # requests that cannot be cut into items
            with computing(self._cache):
                for request in requests:
                    rows = split_items(request.decoded)
                    argument = request.decoded if rows is None else rows
                    count = 0 if type(argument) is list and not argument else None
                    request.output = self._method.compute(argument, None, count)
        elif requests:
            items = [request.decoded for request in requests]
            contexts = [request.context for request in requests]
            outputs = compute_batch(self._api, self._method, items, contexts)
            if len(outputs) != len(items):
                name = f"{type(self._api).__qualname__}.predict"
                raise BatchSizeMismatch(name, len(items), len(outputs))
            for request, output in zip(requests, outputs, strict=True):
                request.output = output


def _contexts(calls: list[Call]) -> list[Context] | None:
    if calls[0].contexts is None:
        return None
    return [c.contexts[p] for c in calls if c.contexts is not None for p in c.misses]


class _Announced:
    """The user's `predict`, announced to callbacks before and after each call."""

    def __init__(
        self, api: LitAPI, *, cached: bool, around: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self._api = api
        self._method: Method | None = api.predict if cached else None
        self._around = around

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Call the method with an item or a container of as many items as known."""
        method = self._method
        if method is None:
            return self._around(lambda: call_hook(self._api.predict, item, context))
        return self._around(lambda: method.compute(item, context, items))
