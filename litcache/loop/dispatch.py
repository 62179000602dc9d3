"""Where the requests of a loop arrive, wait and are answered."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import HTTPException
from litserve import LitAPI

from litcache.litapi.batches import call_hook
from litcache.loop.litserve import (
    IDLE_SECONDS,
    EventTypes,
    LitAPIStatus,
    LoopResponseType,
    PickleableHTTPException,
)
from litcache.loop.requests import COMPUTES, DONE, WAITS, Batch, Request
from litcache.loop.strategy import Strategy
from litcache.observe.log import logger

_SECONDS_BETWEEN_LOOKS = 0.01


class Dispatcher:
    """Decodes and looks up requests, answers them, and makes batches of those that miss.

    It runs no model and reads no queue. One thread uses it.

    Args:
        loop: The loop, which sends the answers.
        api: The API.
        strategy: How requests get their outputs.
        transport: Where answers go.
        callbacks: What is told of decoding and encoding.
        isolate_errors: Whether a batch that raises is computed again in parts, so that only the
            culprit fails.
    """

    def __init__(
        self,
        loop: Any,
        api: LitAPI,
        strategy: Strategy,
        transport: Any,
        callbacks: Any,
        *,
        isolate_errors: bool,
    ) -> None:
        self._loop = loop
        self._api = api
        self._strategy = strategy
        self._transport = transport
        self._callbacks = callbacks
        self._isolate_errors = isolate_errors
        self._pending: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._waiting: list[Request] = []

    # ------------------------------------------------------------------ what there is to do

    @property
    def room(self) -> int:
        """How many more misses fit into the next batch."""
        return max(0, int(self._api.max_batch_size) - len(self._pending))

    @property
    def at_once(self) -> int:
        """How many requests are looked up together if so many are there."""
        return self._strategy.at_once

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
            request = Request(consumer, uid, timestamp, payload)
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
        try:
            self._strategy.look_up(decoded)
        except Exception as error:  # in strict mode
            for request in decoded:
                self._give_up(request, error)
        else:
            for request in decoded:
                self._place(request)

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

    def _place(self, request: Request, *, late: bool = False) -> None:
        """Answer a request, or put it where it is computed or waits for others."""
        if request.state == WAITS:
            self._waiting.append(request)
        elif request.state == DONE:
            self._answer(request)
        elif late:  # it has waited already: its window is closed
            request.since = 0.0
            self._pending.appendleft(request)
        else:
            self._pending.append(request)

    # ------------------------------------------------------------------ batches

    def next_batch(self) -> Batch | None:
        """Return the misses that are to be computed now, if there are any."""
        while self._suspects:
            suspect = self._suspects.popleft()
            if self._tried(suspect, self._restore):
                return Batch([suspect])
            self.look_around()  # others may have waited for it
        size = min(len(self._pending), self._api.max_batch_size)
        return Batch([self._pending.popleft() for _ in range(size)]) if size else None

    def _restore(self, request: Request) -> None:
        self._strategy.restore(request, self._decode)

    def compute(self, batch: Batch) -> None:
        """Compute a batch, in the thread of the model; it has an error if a hook raised."""
        try:
            self._strategy.compute(batch)
        except Exception as error:  # whatever the user's hooks raise is answered to the clients
            batch.error = error

    def settle(self, batch: Batch) -> None:
        """Answer what was computed, and the requests that waited for it."""
        if batch.error is None:
            for request in batch.requests:
                if self._tried(request, self._strategy.computed):
                    self._place(request, late=True)
        elif self._isolate_errors and len(batch.requests) > 1:
            logger.warning(
                "a batch of %d requests raised %r: each is computed by itself now",
                len(batch.requests),
                batch.error,
            )
            self._suspects.extend(batch.requests)
        else:
            followers = [] if self._isolate_errors else self._followers(batch)
            for request in followers:
                self._waiting.remove(request)
            for request in (*batch.requests, *followers):
                self._give_up(request, batch.error)
        self.look_around()

    def _followers(self, batch: Batch) -> list[Request]:
        """Return the requests that wait for those of a batch."""
        claims = {request.misses.claim for request in batch.requests if request.misses is not None}
        return [request for request in self._waiting if request.waits_for in claims]

    def look_around(self) -> None:
        """Look after the requests that wait for what others compute."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if self._tried(request, self._strategy.look_again):
                self._place(request, late=request.state == COMPUTES)

    # ------------------------------------------------------------------ answers

    def _answer(self, request: Request) -> None:
        def encode(request: Request) -> None:
            self._loop.answering = request.uid
            self._tell(EventTypes.BEFORE_ENCODE_RESPONSE)
            answer = call_hook(self._api.encode_response, request.output, request.context)
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
        self._strategy.give_up(request)
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
