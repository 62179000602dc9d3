"""The requests of a loop, from their arrival to their answer."""

from __future__ import annotations

import pickle
import time
from contextlib import suppress
from typing import Any

from starlette.datastructures import FormData, UploadFile

from litcache.engine.call import Call, Misses
from litcache.engine.flight import Claim
from litcache.engine.steps import Steps
from litcache.keys.contexts import Context
from litcache.litapi.in_hand import Requests
from litcache.litapi.rehearsal import Expected

COMPUTES, WAITS, DONE, LEFT = "computes", "waits", "done", "left"


class Request:
    """One request of a loop.

    Args:
        arrived: What LitServe submits: the id of the queue for the answer, the id of the request,
            the time when the server took it (monotonic clock, seconds), and the payload.
        is_started: Whether LitServe knows already that this worker has it.

    Attributes:
        since: When it arrived here (monotonic clock, seconds).
        is_started: Whether LitServe knows that this worker has it.
        image: The request as it arrived, pickled, if it may be left to another worker.
        decoded: What `decode_request` returned.
        context: Its context.
        call: Its call of the cached method; `None` if it cannot be cut into items.
        misses: The misses of the call; `None` if all items hit.
        steps: The remaining steps of the call; `None` if there are none, or if the model computes
            the request without the cache.
        waits_for: The claim for which it waits while its state is `WAITS`.
        waits_until: When it stops waiting (monotonic clock, seconds); `None`: no limit.
        state: `COMPUTES`: it needs the model. `WAITS`: it waits for another call. `DONE`: it has
            its output. `LEFT`: it needs the model, and this worker does not take it.
        form: A digest of its item and context before its batch, if its key does not identify them.
        source: A digest of its payload at that time, if its item has no digest.
        in_hand: What helpers know of it.
        rehearsals: What a hit would answer, if its hit is tried.
        output: The output that was computed without the cache.
        is_hit: Whether all of its output came from the store.
    """

    __slots__ = (
        "call", "consumer", "context", "decoded", "form", "image", "in_hand", "is_hit",
        "is_started", "misses", "output", "payload", "rehearsals", "since", "source", "state",
        "steps", "timestamp", "uid", "waits_for", "waits_until",
    )  # fmt: skip

    def __init__(self, arrived: tuple[int, str, float, Any], *, is_started: bool = False) -> None:
        self.consumer, self.uid, self.timestamp, self.payload = arrived
        self.since = time.monotonic()
        self.is_started = is_started
        self.image = b""
        self.decoded: Any = None
        self.context: Context = {}
        self.in_hand: Requests = ()
        self.rehearsals: Expected = {}
        self.call: Call | None = None
        self.misses: Misses | None = None
        self.steps: Steps | None = None
        self.state = COMPUTES
        self.form: bytes | None = None
        self.source: bytes | None = None
        self.waits_for: Claim | None = None
        self.waits_until: float | None = None
        self.output: Any = None
        self.is_hit = False

    def to_decode(self) -> Any:
        """Return the payload for `decode_request`, which may change it or read its uploads.

        It is decoded again if its batch fails.
        """
        payload = self.payload
        if type(payload) is dict:
            return dict(payload)
        if isinstance(payload, FormData):
            for _, value in payload.multi_items():
                if isinstance(value, UploadFile):
                    with suppress(ValueError):  # it is closed, and decode_request will meet that
                        value.file.seek(0)
        return payload

    def keep_image(self) -> None:
        """Keep the request as it arrived, because `decode_request` may change it."""
        self.image = pickle.dumps((self.consumer, self.uid, self.timestamp, self.payload))


class Batch:
    """Requests whose misses are computed together.

    Args:
        requests: The requests.
        origin: The error of the batch of which they are a part, if they are computed again.

    Attributes:
        error: The error of one of the user's hooks, if it raised.
    """

    def __init__(self, requests: list[Request], origin: Exception | None = None) -> None:
        self.requests = requests
        self.origin = origin
        self.error: Exception | None = None

    def halves(self) -> tuple[Batch, Batch]:
        """Return the two halves of a batch that raised."""
        middle = (len(self.requests) + 1) // 2
        origin = self.origin or self.error
        return Batch(self.requests[:middle], origin), Batch(self.requests[middle:], origin)
