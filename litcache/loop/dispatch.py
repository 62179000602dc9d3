"""The desk of a loop: where requests arrive, wait and are answered."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import HTTPException
from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.errors import ValueEncodingError
from litcache.litapi.calls import NOT_CUT, call_hook, merge
from litcache.litapi.classes import wants_contexts
from litcache.litapi.state import serving_mode
from litcache.loop.litserve import (
    IDLE_SECONDS,
    EventTypes,
    LitAPIStatus,
    LoopResponseType,
    PickleableHTTPException,
)
from litcache.loop.model import Batch, Request
from litcache.observe.log import logger
from litcache.values import rows as batching

_SECONDS_BETWEEN_LOOKS = 0.01


class Desk:
    """Decodes and looks up requests, answers them, and makes batches of those that miss.

    It runs no model and reads no queue. One thread works at it.

    Args:
        loop: The loop, which sends the answers.
        api: The API.
        cache: The cache of its `predict`; `None` if that is not cached.
        transport: Where answers go.
        callbacks: What is told of decoding and encoding.
        isolate_errors: Whether a batch that raises is computed again request by request.
    """

    def __init__(
        self,
        loop: Any,
        api: LitAPI,
        cache: Cache | None,
        transport: Any,
        callbacks: Any,
        *,
        isolate_errors: bool,
    ) -> None:
        self._loop = loop
        self._api = api
        self._cache = cache
        self._transport = transport
        self._callbacks = callbacks
        self._isolate_errors = isolate_errors
        self._pending: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._waiting: list[Request] = []
        if cache is not None:
            self._mode = serving_mode(api, "predict", cache.policy)
            self._wants_context = wants_contexts(type(api), "predict", cache.policy)

    # ------------------------------------------------------------------ what there is to do

    @property
    def room(self) -> int:
        """How many more misses fit into the next batch."""
        return max(0, int(self._api.max_batch_size) - len(self._pending))

    @property
    def takes_what_is_there(self) -> bool:
        """Whether the window lasts no time: a batch is then made of requests that are there."""
        return bool(self._api.batch_timeout == 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to compute."""
        return not self._pending and not self._suspects

    def seconds_left(self) -> float:
        """Return after how many seconds there is something to do if no request arrives."""
        if self._suspects or (self._pending and not self.room):
            return 0.0
        # Those who wait may wait for another thread, which tells nobody when it is done.
        seconds = _SECONDS_BETWEEN_LOOKS if self._waiting else IDLE_SECONDS
        if self._pending:
            closes = self._pending[0].since + float(self._api.batch_timeout)
            seconds = min(seconds, max(0.0, closes - time.monotonic()))
        return seconds

    # ------------------------------------------------------------------ arrival

    def accept(self, arrived: Iterable[tuple[int, str, float, Any]]) -> None:
        """Take requests as they come from LitServe's queue; answer those that hit."""
        decoded = []
        for consumer, uid, timestamp, payload in arrived:
            request = Request(consumer, uid, payload)
            self._send(request, (), LitAPIStatus.START)
            if self._is_stale(timestamp):
                logger.error(
                    "request %s waited in the queue for more than %s seconds and is answered 504",
                    uid,
                    self._api.request_timeout,
                )
                self._send(request, HTTPException(504, "Request timed out"), LitAPIStatus.ERROR)
            elif self._tried(request, self._decode):
                decoded.append(request)
        if self._cache is None:
            self._pending.extend(decoded)
        elif decoded:
            self._look_up(self._cache, decoded)

    def _is_stale(self, timestamp: float) -> bool:
        timeout = self._api.request_timeout
        # As LitServe's batched loop reads it.
        return timeout not in (-1, False) and time.monotonic() - timestamp > timeout

    def _decode(self, request: Request) -> None:
        request.context = {}
        spec = self._api.spec
        if hasattr(spec, "populate_context"):
            spec.populate_context(request.context, request.payload)
        self._tell(EventTypes.BEFORE_DECODE_REQUEST)
        request.decoded = call_hook(self._api.decode_request, request.payload, request.context)
        self._tell(EventTypes.AFTER_DECODE_REQUEST)

    def _look_up(self, cache: Cache, requests: list[Request]) -> None:
        """Look requests up by one question to the store."""
        cut = [(request, items) for request in requests if (items := self._items(request))]
        asked = [(items, self._contexts(request)) for request, items in cut]
        try:
            calls = cache.lookup_each(self._mode, asked) if asked else []
        except Exception as error:  # in strict mode
            for request in requests:
                self._fail(request, error)
            return
        for (request, _), call in zip(cut, calls, strict=True):
            request.call = call
        for request in requests:
            self._sort(request)

    def _items(self, request: Request) -> Any:
        """Return the items of a request; `None` if it is computed without the cache."""
        if self._mode == "list":
            return batching.split_items(request.decoded)
        return (request.decoded,)

    def _contexts(self, request: Request) -> tuple[dict[str, Any]] | None:
        return (request.context,) if self._wants_context else None

    def _sort(self, request: Request, *, late: bool = False) -> None:
        """Answer a request, or put it where it is computed or waits for others."""
        call = request.call
        if call is None or call.misses:
            if late:  # it has waited already: its window is closed
                request.since = 0.0
                self._pending.appendleft(request)
            else:
                self._pending.append(request)
        elif call.waits:
            self._waiting.append(request)
        else:
            self._answer_call(request)

    # ------------------------------------------------------------------ batches

    def next_batch(self) -> Batch | None:
        """Return the misses that are to be computed now, if there are any."""
        while self._suspects:
            suspect = self._suspects.popleft()
            if self._tried(suspect, self._restore):
                return Batch([suspect], ())
            self.look_around()  # others may have waited for it
        size = min(len(self._pending), self._api.max_batch_size)
        if not size:
            return None
        requests = [self._pending.popleft() for _ in range(size)]
        return Batch(requests, () if self._isolate_errors else self._waiting)

    def _restore(self, request: Request) -> None:
        """Give a request that was in a batch that raised its item and context as they were."""
        call, cache = request.call, self._cache
        if call is not None and cache is not None and cache.rules.unchanged(call):
            return
        self._decode(request)
        if call is None or cache is None:
            return
        items = self._items(request)
        if not items or not cache.rules.renew(call, items, self._contexts(request)):
            raise RuntimeError(
                "the batch of this request failed, and decode_request makes another item of it "
                "when it is called again: it changes the request"
            )

    def settle(self, batch: Batch) -> None:
        """Answer what was computed, and whoever waited for it."""
        if batch.error is None:
            for request in batch.requests:
                self._advance(request)
        elif self._isolate_errors and len(batch.requests) > 1:
            logger.warning(
                "a batch of %d requests raised %r: each is computed by itself now",
                len(batch.requests),
                batch.error,
            )
            self._suspects.extend(batch.requests)
        else:
            for request in batch.followers:
                self._waiting.remove(request)
            for request in (*batch.requests, *batch.followers):
                self._give_up(request, batch.error)
        self.look_around()

    def _advance(self, request: Request) -> None:
        """Answer a computed request, unless a part of it is still missing."""
        call = request.call
        if call is not None and (call.misses or call.waits):
            self._sort(request, late=True)
            return
        if call is not None and self._cache is not None:
            self._cache.finish(call)
        self._answer_call(request)

    def look_around(self) -> None:
        """See to the requests that wait for what others compute."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if self._tried(request, self._look_at):
                self._advance(request)

    def _look_at(self, request: Request) -> None:
        """Take what others have computed; compute what they have not in time."""
        call, cache = request.call, self._cache
        assert call is not None
        assert cache is not None
        if any(claim.done for claim in call.waits.values()):
            cache.resume(call)
        elif cache.remaining(call) == 0:
            cache.overtake(call)

    # ------------------------------------------------------------------ answers

    def _answer_call(self, request: Request) -> None:
        call, cache = request.call, self._cache
        if call is None or cache is None:
            self._answer(request, request.output)
        elif self._mode != "list":
            self._answer(request, call.values[0])
        else:
            self._tried(request, self._answer_rows)

    def _answer_rows(self, request: Request) -> None:
        call, cache = request.call, self._cache
        assert call is not None
        assert cache is not None
        try:
            output = merge(cache, call, 0, len(call.items))
        except ValueEncodingError as error:
            cache.reporter.swallow("rows", error, NOT_CUT)
            request.call = None
            self._sort(request, late=True)
        else:
            cache.counters.add_requests(*call.requests([len(call.items)]))
            self._answer(request, output)

    def _answer(self, request: Request, output: Any) -> None:
        def encode(request: Request) -> None:
            self._loop.answering = request.uid
            self._tell(EventTypes.BEFORE_ENCODE_RESPONSE)
            answer = call_hook(self._api.encode_response, output, request.context)
            self._tell(EventTypes.AFTER_ENCODE_RESPONSE)
            self._send(request, answer, LitAPIStatus.OK)

        self._tried(request, encode)

    def _tried(self, request: Request, step: Callable[[Request], None]) -> bool:
        """Do something for a request; if it raises, that request alone is answered the error."""
        try:
            step(request)
        except Exception as error:
            self._give_up(request, error)
            return False
        return True

    def _give_up(self, request: Request, error: Exception) -> None:
        call = request.call
        if call is not None and self._cache is not None and (call.misses or call.waits):
            self._cache.abandon(call)
        self._fail(request, error)

    def _fail(self, request: Request, error: Exception) -> None:
        try:
            raise error
        except HTTPException as refusal:
            answer = PickleableHTTPException.from_exception(refusal)
            self._send(request, answer, LitAPIStatus.ERROR)
        except Exception:
            logger.exception("the API raised while it processed request %s", request.uid)
            try:
                self._loop.put_error_response(self._transport, request.consumer, request.uid, error)
            except Exception as unsent:  # the error cannot be pickled
                substitute = RuntimeError(f"{error!r}, which cannot be sent: {unsent}")
                self._loop.put_error_response(
                    self._transport, request.consumer, request.uid, substitute
                )

    def _send(self, request: Request, data: Any, status: Any) -> None:
        self._loop.put_response(
            self._transport, request.consumer, request.uid, data, status, LoopResponseType.REGULAR
        )

    def _tell(self, event: Any) -> None:
        self._callbacks.trigger_event(event.value, lit_api=self._api)
