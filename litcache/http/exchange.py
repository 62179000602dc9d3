"""One request on a cached path, from its first message to the last of its answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from operator import itemgetter

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from litcache.engine.flight import Claim
from litcache.errors import ValueEncodingError
from litcache.http.body import Body
from litcache.http.endpoint import ASKED, is_as_sent
from litcache.http.recorder import Forward, Place, Recorder
from litcache.http.responses import CACHE_STATUS, LARGEST_BODY, Stored, tokens, unpack
from litcache.http.route_check import RouteCheck
from litcache.http.tier import Tier
from litcache.stores.base import Scope as StoreScope

_BYPASS = b"litcache; fwd=bypass"


class Exchange:
    """One POST on a cached path.

    Args:
        tier: What it shares with other requests.
        app: What stands behind the middleware.
        scope: The request's scope.
        receive: Gives the request's messages.
        send: Takes the response's messages.
    """

    __slots__ = ("_answered", "_app", "_asked", "_body", "_check", "_forward", "_scope", "_send",
                 "_started", "_tier")  # fmt: skip

    def __init__(
        self, tier: Tier, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._tier = tier
        self._app = app
        self._scope = scope
        self._body = Body(receive)
        self._send = send
        self._forward = Forward()
        self._answered = self._asked = False

    async def run(self, check: RouteCheck | None) -> None:
        """Answer the request: out of the cache, or by sending it on.

        Args:
            check: The check of its route; `None` if nothing may be cached there.
        """
        if check is not None and check.is_overridden():
            why = "nothing is cached while app.dependency_overrides is set: it may change the check"
            self._tier.reporter.warn_once("overrides", why)
            check = None
        if check is None:
            self._pass()
            await self._send_on()
            return
        self._check = check
        try:
            if check.in_route:
                self._scope[ASKED] = self
                status = await self._send_on()
                if status == 200 and not self._asked:
                    why = "its endpoint does not ask for them: this FastAPI is not known"
                    self._tier.reporter.warn_once("unasked", f"LitServe gives no hits, as {why}")
            elif await check.lets_in(self._scope) and (stored := await self.find()) is not None:
                await self._answer(stored)
            else:
                await self._send_on()
        finally:
            self._scope.pop(ASKED, None)
            self._release()

    async def find(self, request: Request | None = None) -> Stored | None:
        """Return the response to give, to a client that LitServe's check has let through.

        Args:
            request: What that check may have changed, if it can.

        Returns:
            The response; `None` if the request is to go on.
        """
        self._asked = True
        tier = self._tier
        asked = _read_headers(self._scope["headers"], tier)
        body = await self._body.read() if asked is not None else None
        if asked is None or body is None:
            self._pass()
            return None
        if request is not None and self._check.may_change and not await is_as_sent(request, body):
            return None
        kinds, varied, refresh = asked
        key = tier.key(self._scope, kinds, varied, body)
        scope = tier.scope()
        if not refresh:
            return await self._look_up(scope, key)
        # For the epoch, so that what a clear overtakes is not stored after it.
        await tier.look_up(scope, key)
        self._lead(scope, key, refresh=True)
        self._forward.status = b"litcache; fwd=request"
        return None

    # ------------------------------------------------------------------ out of the cache

    async def _look_up(self, scope: StoreScope, key: bytes) -> Stored | None:
        """Return what the store or an equal request in flight has; else claim the key."""
        flight = self._tier.flight
        released = flight.released
        stored = await self._stored(scope, key)
        if stored is not None:
            return stored
        leader = self._lead(scope, key)
        if leader is None:
            # What was released while a thread looked up may be this very key.
            if flight.released != released:
                return await self._stored(scope, key)
            return None
        if await leader.wait_async(self._check.seconds) and (entry := leader.entries.get(key)):
            self._tier.counters.add(coalesced=1)
            self._hit(b"litcache; fwd=miss; collapsed")
            return unpack(entry)
        # A request whose worker was killed is never answered: no more of them wait for it.
        leader.give_up()
        self._go_on(Place(scope, key))
        return None

    async def _stored(self, scope: StoreScope, key: bytes) -> Stored | None:
        """Return the response in the store, if there is one that can be read."""
        entry = await self._tier.look_up(scope, key)
        if entry is None:
            return None
        try:
            stored = unpack(entry)
        except ValueEncodingError as error:
            self._tier.reporter.swallow("entry", error, "a stored response cannot be read")
            return None  # and the new answer takes its place
        left = stored.expires - self._tier.clock()
        stored.headers.append((b"age", b"%d" % max(0.0, stored.lifetime - left)))
        self._hit(b"litcache; hit; ttl=%d" % max(0.0, left))
        self._tier.count_hit()
        return stored

    def _hit(self, status: bytes) -> None:
        """Note that the request is answered here."""
        self._answered = True
        self._forward.status = status
        self._release()

    def _go_on(self, place: Place) -> None:
        """Note where the answer of LitServe is stored, and that it begins to work for it."""
        self._forward.place = place
        self._started = time.perf_counter()

    def _lead(self, scope: StoreScope, key: bytes, *, refresh: bool = False) -> Claim | None:
        """Claim a key, and return the claim of the request that has it already."""
        claim = Claim(scope.epoch)
        self._go_on(Place(scope, key, claim))
        return self._tier.flight.claim(claim, (key,), force=refresh).get(key)

    def _release(self) -> None:
        """Take a claim back, and let who waits for it go on."""
        place, self._forward.place = self._forward.place, None
        if place is not None and place.claim is not None:
            place.claim.give_up()
            self._tier.flight.release(place.claim)

    async def _answer(self, stored: Stored) -> None:
        """Answer in LitServe's place."""
        scope, check = self._scope, self._check
        # For outer middlewares, as the router would note it.
        scope.update(check.child)
        scope["path_params"] = {**scope.get("path_params", {}), **check.path_params}
        headers = [*stored.headers, (CACHE_STATUS, self._forward.status)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": stored.body, "more_body": False})

    # ------------------------------------------------------------------ by sending it on

    def _pass(self) -> None:
        """Let the request and its answer through as they come."""
        self._forward.status = _BYPASS
        self._body.forget()

    async def _send_on(self) -> int:
        """Send the request on, and store its answer if there is a place for it.

        Returns:
            The status of the answer.
        """
        recorder = Recorder(self._tier, self._send, self._forward)
        self._started = time.perf_counter()
        try:
            await self._app(self._scope, self._body.receive, recorder.send)
        except Exception:
            await recorder.flush()
            raise
        finally:
            if not self._answered:
                # An answer that says no more than that a client or the API failed is no matter of
                # the cache: the share of what cannot be stored tells whether the tier suits a path.
                failed = recorder.status == 0 or recorder.status >= 400
                self._tier.count_sent_on(
                    kept=recorder.kept,
                    bypassed=failed or self._forward.status is _BYPASS,
                    seconds=time.perf_counter() - self._started,
                )
        return recorder.status


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
