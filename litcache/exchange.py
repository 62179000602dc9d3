"""One request on a cached path, from its first message to the last of its answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from litcache.errors import ValueEncodingError
from litcache.flight import Claim
from litcache.responses import LARGEST_BODY, Stored, content_length, lifetime, pack, tokens, unpack
from litcache.routecheck import SEEN, RouteCheck, Seen
from litcache.stores.base import Entry, NewEntry

if TYPE_CHECKING:
    from litcache.middleware import CacheMiddleware

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_STATUS = b"cache-status"


class Exchange:
    """One POST on a cached path.

    Args:
        tier: The middleware.
        scope: The request's scope.
        receive: Gives the request's messages.
        send: Takes the response's messages.
    """

    __slots__ = ("body", "check", "receive", "replay", "scope", "send", "tier")

    def __init__(self, tier: CacheMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        self.tier = tier
        self.scope = scope
        self.receive = receive
        self.send = send
        self.replay: list[Message | Exception] = []

    async def run(self, check: RouteCheck | None) -> None:
        """Answer the request: out of the cache, or by sending it on."""
        tier = self.tier
        headers = self.scope["headers"]
        wish = _wish(headers) if tier.client_control else b""
        if check is None or wish == b"no-store" or _passes_through(headers):
            return await self._pass()
        body = await self._read()
        if body is None:
            return await self._pass()
        self.check = check
        self.body = body
        key = tier.key(self.scope, body)
        tier_scope = tier.scope.renewed()
        if wish == b"no-cache":
            return await self._send_on(key, tier_scope, None, b"litcache; fwd=request")
        released = tier.flight.released
        entry = await tier.look_up(tier_scope, key)
        if entry is not None and (stored := await self._stored(tier_scope, key, entry)):
            return await self._hit(stored)
        claim = Claim(tier_scope.epoch)
        taken = tier.flight.claim(claim, (key,))
        if taken:
            return await self._follow(key, tier_scope, taken[key])
        try:
            if tier.flight.released != released:  # perhaps this very key, while a thread looked
                entry = await tier.look_up(tier_scope, key)
                if entry is not None and (stored := await self._stored(tier_scope, key, entry)):
                    return await self._hit(stored)
            await self._send_on(key, tier_scope, claim, b"litcache; fwd=miss")
        finally:
            if not claim.done:
                claim.publish({})
            tier.flight.release(claim)

    # ------------------------------------------------------------------ the request

    async def _read(self) -> bytes | None:
        """Read the whole body; `None` if it is too large, or does not arrive as a whole.

        What was read is kept to be given to the app again, an exception at its place: the one that
        LitServe's MaxSizeMiddleware raises becomes 413 only where the app meets it.
        """
        size = 0
        while True:
            try:
                message = await self.receive()
            except Exception as error:
                self.replay.append(error)
                return None
            self.replay.append(message)
            if message["type"] != "http.request":
                return None
            chunk = message.get("body", b"")
            if not message.get("more_body", False):
                break
            size += len(chunk)
            if size > LARGEST_BODY:
                return None
        if len(self.replay) == 1:
            return bytes(chunk)
        body = b"".join(m.get("body", b"") for m in self.replay if not isinstance(m, Exception))
        self.replay = [{"type": "http.request", "body": body, "more_body": False}]
        return body

    async def _receive_again(self) -> Message:
        """Give the app what was read, and then what follows."""
        if not self.replay:
            return await self.receive()
        message = self.replay.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    # ------------------------------------------------------------------ out of the cache

    async def _stored(self, scope: Any, key: bytes, entry: Entry) -> Stored | None:
        """Return the response of an entry; `None` if it is none, which is then deleted."""
        try:
            return unpack(entry)
        except ValueEncodingError as error:
            self.tier.reporter.swallow("entry", error, "a stored response cannot be read")
            await self.tier.delete(scope, key)
            return None

    async def _is_allowed(self) -> bool:
        if self.check.free:
            return True
        return await self.check.allows(self.scope, self.receive, self.body)

    async def _hit(self, stored: Stored) -> None:
        """Answer with a stored response, unless LitServe would refuse the client."""
        tier = self.tier
        if not self.check.free and not await self._is_allowed():
            # No word of the entry: a refused client does not learn that there is one.
            await self._send_on(None, None, None, b"litcache; fwd=miss")
            return
        left = stored.expires - tier.clock()
        stored.headers.append((b"age", b"%d" % max(0.0, stored.lifetime - left)))
        await self._answer(stored, b"litcache; hit; ttl=%d" % max(0.0, left))
        tier.count_hit()

    async def _follow(self, key: bytes, scope: Any, leader: Claim) -> None:
        """Answer with what an equal request in flight is answered, or send this one on."""
        # LitServe checks a request when it arrives, so this is when it would be refused.
        allowed = await self._is_allowed()
        if allowed and await leader.wait_async(None) and (entry := leader.entries.get(key)):
            await self._answer(unpack(entry), b"litcache; fwd=miss; collapsed")
            self.tier.counters.add(coalesced=1)
        elif allowed:
            await self._send_on(key, scope, None, b"litcache; fwd=miss")
        else:
            await self._send_on(None, None, None, b"litcache; fwd=miss")

    async def _answer(self, stored: Stored, status: bytes) -> None:
        # Outer middlewares find what the router would have noted.
        self.scope.update({**self.check.child, "path_params": {}})
        stored.headers.append((_STATUS, status))
        await self.send({"type": "http.response.start", "status": 200, "headers": stored.headers})
        await self.send({"type": "http.response.body", "body": stored.body, "more_body": False})

    # ------------------------------------------------------------------ by sending it on

    async def _pass(self) -> None:
        """Send the request on; its answer goes through as it comes."""
        self.tier.counters.add(bypassed=1)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = _with_status(message, b"litcache; fwd=bypass")
            await self.send(message)

        await self.tier.app(self.scope, self._receive_again, send)

    async def _send_on(
        self, key: bytes | None, scope: Any, claim: Claim | None, status: bytes
    ) -> None:
        """Send the request on; with a key, store its answer if it may be stored."""
        seen = self.check.watch(self.scope, self.body) if key is not None else None
        recorder = Recorder(self, key, scope, claim, status, seen)
        started = time.perf_counter()
        try:
            await self.tier.app(self.scope, self._receive_again, recorder.send)
        except Exception:
            await recorder.flush()
            raise
        finally:
            self.scope.pop(SEEN, None)
            seconds = time.perf_counter() - started
            self.tier.count_sent_on(kept=recorder.kept, seconds=seconds)


class Recorder:
    """Passes a response on, and stores it when it was whole and may be stored.

    Args:
        exchange: Whose response it is.
        key: Under which key it is stored; `None`: it is not.
        scope: What the look-up saw.
        claim: What followers wait for, if any may.
        status: The start of its Cache-Status.
        seen: What says that LitServe's check left the body as it was, where that must be seen.
    """

    __slots__ = ("_claim", "_exchange", "_held", "_key", "_parts", "_scope", "_seconds", "_seen",
                 "_start", "_status", "_storable", "_wanted", "kept")  # fmt: skip

    def __init__(
        self,
        exchange: Exchange,
        key: bytes | None,
        scope: Any,
        claim: Claim | None,
        status: bytes,
        seen: Seen | None,
    ) -> None:
        self._exchange = exchange
        self._key = key
        self._scope = scope
        self._claim = claim
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
            message = _with_status(message, self._status)
        elif self._storable and kind == "http.response.body":
            await self._take(message)
        elif self._storable:
            self._give_up()
        await self.flush()
        await self._exchange.send(message)

    async def flush(self) -> None:
        """Send the start of the response if it is still held."""
        if self._held is not None:
            held, self._held = self._held, None
            await self._exchange.send(_with_status(held, self._status))

    def _may_store(self, start: Message) -> bool:
        headers = start.get("headers", ())
        length = content_length(headers)
        if self._key is None or length is None or length > LARGEST_BODY or start.get("trailers"):
            return False
        if self._seen is not None and not self._seen.passed:
            return False
        tier = self._exchange.tier
        seconds = lifetime(start["status"], headers, tier.seconds, tier.vary)
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
        tier = self._exchange.tier
        headers, body = self._start.get("headers", ()), b"".join(self._parts)
        entry = pack(headers, body, self._seconds, tier.clock())
        self.kept = True
        self._release(entry)
        if await tier.store(self._scope, self._key, entry):
            self._status += b"; stored"

    def _give_up(self) -> None:
        self._storable = False
        self._parts.clear()
        self._release()

    def _release(self, entry: NewEntry | None = None) -> None:
        """Let the followers go on, with the entry if there is one."""
        if self._claim is not None and not self._claim.done:
            self._claim.publish({} if entry is None else {self._claim.keys[0]: entry})


def _with_status(start: Message, status: bytes) -> Message:
    """Return the start of a response with a Cache-Status at the end of a list of its own."""
    return {**start, "headers": [*start.get("headers", ()), (_STATUS, status)]}


def _passes_through(headers: Any) -> bool:
    """Say whether a request is one that is never cached: multipart, or too large."""
    for name, value in headers:
        if name == b"content-type":
            # Browsers make boundaries at random, so equal forms have other bodies each time.
            if value.lstrip().lower().startswith(b"multipart/"):
                return True
        elif name == b"content-length" and value.isdigit() and int(value) > LARGEST_BODY:
            return True
    return False


def _wish(headers: Any) -> bytes:
    """Return what the client's Cache-Control asks for: `no-store`, `no-cache`, or nothing."""
    asked = {token for n, value in headers if n == b"cache-control" for token in tokens(value)}
    return next((wish for wish in (b"no-store", b"no-cache") if wish in asked), b"")
