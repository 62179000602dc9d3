"""One response, recorded while it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Message, Send

from litcache.engine.flight import Claim
from litcache.http.responses import CACHE_STATUS, LARGEST_BODY, content_length, lifetime, pack
from litcache.http.tier import Tier
from litcache.stores.base import NewEntry
from litcache.stores.base import Scope as StoreScope


class Place(NamedTuple):
    """Where an answer is stored.

    Attributes:
        scope: What the look-up saw.
        key: Under which key.
        claim: What followers wait for, if any may.
    """

    scope: StoreScope
    key: bytes
    claim: Claim | None = None


@dataclass(slots=True)
class Forward:
    """How a request goes on to LitServe, and what becomes of the answer.

    Attributes:
        status: The Cache-Status of the answer.
        place: Where the answer is stored if it may be; `None`: nowhere.
    """

    status: bytes = b"litcache; fwd=miss"
    place: Place | None = None


class Recorder:
    """Passes a response on, and stores it when it was whole and may be stored.

    Args:
        tier: What it shares with other requests.
        send: Takes the response's messages.
        forward: How its request went on, as it is known when the response starts.

    Attributes:
        status: Its status; 0 before it starts.
        kept: Whether it was whole and could be stored.
    """

    __slots__ = (
        "_forward", "_held", "_parts", "_seconds", "_send", "_start", "_storable", "_tier",
        "_wanted", "kept", "status",
    )  # fmt: skip

    def __init__(self, tier: Tier, send: Send, forward: Forward) -> None:
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
                # Held until the body shows whether it is whole.
                self._held = self._start = message
                return
            self._release()
            message = with_status(message, self._forward.status)
        elif self._storable and kind == "http.response.body":
            await self._take(message)
        elif self._storable:
            self._give_up()
        await self.flush()
        await self._send(message)

    async def flush(self) -> None:
        """Send the start of the response if it is still held."""
        if self._held is not None:
            held, self._held = self._held, None
            await self._send(with_status(held, self._forward.status))

    def _may_store(self, start: Message) -> bool:
        if self._forward.place is None or start.get("trailers"):
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
            # A client that reads slowly holds up its own answer, not those of the followers.
            self._release()
        else:
            await self._store(b"".join(self._parts))

    async def _store(self, body: bytes) -> None:
        headers = self._start.get("headers", ())
        entry = pack(headers, body, self._seconds, self._tier.clock())
        self.kept = True
        self._release(entry)
        if (place := self._forward.place) is None:
            return
        if place.claim is not None and place.key in place.claim.superseded:
            return  # who asked for a new answer has what is newer
        if await self._tier.put(place.scope, place.key, entry):
            self._forward.status += b"; stored"

    def _give_up(self) -> None:
        self._storable = False
        self._parts.clear()
        self._release()

    def _release(self, entry: NewEntry | None = None) -> None:
        """Let the followers go on, with the entry if there is one."""
        place = self._forward.place
        if place is not None and place.claim is not None and not place.claim.done:
            claim = place.claim
            claim.publish({} if entry is None else dict.fromkeys(claim.keys, entry))


def with_status(start: Message, status: bytes) -> Message:
    """Return the start of a response with a Cache-Status at the end of a list of its own."""
    return {**start, "headers": [*start.get("headers", ()), (CACHE_STATUS, status)]}
