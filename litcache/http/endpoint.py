"""LitServe's endpoint behind LitServe's check: there the cache is asked, and nowhere before."""

from __future__ import annotations

import functools
import json
import marshal
from typing import Any, Protocol

from fastapi import Request, Response
from starlette.types import Receive

from litcache.http.responses import Stored

ASKED = "litcache.asked"
"""Where the scope of a request holds what the endpoint asks for a stored response."""

PARAMETER = "litcache_request"
"""What an endpoint that takes no request is given it as, before it is called."""

# What a Starlette request keeps of itself while nobody has parsed its body. A name that is not
# here may be a parsed body: then all of it is compared.
_UNPARSED = frozenset(
    {
        "scope", "_receive", "_send", "_stream_consumed", "_is_disconnected", "_form", "_body",
        "_url", "_base_url", "_headers", "_query_params", "_cookies", "_state",
    }
)  # fmt: skip


class Asked(Protocol):
    """A request that waits behind LitServe's check."""

    async def find(self, request: Request) -> Stored | None:
        """Return the response to give; `None` if the endpoint is to answer."""


def ask_behind_check(dependant: Any) -> None:
    """Have the endpoint of a route ask the cache first, once FastAPI has run the route's check.

    FastAPI calls `dependant.call` after all dependencies of the route: LitServe's API key, or
    `authorize` and all that it depends on. So whom the check refuses never gets here, and it has
    seen the request as LitServe shows it: path parameters, route and endpoint included. Where a
    FastAPI calls something else, nothing is ever found in the cache.

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
        stored = await asked.find(request) if asked is not None else None
        if stored is None:
            return await endpoint(**values)
        response = Response(stored.body)
        response.raw_headers = stored.headers
        return response

    ask_first.asks_litcache = True  # type: ignore[attr-defined]
    dependant.request_param_name = own or PARAMETER
    dependant.call = ask_first


async def is_as_sent(request: Request, body: bytes) -> bool:
    """Return whether a check left a request's body as it was sent, its parsed forms included.

    What `authorize` changes in them reaches the worker, since LitServe parses a body once.

    Args:
        request: The request that LitServe's endpoint gets.
        body: The body as it was sent.

    Returns:
        Whether the endpoint will see just that.
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
    except Exception:  # what cannot be read or compared is not as sent
        return False


def _giving(body: bytes) -> Receive:
    """Return a `receive` that gives a whole body."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
