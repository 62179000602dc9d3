"""One request on a cached path, from its first message to the last of its answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from operator import itemgetter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from litcache.engine.flight import Claim
from litcache.errors import ValueEncodingError
from litcache.http.recorder import Place, Recorder, with_status
from litcache.http.responses import CACHE_STATUS, LARGEST_BODY, Stored, tokens, unpack
from litcache.http.route_check import SEEN, RouteCheck
from litcache.http.tier import Tier
from litcache.stores.base import Scope as StoreScope


class Exchange:
    """One POST on a cached path.

    Args:
        tier: What it shares with other requests.
        app: What stands behind the middleware.
        scope: The request's scope.
        receive: Gives the request's messages.
        send: Takes the response's messages.
    """

    __slots__ = ("app", "body", "check", "receive", "replay", "scope", "send", "tier")

    def __init__(
        self, tier: Tier, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.tier = tier
        self.app = app
        self.scope = scope
        self.receive = receive
        self.send = send
        self.replay: list[Message | Exception] = []

    async def run(self, check: RouteCheck | None) -> None:
        """Answer the request: out of the cache, or by sending it on."""
        tier = self.tier
        asked = _read_headers(self.scope["headers"], tier) if check is not None else None
        body = await self._read() if asked is not None else None
        if check is None or asked is None or body is None:
            await self._pass()
            return
        self.check = check
        self.body = body
        kinds, varied, refresh = asked
        key = tier.key(self.scope, kinds, varied, body)
        store_scope = tier.scope()
        if refresh:
            # For the epoch, so that what a clear overtakes is not stored after it.
            await tier.look_up(store_scope, key)
            claim = Claim(store_scope.epoch)
            tier.flight.claim(claim, (key,), force=True)
            try:
                await self._send_on(Place(store_scope, key, claim), b"litcache; fwd=request")
            finally:
                claim.give_up()
                tier.flight.release(claim)
            return
        released = tier.flight.released
        if await self._answered(store_scope, key):
            return
        claim = Claim(store_scope.epoch)
        taken = tier.flight.claim(claim, (key,))
        if taken:
            await self._follow(key, store_scope, taken[key])
            return
        try:
            # What was released while a thread looked up may be this very key.
            if tier.flight.released == released or not await self._answered(store_scope, key):
                await self._send_on(Place(store_scope, key, claim), b"litcache; fwd=miss")
        finally:
            claim.give_up()
            tier.flight.release(claim)

    # ------------------------------------------------------------------ the request

    async def _read(self) -> bytes | None:
        """Read the whole body; `None` if it is too large, or does not arrive as a whole.

        What was read is kept to be given to the app again, an exception at its place: the one that
        LitServe's MaxSizeMiddleware raises becomes 413 only where the app meets it.
        """
        parts = bytearray()  # a message for each byte of a client that drips would fill the memory
        last: Message | Exception | None = None
        while len(parts) <= LARGEST_BODY:
            try:
                message = await self.receive()
            except Exception as error:
                last = error
                break
            if message["type"] != "http.request":
                last = message
                break
            chunk: bytes = message.get("body", b"")
            if not message.get("more_body", False):
                body = bytes(parts) + chunk if parts else chunk
                self.replay = [{"type": "http.request", "body": body, "more_body": False}]
                return body
            parts += chunk
        if parts:
            self.replay = [{"type": "http.request", "body": bytes(parts), "more_body": True}]
        if last is not None:
            self.replay.append(last)
        return None

    async def _receive_again(self) -> Message:
        """Give the app what was read, and then what follows."""
        if not self.replay:
            return await self.receive()
        message = self.replay.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    # ------------------------------------------------------------------ out of the cache

    async def _answered(self, scope: StoreScope, key: bytes) -> bool:
        """Answer the request out of the store, and say whether that was possible."""
        entry = await self.tier.look_up(scope, key)
        if entry is None:
            return False
        try:
            stored = unpack(entry)
        except ValueEncodingError as error:
            self.tier.reporter.swallow("entry", error, "a stored response cannot be read")
            return False  # and the new answer takes its place
        await self._hit(stored)
        return True

    async def _hit(self, stored: Stored) -> None:
        """Answer with a stored response, unless LitServe would refuse the client."""
        tier = self.tier
        check = self.check
        if not (check.is_open() or await check.allows(self.scope, self.receive, self.body)):
            # No word of the entry: a refused client does not learn that there is one.
            await self._send_on(None, b"litcache; fwd=miss")
            return
        left = stored.expires - tier.clock()
        stored.headers.append((b"age", b"%d" % max(0.0, stored.lifetime - left)))
        await self._answer(stored, b"litcache; hit; ttl=%d" % max(0.0, left))
        tier.count_hit()

    async def _follow(self, key: bytes, scope: StoreScope, leader: Claim) -> None:
        """Answer with what an equal request in flight is answered, or send this one on."""
        # LitServe checks a request when it arrives, so this is when it would be refused.
        allowed = await self.check.allows(self.scope, self.receive, self.body)
        published = allowed and await leader.wait_async(self.check.seconds)
        if published and (entry := leader.entries.get(key)):
            await self._answer(unpack(entry), b"litcache; fwd=miss; collapsed")
            self.tier.counters.add(coalesced=1)
        else:
            if allowed:
                # A request whose worker was killed is never answered: no more of them wait for it.
                leader.give_up()
            place = Place(scope, key) if allowed else None
            await self._send_on(place, b"litcache; fwd=miss")

    async def _answer(self, stored: Stored, status: bytes) -> None:
        scope = self.scope
        scope.update(self.check.child)  # for outer middlewares, as the router would note it
        scope["path_params"] = {}
        stored.headers.append((CACHE_STATUS, status))
        await self.send({"type": "http.response.start", "status": 200, "headers": stored.headers})
        await self.send({"type": "http.response.body", "body": stored.body, "more_body": False})

    # ------------------------------------------------------------------ by sending it on

    async def _pass(self) -> None:
        """Send the request on; its answer goes through as it comes."""
        self.tier.counters.add(bypassed=1)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = with_status(message, b"litcache; fwd=bypass")
            await self.send(message)

        await self.app(self.scope, self._receive_again, send)

    async def _send_on(self, place: Place | None, status: bytes) -> None:
        """Send the request on; with a place, store its answer there if it may be stored."""
        seen = self.check.watch(self.scope, self.body) if place is not None else None
        recorder = Recorder(self.tier, self.send, place, status, seen)
        started = time.perf_counter()
        try:
            await self.app(self.scope, self._receive_again, recorder.send)
        except Exception:
            await recorder.flush()
            raise
        finally:
            self.scope.pop(SEEN, None)
            seconds = time.perf_counter() - started
            self.tier.count_sent_on(kept=recorder.kept, seconds=seconds)


def _read_headers(
    headers: Iterable[tuple[bytes, bytes]], tier: Tier
) -> tuple[list[bytes], list[tuple[bytes, bytes]], bool] | None:
    """Read what matters of a request's headers.

    Returns:
        Its content types, the headers that answers vary by, and whether a new answer is asked for;
        `None` if it passes through: multipart, too large, or as the client asks.
    """
    kinds: list[bytes] = []
    varied: list[tuple[bytes, bytes]] = []
    refresh = False
    read = tier.read
    for name, value in headers:
        if name not in read:
            continue
        if name == b"content-type":
            # Browsers make boundaries at random, so equal forms have other bodies each time.
            if value.lstrip()[:10].lower() == b"multipart/":
                return None
            kinds.append(value)
        elif name == b"content-length":
            if value.isdigit() and (len(value) > 15 or int(value) > LARGEST_BODY):
                return None
        elif name == b"cache-control" and tier.client_control:  # else it is one to vary by
            wishes = tokens(value)
            if b"no-store" in wishes:
                return None
            refresh = refresh or b"no-cache" in wishes
        if name in tier.vary:
            varied.append((name, value))
    if varied:
        varied.sort(key=itemgetter(0))  # by name alone: of one name the order counts
    return kinds, varied, refresh
