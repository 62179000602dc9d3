"""A LitServe whose endpoint gives the worker more than the body is refused, whatever the way."""

import pickle
import time
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI, Request, Response
from litserve import server
from starlette.middleware.exceptions import ExceptionMiddleware

from litcache import CacheMiddleware
from litcache.errors import UnsupportedLitServeError
from litcache.http.route_check import UncheckableError, find


def submitting(make):
    """`handle_request` of a LitServe that submits something else."""

    async def handle_request(self, request, request_type):
        payload = await self._prepare_request(request, request_type)
        headers = dict(getattr(request, "headers", {}))
        parts = make(self.server.app.response_queue_id, payload, headers)
        self.server._get_request_queue(self.lit_api.api_path).put(*parts)

    return handle_request


async def with_a_raw_request(self, request, request_type, raw_request):
    await self._submit_request({"body": request, "headers": raw_request.headers})


async def that_never_submits(self, request, request_type):
    return Response(b"")


OTHERS = {
    "a fifth part": submitting(lambda id, body, headers: [(id, "uid", 1.0, body, headers)]),
    "headers in the payload": submitting(
        lambda id, body, headers: [(id, "uid", 1.0, {"body": body, "headers": headers})]
    ),
    "headers in the body": submitting(
        lambda id, body, headers: [(id, "uid", 1.0, {**body, "headers": headers})]
    ),
    "a pair": submitting(lambda id, body, headers: [(id, "uid", 1.0, (body, headers))]),
    "headers beside the id": submitting(
        lambda id, body, headers: [(id, ("uid", headers), 1.0, body)]
    ),
    "another queue": submitting(lambda id, body, headers: [((id, headers), "uid", 1.0, body)]),
    "a list": submitting(lambda id, body, headers: [[id, "uid", 1.0, body]]),
    "bytes": submitting(lambda id, body, headers: [pickle.dumps((body, headers))]),
    "a second argument": submitting(lambda id, body, headers: [(id, "uid", 1.0, body), headers]),
    "another signature": with_a_raw_request,
    "nothing": that_never_submits,
}


@pytest.mark.parametrize("handle_request", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("handler", ["RegularRequestHandler", "StreamingRequestHandler"])
def test_another_shape_of_what_is_submitted_is_refused(monkeypatch, handler, handle_request):
    monkeypatch.setattr(getattr(server, handler), "handle_request", handle_request)
    with pytest.raises(UnsupportedLitServeError, match=f"CacheMiddleware knows .*{handler}"):
        CacheMiddleware(print)


def test_a_handler_that_is_gone_is_named(monkeypatch):
    monkeypatch.delattr(server, "RegularRequestHandler")
    with pytest.raises(UnsupportedLitServeError, match="RegularRequestHandler") as caught:
        CacheMiddleware(print)
    assert caught.value.feature == "CacheMiddleware"
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


@pytest.mark.parametrize("handler", ["RegularRequestHandler", "StreamingRequestHandler"])
def test_the_known_shape_is_known_however_it_is_submitted(monkeypatch, handler):
    same = submitting(lambda id, body, headers: [(id, "uid", 1.0, body)])
    monkeypatch.setattr(getattr(server, handler), "handle_request", same)
    assert CacheMiddleware(print).info().hits == 0


def test_a_handler_that_asks_more_of_its_server_is_no_other_shape(monkeypatch):
    async def handle_request(self, request, request_type):
        payload = await self._prepare_request(request, request_type)
        self.server.metrics.requests.labels(self.lit_api.api_path).inc()
        queue = self.server._get_request_queue(self.lit_api.api_path)
        queue.put_nowait((self.server.app.response_queue_id, "uid", time.monotonic(), payload))

    monkeypatch.setattr(server.RegularRequestHandler, "handle_request", handle_request)
    assert CacheMiddleware(print).info().hits == 0


async def with_headers(request: Annotated[dict, Body()], raw_request: Request) -> Any:
    """An endpoint of LitServe's pull request 730."""


async def with_request_alone(request: Request) -> Any:
    """A spec's endpoint that may read anything."""


@pytest.mark.parametrize("endpoint", [with_headers, with_request_alone])
@pytest.mark.parametrize("module", ["litserve.server", "litserve.specs.openai", "mine"])
def test_an_endpoint_that_gets_the_request_beside_its_body_is_not_cached(
    monkeypatch, endpoint, module
):
    monkeypatch.setattr(endpoint, "__module__", module)
    app = FastAPI()
    app.add_api_route(
        "/predict", endpoint, methods=["POST"], dependencies=[Depends(server.no_auth)]
    )
    if (endpoint, module) == (with_request_alone, "litserve.server"):
        find({"app": app, "headers": []}, ExceptionMiddleware(app), "/predict")
        return
    with pytest.raises(UncheckableError, match="the request"):
        find({"app": app, "headers": []}, ExceptionMiddleware(app), "/predict")
