"""One request on a cached path, from its first message to the last of its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from litcache.engine.call import Misses
from litcache.engine.steps import Steps
from litcache.http.body import Body, whole
from litcache.http.clients import digest_of
from litcache.http.endpoint import ASKED, is_as_sent
from litcache.http.paths import CachedPath, Unanswered
from litcache.http.recorder import Recorder
from litcache.http.responses import CACHE_STATUS, Reply, Stored
from litcache.http.tier import Lookup
from litcache.http.trials import TriedHit

_BYPASS = b"litcache; fwd=bypass"
_OFF = b"litcache; fwd=bypass; detail=disagreement"
_TRIED = b"litcache; fwd=miss; detail=trial"
_COLLAPSED = b"litcache; fwd=miss; collapsed"


async def answer(
    path: CachedPath, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer one POST on a cached path: from the cache, or by sending it on to LitServe.

    Most requests are hits that come in one message: they need no `Exchange`.

    Args:
        path: The path.
        app: The app behind the middleware.
        scope: The request's scope.
        receive: Gives the request's messages.
        send: Takes the response's messages.
    """
    check, trial = path.check, path.trial
    if (
        check is None
        or check.in_route
        or check.provider.dependency_overrides
        or (trial is not None and trial.verdict.is_off)
    ):
        await Exchange(path, app, scope, receive, send).send_on_unasked()
        return
    if not (check.is_open or await check.lets_in(scope)):
        await Exchange(path, app, scope, receive, send).send_on()
        return
    first: Message | Exception | None = None
    found: Reply | Unanswered | None = None
    if (read := path.tier.reader.read(scope["headers"])) is not None:
        try:
            first = await receive()
            body = whole(first)
        except Exception as error:
            first, body = error, None
        if body is not None:
            found = path.find_at_once(scope, read, body)
    if found is None or isinstance(found, Unanswered):
        found = await Exchange(path, app, scope, receive, send, first).run(found)
        if found is None:
            return
    # For outer middlewares, what the router puts there.
    scope["endpoint"], scope["route"] = check.endpoint, check.route
    known, own = scope.get("path_params"), check.path_params
    scope["path_params"] = {**known, **own} if known else own.copy()
    headers, content = found
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})


class Exchange:
    """A request that the cache does not answer at once.

    Args:
        path: The path.
        app: The app behind the middleware.
        scope: The request's scope.
        receive: Gives the request's messages.
        send: Takes the response's messages.
        first: The first of the request's messages, or what was raised in its place, if somebody
            has asked for it.

    Attributes:
        status: The Cache-Status of the answer.
        client: A digest of the client, if the answer is to be stored.
        misses: The misses that wait for the answer; `None` if the answer is not to be stored.
        tried: The hit with which the answer is compared, if it is a hit of a trial.
    """

    def __init__(
        self,
        path: CachedPath,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        first: Message | Exception | None = None,
    ) -> None:
        self._path = path
        self._app = app
        self._scope = scope
        self._send = send
        self._body = Body(receive, first)
        self.status = b"litcache; fwd=miss"
        self.client = 0
        self.misses: Misses | None = None
        self.tried: TriedHit | None = None
        self._steps: Steps | None = None
        self._answered = self._asked = False

    async def run(self, found: Unanswered | None) -> Reply | None:
        """Find the response, or send the request on to LitServe.

        Args:
            found: What a look-up without waiting has found; `None` if the body is yet to be read.

        Returns:
            The response to give; `None` if LitServe has answered.
        """
        try:
            reply = await (self._find() if found is None else self._wait(found))
            if reply is None:
                await self.send_on()
            return reply
        finally:
            self._end()

    async def send_on_unasked(self) -> None:
        """Send on a request for which the cache is not asked before LitServe's check."""
        path, check = self._path, self._path.check
        if check is None or check.provider.dependency_overrides:
            if check is not None:
                why = "while app.dependency_overrides is set: it may change the check"
                path.tier.reporter.warn_once("overrides", f"nothing is cached {why}")
            self._pass()
            await self.send_on()
        elif path.trial is not None and path.trial.verdict.is_off:
            self._pass(_OFF)
            await self.send_on()
        else:
            try:
                await self._send_on_to_check()
            finally:
                self._end()

    async def find(self, request: Request) -> Reply | None:
        """Return the response for a client whom LitServe's check has accepted.

        Args:
            request: The request that the check may have changed.

        Returns:
            The response, without a Cache-Status; `None` if the request must go on.
        """
        self._asked = True
        reply = await self._find(request)
        if reply is not None:
            self._answered = True
            _, self.status = reply[0].pop()  # the recorder adds it
        return reply

    # ------------------------------------------------------------------ out of the cache

    async def _find(self, request: Request | None = None) -> Reply | None:
        """Read the request, and return its response; `None` if it must go on."""
        path, scope = self._path, self._scope
        read = path.tier.reader.read(scope["headers"])
        body = None if read is None else await self._body.read()
        if read is None or body is None:
            self._pass()
            return None
        may_differ = request is not None and path.check is not None and path.check.may_change
        if request is not None and may_differ and not await is_as_sent(request, body):
            return None
        found = path.find_at_once(scope, read, body)
        return await self._wait(found) if isinstance(found, Unanswered) else found

    async def _wait(self, found: Unanswered) -> Reply | None:
        """Return what the store, or an equal request, has for a request; `None`: it must go on."""
        tier = self._path.tier
        stored = None
        if found.tried is not None:
            self._hold_back(found.tried)
        else:
            stored = await self._look_up(found)
        if stored is None or self._is_held_back(stored, found.told):
            self._started = time.perf_counter()  # LitServe begins to work for it
            return None
        if self._steps is None:
            return tier.hit(stored)
        tier.counters.add(coalesced=1)
        _, headers, body, _, _ = stored
        return [*headers, (CACHE_STATUS, _COLLAPSED)], body

    async def _look_up(self, found: Unanswered) -> Stored | None:
        """Return what the store, or an equal request, has for a request; else claim its key."""
        path, tier = self._path, self._path.tier
        seconds = 0.0 if path.check is None else path.check.seconds
        lookup = Lookup(found.key, seconds, refresh=found.refresh)
        self._steps = await tier.look_up(lookup)
        if self._steps is not None:
            self.misses = await tier.advance(self._steps)
        if self.misses is not None:
            if found.refresh:
                self.status = b"litcache; fwd=request"
            if path.trial is not None:
                self.client = digest_of(found.told)
        return lookup.stored

    def _is_held_back(self, stored: Stored, told: Sequence[bytes]) -> bool:
        """Return whether LitServe must answer though there is a response: for the trial."""
        trial = self._path.trial
        if trial is None:
            return False
        if trial.verdict.is_off:  # since this request waited for its body or for an equal one
            self._pass(_OFF)
            return True
        tried = trial.take_up(stored, told)
        if tried is not None:
            self._hold_back(tried)
        return tried is not None

    def _hold_back(self, tried: TriedHit) -> None:
        """Have LitServe answer though there is a response."""
        self.tried = tried
        self.status = _TRIED

    # ------------------------------------------------------------------ by sending it on

    def _end(self) -> None:
        """Let requests that wait for this one go on."""
        if self._steps is not None:
            self._steps.close()

    def _pass(self, status: bytes = _BYPASS) -> None:
        """Pass the request and its answer on as they come."""
        self.status = status
        self._body.forget()

    async def _send_on_to_check(self) -> None:
        """Send the request on to LitServe's check; after it, the endpoint asks the cache."""
        self._scope[ASKED] = self
        try:
            status = await self.send_on()
        finally:
            del self._scope[ASKED]
        if status == 200 and not self._asked:
            why = "its endpoint does not ask for them: this FastAPI is not known"
            self._path.tier.reporter.warn_once("unasked", f"LitServe gives no hits, as {why}")

    async def send_on(self) -> int:
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
