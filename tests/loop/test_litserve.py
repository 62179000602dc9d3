"""The LitServe that `CachedBatchedLoop` stands on: which it refuses, and what it lives through."""

import pytest
from litserve.loops import BatchedLoop
from litserve.server import BaseRequestHandler, RegularRequestHandler
from support.loops import running
from support.words import WordAPI, both_ways

from litcache import CachedBatchedLoop
from litcache.errors import LitCacheError, UnsupportedLitServeError
from litcache.litapi.litserve import submission_faults
from litcache.loop import litserve as internals


def _another_signature(self, lit_api, queues):
    """What a later LitServe might make of it."""


@pytest.mark.parametrize(
    ("name", "value"),
    [("run_batched_loop", _another_signature), ("get_batch_requests", None),
     ("put_response", _another_signature), ("__call__", _another_signature)],
)  # fmt: skip
def test_a_litserve_of_other_internals_is_refused_by_name(name, value, monkeypatch):
    monkeypatch.setattr(BatchedLoop, name, value)
    with pytest.raises(UnsupportedLitServeError, match=name) as caught:
        CachedBatchedLoop()
    assert isinstance(caught.value, LitCacheError)
    assert "0.2.17 to" in str(caught.value)


def test_a_name_that_is_gone_is_refused_but_may_be_imported(monkeypatch):
    monkeypatch.setattr(internals, "_missing", [])
    assert internals._find("litserve.loops", "TurboLoop") is None
    assert internals._find("litserve.turbo", "Loop") is None
    with pytest.raises(UnsupportedLitServeError, match=r"TurboLoop, litserve\.turbo\.Loop"):
        CachedBatchedLoop()


# ---------------------------------------------------------------------- what its server submits


async def _with_headers_beside(self, request, request_type):
    payload = await self._prepare_request(request, request_type)
    queue = self.server._get_request_queue(self.lit_api.api_path)
    queue.put((self.server.app.response_queue_id, "uid", 0.0, payload, dict(request.headers)))


async def _with_headers_inside(self, request, request_type):
    payload = await self._prepare_request(request, request_type)
    await self._submit_request({"payload": payload, "headers": dict(request.headers)})


async def _to_another_queue(self, request, request_type):
    self.server.litapi_request_queues[self.lit_api.api_path].put(await request.json())


async def _nowhere(self, request, request_type):
    return {}


async def _headers_in_the_body(self, request, request_type):
    return {**await request.json(), "headers": dict(request.headers)}


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (RegularRequestHandler, "handle_request", _with_headers_beside),
        (RegularRequestHandler, "handle_request", _with_headers_inside),
        (RegularRequestHandler, "handle_request", _to_another_queue),
        (RegularRequestHandler, "handle_request", _nowhere),
        (RegularRequestHandler, "handle_request", None),
        (BaseRequestHandler, "_prepare_request", _headers_in_the_body),
        (BaseRequestHandler, "_submit_request", _another_signature),
    ],
)
def test_a_litserve_that_submits_something_else_is_refused(owner, name, value, monkeypatch):
    monkeypatch.setattr(owner, name, value)
    with pytest.raises(UnsupportedLitServeError, match=r"submitting \(id, uid, time, body\)"):
        CachedBatchedLoop()


def test_the_installed_litserve_submits_what_the_loop_reads():
    assert submission_faults() == []


@both_ways
@pytest.mark.parametrize(
    "arrived",
    [(0, "odd", 0.0, "a", {"header": "1"}), (0, "odd", 0.0), [0, "odd", 0.0, "a"],
     (0, "odd", {"headers": {}}, "a"), (0, "odd"), ["odd"], {"uid": "odd"}, None, 7],
    ids=str,
)  # fmt: skip
def test_a_request_of_an_unknown_shape_is_answered_500_and_the_loop_lives(arrived, overlap):
    api = WordAPI(overlap=overlap)
    with running(api) as driven:
        driven.requests.put(arrived)
        assert driven.get("a", "bad", "a")[0] == "A"
        if isinstance(arrived, tuple | list) and len(arrived) > 1:
            [error] = driven.wait("odd")
            assert isinstance(error, RuntimeError)
            assert "cannot read this request" in str(error)
        else:
            assert set(driven.answers) == {"1:a", "2:bad", "3:a"}
