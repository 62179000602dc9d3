"""LitServe's own check of a route: who may have an answer, found and run before it is given."""

from __future__ import annotations

import inspect
import json
from typing import Any

from fastapi import Depends, Request, Response, params
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from litserve import server
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match, Mount, Route, WebSocketRoute
from starlette.types import Message, Receive, Scope

try:
    from fastapi.dependencies.utils import get_parameterless_sub_dependant
except ImportError:  # it is FastAPI's own matter
    get_parameterless_sub_dependant = None  # type: ignore[assignment]
try:
    from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
except ImportError:  # older FastAPIs make the stack of a request in its route
    AsyncExitStackMiddleware = None  # type: ignore[assignment,misc]

SEEN = "litcache.seen"
_SECONDS = 30.0  # LitServe's own default
_OF_ENDPOINTS = (
    "header_params", "cookie_params", "http_connection_param_name", "websocket_param_name",
    "security_scopes_param_name",
)  # fmt: skip


class UncheckableError(Exception):
    """What a route answers may depend on the client in a way that cannot be checked."""


class Seen:
    """What was seen of one request behind LitServe's check of it.

    Args:
        body: The body as it was sent.

    Attributes:
        passed: Whether the check let the request through and left its body as it was.
    """

    __slots__ = ("body", "passed")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.passed = False


class RouteCheck:
    """The check of one route: the API key, or `LitAPI.authorize` and all that it depends on.

    The dependencies of LitServe's route are put before an endpoint of our own, and FastAPI runs
    them as it does for LitServe.

    Args:
        route: LitServe's route.
        child: What the router adds to the scope of its requests.
        seconds: How long the server takes at most, by its own word.

    Attributes:
        seconds: How long a request may wait for the answer to an equal one.
        free: Whether LitServe lets everybody through.
        witnessed: Whether answers may be stored only after the check was seen to leave the body as
            it was sent: what `authorize` changes in a parsed body reaches the worker.

    Raises:
        UncheckableError: If an answer may depend on more of the request than can be known.
    """

    def __init__(self, route: Any, child: Scope, seconds: float = _SECONDS) -> None:
        _refuse_personal(route)
        self.child = {**child, "route": route}
        self.seconds = seconds
        dependencies = [depends.dependency for depends in route.dependencies]
        self.free = all(dependency is server.no_auth for dependency in dependencies)
        self._overrides = route.dependency_overrides_provider
        self._header = _api_key_header(dependencies)
        self.witnessed = any(map(_may_change_the_body, route.dependant.dependencies))
        if self.witnessed:
            _bring_witness(route)
        check = APIRoute(
            route.path,
            _witness,
            methods=["POST"],
            dependencies=[d for d in route.dependencies if d.dependency is not _witness],
            response_model=None,
            dependency_overrides_provider=self._overrides,
        )
        stack = AsyncExitStackMiddleware
        self._run = check.app if stack is None else stack(check.app)

    def is_open(self) -> bool:
        """Say whether everybody is let through, so that nothing needs to be run."""
        return self.free and not self._is_overridden()

    async def allows(self, scope: Scope, receive: Receive, body: bytes) -> bool:
        """Run the check on a request.

        Args:
            scope: The request's, which the check may write into as LitServe's does.
            receive: What follows the body.
            body: The body as it was sent.

        Returns:
            Whether LitServe would let it through now.
        """
        if self.is_open():
            return True
        if self._header is not None and not self._is_overridden():
            return await _has_api_key(self._header, scope)
        seen = Seen(body)
        scope[SEEN] = seen
        try:
            await self._run(scope, _replayed(body, receive), _unheard)
        except Exception:  # whatever the check raises, LitServe's own run of it answers
            return False
        finally:
            scope.pop(SEEN, None)
        return seen.passed

    def watch(self, scope: Scope, body: bytes) -> Seen | None:
        """Have LitServe's run of the check on a request watched, where that is needed."""
        if not self.witnessed:
            return None
        seen = scope[SEEN] = Seen(body)
        return seen

    def _is_overridden(self) -> bool:
        return bool(getattr(self._overrides, "dependency_overrides", None))


def find(scope: Scope, inner: object, path: str) -> RouteCheck:
    """Find the route that answers a POST to a path, and its check.

    Args:
        scope: A scope of the app.
        inner: What stands behind the middleware.
        path: The path within the app.

    Returns:
        The check.

    Raises:
        UncheckableError: If nothing may be cached on that path; the message says why.
    """
    if not isinstance(inner, ExceptionMiddleware):
        raise UncheckableError(
            f"{type(inner).__name__} stands behind it and would not see answered requests: "
            "put CacheMiddleware first in LitServer(middlewares=[...])"
        )
    asked = {**scope, "type": "http", "method": "POST", "path": path, "root_path": ""}
    asked["headers"] = []
    for route in scope["app"].routes:
        if not isinstance(route, Route | Mount | WebSocketRoute):
            raise UncheckableError(f"{type(route).__name__} may route by more than the path")
        match, child = route.matches(asked)
        if match is Match.FULL:
            return RouteCheck(route, child, _request_timeout(scope["app"]))
    raise UncheckableError("no route answers a POST there")


def _request_timeout(app: Any) -> float:
    """Return the `timeout` of the LitServer whose app this is; LitServe's default without one."""
    server = getattr(getattr(app.router, "lifespan_context", None), "__self__", None)
    timeout = getattr(server, "timeout", None)
    # LitServe takes False and -1 for no limit; here that would be to wait for ever for the lost.
    return float(timeout) if isinstance(timeout, int | float) and timeout > 0 else _SECONDS


def _refuse_personal(route: Any) -> None:
    """Refuse an endpoint that gets more of the request than the key holds."""
    if not isinstance(route, APIRoute):
        raise UncheckableError(f"{type(route).__name__} is no route of FastAPI")
    try:
        dependant = route.dependant
        read = [name for name in _OF_ENDPOINTS if getattr(dependant, name)]
        # LitServe's endpoint gives the worker the body alone, parsed by its content type.
        module = str(getattr(route.endpoint, "__module__", ""))
        if dependant.request_param_name and not module.startswith("litserve."):
            read.append("the request")
        if len(dependant.dependencies) > len(route.dependencies) + _has_witness(route):
            read.append("dependencies")
        writes = any(map(_writes_the_answer, dependant.dependencies))
    except AttributeError as error:
        raise UncheckableError(f"this FastAPI is of another make: {error}") from None
    if writes:
        raise UncheckableError("its check writes headers of the answer, which may be personal")
    if read:
        raise UncheckableError(f"its endpoint takes {', '.join(read)} beside the body")


def _writes_the_answer(dependant: Any) -> bool:
    """Say whether a dependency, or one of its own, gets hold of the answer's headers."""
    return bool(dependant.response_param_name) or any(
        map(_writes_the_answer, dependant.dependencies)
    )


def _may_change_the_body(dependant: Any) -> bool:
    """Say whether a dependency, or one of its own, gets hold of the body and is not known."""
    call = dependant.call
    known = type(call).__module__.startswith("fastapi.security") or str(
        getattr(call, "__module__", "")
    ).startswith("litserve.")
    # FastAPI gives the request itself also to who asks for no more than an HTTPConnection.
    reached = (
        dependant.request_param_name
        or dependant.http_connection_param_name
        or dependant.body_params
    )
    if reached and not known and call is not _witness:
        return True
    return any(map(_may_change_the_body, dependant.dependencies))


# ------------------------------------------------------------------------------- the witness


async def _witness(request: Request) -> Response:
    """See, behind the check, that the parsed body is still what was sent."""
    seen = request.scope.get(SEEN)
    if seen is not None:
        seen.passed = await _is_as_sent(request, seen.body)
    return Response(b"")  # a new one: FastAPI puts background tasks into it


async def _is_as_sent(request: Request, body: bytes) -> bool:
    """Say whether a request's body is as sent, also in the parsed form that the request keeps."""
    fresh = Request(request.scope, _replayed(body, request.receive))
    try:
        if await request.body() != body:
            return False
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            kept, sent = await request.form(), await fresh.form()
            return kept.multi_items() == sent.multi_items()
        return json.dumps(await request.json()) == json.dumps(await fresh.json())
    except Exception:  # what cannot be read or compared is not as sent
        return False


def _has_witness(route: Any) -> bool:
    return any(dependant.call is _witness for dependant in route.dependant.dependencies)


def _bring_witness(route: Any) -> None:
    """Add the witness as the last of a route's dependencies.

    Only there the very request object is at hand that LitServe's endpoint gets after the check.
    Where FastAPI does not run it, nothing is seen to pass, so nothing is stored.
    """
    if get_parameterless_sub_dependant is None:
        raise UncheckableError("this FastAPI is of another make than those that are known")
    if not _has_witness(route):
        route.dependant.dependencies.append(
            get_parameterless_sub_dependant(depends=Depends(_witness), path=route.path_format)
        )


# ------------------------------------------------------------------------------- the API key


def _api_key_header(dependencies: list[Any]) -> APIKeyHeader | None:
    """Return what reads the key for LitServe's own API-key check, if that is the only one."""
    if dependencies != [server.api_key_auth]:
        return None
    taken = [p.default for p in inspect.signature(server.api_key_auth).parameters.values()]
    if len(taken) != 1 or not isinstance(taken[0], params.Depends):
        return None
    header = taken[0].dependency
    return header if type(header) is APIKeyHeader else None


async def _has_api_key(header: APIKeyHeader, scope: Scope) -> bool:
    """Run LitServe's check in place: a thread for a comparison is half of what a hit costs."""
    try:
        server.api_key_auth(await header(Request(scope)))
    except Exception:  # as above: LitServe's own run of it answers
        return False
    return True


# ------------------------------------------------------------------------------- messages


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a whole body, and then what follows it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def _unheard(message: Message) -> None:
    """Send nothing: only whether the check passed matters."""
