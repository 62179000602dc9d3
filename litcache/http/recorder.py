"""One response, recorded while it is sent."""

from __future__ import annotations

from typing import NamedTuple

from starlette.types import Message, Send

from litcache.engine.flight import Claim
from litcache.http.responses import CACHE_STATUS, LARGEST_BODY, content_length, lifetime, pack
from litcache.http.route_check import Seen
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


class Recorder:
    """Passes a response on, and stores it when it was whole and may be stored.

    Args:
        tier: What it shares with other requests.
        send: Takes the response's messages.
        place: Where it is stored; `None`: it is not.
        status: The start of its Cache-Status.
        seen: What says that LitServe's check left the body as it was, where that must be seen.

    Attributes:
        kept: Whether it was whole and could be stored.
    """

    __slots__ = ("_held", "_parts", "_place", "_seconds", "_seen", "_send", "_start", "_status",
                 "_storable", "_tier", "_wanted", "kept")  # fmt: skip

    def __init__(
        self,
        tier: Tier,
        send: Send,
        place: Place | None,
        status: bytes,
        seen: Seen | None,
    ) -> None:
        self._tier = tier
        self._send = send
        self._place = place
        self._status = status
        self._seen = seen
        self._held: Message | None = None
        self._parts: list[bytes] = []
        self._wanted = 0
        self._storable = False
        self.kept = False

    async def send(self, message: Message) -> None:
        """Take one message of the response."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._may_store(message):
                # Held until the body shows whether it is whole.
                self._held = self._start = message
                return
            self._release()
            message = with_status(message, self._status)
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
            await self._send(with_status(held, self._status))

    def _may_store(self, start: Message) -> bool:
        headers = start.get("headers", ())
        length = content_length(headers)
        if self._place is None or length is None or length > LARGEST_BODY or start.get("trailers"):
            return False
        if self._seen is not None and not self._seen.passed:
            return False
        seconds = lifetime(start["status"], headers, self._tier.seconds, self._tier.vary)
        if seconds is None:
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
            return
        headers, body = self._start.get("headers", ()), b"".join(self._parts)
        entry = pack(headers, body, self._seconds, self._tier.clock())
        self.kept = True
        self._release(entry)
        if (place := self._place) is None:
            return
        if place.claim is not None and place.key in place.claim.superseded:
            return  # who asked for a new answer has what is newer
        if await self._tier.put(*place[:2], entry):
            self._status += b"; stored"

    def _give_up(self) -> None:
        self._storable = False
        self._parts.clear()
        self._release()

    def _release(self, entry: NewEntry | None = None) -> None:
        """Let the followers go on, with the entry if there is one."""
        claim = self._place.claim if self._place is not None else None
        if claim is not None and not claim.done:
            claim.publish({} if entry is None else dict.fromkeys(claim.keys, entry))


def with_status(start: Message, status: bytes) -> Message:
    """Return the start of a response with a Cache-Status at the end of a list of its own."""
    return {**start, "headers": [*start.get("headers", ()), (CACHE_STATUS, status)]}
