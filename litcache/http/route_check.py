"""LitServe's own check of a route, which decides which clients may get a stored response."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fastapi import Request, params
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from litserve import server
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match, Mount, Route, WebSocketRoute
from starlette.types import Scope

from litcache.http.endpoint import PARAMETER, ask_behind_check

_SECONDS = 30.0  # LitServe's own default
_OF_ENDPOINTS = (
    "header_params", "cookie_params", "http_connection_param_name", "websocket_param_name",
    "security_scopes_param_name",
)  # fmt: skip
# LitServe's chat spec gives each response an id, and the time at which it was made.
_REMADE: dict[str, tuple[str, ...]] = {"litserve.specs.openai": ("$.id", "$.created")}


class UncheckableError(Exception):
    """The answers of a route may depend on the client in a way that litcache cannot check."""


class _WithoutAny:
    """An app that overrides no dependency."""

    dependency_overrides: Mapping[Any, Any] = {}


class RouteCheck:
    """The check of one route: the API key, or `LitAPI.authorize` and all that it depends on.

    LitServe's API key is compared here, before LitServe sees the request. Any other check is run
    by LitServe itself, on its way to the endpoint, which then asks the cache.

    Args:
        route: LitServe's route.
        child: What the router adds to the scope of its requests.
        seconds: The `timeout` of the server.

    Attributes:
        route, endpoint: What the router adds to the scope of its requests.
        path_params: The path parameters that this route adds.
        seconds: How long a request may wait for the answer to an equal one.
        provider: Has `dependency_overrides`, which FastAPI runs instead of what the check has read.
        is_open: Whether LitServe lets everybody in.
        in_route: Whether LitServe runs the check, on its way to the endpoint.
        may_change: Whether the check may change the body that the endpoint gets.
        remade: Places of its responses that LitServe makes anew for each request.

    Raises:
        UncheckableError: If an answer may depend on more of the request than litcache can know.
    """

    def __init__(self, route: Any, child: Scope, seconds: float = _SECONDS) -> None:
        _refuse_personal(route)
        self.path_params = child["path_params"]
        self.route, self.endpoint = route, child["endpoint"]
        self.remade = _REMADE.get(getattr(route.endpoint, "__module__", ""), ())
        self.seconds = seconds
        dependencies = [depends.dependency for depends in route.dependencies]
        self.is_open = all(dependency is server.no_auth for dependency in dependencies)
        self._header = _api_key_header(dependencies)
        provider = route.dependency_overrides_provider
        self.provider = provider if hasattr(provider, "dependency_overrides") else _WithoutAny
        self.in_route = not self.is_open and self._header is None
        self.may_change = any(map(_may_change_the_body, route.dependant.dependencies))
        if self.in_route:
            if not inspect.iscoroutinefunction(inspect.unwrap(route.dependant.call)):
                raise UncheckableError("its endpoint is no coroutine function")
            ask_behind_check(route.dependant)

    async def lets_in(self, scope: Scope) -> bool:
        """Return whether a client has LitServe's API key.

        Args:
            scope: Its request's.
        """
        if self._header is None:
            return False
        try:
            server.api_key_auth(await self._header(Request(scope)))
        except Exception:  # whatever it raises, LitServe's own run of it answers
            return False
        return True


def find(scope: Scope, inner: object, path: str) -> RouteCheck:
    """Find the route that answers a POST to a path, and its check.

    Args:
        scope: A scope of the app.
        inner: The app behind the middleware.
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
    asked |= {"headers": [], "path_params": {}}
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
    # In LitServe, False and -1 mean no limit; here a request could wait for a lost one forever.
    return float(timeout) if isinstance(timeout, int | float) and timeout > 0 else _SECONDS


def _refuse_personal(route: Any) -> None:
    """Refuse an endpoint that reads more of the request than the key holds."""
    if not isinstance(route, APIRoute):
        raise UncheckableError(f"{type(route).__name__} is no route of FastAPI")
    try:
        dependant = route.dependant
        read = [name for name in _OF_ENDPOINTS if getattr(dependant, name)]
        takes_request = dependant.request_param_name not in (None, PARAMETER)
        if takes_request and not _is_litserves(route.endpoint):
            read.append("the request")
        if len(dependant.dependencies) > len(route.dependencies):
            read.append("dependencies")
        writes = any(map(_writes_the_answer, dependant.dependencies))
    except AttributeError as error:
        raise UncheckableError(f"this FastAPI is of another make: {error}") from None
    if writes:
        raise UncheckableError("its check writes headers of the answer, which may be personal")
    if read:
        raise UncheckableError(f"its endpoint takes {', '.join(read)} beside the body")


def _is_litserves(endpoint: Any) -> bool:
    """Return whether an endpoint is LitServe's own, which `litserve.check` has looked at."""
    takes = len(inspect.signature(endpoint).parameters)
    return getattr(endpoint, "__module__", "") == "litserve.server" and takes == 1


def _writes_the_answer(dependant: Any) -> bool:
    """Return whether a dependency, or one of its dependencies, can write headers of the answer."""
    return bool(dependant.response_param_name) or any(
        map(_writes_the_answer, dependant.dependencies)
    )


def _may_change_the_body(dependant: Any) -> bool:
    """Return whether an unknown dependency, or one of its dependencies, can change the body."""
    call = dependant.call
    known = type(call).__module__.startswith("fastapi.security") or str(
        getattr(call, "__module__", "")
    ).startswith("litserve.")
    # A dependency that asks for an HTTPConnection gets the request itself from FastAPI.
    reached = (
        dependant.request_param_name
        or dependant.http_connection_param_name
        or dependant.body_params
    )
    changes = bool(reached and not known)
    return changes or any(map(_may_change_the_body, dependant.dependencies))


def _api_key_header(dependencies: list[Any]) -> APIKeyHeader | None:
    """Return the reader of the key if LitServe's own API-key check is the only dependency."""
    if dependencies != [server.api_key_auth]:
        return None
    taken = [p.default for p in inspect.signature(server.api_key_auth).parameters.values()]
    if len(taken) != 1 or not isinstance(taken[0], params.Depends):
        return None
    header = taken[0].dependency
    return header if type(header) is APIKeyHeader else None
