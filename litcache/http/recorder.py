"""One response, recorded while it is sent."""

from __future__ import annotations

from typing import Protocol

from starlette.types import Message, Send

from litcache.engine.call import Misses
from litcache.http.responses import CACHE_STATUS, LARGEST_BODY, content_length, lifetime, pack
from litcache.http.tier import ResponseTier
from litcache.http.trials import TriedHit


class Forward(Protocol):
    """A request that goes on to LitServe.

    Attributes:
        status: The Cache-Status of its answer.
        client: A digest of the client; 0 if it is not known.
        misses: The misses that wait for the answer; `None` if the answer is not to be stored.
        tried: The hit with which the answer is compared, if it is a hit of a trial.
    """

    status: bytes
    client: int
    misses: Misses | None
    tried: TriedHit | None


class Recorder:
    """Passes a response on, and stores it if it is whole and may be stored.

    Args:
        tier: The cache of the middleware.
        send: Takes the response's messages.
        forward: Its request; the recorder reads it when the response starts.

    Attributes:
        status: The status of the response; 0 before it starts.
        kept: Whether the response was whole and could be stored.
    """

    __slots__ = (
        "_forward", "_held", "_parts", "_seconds", "_send", "_start", "_storable", "_tier",
        "_wanted", "kept", "status",
    )  # fmt: skip

    def __init__(self, tier: ResponseTier, send: Send, forward: Forward) -> None:
        self._tier = tier
        self._send = send
        self._forward = forward
        self._held: Message | None = None
        self._parts: list[bytes] = []
        self._wanted = 0
        self._storable = False
        self.status = 0
        self.kept = False

    async def send(self, message: Message) -> None:
        """Take one message of the response."""
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            if self._may_store(message):
                # Held back until the body shows whether the response is whole.
                self._held = self._start = message
                return
            self._withhold()
            message = with_status(message, self._forward.status)
        elif self._storable and kind == "http.response.body":
            await self._take(message)
        elif self._storable:
            self._give_up()
        tried = self._forward.tried
        if tried is not None:
            tried.take(message)  # before others get it: gzip changes messages in place
        await self.flush()
        await self._send(message)
        if tried is not None:
            await tried.compare()

    async def flush(self) -> None:
        """Send the start of the response if it is still held back."""
        if self._held is not None:
            held, self._held = self._held, None
            await self._send(with_status(held, self._forward.status))

    def _may_store(self, start: Message) -> bool:
        if self._forward.misses is None or start.get("trailers"):
            return False
        headers = start.get("headers", ())
        length = content_length(headers)
        seconds = lifetime(start["status"], headers, self._tier.seconds, self._tier.vary)
        if length is None or length > LARGEST_BODY or seconds is None:
            return False
        self._seconds, self._wanted = seconds, length
        self._storable = True
        return True

    async def _take(self, message: Message) -> None:
        """Take a part of the body, and store the response with its last."""
        part = message.get("body", b"")
        more = message.get("more_body", False)
        self._wanted -= len(part)
        if self._wanted < 0 or (self._wanted and not more):
            self._give_up()
            return
        self._parts.append(bytes(part))
        if more:
            # A client that reads slowly delays its own answer, not the answers of the followers.
            self._withhold()
            return
        headers, body = self._start.get("headers", ()), b"".join(self._parts)
        self.kept = True
        forward = self._forward
        entry = pack(headers, body, self._seconds, self._tier.clock(), forward.client)
        misses = forward.misses
        if misses is not None and await self._tier.keep(misses, entry):
            forward.status += b"; stored"

    def _give_up(self) -> None:
        self._storable = False
        self._parts.clear()
        self._withhold()

    def _withhold(self) -> None:
        misses = self._forward.misses
        if misses is not None:
            self._tier.withhold(misses, failed=self.status >= 400)


def with_status(start: Message, status: bytes) -> Message:
    """Return the start of a response with a Cache-Status added; the list of headers is new."""
    return {**start, "headers": [*start.get("headers", ()), (CACHE_STATUS, status)]}
