"""The dispatcher, in which the requests of a loop arrive, wait and are answered."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from fastapi import HTTPException
from litserve import LitAPI

from litcache.litapi import in_hand
from litcache.litapi.batches import BatchSizeMismatch, call_hook
from litcache.litapi.state import state_of
from litcache.loop.litserve import IDLE_SECONDS, EventTypes, is_known
from litcache.loop.outbox import Outbox
from litcache.loop.requests import COMPUTES, DONE, LEFT, WAITS, Batch, Request
from litcache.loop.strategy import Strategy
from litcache.observe.log import logger

_SECONDS_BETWEEN_LOOKS = 0.01


class Dispatcher:
    """Decodes and looks up requests, answers them, and makes batches of the misses.

    It runs no model and reads no queue. One thread uses it.

    Args:
        api: The API.
        strategy: How requests get their outputs.
        outbox: Where answers go.
        isolate_errors: Whether a batch that raises is computed again in parts, so that only the
            request at fault fails.
    """

    def __init__(
        self, api: LitAPI, strategy: Strategy, outbox: Outbox, *, isolate_errors: bool
    ) -> None:
        self._api = api
        self._strategy = strategy
        self._outbox = outbox
        self._isolate_errors = isolate_errors
        self._state = state_of(api)
        self._pending: deque[Request] = deque()
        self._waiting: list[Request] = []
        self._suspects: deque[Batch] = deque()
        self._was_suspect = False
        self._open: set[Request] = set()

    # ------------------------------------------------------------------ what there is to do

    @property
    def size(self) -> int:
        """How many misses make a batch."""
        return int(self._api.max_batch_size)

    @property
    def room(self) -> int:
        """How many more misses fit into the next batch."""
        return max(0, self.size - len(self._pending))

    @property
    def at_once(self) -> int:
        """The largest number of requests that are looked up together."""
        return self._strategy.at_once

    @property
    def hits(self) -> bool:
        """Whether there are requests that do not need the model."""
        return self._strategy.hits

    @property
    def takes_what_is_there(self) -> bool:
        """Whether there is no window: then a batch takes the requests that are already there."""
        return bool(self._api.batch_timeout == 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to compute."""
        return not self._pending and not self._suspects

    @property
    def is_retrying(self) -> bool:
        """Whether a batch that raised is computed again in parts."""
        return bool(self._suspects)

    def seconds_left(self) -> float:
        """Return how many seconds remain until there is something to do, if no request arrives."""
        if self._suspects or self._is_due():
            return 0.0
        # A request may wait for another thread, which does not say when it is done.
        seconds = _SECONDS_BETWEEN_LOOKS if self._waiting else IDLE_SECONDS
        if self._pending:
            seconds = min(seconds, max(0.0, self._closes() - time.monotonic()))
        return seconds

    def seconds_between_looks(self) -> float:
        """Return how many seconds requests that wait may do so unseen while the model computes."""
        # What another process computes may be there before this one's model is done.
        away = (request.waits_for and request.waits_for.is_away for request in self._waiting)
        return _SECONDS_BETWEEN_LOOKS if any(away) else IDLE_SECONDS

    def _is_due(self) -> bool:
        """Return whether the next batch is full, or its window is over."""
        return bool(self._pending) and (not self.room or self._closes() <= time.monotonic())

    def _closes(self) -> float:
        return self._pending[0].since + float(self._api.batch_timeout)

    # ------------------------------------------------------------------ arrival

    def open(self, arrived: list[Any], *, starts: bool = True) -> list[Request]:
        """Return requests as they come from LitServe's queue; refuse what cannot be read.

        They are started before a hook runs: of a dead worker's, LitServe answers no others.

        Args:
            arrived: The requests.
            starts: Whether they stay with this worker, and do not go back to the queue.
        """
        requests = [Request(each) for each in arrived if is_known(each)]
        for request in requests if starts else ():
            self._outbox.start(request)
        for each in arrived:
            if not is_known(each):
                self._outbox.refuse(each)
        return requests

    def accept(self, requests: Iterable[Request], most: int | None = None) -> list[bytes]:
        """Decode and look up opened requests; answer those that hit.

        Args:
            requests: The requests.
            most: The largest number of requests to take that need the model; `None`: all.

        Returns:
            The other requests as they arrived, pickled.
        """
        decoded = []
        for request in requests:
            self._open.add(request)
            if self._is_stale(request):
                self._time_out(request)
            elif self._tried(request, self._decode if most is None else self._decode_image):
                decoded.append(request)
        try:
            self._strategy.look_up(decoded, most)
        except Exception as error:  # in strict mode
            for request in decoded:
                self._give_up(request, error)
            return []
        for request in decoded:
            if request.state == LEFT:
                self._open.discard(request)
            else:
                self._outbox.start(request)
                self._place(request)
        return [request.image for request in decoded if request.state == LEFT]

    def _is_stale(self, request: Request) -> bool:
        timeout = self._api.request_timeout
        # As LitServe's batched loop reads it.
        return timeout not in (-1, False) and time.monotonic() - request.timestamp > timeout

    def _decode_image(self, request: Request) -> None:
        """Decode a request that may be left to others, as it arrived."""
        request.keep_image()
        self._decode(request)

    def _decode(self, request: Request) -> None:
        payload = request.to_decode()
        request.context = {}
        spec = self._api.spec
        if hasattr(spec, "populate_context"):
            spec.populate_context(request.context, payload)
        self._outbox.tell(EventTypes.BEFORE_DECODE_REQUEST)
        if self._state.has_helpers:
            in_hand.hold(())
        request.decoded = call_hook(self._api.decode_request, payload, request.context)
        if self._state.has_helpers:
            request.in_hand = in_hand.held()
        self._outbox.tell(EventTypes.AFTER_DECODE_REQUEST)

    def _place(self, request: Request, *, late: bool = False) -> None:
        """Answer a request, or put it among those that are computed or that wait."""
        if request.state == WAITS:
            self._waiting.append(request)
        elif request.state == DONE:
            self._tried(request, self._answer)
            self._open.discard(request)
        elif late:  # it has waited already: its window is closed
            request.since = 0.0
            self._pending.appendleft(request)
        else:
            self._pending.append(request)

    def _answer(self, request: Request) -> None:
        if self._state.has_helpers:
            in_hand.hold(request.in_hand)
        with self._strategy.beside(request):
            self._outbox.answer(request)

    # ------------------------------------------------------------------ batches

    def next_batch(self) -> Batch | None:
        """Return the misses to compute now, if there are any.

        The parts of a batch that raised take turns with those that have arrived since.
        """
        batch = None
        if not (self._was_suspect and self._is_due()):
            batch = self._next_suspects()
        self._was_suspect = batch is not None
        if batch is None and self._pending:
            size = min(len(self._pending), self.size)
            batch = Batch([self._pending.popleft() for _ in range(size)])
            if self._isolate_errors and size > 1:
                for request in batch.requests:
                    self._strategy.note(request)
        return batch

    def _next_suspects(self) -> Batch | None:
        while self._suspects:
            batch = self._suspects.popleft()
            batch.requests = [each for each in batch.requests if self._is_restored(each, batch)]
            if batch.requests:
                return batch
            self.look_around()  # other requests may have waited for these
        return None

    def _is_restored(self, request: Request, batch: Batch) -> bool:
        """Return whether a request can be computed again; if not, answer the error of its batch."""
        assert batch.origin is not None
        try:
            if self._strategy.restore(request, self._decode):
                return True
            reason: object = "decode_request makes another item of it when it is called again"
        except Exception as error:  # decode_request is the user's
            reason = error
        logger.warning("request %s fails with its batch: %s", request.uid, reason)
        self._give_up(request, batch.origin)
        return False

    def compute(self, batch: Batch) -> None:
        """Compute a batch, in the thread of the model; it has an error if a hook raised."""
        if self._state.has_helpers:
            in_hand.hold(tuple(each for request in batch.requests for each in request.in_hand))
        try:
            self._strategy.compute(batch)
        except Exception as error:  # whatever the user's hooks raise: the clients get it
            batch.error = error

    def settle(self, batch: Batch) -> None:
        """Answer the requests of a computed batch, and those that waited for them."""
        if batch.error is None:
            for request in batch.requests:
                if self._tried(request, self._strategy.computed):
                    self._place(request, late=True)
        elif self._isolate_errors and len(batch.requests) > 1:
            logger.warning(
                "a batch of %d requests raised %r: its halves are computed by themselves now",
                len(batch.requests),
                batch.error,
            )
            self._suspects.extendleft(reversed(batch.halves()))
        else:
            self._fail(batch, batch.error)
        self.look_around()
        self._expire()

    def _fail(self, batch: Batch, error: Exception) -> None:
        """Answer the requests of a batch, and those that wait for them, with an error."""
        if isinstance(batch.origin, BatchSizeMismatch) and not isinstance(error, HTTPException):
            error = batch.origin  # predict may fail on one item because one item is no batch
        followers = {
            request
            for request in self._waiting
            for other in batch.requests
            if self._strategy.follows(request, other, wholly=self._isolate_errors)
        }
        self._waiting = [request for request in self._waiting if request not in followers]
        for request in (*batch.requests, *followers):
            self._give_up(request, error)

    def _expire(self) -> None:
        """Answer 504 to the requests that would have waited too long in LitServe's queue."""
        while stale := [request for request in self._pending if self._is_stale(request)]:
            for request in stale:
                self._pending.remove(request)
                self._time_out(request)
            self.look_around()  # other requests may have waited for these

    def look_around(self) -> None:
        """Go on with requests that wait, if their waiting is over."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if self._tried(request, self._strategy.look_again):
                self._place(request, late=request.state == COMPUTES)

    # ------------------------------------------------------------------ ends

    def close(self) -> None:
        """Give up the requests without an answer, because the loop ends."""
        for request in self._open:
            with suppress(ValueError):  # another thread works on it, and does not end
                self._strategy.give_up(request)
        self._open.clear()

    def _tried(self, request: Request, step: Callable[[Request], None]) -> bool:
        """Do a step for a request; if it raises, only that request is answered with the error."""
        try:
            step(request)
        except Exception as error:
            self._give_up(request, error)
            return False
        return True

    def _give_up(self, request: Request, error: Exception) -> None:
        self._strategy.give_up(request)
        self._open.discard(request)
        self._outbox.fail(request, error)

    def _time_out(self, request: Request) -> None:
        self._strategy.give_up(request)
        self._open.discard(request)
        self._outbox.expire(request)
