"""The requests of a loop, from their arrival to their answer."""

from __future__ import annotations

import time
from typing import Any

from litcache.engine.call import Call, Misses
from litcache.engine.run import Steps
from litcache.keys.contexts import Context


class Request:
    """One request of a loop.

    Args:
        consumer: Who waits for the answer: LitServe's id of a response queue.
        uid: The request's id.
        timestamp: When LitServe's server took it (monotonic clock, seconds).
        payload: What `decode_request` gets.

    Attributes:
        since: When it arrived here (monotonic clock, seconds).
        decoded: What `decode_request` returned.
        context: Its context.
        call: Its call of the cached method; `None` if it is computed without the cache.
        misses: What of the call did not hit; `None` if all did.
        steps: What is left to do for the call.
        waits_until: When it no longer waits for what others compute (monotonic clock, seconds).
        output: What was computed without the cache.
    """

    __slots__ = (
        "call", "consumer", "context", "decoded", "misses", "output", "payload", "since", "steps",
        "timestamp", "uid", "waits_for", "waits_until",
    )  # fmt: skip

    def __init__(self, consumer: int, uid: str, timestamp: float, payload: Any) -> None:
        self.consumer = consumer
        self.uid = uid
        self.timestamp = timestamp
        self.payload = payload
        self.since = time.monotonic()
        self.decoded: Any = None
        self.context: Context = {}
        self.call: Call | None = None
        self.misses: Misses | None = None
        self.steps: Steps | None = None
        self.waits_for: Any = None
        self.waits_until: float | None = None
        self.output: Any = None


class Batch:
    """Requests whose misses are computed together.

    Args:
        requests: The requests.

    Attributes:
        error: What one of the user's hooks raised, if it did.
    """

    def __init__(self, requests: list[Request]) -> None:
        self.requests = requests
        self.error: Exception | None = None
