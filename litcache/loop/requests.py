"""The requests of a loop, from their arrival to their answer."""

from __future__ import annotations

import pickle
import time
from contextlib import suppress
from typing import Any

from starlette.datastructures import FormData, UploadFile

from litcache.engine.call import Call, Misses
from litcache.engine.flight import Claim
from litcache.engine.run import Steps
from litcache.keys.contexts import Context

COMPUTES, WAITS, DONE, LEFT = "computes", "waits", "done", "left"


class Request:
    """One request of a loop.

    Args:
        arrived: What LitServe submits: who waits for the answer (its id of a response queue), the
            request's id, when its server took it (monotonic clock, seconds), and the payload.

    Attributes:
        since: When it arrived here (monotonic clock, seconds).
        is_started: Whether LitServe was told that this worker has it.
        image: It as it arrived, pickled, if it may be left.
        decoded: What `decode_request` returned.
        context: Its context.
        call: Its call of the cached method; `None` if it cannot be cut into items.
        misses: What of the call did not hit; `None` if all did.
        steps: What is left to do for the call; `None` if nothing is, or the model computes the
            request without the cache.
        waits_for: What another call computes for it, while its state is `WAITS`.
        waits_until: When it no longer waits for that (monotonic clock, seconds); `None`: no limit.
        state: `COMPUTES` if it needs the model, `WAITS` for others, `DONE`: it has its output, or
            `LEFT`: it needs the model, and is not taken.
        form: A digest of its item and context before its batch, where its key does not tell.
        source: A digest of its payload then, where its item has none.
        output: What was computed without the cache.
    """

    __slots__ = (
        "call", "consumer", "context", "decoded", "form", "image", "is_started", "misses", "output",
        "payload", "since", "source", "state", "steps", "timestamp", "uid", "waits_for",
        "waits_until",
    )  # fmt: skip

    def __init__(self, arrived: tuple[int, str, float, Any]) -> None:
        self.consumer, self.uid, self.timestamp, self.payload = arrived
        self.since = time.monotonic()
        self.is_started = False
        self.image = b""
        self.decoded: Any = None
        self.context: Context = {}
        self.call: Call | None = None
        self.misses: Misses | None = None
        self.steps: Steps | None = None
        self.state = COMPUTES
        self.form: bytes | None = None
        self.source: bytes | None = None
        self.waits_for: Claim | None = None
        self.waits_until: float | None = None
        self.output: Any = None

    def to_decode(self) -> Any:
        """Return the payload for `decode_request`, which may pop from it or read its uploads.

        It is decoded again if its batch fails.
        """
        payload = self.payload
        if type(payload) is dict:
            return dict(payload)
        if isinstance(payload, FormData):
            for _, value in payload.multi_items():
                if isinstance(value, UploadFile):
                    with suppress(ValueError):  # it is closed, as decode_request will find
                        value.file.seek(0)
        return payload

    def keep_image(self) -> None:
        """Keep the request as it arrived, whatever `decode_request` does to it."""
        self.image = pickle.dumps((self.consumer, self.uid, self.timestamp, self.payload))


class Batch:
    """Requests whose misses are computed together.

    Args:
        requests: The requests.
        origin: What the batch raised that they are a part of, if they are computed again.

    Attributes:
        error: What one of the user's hooks raised, if it did.
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
