"""LitServe's endpoint: the cache is asked there, after LitServe's check and not before."""

from __future__ import annotations

import functools
import json
import marshal
from typing import Any, Protocol

from fastapi import Request, Response
from starlette.types import Receive

from litcache.http.responses import Reply

ASKED = "litcache.asked"
"""Where the scope of a request holds what the endpoint asks for a stored response."""

PARAMETER = "litcache_request"
"""What an endpoint that takes no request is given it as, before it is called."""

# The attributes of a Starlette request before its body is parsed. Any other attribute may be a
# parsed body: then the whole body is compared.
_UNPARSED = frozenset(
    {
        "scope", "_receive", "_send", "_stream_consumed", "_is_disconnected", "_form", "_body",
        "_url", "_base_url", "_headers", "_query_params", "_cookies", "_state",
    }
)  # fmt: skip


class Asked(Protocol):
    """A request that waits behind LitServe's check."""

    async def find(self, request: Request) -> Reply | None:
        """Return the response to give, without a Cache-Status; `None`: the endpoint answers."""


def ask_behind_check(dependant: Any) -> None:
    """Make the endpoint of a route ask the cache first, after FastAPI has run the route's check.

    FastAPI calls `dependant.call` after all dependencies of the route: LitServe's API key, or
    `authorize` and everything that it depends on. So a client that the check refuses never gets
    here, and the check has seen the request as LitServe shows it, with path parameters, route and
    endpoint. If a FastAPI calls something else, the cache is never asked.

    Args:
        dependant: FastAPI's description of the route's endpoint, a coroutine function.
    """
    endpoint, own = dependant.call, dependant.request_param_name
    if getattr(endpoint, "asks_litcache", False):
        return

    @functools.wraps(endpoint)
    async def ask_first(**values: Any) -> Any:
        request: Request = values[own] if own else values.pop(PARAMETER)
        asked: Asked | None = request.scope.get(ASKED)
        if asked is None or (reply := await asked.find(request)) is None:
            return await endpoint(**values)
        headers, body = reply
        response = Response(body)
        response.raw_headers = headers
        return response

    ask_first.asks_litcache = True  # type: ignore[attr-defined]
    dependant.request_param_name = own or PARAMETER
    dependant.call = ask_first


async def is_as_sent(request: Request, body: bytes) -> bool:
    """Return whether a check left the body of a request, and its parsed forms, as it was sent.

    LitServe parses a body once, so what `authorize` changes in a parsed form reaches the worker.

    Args:
        request: The request that LitServe's endpoint gets.
        body: The body as it was sent.

    Returns:
        Whether the endpoint will see exactly this body.
    """
    try:
        kept = vars(request)
        if kept.keys() <= _UNPARSED and kept.get("_form") is None:
            return await request.body() == body
        # LitServe's endpoint reads a body of this very type as a form, and all others as JSON.
        if request.headers.get("content-type") == "application/x-www-form-urlencoded":
            fresh = await Request(request.scope, _giving(body)).form()
            return (await request.form()).multi_items() == fresh.multi_items()
        # Version 2 tells all types that JSON has apart, and refers to no object twice.
        parsed = marshal.dumps(await request.json(), 2)
        return await request.body() == body and parsed == marshal.dumps(json.loads(body), 2)
    except Exception:  # a body that cannot be read or compared counts as changed
        return False


def _giving(body: bytes) -> Receive:
    """Return a `receive` that gives a whole body."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
