"""The LitServe that is installed: whether it is one that litcache knows."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

from fastapi import Request
from litserve import server
from starlette.types import Message

from litcache.errors import UnsupportedLitServeError

KNOWN = "0.2.17 to 0.2.19"

_BODY = {"probe": 1}
_HANDLERS = ("RegularRequestHandler", "StreamingRequestHandler")


def refuse(missing: Sequence[str], feature: str) -> NoReturn:
    """Raise `UnsupportedLitServeError` for a part of litcache that does not find what it needs.

    Args:
        missing: What is missing.
        feature: The part of litcache that needs it.
    """
    installed = metadata.version("litserve")
    raise UnsupportedLitServeError(installed, KNOWN, tuple(dict.fromkeys(missing)), feature)


def submission_faults() -> list[str]:
    """Return how LitServe's server gives a worker something else than the body of a request.

    A key holds the body and not the headers. If the worker saw headers, as LitServe's pull request
    730 proposes, its answer could depend on the client, and a hit could give it to another client.
    So this runs LitServe's own handlers on a request, up to where they submit it.

    Returns:
        A line for each handler that does not submit `(id, uid, time, body)`.
    """
    faults = []
    for name in _HANDLERS:
        kind = getattr(server, name, None)
        request = Request(dict(_SCOPE), _receive)
        if not (_gives(kind, request, Request, _BODY) and _gives(kind, _BODY, dict, _BODY)):
            faults.append(f"litserve.server.{name} submitting (id, uid, time, body)")
    return faults


_SCOPE = {
    "type": "http", "method": "POST", "path": "/probe", "root_path": "", "query_string": b"a=b",
    "headers": [(b"content-type", b"application/json"), (b"x-probe", b"a header")],
    "client": ("a client", 1), "server": ("a server", 1), "scheme": "http",
}  # fmt: skip


async def _receive() -> Message:
    return {"type": "http.request", "body": b'{"probe": 1}', "more_body": False}


class _Submitted(BaseException):  # LitServe's handlers catch every Exception
    """What a handler gave to the queue of its worker."""


class _Server:
    """Whatever a handler asks of its server and its API, down to the queue."""

    def __getattr__(self, name: str) -> _Server:
        return _Server()

    def __call__(self, *_: Any, **__: Any) -> _Server:
        return self

    def put(self, *item: Any, **more: Any) -> NoReturn:
        raise _Submitted(item, more)

    put_nowait = put


def _gives(kind: Any, request: Any, request_type: type, body: object) -> bool:
    """Return whether a handler submits just the body of a request."""
    try:
        handling = kind(_Server(), _Server()).handle_request(request, request_type)
        try:
            handling.send(None)
        finally:
            handling.close()
    except _Submitted as submitted:
        match submitted.args:
            case ((tuple() as item,), dict() as more) if len(item) == 4 and not more:
                kinds = list(map(type, item))
                return kinds == [_Server, str, float, type(body)] and item[3] == body
    except Exception:  # another signature, or other ways
        return False
    return False
