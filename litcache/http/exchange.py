"""One request on a cached path, from its first message to the last of its answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from litcache.engine import threads
from litcache.engine.call import Misses
from litcache.engine.steps import Steps
from litcache.http.body import Body, whole
from litcache.http.clients import client_of
from litcache.http.endpoint import ASKED, is_as_sent
from litcache.http.recorder import Recorder
from litcache.http.responses import CACHE_STATUS, LARGEST_BODY, Stored, age, tokens
from litcache.http.route_check import RouteCheck
from litcache.http.tier import Lookup, ResponseTier
from litcache.http.trials import PathTrial, TriedHit

_BYPASS = b"litcache; fwd=bypass"
_OFF = b"litcache; fwd=bypass; detail=disagreement"
_TRIED = b"litcache; fwd=miss; detail=trial"
_SMALL_DIGITS = len(str(LARGEST_BODY)) - 1
"""Lengths of so few digits are small enough, whatever they are."""


@dataclass(frozen=True, slots=True)
class CachedPath:
    """What all requests on a cached path have in common.

    Attributes:
        tier: The cache of the middleware.
        check: The check of the route; `None` if nothing may be cached there.
        trial: The trial of the path; `None` without one.
    """

    tier: ResponseTier
    check: RouteCheck | None
    trial: PathTrial | None


class Exchange:
    """One POST on a cached path.

    Args:
        path: The path.
        app: The app behind the middleware.
        scope: The request's scope.
        receive: Gives the request's messages.
        send: Takes the response's messages.

    Attributes:
        status: The Cache-Status of the answer.
        headers: The headers of a stored response, in a list of its own.
        client: A digest of the client, if the answer is to be stored.
        misses: The misses that wait for the answer; `None` if the answer is not to be stored.
        tried: The hit with which the answer is compared, if it is a hit of a trial.
    """

    __slots__ = (
        "_answered", "_app", "_asked", "_check", "_first", "_path", "_read", "_receive", "_scope",
        "_send", "_started", "_steps", "client", "headers", "misses", "status", "tried",
    )  # fmt: skip

    def __init__(
        self, path: CachedPath, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._path = path
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        # Most requests are hits that come in one message: their body takes no object.
        self._first: Message | Exception | None = None
        self._read: Body | None = None
        self.status = b"litcache; fwd=miss"
        self.client = 0
        self.misses: Misses | None = None
        self.tried: TriedHit | None = None
        self._steps: Steps | None = None
        self._answered = self._asked = False

    async def run(self) -> None:
        """Answer the request: from the cache, or by sending it on to LitServe."""
        path = self._path
        check, trial = path.check, path.trial
        if check is not None and check.provider.dependency_overrides:
            why = "nothing is cached while app.dependency_overrides is set: it may change the check"
            path.tier.reporter.warn_once("overrides", why)
            check = None
        if check is None or (trial is not None and trial.verdict.is_off):
            self._pass(_BYPASS if check is None else _OFF)
            await self._send_on()
            return
        self._check = check
        scope, send = self._scope, self._send
        try:
            if check.in_route:
                await self._send_on_to_check()
            elif (check.is_open or await check.lets_in(scope)) and (
                stored := await self.find()
            ) is not None:
                # For outer middlewares, what the router puts there.
                scope.update(check.child)
                known, own = scope.get("path_params"), check.path_params
                scope["path_params"] = {**known, **own} if known else own.copy()
                # New each time, because outer middlewares change messages in place.
                headers = self.headers
                headers.append((CACHE_STATUS, self.status))
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": stored.body, "more_body": False})
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
        tier, trial, scope = self._path.tier, self._path.trial, self._scope
        body: bytes | None = None
        if (asked := _read_headers(scope["headers"], tier)) is not None:
            if self._read is None:
                try:
                    self._first = await self._receive()
                    body = whole(self._first)
                except Exception as error:
                    self._first = error
            if body is None:
                body = await self._body.read()
        if asked is None or body is None:
            self._pass()
            return None
        if request is not None and self._check.may_change and not await is_as_sent(request, body):
            return None
        kinds, varied, refresh = asked
        key = tier.key(scope, kinds, varied, body)
        stored = None if refresh else tier.find_at_once(key)
        if stored is None:
            stored = await self._look_up(Lookup(key, self._check.seconds, refresh=refresh))
        if stored is None or (trial is not None and self._is_held_back(trial, stored)):
            self._started = time.perf_counter()  # LitServe begins to work for it
            return None
        self._answered = True
        if self._steps is None:
            left = stored.expires - tier.clock()
            self.headers = [*stored.headers, age(int(stored.lifetime - left))]
            self.status = _hit(int(left))
            tier.counters.add_hits(1)
            tier.reporter.tick(tier.info, hit=True)
        else:
            self.headers = list(stored.headers)
            self.status = b"litcache; fwd=miss; collapsed"
            tier.counters.add(coalesced=1)
        return stored

    # ------------------------------------------------------------------ out of the cache

    async def _look_up(self, lookup: Lookup) -> Stored | None:
        """Return what the store, or an equal request, has for a request; else claim its key."""
        tier, trial = self._path.tier, self._path.trial
        if tier.blocking:
            self._steps = await threads.run(tier.look_up, lookup)
        else:
            self._steps = tier.look_up(lookup)
        if self._steps is not None:
            self.misses = await tier.advance(self._steps)
        if self.misses is not None:
            if lookup.refreshed:
                self.status = b"litcache; fwd=request"
            if trial is not None:
                self.client = client_of(self._scope["headers"])
        return lookup.stored

    def _is_held_back(self, trial: PathTrial, stored: Stored) -> bool:
        """Return whether LitServe must answer though there is a response: for the trial."""
        if trial.verdict.is_off:  # since this request waited for an equal one
            self._pass(_OFF)
            return True
        self.tried = trial.take_up(stored, self._scope)
        if self.tried is not None:
            self.status = _TRIED
        return self.tried is not None

    # ------------------------------------------------------------------ by sending it on

    @property
    def _body(self) -> Body:
        """The body, as far as it was read."""
        if self._read is None:
            self._read = Body(self._receive, self._first)
        return self._read

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
            self._path.tier.reporter.warn_once("unasked", f"LitServe gives no hits, as {why}")

    async def _send_on(self) -> int:
        """Send the request on, and store its answer if that is wanted and allowed.

        Returns:
            The status of the answer.
        """
        tier = self._path.tier
        recorder = Recorder(tier, self._send, self)
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
                tier.count_sent_on(
                    kept=recorder.kept,
                    verified=tried is not None and (tried.is_compared or not failed),
                    bypassed=failed or self.status in (_BYPASS, _OFF),
                    seconds=time.perf_counter() - self._started,
                )
        return recorder.status


@lru_cache(maxsize=1024)
def _hit(seconds: int) -> bytes:
    """Return the Cache-Status of a hit that may be used for so many seconds more."""
    return b"litcache; hit; ttl=%d" % max(0, seconds)


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
    read, vary = tier.read, tier.vary
    for name, value in headers:
        if name not in read:
            continue
        if name == b"content-type":
            # Browsers make random boundaries, so equal forms have different bodies.
            if value != b"application/json" and value.lstrip()[:10].lower() == b"multipart/":
                return None
            kinds.append(value)
        elif name == b"content-length":
            if len(value) > _SMALL_DIGITS and _is_large(value):
                return None
        elif name == b"cache-control" and tier.client_control:  # else it may be in `vary`
            wishes = tokens(value)
            if b"no-store" in wishes:
                return None
            refresh = refresh or b"no-cache" in wishes
        if name in vary:
            varied.append((name, value))
    if varied:
        varied.sort(key=itemgetter(0))  # by name alone: the order of equal names counts
    return kinds, varied, refresh


def _is_large(length: bytes) -> bool:
    return length.isdigit() and (len(length) > 15 or int(length) > LARGEST_BODY)
