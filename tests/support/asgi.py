"""Services behind a CacheMiddleware, FastAPI's and LitServe's, asked by raw ASGI messages."""

import asyncio
from typing import Annotated, Any

import litserve as ls
from fastapi import Body, Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from litserve.utils import LitAPIStatus

from litcache import CacheMiddleware

JSON = (b"content-type", b"application/json")


class Answer:
    """The messages of one response, as the client of the app gets them."""

    def __init__(self):
        self.messages = []

    async def send(self, message):
        self.messages.append({**message})

    @property
    def status(self):
        return self.messages[0]["status"]

    @property
    def headers(self):
        return self.messages[0]["headers"]

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    def header(self, name):
        """The values of a header."""
        return [value.decode() for key, value in self.headers if key.decode().lower() == name]

    @property
    def cache_status(self):
        return ", ".join(self.header("cache-status"))

    @property
    def is_hit(self):
        return self.cache_status.startswith("litcache; hit")


class Asked:
    """An `app` that is asked by raw ASGI messages."""

    async def ask(self, body=b'{"x": 1}', *headers, answer=None, receive=None, **scope):
        """Send a request, its body in as many messages as there are parts."""
        parts = [body] if isinstance(body, bytes) else list(body)
        messages = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]

        async def from_client():
            if not messages:
                await asyncio.Event().wait()  # it stays, and says nothing more
            return messages.pop(0)

        answer = answer or Answer()
        names = {name for name, _ in headers}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
            "method": "POST", "path": "/predict", "root_path": "", "query_string": b"",
            "headers": [*headers] if b"content-type" in names else [JSON, *headers],
            "client": ("127.0.0.1", 1234), "server": ("127.0.0.1", 80), **scope,
        }  # fmt: skip
        await self.app(scope, receive or from_client, answer.send)
        return answer


class LitService(Asked):
    """The HTTP side of a LitServer, with a worker in its place that answers with what it gets.

    Args:
        api: The LitAPI.
        middlewares: As `LitServer` takes them.

    Attributes:
        served: What reached the worker.
        entered: Released when something reaches it.
        go: What it waits for before it answers.
    """

    def __init__(self, api, middlewares=()):
        self.served = []
        self.entered = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.go.set()
        self._responses = set()
        self.server = ls.LitServer(api, accelerator="cpu", middlewares=list(middlewares))
        self.server.litapi_request_queues = {api.api_path: self}
        self.app = self.server.app

    def put(self, item):
        """Take what LitServe's endpoint submits."""
        _, uid, _, payload = item
        self.served.append(payload)
        self.entered.release()
        response = asyncio.get_running_loop().create_task(self._respond(uid, payload))
        self._responses.add(response)

    async def _respond(self, uid, payload):
        await self.go.wait()
        # What LitServe's own reader of the response queue does.
        payload = payload.model_dump() if hasattr(payload, "model_dump") else dict(payload)
        item = self.server.response_buffer[uid]
        item.response = (JSONResponse({"echo": payload}), LitAPIStatus.OK)
        item.event.set()


class Service(Asked):
    """An app whose answers count up, so that a hit is told from a new answer.

    Args:
        authorize: A dependency of the route, as `LitAPI.authorize` is.
        outer: Middlewares outside of the cache.
        inner: Middlewares behind it.
        **options: Of the cache.
    """

    def __init__(self, authorize=None, outer=(), inner=(), **options):
        self.calls = 0
        self.entered = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.go.set()
        self.respond = lambda payload: JSONResponse({"echo": payload, "call": self.calls})
        self.app = FastAPI()
        options.setdefault("paths", ["/predict", "/other"])
        options.setdefault("trial", 0)  # hits are answered from the first
        for path in ("/predict", "/other"):
            self.app.add_api_route(
                path, self.endpoint, methods=["POST"],
                dependencies=[Depends(authorize)] if authorize else [],
            )  # fmt: skip
        for middleware in inner:
            self.app.add_middleware(middleware)
        self.app.add_middleware(CacheMiddleware, **options)
        for middleware, arguments in outer:
            self.app.add_middleware(middleware, **arguments)

    async def endpoint(self, payload: Annotated[Any, Body()]) -> Response:
        self.calls += 1
        if isinstance(payload, bytes):  # FastAPI's, of what is not declared to be JSON
            payload = payload.decode("latin-1")
        self.entered.release()
        await self.go.wait()
        return self.respond(payload)

    @property
    def cache(self):
        """The CacheMiddleware that the app made."""
        layer = self.app.middleware_stack
        while not isinstance(layer, CacheMiddleware):
            layer = layer.app
        return layer
