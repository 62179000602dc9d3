"""What CacheMiddleware answers, stores and leaves alone, message by message."""

import asyncio
import logging
import os
import threading
import tracemalloc
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Body, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from litserve.middlewares import MaxSizeMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection
from support.asgi import JSON, Answer, Asked, Service
from support.followers import all_begun, following
from support.stores import HeldStore, entered

from litcache import CacheMiddleware, MemoryStore, SharedStore, TieredStore, disabled
from litcache.observe.counters import LOOKUP_SECONDS, LOOKUPS, NUMBERS
from litcache.stores.base import NewEntry
from litcache.testing import FailingStore, FakeClock

KEY = (b"x-api-key", b"k")


def run(main):
    """Run a test's coroutine with warnings of coroutines never awaited as errors."""
    return asyncio.run(main())


async def pair(service, first=(), second=(), **scope):
    """Ask twice: what the second got tells whether the first was stored for it."""
    await service.ask(*first)
    return await service.ask(*second, **scope)


# ---------------------------------------------------------------------------- hits and misses


def test_an_equal_request_is_answered_without_the_app():
    async def main():
        service = Service()
        first, second = await service.ask(), await service.ask()

        assert service.calls == 1
        assert (first.status, first.body) == (second.status, second.body)
        assert first.cache_status == "litcache; fwd=miss; stored"
        assert second.cache_status in ("litcache; hit; ttl=59", "litcache; hit; ttl=60")
        assert second.header("age") == ["0"]
        same = [(n, v) for n, v in second.headers if n not in (b"age", b"cache-status")]
        assert same == first.headers[:-1]

    run(main)


DIFFERENT = {
    "path": {"path": "/other"},
    "query": {"query_string": b"a=1"},
    "content type": {"headers": ((b"content-type", b"application/vnd.x+json"),)},
    "second content type": {"headers": (JSON, JSON)},
    "varied header": {"headers": ((b"x-tenant", b"a"),)},
    "order of a varied header": {"headers": ((b"x-tenant", b"a"), (b"x-tenant", b"b"))},
    "body": {"body": b'{"x":1}'},
}


@pytest.mark.parametrize("difference", DIFFERENT.values(), ids=DIFFERENT)
def test_whatever_may_change_the_answer_is_in_the_key(difference):
    async def main():
        service = Service(vary=["X-Tenant"])
        await service.ask()
        await service.ask(b'{"x": 1}', (b"x-tenant", b"b"), (b"x-tenant", b"a"))
        scope = {k: v for k, v in difference.items() if k not in ("headers", "body")}
        body, headers = difference.get("body", b'{"x": 1}'), difference.get("headers", ())

        other = await service.ask(body, *headers, **scope)
        again = await service.ask(body, *headers, **scope)

        assert not other.is_hit
        assert again.is_hit
        assert again.body == other.body

    run(main)


@pytest.mark.parametrize(
    "headers",
    [((b"user-agent", b"x"),), ((b"cache-control", b"no-cache"),), ((b"x-request-id", b"7"),)],
)
def test_other_headers_are_not_in_the_key(headers):
    async def main():
        assert (await pair(Service(), (), (b'{"x": 1}', *headers))).is_hit

    run(main)


@pytest.mark.parametrize("parts", [[b'{"x"', b": 1}"], [b'{"x": 1}', b""], [b"", b'{"x": 1}']])
def test_the_messages_that_a_body_comes_in_do_not_matter(parts):
    async def main():
        service = Service()
        assert (await pair(service, (), (parts,))).is_hit
        assert (await service.ask([b'{"y"', b": 1}"])).body == b'{"echo":{"y":1},"call":2}'

    run(main)


@pytest.mark.parametrize(
    ("one", "other"), [({"version": "1"}, {"version": "2"}), ({}, {"namespace": "b"})]
)
def test_versions_and_namespaces_share_no_entries(one, other):
    async def main():
        store = MemoryStore()
        await Service(store=store, **one).ask()
        assert not (await Service(store=store, **other).ask()).is_hit
        assert (await Service(store=store, **one).ask()).is_hit

    run(main)


def test_an_answer_lives_as_long_as_ttl_and_max_age_allow():
    async def main():
        clock = FakeClock()
        service = Service(store=MemoryStore(clock=clock), ttl=60)
        control = {"cache-control": "max-age=20"}
        service.respond = lambda payload: JSONResponse(payload, headers=control)
        await service.ask()
        clock.advance(19)
        hit = await service.ask()
        assert hit.cache_status == "litcache; hit; ttl=1"
        assert hit.header("age") == ["19"]
        clock.advance(1)
        assert not (await service.ask()).is_hit

    run(main)


def test_age_and_ttl_are_the_whole_seconds_that_are_over_and_left():
    async def main():
        clock = FakeClock()
        service = Service(store=MemoryStore(clock=clock), ttl=60)
        await service.ask()
        clock.advance(18.5)
        hit = await service.ask()
        assert (hit.header("age"), hit.cache_status) == (["18"], "litcache; hit; ttl=41")
        clock.advance(-20)  # the clock was set
        hit = await service.ask()
        assert (hit.header("age"), hit.cache_status) == (["0"], "litcache; hit; ttl=61")

    run(main)


def test_hits_look_once_a_second_whether_a_line_of_counters_is_due(caplog, monkeypatch):
    monkeypatch.setenv("LITCACHE_LOG_SECONDS", "0.000001")

    async def main():
        clock = FakeClock()
        service = Service(store=MemoryStore(clock=clock))
        await service.ask()
        for seconds in (0, 0.4, 0.4, 0.4, 0.4, -7, 0.4):
            clock.advance(seconds)
            assert (await service.ask()).is_hit

    with caplog.at_level(logging.INFO, "litcache"):
        run(main)
    lines = [line for line in caplog.messages if " hits," in line]
    assert [line.split(" hits,")[0][-1] for line in lines] == ["1", "4", "6"]


@pytest.mark.parametrize("wish", [b"", b"no-cache"])
def test_a_clear_forgets_what_is_stored_and_what_is_under_way(wish):
    async def main():
        store = MemoryStore()
        service = Service(store=store, client_control=True)
        service.go.clear()
        under_way = asyncio.create_task(service.ask(b'{"x": 1}', (b"cache-control", wish)))
        await service.entered.acquire()
        store.clear("http")
        service.go.set()
        await under_way
        assert not (await service.ask()).is_hit
        assert (await service.ask()).is_hit
        store.clear("http")
        assert not (await service.ask()).is_hit

    run(main)


def test_an_answer_above_the_budget_is_not_called_stored():
    async def main():
        service = Service(max_bytes=2_000)
        service.respond = lambda payload: Response(b"x" * payload)
        assert (await service.ask(b"100")).cache_status == "litcache; fwd=miss; stored"
        for _ in range(2):
            assert (await service.ask(b"2000")).cache_status == "litcache; fwd=miss"
        assert service.cache.info().rejected == 2
        assert (await service.ask(b"100")).is_hit

    run(main)


@pytest.mark.parametrize("wish", [b"", b"no-cache"])
@pytest.mark.parametrize("kind", ["memory", "shared", "tiered"])
def test_an_answer_that_a_clear_overtook_is_not_called_stored(tmp_path, kind, wish):
    async def main():
        shared = SharedStore(tmp_path)
        store = {"memory": MemoryStore(), "shared": shared,
                 "tiered": TieredStore(MemoryStore(), shared)}[kind]  # fmt: skip
        service = Service(store=store, namespace="http", version="1", client_control=True)
        service.go.clear()
        under_way = asyncio.create_task(service.ask(b'{"x": 1}', (b"cache-control", wish)))
        await service.entered.acquire()
        store.clear("http")
        service.go.set()
        assert "stored" not in (await under_way).cache_status
        assert (await service.ask()).cache_status == "litcache; fwd=miss; stored"
        assert (await service.ask()).is_hit

    run(main)


# ---------------------------------------------------------------------------- what is stored


def cached_headers(**headers):
    return lambda payload: JSONResponse(
        {}, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


async def _numbers():
    yield b"1"
    yield b"2"


FAILED = {
    "not found": lambda _: JSONResponse({}, 404),
    "unprocessable": lambda _: JSONResponse({}, 422),
    "error": lambda _: JSONResponse({}, 500),
    "timeout": lambda _: JSONResponse({}, 504),
}
UNSTORED = {
    "created": lambda _: JSONResponse({}, 201),
    "partial": lambda _: JSONResponse({}, 206),
    "stream": lambda _: StreamingResponse(_numbers()),
    "too short": lambda _: Response(b"12", headers={"content-length": "3"}),
    "cookie": cached_headers(set_cookie="a=b"),
    "range": cached_headers(content_range="bytes 0-1/2"),
    "no-store": cached_headers(cache_control="no-store"),
    "private": cached_headers(cache_control='max-age=9, PRIVATE="x"'),
    "no-cache": cached_headers(cache_control="public,No-Cache"),
    "max-age=0": cached_headers(cache_control="max-age=0"),
    "bad max-age": cached_headers(cache_control="max-age=soon"),
    "vary": cached_headers(vary="X-Tenant, Accept"),
    "vary *": cached_headers(vary="*"),
    "encoded": cached_headers(content_encoding="gzip"),
    "expires": cached_headers(expires="0"),
}


@pytest.mark.parametrize("respond", (FAILED | UNSTORED).values(), ids=FAILED | UNSTORED)
def test_what_may_not_be_answered_to_others_is_not_stored(respond):
    async def main():
        service = Service(vary=("x-tenant",))
        service.respond = respond
        again = await pair(service)
        assert service.calls == 2
        assert again.cache_status == "litcache; fwd=miss"
        assert service.cache.info().entries == 0
        failed = respond in FAILED.values()
        assert service.cache.info().uncacheable == (0 if failed else 2)
        assert service.cache.info().bypassed == (2 if failed else 0)

    run(main)


def test_what_clients_do_wrong_says_nothing_of_the_cache():
    async def main():
        service = Service(by_header)
        await pair(service, (b"1", KEY), (b"1", KEY))
        await service.ask(b"1")  # 403
        await service.ask(b"{", KEY)  # 422
        service.respond = lambda _: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await service.ask(b"2", KEY)
        info = service.cache.info()
        assert (info.hits, info.misses, info.bypassed, info.uncacheable) == (1, 1, 3, 0)

    run(main)


STORED = {
    "vary within": cached_headers(vary="X-Tenant"),
    "public": cached_headers(cache_control="public, max-age=9"),
    "empty": lambda _: Response(b""),
    "binary": lambda _: Response(bytes(range(256)), media_type="image/png"),
    "expires beside max-age": cached_headers(expires="0", cache_control="max-age=9"),
}


@pytest.mark.parametrize("respond", STORED.values(), ids=STORED)
def test_other_whole_answers_are_stored(respond):
    async def main():
        service = Service(vary=("x-tenant",))
        service.respond = respond
        first, second = await service.ask(), await service.ask()
        assert second.is_hit
        assert second.body == first.body
        assert second.headers[: len(first.headers) - 1] == first.headers[:-1]

    run(main)


def test_a_body_in_many_messages_is_passed_on_as_it_comes_and_stored():
    async def main():
        service = Service()
        service.respond = lambda _: StreamingResponse(_numbers(), headers={"content-length": "2"})
        first = await service.ask()
        assert [m["body"] for m in first.messages[1:]] == [b"1", b"2", b""]
        assert first.cache_status == "litcache; fwd=miss"
        second = await service.ask()
        assert second.is_hit
        assert second.body == b"12"

    run(main)


def test_a_stream_reaches_the_client_chunk_by_chunk():
    async def main():
        service, answer, go = Service(), Answer(), asyncio.Event()

        async def chunks():
            yield b"1"
            await go.wait()
            yield b"2"

        service.respond = lambda _: StreamingResponse(chunks())
        task = asyncio.create_task(service.ask(answer=answer))
        while len(answer.messages) < 2:
            await asyncio.sleep(0)
        assert answer.body == b"1"
        go.set()
        await task
        assert answer.body == b"12"

    run(main)


def test_headers_do_not_grow_from_hit_to_hit():
    class Adder:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def add(message):
                if message["type"] == "http.response.start":
                    message["headers"].append((b"x-added", b"1"))
                await send(message)

            await self.app(scope, receive, add)

    async def main():
        outer = [
            (Adder, {}),
            (CORSMiddleware, {"allow_origins": ["http://a"]}),
            (GZipMiddleware, {"minimum_size": 1}),
        ]
        service = Service(outer=outer)
        answers = [await service.ask(b"1", (b"origin", b"http://a")) for _ in range(5)]
        for answer in answers:
            assert answer.header("x-added") == ["1"]
            assert answer.header("vary") == answers[0].header("vary")
            assert answer.header("access-control-allow-origin") == ["http://a"]
        assert service.calls == 1
        other = await service.ask(b"1", (b"origin", b"http://b"))
        assert other.is_hit
        assert other.header("access-control-allow-origin") == []

    run(main)


# ---------------------------------------------------------------------------- what passes through


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_other_methods_are_left_alone(method):
    async def main():
        answer = await Service().ask(method=method)
        assert answer.status == 405
        assert answer.header("cache-status") == []

    run(main)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/nowhere", "/predict/"])
def test_other_paths_are_left_alone(path):
    async def main():
        service = Service()
        answer = await service.ask(path=path, method="GET")
        assert answer.header("cache-status") == []
        assert service.cache.info().bypassed == 0

    run(main)


def test_a_path_below_a_proxys_root_path_is_cached():
    async def main():
        service = Service()
        scope = {"path": "/api/predict", "root_path": "/api"}
        assert not (await service.ask(**scope)).is_hit
        assert (await service.ask(**scope)).is_hit

    run(main)


def test_a_multipart_request_passes_through():
    async def main():
        service = Service()
        header = (b"content-type", b' Multipart/form-data; boundary="x"')
        assert (await service.ask(b"--x--", header)).cache_status == "litcache; fwd=bypass"
        assert service.cache.info().bypassed == 1

    run(main)


def test_disabled_leaves_everything_alone():
    async def main():
        service = Service()
        await service.ask()
        with disabled():
            answer = await service.ask()
        assert answer.body == b'{"echo":{"x":1},"call":2}'
        assert answer.header("cache-status") == []

    run(main)


def test_a_websocket_is_left_alone():
    async def main():
        service = Service()

        @service.app.websocket("/predict")
        async def talk(socket):
            await socket.accept()
            await socket.close(4000)

        await service.ask()
        answer = Answer()

        async def receive():
            return {"type": "websocket.connect"}

        await service.ask(
            answer=answer, receive=receive, type="websocket", subprotocols=[], scheme="ws"
        )
        assert answer.messages[0]["type"] in ("websocket.accept", "websocket.close")

    run(main)


@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_passes_through(monkeypatch, declared):
    monkeypatch.setattr("litcache.http.body.LARGEST_BODY", 100)

    async def main():
        service = Service()
        parts = [b'"' + b"x" * 60, b"x" * 60, b"x" * 60 + b'"']
        headers = [(b"content-length", b"182")] if declared else []
        for _ in range(2):
            answer = await service.ask(parts, *headers)
            assert answer.body.startswith(b'{"echo":"' + b"x" * 180 + b'"')
            assert answer.cache_status == "litcache; fwd=bypass"
        assert service.calls == 2

    run(main)


def test_of_a_large_body_only_the_start_is_read_before_the_app(monkeypatch):
    monkeypatch.setattr("litcache.http.body.LARGEST_BODY", 100)

    async def main():
        service, taken, held = Service(), [], []

        async def receive():
            taken.append(1)
            return {"type": "http.request", "body": b" " * 60, "more_body": len(taken) < 50}

        async def app(scope, receive, send):
            held.append(len(taken))
            while (await receive())["more_body"]:
                pass

        await service.ask()
        service.cache._app = app
        await service.ask(b"", receive=receive)
        assert held == [2]
        assert len(taken) == 50

    run(main)


def test_a_body_that_drips_takes_no_more_memory_than_its_bytes():
    async def main():
        service, left = Service(), 20_000
        await service.ask()  # imports, routes
        held = 0

        async def receive():
            nonlocal left, held
            left -= 1
            held = held if left else tracemalloc.get_traced_memory()[0]
            return {"type": "http.request", "body": b" " if left else b"1", "more_body": left > 0}

        tracemalloc.start()
        try:
            assert (await service.ask(receive=receive)).status == 200
        finally:
            tracemalloc.stop()
        assert held < 20 * 20_000

    run(main)


def test_a_large_answer_passes_through(monkeypatch):
    monkeypatch.setattr("litcache.http.recorder.LARGEST_BODY", 100)

    async def main():
        service = Service()
        service.respond = lambda _: Response(b"x" * 101)
        assert (await pair(service)).body == b"x" * 101
        assert service.calls == 2

    run(main)


@pytest.mark.parametrize("parts", [[b"x" * 101], [b"x" * 60, b"x" * 60]])
def test_a_payload_too_large_stays_413(parts):
    async def main():
        service = Service(outer=[(MaxSizeMiddleware, {"max_size": 100})])
        for _ in range(2):
            assert (await service.ask(parts)).status == 413
        assert service.cache.info().entries == 0

    run(main)


@pytest.mark.parametrize("parts", [[], [b'{"x"']])
def test_a_client_that_leaves_in_its_body_is_met_by_the_app(parts):
    async def main():
        service = Service()
        messages = [{"type": "http.request", "body": p, "more_body": True} for p in parts]

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        answer = await service.ask(b"", receive=receive)
        assert answer.status == 400  # as without: FastAPI's answer to nobody
        assert answer.cache_status == "litcache; fwd=bypass"
        assert service.calls == 0

    run(main)


BAD_BODIES = [b"", b"{", b"\xff\xfe", b'{"x": 1}' * 2, b"[" * 10_000, b"\x1f\x8b\x08 not gzip"]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_bad_bodies_get_the_apps_own_answer_each_time(body):
    async def main():
        service, bare = Service(), Service()
        with disabled():
            expected = await bare.ask(body)
        answers = [await service.ask(body) for _ in range(2)]
        assert [a.status for a in answers] == [expected.status] * 2
        assert [a.body for a in answers] == [expected.body] * 2
        assert service.cache.info().entries == 0

    run(main)


# ---------------------------------------------------------------------------- the client's wishes


def test_a_client_may_ask_for_a_new_answer():
    async def main():
        service = Service(client_control=True)
        wish = (b"cache-control", b"max-age=0, No-Cache")
        await service.ask()
        renewed = await service.ask(b'{"x": 1}', wish)
        assert renewed.cache_status == "litcache; fwd=request; stored"
        assert (await service.ask()).body == renewed.body == b'{"echo":{"x":1},"call":2}'

    run(main)


def test_an_older_answer_that_comes_late_does_not_replace_a_new_one():
    async def main():
        service = Service(client_control=True)
        gates = [asyncio.Event(), asyncio.Event()]
        waiting = iter(gates)
        service.go.wait = lambda: next(waiting).wait()
        older = asyncio.create_task(service.ask())
        await service.entered.acquire()
        newer = asyncio.create_task(service.ask(b'{"x": 1}', (b"cache-control", b"no-cache")))
        await service.entered.acquire()
        service.respond = lambda payload: JSONResponse("new")
        gates[1].set()
        assert (await newer).body == b'"new"'
        service.respond = lambda payload: JSONResponse("old")
        gates[0].set()
        assert (await older).body == b'"old"'
        last = await service.ask()
        assert last.is_hit
        assert last.body == b'"new"'

    run(main)


def test_a_client_may_ask_not_to_be_stored():
    async def main():
        service = Service(client_control=True)
        wish = (b"cache-control", b"no-store")
        first = await service.ask(b'{"x": 1}', wish)
        assert first.cache_status == "litcache; fwd=bypass"
        assert not (await service.ask()).is_hit
        assert not (await service.ask(b'{"x": 1}', wish)).is_hit

    run(main)


# ---------------------------------------------------------------------------- LitServe's check


def by_header(request: Request):
    if request.headers.get("x-api-key") != "k":
        raise HTTPException(403, "no")


def by_cookie(request: Request):
    if request.cookies.get("session") != "s":
        raise HTTPException(403, "no")


async def by_host(request: Request):
    if request.url.hostname != "good":
        raise HTTPException(403, "no")


def by_client(request: Request):
    if request.client.host != "10.0.0.1":
        raise HTTPException(403, "no")


def by_yield(request: Request):
    by_header(request)
    yield


def by_a_mistake(request: Request):
    return {b"k": 1}[dict(request.scope["headers"])[b"x-api-key"]]


ATTACKS = {
    "header": (by_header, {"headers": [KEY]}, {}),
    "wrong header": (by_header, {"headers": [KEY]}, {"headers": [(b"x-api-key", b"K")]}),
    "cookie": (by_cookie, {"headers": [(b"cookie", b"session=s")]}, {}),
    "host": (by_host, {"headers": [(b"host", b"good")]}, {"headers": [(b"host", b"bad")]}),
    "address": (by_client, {"client": ("10.0.0.1", 1)}, {"client": ("10.0.0.2", 1)}),
    "yield": (by_yield, {"headers": [KEY]}, {}),
    "error": (by_a_mistake, {"headers": [KEY]}, {"headers": [(b"x-api-key", b"K")]}),
}


@pytest.mark.parametrize(("authorize", "good", "bad"), ATTACKS.values(), ids=ATTACKS)
def test_whom_litserve_refuses_gets_its_refusal_and_no_word_of_the_entry(authorize, good, bad):
    async def ask(service, scope):
        headers = [JSON, *scope.get("headers", ())]
        answer = Answer()
        with suppress(KeyError):  # which ServerErrorMiddleware answers, and raises again
            await service.ask(answer=answer, **{**scope, "headers": headers})
        return answer

    async def main():
        service = Service(authorize)
        cold = await ask(service, bad)
        assert cold.status in (403, 500)
        await ask(service, good)
        hit = await ask(service, good)
        assert hit.is_hit
        refused = await ask(service, bad)
        assert (refused.status, refused.body) == (cold.status, cold.body)
        assert refused.headers == cold.headers
        assert service.calls == 1

    run(main)


def test_the_check_runs_once_for_each_request():
    checked = []

    def authorize(request: Request):
        checked.append(request.headers["x-id"])

    async def main():
        service = Service(authorize)
        for number in (b"1", b"2", b"3"):
            await service.ask(b"1", (b"x-id", number))
        assert checked == ["1", "2", "3"]

    run(main)


def test_background_tasks_of_the_check_run_once_for_each_request():
    done = []

    def authorize(request: Request, tasks: BackgroundTasks):
        tasks.add_task(done.append, request.headers["x-id"])

    async def main():
        service = Service(authorize)
        for number in (b"1", b"2", b"3"):
            await service.ask(b"1", (b"x-id", number))
        assert service.calls == 1
        assert done[-2:] == ["2", "3"]
        assert len(done) == len(set(done))

    run(main)


def test_a_key_revoked_between_two_requests_is_refused():
    valid = {"k"}

    def authorize(request: Request):
        if request.headers["x-api-key"] not in valid:
            raise HTTPException(401, "no")

    async def main():
        service = Service(authorize)
        assert (await pair(service, (b"1", KEY), (b"1", KEY))).is_hit
        valid.clear()
        assert (await service.ask(b"1", KEY)).status == 401
        valid.add("k")
        assert (await service.ask(b"1", KEY)).is_hit

    run(main)


def test_while_a_check_is_overridden_nothing_is_cached_and_that_is_said(caplog):
    async def main():
        service = Service(by_header)
        await pair(service, (b"1", KEY), (b"1", KEY))
        service.app.dependency_overrides[by_header] = by_cookie
        assert (await service.ask(b"1", KEY)).status == 403
        for _ in range(2):
            let_in = await service.ask(b"1", (b"cookie", b"session=s"))
            assert let_in.cache_status == "litcache; fwd=bypass"
        service.app.dependency_overrides.clear()
        assert (await service.ask(b"1", KEY)).is_hit

    run(main)
    assert [r.message.count("dependency_overrides") for r in caplog.records] == [1]


def test_an_endpoint_that_does_not_ask_the_cache_is_told_of_once(caplog):
    async def main():
        service = Service(by_header)
        await service.ask(b"1", KEY)
        (route,) = [r for r in service.app.routes if getattr(r, "path", "") == "/predict"]

        async def endpoint(payload: Any, **_: Any) -> Response:
            return await service.endpoint(payload)

        route.dependant.call = endpoint  # as a FastAPI of another make would call it
        for _ in range(2):
            assert (await service.ask(b"2")).status == 403
            assert not (await service.ask(b"2", KEY)).is_hit

    run(main)
    assert [r.message.count("gives no hits") for r in caplog.records] == [1]


async def names_the_user(request: Request):
    user = request.headers.get("x-user")
    if user is not None:
        (await request.json())["user"] = user


async def names_the_user_of_a_connection(connection: HTTPConnection):
    await names_the_user(connection)


@pytest.mark.parametrize("check", [names_the_user, names_the_user_of_a_connection])
def test_an_answer_to_a_body_that_the_check_made_personal_is_given_to_nobody_else(check):
    async def main():
        service = Service(check)
        ann, bob = (b"x-user", b"ann"), (b"x-user", b"bob")
        for _ in range(2):
            assert b'"ann"' in (await service.ask(b'{"x": 1}', ann)).body
        assert b'"bob"' in (await service.ask(b'{"x": 1}', bob)).body
        assert b"user" not in (await service.ask()).body
        assert (await service.ask()).is_hit
        personal = await service.ask(b'{"x": 1}', ann)
        assert b'"ann"' in personal.body
        assert not personal.is_hit

    run(main)


async def signed(request: Request):
    await request.body()
    await request.json()


def test_a_check_that_only_reads_the_body_leaves_answers_cacheable():
    async def main():
        assert (await pair(Service(signed))).is_hit

    run(main)


def test_what_the_router_notes_in_the_scope_is_there_on_hits_too():
    noted = []

    class Reader:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                noted.append((scope["route"].path, scope["endpoint"], scope["path_params"]))

    async def main():
        service = Service(outer=[(Reader, {})])
        assert (await pair(service)).is_hit
        assert noted[0] == noted[1]

    run(main)


# ---------------------------------------------------------------------------- requests in flight


async def in_flight(service, followers, *headers):
    """Start a leader, and equal requests that come while the app works for it."""
    service.go.clear()
    leader = asyncio.create_task(service.ask(b'{"x": 1}', *headers))
    await service.entered.acquire()
    with following() as begun:
        tasks = [asyncio.create_task(service.ask(b'{"x": 1}', *headers)) for _ in range(followers)]
        await all_begun(begun, followers)
    return leader, tasks


def test_equal_requests_in_flight_are_sent_on_once():
    async def main():
        service = Service()
        leader, followers = await in_flight(service, 20)
        service.go.set()
        first, *others = await asyncio.gather(leader, *followers)
        assert service.calls == 1
        assert {a.body for a in others} == {first.body}
        assert {a.cache_status for a in others} == {"litcache; fwd=miss; collapsed"}
        lists = [id(a.messages[0]["headers"]) for a in (first, *others)]
        assert len(set(lists)) == 21
        info = service.cache.info()
        assert (info.misses, info.coalesced, info.hits) == (1, 20, 0)

    run(main)


@pytest.mark.parametrize(
    "respond", [FAILED["error"], UNSTORED["cookie"], UNSTORED["stream"], lambda _: 1 / 0]
)
def test_followers_of_an_answer_that_is_not_for_them_go_on_themselves(respond):
    async def main():
        service = Service()
        service.respond = respond
        leader, followers = await in_flight(service, 3)
        service.go.set()
        await asyncio.gather(leader, *followers, return_exceptions=True)
        assert service.calls == 4

    run(main)


@pytest.mark.parametrize("fail", [FAILED["error"], FAILED["unprocessable"], lambda _: 1 / 0])
def test_the_next_one_leads_the_followers_of_a_leader_that_failed(fail):
    async def main():
        service = Service()
        well, service.respond = service.respond, lambda payload: answers.pop(0)(payload)
        answers = [fail, well]
        leader, followers = await in_flight(service, 5)
        service.go.set()
        first, *others = await asyncio.gather(leader, *followers, return_exceptions=True)
        assert not isinstance(first, Answer) or first.status >= 400
        assert {answer.body for answer in others} == {b'{"echo":{"x":1},"call":2}'}
        led = [a for a in others if a.cache_status == "litcache; fwd=miss; stored"]
        assert len(led) == 1
        assert service.calls == 2

    run(main)


def test_the_next_one_leads_the_followers_of_a_cancelled_leader():
    async def main():
        service = Service()
        leader, followers = await in_flight(service, 4)
        leader.cancel()
        service.go.set()
        answers = await asyncio.gather(*followers)
        assert {a.status for a in answers} == {200}
        assert service.calls == 2
        assert (await service.ask()).is_hit

    run(main)


def test_followers_of_what_fails_twice_go_on_at_once():
    async def main():
        service, gates = Service(), []

        class Gate:
            async def wait(self):
                gates.append(asyncio.Event())
                await gates[-1].wait()

        service.respond, service.go = FAILED["error"], Gate()
        tasks = [asyncio.create_task(service.ask()) for _ in range(6)]
        rounds = []
        while not all(task.done() for task in tasks):
            for _ in range(200):
                await asyncio.sleep(0)
            rounds.append(len(gates))
            for gate in gates:
                gate.set()
            gates.clear()
        assert [n for n in rounds if n] == [1, 1, 4]
        assert [task.result().status for task in tasks] == [500] * 6

    run(main)


class Lasting:
    """What LitServe's server is to its app: the owner of the lifespan, with a timeout."""

    timeout = 0.01

    async def lifespan(self, app):
        yield


def test_nobody_waits_longer_than_litserves_timeout_for_a_leader_that_is_lost():
    async def main():
        service = Service()
        service.app.router.lifespan_context = Lasting().lifespan
        leader, (follower,) = await in_flight(service, 1)
        await service.entered.acquire()  # the follower has gone on itself
        third = asyncio.create_task(service.ask())
        await service.entered.acquire()  # and who comes later leads
        leader.cancel()
        service.go.set()
        assert (await follower).status == (await third).status == 200
        assert (await service.ask()).is_hit

    run(main)


def test_a_cancelled_follower_disturbs_nobody():
    async def main():
        service = Service()
        leader, (lost, kept) = await in_flight(service, 2)
        lost.cancel()
        await asyncio.wait([lost])
        service.go.set()
        assert (await leader).status == (await kept).status == 200
        assert service.calls == 1

    run(main)


def test_a_follower_that_litserve_refuses_is_refused_at_once():
    async def main():
        service = Service(by_header)
        leader, (follower,) = await in_flight(service, 1, KEY)
        refused = await service.ask()
        assert refused.status == 403
        assert refused.cache_status == "litcache; fwd=miss"
        assert not leader.done()
        service.go.set()
        await leader
        assert (await follower).cache_status.endswith("collapsed")

    run(main)


def test_a_slow_client_of_a_long_answer_holds_up_no_follower():
    async def main():
        service, stuck = Service(), asyncio.Event()
        service.respond = lambda _: StreamingResponse(_numbers(), headers={"content-length": "2"})

        class Slow(Answer):
            async def send(self, message):
                await super().send(message)
                await stuck.wait()

        service.go.clear()
        leader = asyncio.create_task(service.ask(answer=Slow()))
        await service.entered.acquire()
        follower = asyncio.create_task(service.ask())
        service.go.set()
        assert (await follower).body == b"12"
        assert not leader.done()
        stuck.set()
        await leader

    run(main)


# ---------------------------------------------------------------------------- stores


@pytest.mark.parametrize("fail", [("get",), ("set",), ("get", "set", "info")])
def test_a_failing_store_costs_misses_and_no_errors(fail, caplog):
    async def main():
        service = Service(store=FailingStore(fail=fail))
        answers = [await service.ask() for _ in range(3)]
        assert [a.status for a in answers] == [200] * 3
        # What a store that did not answer may have cleared meanwhile is not known.
        assert [a.cache_status for a in answers] == ["litcache; fwd=miss"] * 3
        assert service.cache.info().store_errors == 3

    run(main)
    assert caplog.text.count("the store failed and items are computed") == 1


class SpoilingStore(MemoryStore):
    """A store that hands out entries of something else until they are replaced."""

    spoils = False

    def get_many(self, scope, keys):
        entries = super().get_many(scope, keys)
        if self.spoils and all(entries):
            return [NewEntry(b"\xc1", entry.payload, entry.expires) for entry in entries]
        return entries

    def set_many(self, scope, entries):
        self.spoils = False
        super().set_many(scope, entries)


def test_an_entry_that_is_no_response_is_a_miss_and_replaced():
    async def main():
        store = SpoilingStore()
        service = Service(store=store)
        await service.ask()
        store.spoils = True
        answer = await service.ask()
        assert answer.cache_status == "litcache; fwd=miss; stored"
        assert (await service.ask()).is_hit

    run(main)


@pytest.mark.parametrize("operation", ["get", "set"])
def test_the_event_loop_goes_on_while_a_store_waits(operation):
    async def main():
        store = HeldStore()
        store.held = {operation}
        service = Service(store=store)
        task = asyncio.create_task(service.ask())
        await entered(store)
        assert (await service.ask(method="GET")).status == 405
        default = asyncio.get_running_loop()._default_executor
        assert default is None
        store.go.set()
        assert (await task).status == 200
        assert (await service.ask()).is_hit

    run(main)


def test_two_instances_share_answers_through_a_shared_store(tmp_path):
    async def main():
        options = {"namespace": "http", "version": "1"}
        first = Service(store=SharedStore(tmp_path), **options)
        second = Service(store=SharedStore(tmp_path), **options)
        answer, hit = await first.ask(), await second.ask()
        assert hit.is_hit
        assert hit.body == answer.body
        assert second.calls == 0

    run(main)


def test_one_instance_serves_two_event_loops_at_once():
    service = Service()
    service.app.middleware_stack = service.app.build_middleware_stack()  # one for both
    asked = threading.Barrier(2)
    answers = []

    def client(number):
        async def main():
            for n in range(50):
                if n % 10 == 0:
                    asked.wait(30)  # both ask for a new item at the same time
                body = b"%d" % (n // 10)
                answers.append((body, await service.ask(body)))

        asyncio.run(main())

    async def respond(payload: Annotated[Any, Body()]) -> Response:
        await asyncio.sleep(0)
        return JSONResponse(payload)

    (route,) = [r for r in service.app.routes if getattr(r, "path", "") == "/predict"]
    route.dependant.call = respond
    threads = [threading.Thread(target=client, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 100
    assert all(answer.body == body for body, answer in answers)
    info = service.cache.info()
    assert info.hits + info.misses + info.coalesced == 100
    assert info.entries == 5


# ---------------------------------------------------------------------------- where it cannot check


class Inner:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


def test_behind_it_no_middleware_may_stand(caplog):
    async def main():
        service = Service(inner=[Inner])
        for _ in range(2):
            assert (await service.ask()).cache_status == "litcache; fwd=bypass"
        assert service.calls == 2

    run(main)
    warned = [r.message for r in caplog.records]
    assert len(warned) == 1
    assert "Inner" in warned[0]


def test_a_path_without_a_route_is_named_and_passes_through(caplog):
    async def main():
        service = Service(paths=["/nowhere"])
        answer = await service.ask(path="/nowhere")
        assert answer.status == 404
        assert answer.cache_status == "litcache; fwd=bypass"

    run(main)
    assert "/nowhere" in caplog.text


# ---------------------------------------------------------------------------- options

BAD_OPTIONS = [
    ({"paths": "/predict"}, TypeError, "paths"),
    ({"paths": []}, ValueError, "paths"),
    ({"paths": ["predict"]}, ValueError, "predict"),
    ({"paths": [1]}, TypeError, "paths"),
    (
        {"paths": ["/a?x"]},
        ValueError,
        r"^paths=\['/a\?x'\] must be paths .*, which '/a\?x' is not$",
    ),
    ({"paths": ["/a", "/b#c"]}, ValueError, "^paths=.* which '/b#c' is not$"),
    ({"paths": ["/{model}"]}, ValueError, "^paths=.* none of .*, which '/{model}' is not$"),
    ({"paths": ["/\ud800"]}, ValueError, r"^paths=.* which '/\\ud800' is not$"),
    ({"paths": ()}, ValueError, r"^paths=\(\) must be at least one path"),
    ({"app": None}, TypeError, "^app=None must be the ASGI app"),
    ({"vary": ["*"]}, ValueError, r"^vary=\['\*'\] must be names of request headers"),
    ({"vary": ["cookie", "*"]}, ValueError, r"^vary=.* which '\*' is not$"),
    ({"ttl": 0}, ValueError, r"ttl=0 must be .* the largest first\)$"),
    ({"ttl": None}, TypeError, "ttl"),
    ({"ttl": float("nan")}, ValueError, "ttl"),
    ({"max_bytes": "much"}, ValueError, "max_bytes"),
    ({"max_bytes": "1 MiB", "store": MemoryStore()}, ValueError, "max_bytes"),
    ({"store": "redis://"}, TypeError, "store"),
    ({"store": MemoryStore}, TypeError, "store"),
    ({"namespace": ""}, ValueError, "namespace"),
    ({"namespace": None}, TypeError, "namespace"),
    ({"version": 1}, TypeError, "version"),
    ({"vary": "accept"}, TypeError, "vary"),
    ({"vary": ["a b"]}, ValueError, "vary"),
    ({"vary": ["*:"]}, ValueError, "vary"),
    ({"client_control": 1}, TypeError, "client_control"),
    ({"unknown": 1}, TypeError, "unknown"),
]


@pytest.mark.parametrize(("options", "error", "named"), BAD_OPTIONS)
def test_bad_options_are_refused_by_name(options, error, named):
    with pytest.raises(error, match=named):
        CacheMiddleware(**{"app": print, **options})


@pytest.mark.parametrize("given", [{}, {"namespace": "http"}, {"version": "1"}])
def test_a_persistent_store_needs_namespace_and_version(tmp_path, given):
    with pytest.raises(ValueError, match="must be given with SharedStore"):
        CacheMiddleware(print, store=SharedStore(tmp_path), **given)


def test_look_ups_are_timed_once_the_metrics_read_that():
    async def main():
        service = Service()
        await service.ask()
        numbers = memoryview(bytearray(8 * NUMBERS)).cast("d")
        service.cache._tier.counters.share(numbers)
        assert sum(numbers[LOOKUPS]) == 0
        assert (await service.ask()).is_hit
        assert sum(numbers[LOOKUPS]) == 1
        assert numbers[LOOKUP_SECONDS] > 0

    run(main)


def test_every_request_counts_once():
    async def main():
        service = Service()
        await service.ask()
        await service.ask()
        await service.ask(b"{")
        await service.ask(b"--", (b"content-type", b"multipart/form-data"))
        info = service.cache.info()
        assert (info.hits, info.misses, info.uncacheable, info.bypassed) == (1, 1, 0, 2)
        assert (info.stored, info.entries) == (1, 1)
        assert info.bytes > 0

    run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_starts_empty_with_a_lock_of_its_own():
    cached = CacheMiddleware(print)
    cached._tier.counters._lock.acquire()
    pid = os.fork()
    if pid == 0:
        cached._tier.counters.add(hits=1)
        os._exit(0)
    cached._tier.counters._lock.release()
    assert os.waitpid(pid, 0)[1] == 0


# ---------------------------------------------------------------------------- laws

REQUESTS = st.tuples(
    st.sampled_from([b"1", b"2", b"{", b'{"x": 1}']),
    st.sampled_from([b"application/json", b"application/json; charset=utf-8", b"text/plain"]),
    st.sampled_from([b"", b"a=1"]),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(REQUESTS, max_size=20))
def test_every_request_gets_what_it_would_get_without(requests):
    async def main():
        cached, bare = Service(), Service()
        cached.respond = bare.respond = lambda payload: JSONResponse(payload)
        for body, kind, query in requests:
            header = (b"content-type", kind)
            answer = await cached.ask(body, header, query_string=query)
            with disabled():
                expected = await bare.ask(body, header, query_string=query)
            assert (answer.status, answer.body) == (expected.status, expected.body)
            own = [h for h in answer.headers if h[0] not in (b"age", b"cache-status")]
            assert own == expected.headers

    run(main)


def test_an_answer_in_parts_is_not_stored_over_one_that_was_asked_anew_meanwhile():
    class InParts(Asked):
        """Its first answer comes in two parts, with time between them."""

        def __init__(self):
            self.model, self.half, self.go = "old", asyncio.Event(), asyncio.Event()
            self.app = FastAPI()
            self.app.add_api_route("/predict", self.predict, methods=["POST"])
            self.app.add_middleware(CacheMiddleware, trial=0, client_control=True)

        async def predict(self, payload: Annotated[Any, Body()]):
            text = f'"{self.model}"'.encode()
            headers = {"content-length": str(len(text))}
            return StreamingResponse(
                self.parts(text), headers=headers, media_type="application/json"
            )

        async def parts(self, text):
            yield text[:2]
            if self.model == "old":
                self.half.set()
                await self.go.wait()
            yield text[2:]

    async def ask():
        service = InParts()
        slow = asyncio.create_task(service.ask())
        await service.half.wait()
        service.model = "new"
        anew = await service.ask(b'{"x": 1}', (b"cache-control", b"no-cache"))
        assert (anew.body, anew.cache_status) == (b'"new"', "litcache; fwd=request")
        service.go.set()
        assert (await slow).body == b'"old"'
        hit = await service.ask()
        assert (hit.body, hit.is_hit) == (b'"new"', True)

    asyncio.run(ask())
