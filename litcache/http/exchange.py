"""One request on a cached path, from its first message to the last of its answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from operator import itemgetter

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from litcache.engine import threads
from litcache.engine.call import Misses
from litcache.engine.run import Steps
from litcache.http.body import Body
from litcache.http.clients import client_of
from litcache.http.endpoint import ASKED, is_as_sent
from litcache.http.recorder import Recorder
from litcache.http.responses import CACHE_STATUS, LARGEST_BODY, Stored, tokens
from litcache.http.route_check import RouteCheck
from litcache.http.tier import Lookup, ResponseTier
from litcache.http.trials import PathTrial, TriedHit

_BYPASS = b"litcache; fwd=bypass"
_OFF = b"litcache; fwd=bypass; detail=disagreement"
_TRIED = b"litcache; fwd=miss; detail=trial"


class Exchange:
    """One POST on a cached path.

    Args:
        tier: The cache of the middleware.
        app: The app behind the middleware.
        scope: The request's scope.
        receive: Gives the request's messages.
        send: Takes the response's messages.

    Attributes:
        status: The Cache-Status of the answer.
        client: A digest of the client, if the answer is to be stored.
        misses: The misses that wait for the answer; `None` if the answer is not to be stored.
        tried: The hit with which the answer is compared, if it is a hit of a trial.
    """

    __slots__ = (
        "_answered", "_app", "_asked", "_body", "_check", "_scope", "_send", "_started", "_steps",
        "_tier", "_trial", "client", "misses", "status", "tried",
    )  # fmt: skip

    def __init__(
        self, tier: ResponseTier, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._tier = tier
        self._app = app
        self._scope = scope
        self._body = Body(receive)
        self._send = send
        self.status = b"litcache; fwd=miss"
        self.client = 0
        self.misses: Misses | None = None
        self.tried: TriedHit | None = None
        self._trial: PathTrial | None = None
        self._steps: Steps | None = None
        self._answered = self._asked = False

    async def run(self, check: RouteCheck | None, trial: PathTrial | None) -> None:
        """Answer the request: from the cache, or by sending it on to LitServe.

        Args:
            check: The check of its route; `None` if nothing may be cached there.
            trial: The trial of its path; `None` without one.
        """
        if check is not None and check.is_overridden():
            why = "nothing is cached while app.dependency_overrides is set: it may change the check"
            self._tier.reporter.warn_once("overrides", why)
            check = None
        if check is None or (trial is not None and trial.is_off):
            self._pass(_BYPASS if check is None else _OFF)
            await self._send_on()
            return
        self._check, self._trial = check, trial
        try:
            if check.in_route:
                await self._send_on_to_check()
            elif (check.is_open or await check.lets_in(self._scope)) and (
                stored := await self.find()
            ) is not None:
                await self._answer(stored)
            else:
                await self._send_on()
        finally:
            if self._steps is not None:
                self._steps.close()  # requests that wait for this one go on

    async def find(self, request: Request | None = None) -> Stored | None:
        """Return the response for a client whom LitServe's check has accepted.

        Args:
            request: The request that the check may have changed, if it can change it.

        Returns:
            The response; `None` if the request must go on.
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
        return await self._look_up(Lookup(key, self._check.seconds, refresh=refresh))

    # ------------------------------------------------------------------ out of the cache

    async def _look_up(self, lookup: Lookup) -> Stored | None:
        """Return the response of the store or an equal request; `None` if this must go on."""
        tier = self._tier
        if tier.blocking:
            self._steps = await threads.run(tier.look_up, lookup)
        else:
            self._steps = tier.look_up(lookup)
        if self._steps is not None:
            self.misses = await tier.advance(self._steps)
        if self._holds_back(lookup):
            self._started = time.perf_counter()  # LitServe begins to work for it
            return None
        stored = lookup.stored
        assert stored is not None
        self._answered = True
        if self._steps is not None:
            self.status = b"litcache; fwd=miss; collapsed"
            tier.counters.add(coalesced=1)
            return stored
        left = stored.expires - tier.clock()
        stored.headers.append((b"age", b"%d" % max(0.0, stored.lifetime - left)))
        self.status = b"litcache; hit; ttl=%d" % max(0.0, left)
        tier.count_hit()
        return stored

    def _holds_back(self, lookup: Lookup) -> bool:
        """Return whether LitServe must answer, because nothing was found or for the trial."""
        trial = self._trial
        if self.misses is not None:
            if lookup.refreshed:
                self.status = b"litcache; fwd=request"
            if trial is not None:
                self.client = client_of(self._scope["headers"])
            return True
        if trial is None:
            return False
        if trial.is_off:  # since this request waited for an equal one
            self._pass(_OFF)
            return True
        self.tried = trial.take_up(lookup, self._scope)
        if self.tried is not None:
            self.status = _TRIED
        return self.tried is not None

    async def _answer(self, stored: Stored) -> None:
        """Send a response in LitServe's place."""
        scope, check = self._scope, self._check
        # For outer middlewares, as the router does it.
        scope.update(check.child)
        outer = scope.get("path_params")
        scope["path_params"] = {**outer, **check.path_params} if outer else {**check.path_params}
        headers = stored.headers
        headers.append((CACHE_STATUS, self.status))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": stored.body, "more_body": False})

    # ------------------------------------------------------------------ by sending it on

    def _pass(self, status: bytes = _BYPASS) -> None:
        """Pass the request and its answer on as they come."""
        self.status = status
        self._body.forget()

    async def _send_on_to_check(self) -> None:
        """Send the request on to LitServe's check; after it, the endpoint asks the cache."""
        self._scope[ASKED] = self
        try:
            status = await self._send_on()
        finally:
            del self._scope[ASKED]
        if status == 200 and not self._asked:
            why = "its endpoint does not ask for them: this FastAPI is not known"
            self._tier.reporter.warn_once("unasked", f"LitServe gives no hits, as {why}")

    async def _send_on(self) -> int:
        """Send the request on, and store its answer if that is wanted and allowed.

        Returns:
            The status of the answer.
        """
        recorder = Recorder(self._tier, self._send, self)
        self._started = time.perf_counter()
        try:
            await self._app(self._scope, self._body.receive, recorder.send)
        except Exception:
            await recorder.flush()
            raise
        finally:
            if not self._answered:
                # An answer that only says that a client or the API failed does not count as
                # uncacheable: the share of uncacheable answers shows whether the tier suits a path.
                failed = recorder.status == 0 or recorder.status >= 400
                tried = self.tried
                self._tier.count_sent_on(
                    kept=recorder.kept,
                    verified=tried is not None and (tried.is_compared or not failed),
                    bypassed=failed or self.status in (_BYPASS, _OFF),
                    seconds=time.perf_counter() - self._started,
                )
        return recorder.status


def _read_headers(
    headers: Iterable[tuple[bytes, bytes]], tier: ResponseTier
) -> tuple[list[bytes], list[tuple[bytes, bytes]], bool] | None:
    """Read the headers of a request that matter.

    Returns:
        Its content types, its headers of `vary`, and whether the client asks for a new answer;
        `None` if the request passes through: multipart, too large, or as the client asks.
    """
    kinds: list[bytes] = []
    varied: list[tuple[bytes, bytes]] = []
    refresh = False
    read = tier.read
    for name, value in headers:
        if name not in read:
            continue
        if name == b"content-type":
            # Browsers make random boundaries, so equal forms have different bodies.
            if value.lstrip()[:10].lower() == b"multipart/":
                return None
            kinds.append(value)
        elif name == b"content-length":
            if value.isdigit() and (len(value) > 15 or int(value) > LARGEST_BODY):
                return None
        elif name == b"cache-control" and tier.client_control:  # else it may be in `vary`
            wishes = tokens(value)
            if b"no-store" in wishes:
                return None
            refresh = refresh or b"no-cache" in wishes
        if name in tier.vary:
            varied.append((name, value))
    if varied:
        varied.sort(key=itemgetter(0))  # by name alone: the order of equal names counts
    return kinds, varied, refresh
