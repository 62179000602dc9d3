"""Which routes may be cached: those whose answer depends on no more than the key holds."""

import asyncio
from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Body, Cookie, Depends, FastAPI, Header, Request, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from litserve import server
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route

from litcache.http.route_check import UncheckableError, find

Payload = Annotated[dict, Body()]


def check_of(endpoint, *dependencies, path="/predict", before=()):
    app = FastAPI()
    app.router.routes.extend(before)
    app.add_api_route(
        path, endpoint, methods=["POST"], dependencies=[Depends(d) for d in dependencies]
    )
    return find({"app": app, "headers": []}, ExceptionMiddleware(app), "/predict")


def without_waiting(payload: Payload) -> Response:
    return Response(b"")


async def body_alone(payload: Payload) -> Response:
    return Response(b"")


async def with_tasks(payload: Payload, tasks: BackgroundTasks, query: str = "") -> Response:
    return Response(b"")


async def with_header(payload: Payload, accept: Annotated[str, Header()] = "") -> Response:
    return Response(b"")


async def with_cookie(payload: Payload, session: Annotated[str, Cookie()] = "") -> Response:
    return Response(b"")


async def with_request(request: Request) -> Response:
    return Response(b"")


def user(x_user: Annotated[str, Header()] = ""):
    return x_user


async def with_user(payload: Payload, name: Annotated[str, Depends(user)]) -> Response:
    return Response(b"")


@pytest.mark.parametrize("endpoint", [body_alone, with_tasks])
def test_an_endpoint_of_body_and_query_may_be_cached(endpoint):
    assert not check_of(endpoint).in_route


@pytest.mark.parametrize(
    ("endpoint", "named"),
    [
        (with_header, "header_params"),
        (with_cookie, "cookie_params"),
        (with_request, "the request"),
        (with_user, "dependencies"),
    ],
)
def test_an_endpoint_of_more_than_the_key_holds_may_not(endpoint, named):
    with pytest.raises(UncheckableError, match=named):
        check_of(endpoint, server.no_auth)


def greets(response: Response, name: Annotated[str, Depends(user)]):
    response.headers["x-user"] = name


def through_another(greeted: Annotated[None, Depends(greets)]):
    pass


@pytest.mark.parametrize("dependency", [greets, through_another])
def test_a_check_that_writes_headers_of_the_answer_is_refused(dependency):
    with pytest.raises(UncheckableError, match="personal"):
        check_of(body_alone, dependency)


def plain(request):
    return PlainTextResponse("")


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ([Host("a.example", FastAPI())], "Host"),
        ([Route("/predict", plain, methods=["POST"])], "Route"),
        ([Mount("", FastAPI())], "Mount"),
    ],
)
def test_a_route_before_it_that_takes_the_request_is_told(before, named):
    with pytest.raises(UncheckableError, match=named):
        check_of(body_alone, before=before)


def test_routes_of_other_paths_and_methods_do_not_matter():
    before = [Route("/predict", plain, methods=["GET"]), Mount("/static", FastAPI())]
    assert not check_of(body_alone, before=before).in_route


async def by_request(request: Request):
    pass


def by_body(payload: Payload):
    pass


@pytest.mark.parametrize(
    ("dependencies", "in_route", "may_change"),
    [
        ([server.no_auth], False, False),
        ([server.api_key_auth], False, False),
        ([HTTPBearer()], True, False),
        ([APIKeyHeader(name="x")], True, False),
        ([user], True, False),
        ([by_request], True, True),
        ([by_body], True, True),
        ([server.no_auth, by_request], True, True),
        ([server.api_key_auth, server.no_auth], True, False),
    ],
)
def test_litserve_runs_each_check_but_its_own_api_key(dependencies, in_route, may_change):
    check = check_of(body_alone, *dependencies)
    assert (check.in_route, check.may_change) == (in_route, may_change)


def test_an_endpoint_asks_the_cache_once_however_many_find_it():
    app = FastAPI()
    app.add_api_route("/predict", body_alone, methods=["POST"], dependencies=[Depends(by_request)])
    (route,) = [r for r in app.routes if getattr(r, "path", "") == "/predict"]
    endpoints = []
    for _ in range(3):
        find({"app": app, "headers": []}, ExceptionMiddleware(app), "/predict")
        endpoints.append(route.dependant.call)
    assert endpoints[0] is endpoints[1] is endpoints[2]


def test_an_endpoint_that_cannot_wait_for_the_cache_is_refused_behind_a_check():
    with pytest.raises(UncheckableError, match="coroutine"):
        check_of(without_waiting, user)


def scope(**headers):
    raw = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
    return {
        "type": "http", "method": "POST", "path": "/predict", "root_path": "",
        "query_string": b"", "headers": raw, "client": None, "server": None,
    }  # fmt: skip


@pytest.mark.parametrize("key", ["old", "new"])
def test_the_api_key_is_litserves_own_at_that_moment(monkeypatch, key):
    check = check_of(body_alone, server.api_key_auth)

    async def allowed():
        return [
            await check.lets_in(scope(**headers))
            for headers in ({"x_api_key": "old"}, {"x_api_key": "new"}, {"x_api_key": ""}, {})
        ]

    monkeypatch.setattr(server, "LIT_SERVER_API_KEY", key)
    assert asyncio.run(allowed()) == [key == "old", key == "new", False, False]
