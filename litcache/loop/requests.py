"""The requests of a loop, from their arrival to their answer."""

from __future__ import annotations

import time
from typing import Any

from litcache.engine.call import Call, Misses
from litcache.engine.flight import Claim
from litcache.engine.run import Steps
from litcache.keys.contexts import Context

COMPUTES, WAITS, DONE = "computes", "waits", "done"


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
        waits_for: What another call computes for it, while its state is `WAITS`.
        waits_until: When it no longer waits for that (monotonic clock, seconds); `None`: no limit.
        state: `COMPUTES` if it needs the model, `WAITS` for others, or `DONE`: it has its output.
        form: What its item was when its batch was formed, where its key does not tell.
        output: What was computed without the cache.
    """

    __slots__ = (
        "call", "consumer", "context", "decoded", "form", "misses", "output", "payload", "since",
        "state", "steps", "timestamp", "uid", "waits_for", "waits_until",
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
        self.state = COMPUTES
        self.form: bytes | None = None
        self.waits_for: Claim | None = None
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
