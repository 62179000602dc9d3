"""Everything that a loop sends: notes that it has a request, answers and errors."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from litserve import LitAPI

from litcache.litapi.batches import call_hook
from litcache.loop.litserve import (
    EventTypes,
    LitAPIStatus,
    LoopResponseType,
    PickleableHTTPException,
)
from litcache.loop.requests import Request
from litcache.observe.log import logger


class Outbox:
    """Where the answers of a loop go.

    Args:
        loop: The loop, which sends them.
        api: The API.
        transport: LitServe's transport.
        callbacks: LitServe's callbacks for the steps of each request.
    """

    def __init__(self, loop: Any, api: LitAPI, transport: Any, callbacks: Any) -> None:
        self._loop = loop
        self._api = api
        self._transport = transport
        self._callbacks = callbacks

    def tell(self, event: Any) -> None:
        """Call the callbacks for a step."""
        self._callbacks.trigger_event(event.value, lit_api=self._api)

    def start(self, request: Request) -> None:
        """Tell LitServe that this worker has a request; LitServe answers 500 if the worker dies."""
        if not request.is_started:
            request.is_started = True
            self._put(request, (), LitAPIStatus.START)

    def answer(self, request: Request) -> None:
        """Encode and send the output of a request.

        Raises:
            Exception: The error of `encode_response`, or of sending the answer.
        """
        self._loop.answering = request.uid
        self.tell(EventTypes.BEFORE_ENCODE_RESPONSE)
        answer = call_hook(self._api.encode_response, request.output, request.context)
        self.tell(EventTypes.AFTER_ENCODE_RESPONSE)
        self._send(request, answer, LitAPIStatus.OK)

    def fail(self, request: Request, error: Exception) -> None:
        """Answer an error as LitServe does: an `HTTPException` as it is, any other with 500."""
        try:
            raise error
        except HTTPException as refusal:
            answer = PickleableHTTPException.from_exception(refusal)
            self._send(request, answer, LitAPIStatus.ERROR)
        except Exception:
            logger.exception("the API raised while it processed request %s", request.uid)
            self.start(request)
            self._put_error(request.consumer, request.uid, error)

    def expire(self, request: Request) -> None:
        """Answer a request that waited too long."""
        logger.error(
            "request %s waited in the queue for more than %s seconds and is answered 504",
            request.uid,
            self._api.request_timeout,
        )
        answer = HTTPException(504, "Request timed out")
        self._send(request, answer, LitAPIStatus.ERROR)

    def refuse(self, arrived: Any) -> None:
        """Answer 500 to an object that is not a request of a known LitServe, if it has an id."""
        error = RuntimeError(
            f"CachedBatchedLoop cannot read this request of LitServe's: {arrived!r:.200}. Install "
            "a version that it knows, or leave loop= out"
        )
        logger.error("%s", error)
        if isinstance(arrived, tuple | list) and len(arrived) > 1:
            try:
                self._put_error(arrived[0], arrived[1], error)
            except Exception as unsent:  # nothing is certain about an unknown request
                logger.error("nobody can be told so: %r", unsent)

    def _send(self, request: Request, data: Any, status: Any) -> None:
        self.start(request)
        self._put(request, data, status)

    def _put(self, request: Request, data: Any, status: Any) -> None:
        self._loop.put_response(
            self._transport, request.consumer, request.uid, data, status, LoopResponseType.REGULAR
        )

    def _put_error(self, consumer: Any, uid: Any, error: Exception) -> None:
        try:
            self._loop.put_error_response(self._transport, consumer, uid, error)
        except Exception as unsent:  # the error cannot be pickled
            substitute = RuntimeError(f"{error!r}, which cannot be sent: {unsent}")
            self._loop.put_error_response(self._transport, consumer, uid, substitute)
