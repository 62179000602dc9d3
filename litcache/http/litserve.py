"""What LitServe's endpoint gives the worker of a request: its body, or the middleware refuses."""

from __future__ import annotations

from importlib import metadata
from typing import Any, NoReturn

from fastapi import Request
from litserve import server
from starlette.types import Message

from litcache.errors import UnsupportedLitServeError
from litcache.loop.litserve import KNOWN

_BODY = {"probe": 1}
_HANDLERS = ("RegularRequestHandler", "StreamingRequestHandler")


def check() -> None:
    """Refuse a LitServe whose endpoint gives the worker more of a request than its body.

    A key holds the body and none of the headers. A worker that saw them, as LitServe's pull
    request 730 proposes, could answer each client something else, and hits would mix that up.
    So LitServe's own handlers are given a request here, up to where they submit it.

    Raises:
        UnsupportedLitServeError: If what they submit is not `(id, uid, time, body)`.
    """
    missing = []
    for name in _HANDLERS:
        kind = getattr(server, name, None)
        request = Request(dict(_SCOPE), _receive)
        if not (_gives(kind, request, Request, _BODY) and _gives(kind, _BODY, dict, _BODY)):
            missing.append(f"litserve.server.{name} submitting (id, uid, time, body)")
    if missing:
        installed = metadata.version("litserve")
        raise UnsupportedLitServeError(installed, KNOWN, tuple(missing), "CacheMiddleware")


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
