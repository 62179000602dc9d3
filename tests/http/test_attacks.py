"""Whom LitServe refuses, the cache refuses: each way to read a request, beside stock LitServe."""

import asyncio
import hashlib
import json
from contextlib import suppress
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Annotated

import litserve as ls
import pytest
from fastapi import (
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Security,
)
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPBasic,
    HTTPBearer,
    OAuth2PasswordBearer,
    SecurityScopes,
)
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection
from support.asgi import Answer, LitService

from litcache import CacheMiddleware

KEY = (b"x-api-key", b"k")
FORM = (b"content-type", b"application/x-www-form-urlencoded")
TENANT = ContextVar("tenant", default="")


def refuse_unless(allowed):
    if not allowed:
        raise HTTPException(403, "refused")


def has_key(connection):
    return connection.headers.get("x-api-key") == "k"


# ---------------------------------------------------------------------- ways to read a request


class ByHeader:
    def authorize(self, request: Request):
        refuse_unless(has_key(request))


class ByHeaderParameter:
    def authorize(self, x_api_key: Annotated[str, Header()] = ""):
        refuse_unless(x_api_key == "k")


class ByRawHeaders:
    async def authorize(self, request: Request):
        refuse_unless(KEY in request.scope["headers"])


class ByConnection:
    def authorize(self, connection: HTTPConnection):
        refuse_unless(has_key(connection))


class ByCookie:
    def authorize(self, request: Request):
        refuse_unless(request.cookies.get("session") == "s")


class ByCookieParameter:
    def authorize(self, session: Annotated[str, Cookie()] = ""):
        refuse_unless(session == "s")


class ByQueryParameter:
    def authorize(self, token: Annotated[str, Query()] = ""):
        refuse_unless(token == "t")


class ByQuery:
    def authorize(self, request: Request):
        refuse_unless(request.query_params.get("token") == "t")


class ByClient:
    def authorize(self, request: Request):
        refuse_unless(request.client.host == "10.0.0.1")


class ByHost:
    def authorize(self, request: Request):
        refuse_unless(request.url.hostname == "good")


class ByScheme:
    def authorize(self, request: Request):
        refuse_unless(request.url.scheme == "https")


class ByPathParameter:
    def authorize(self, tenant: str, request: Request):
        refuse_unless(tenant != "secret" or has_key(request))


class ByPathParameterAlone:
    def authorize(self, tenant: str):
        refuse_unless(tenant != "secret" or TENANT.get() == "secret")


class ByPathParameters:
    def authorize(self, request: Request):
        refuse_unless(request.path_params.get("tenant") != "secret" or has_key(request))


class ByRoute:
    def authorize(self, request: Request):
        path = getattr(request.scope.get("route"), "path", "")
        refuse_unless("{tenant}" not in path or has_key(request))


class ByEndpoint:
    def authorize(self, request: Request):
        refuse_unless(request.scope.get("endpoint") is None or has_key(request))


class ByRouter:
    def authorize(self, request: Request):
        refuse_unless(request.scope.get("router") is None or has_key(request))


class ByURL:
    def authorize(self, request: Request):
        refuse_unless(not request.url.path.endswith("/secret") or has_key(request))


class ByAppState:
    def authorize(self, request: Request):
        refuse_unless(request.headers.get("x-api-key") in request.app.state.keys_of_clients)


class ByState:
    def authorize(self, request: Request):
        refuse_unless(request.state.user == "k")


class ByContextVariable:
    def authorize(self):
        refuse_unless(TENANT.get() == "k")


class ByBody:
    async def authorize(self, request: Request):
        refuse_unless((await request.json()).get("token") == "t")


class ByBodyParameter:
    def authorize(self, token: Annotated[str, Body(embed=True)]):
        refuse_unless(token == "t")


class BySignature:
    async def authorize(self, request: Request):
        digest = hashlib.sha256(b"key" + await request.body()).hexdigest()
        refuse_unless(request.headers.get("x-signature") == digest)


class ByForm:
    async def authorize(self, request: Request):
        refuse_unless((await request.form()).get("token") == "t")


class ByFormParameter:
    def authorize(self, token: Annotated[str, Form()]):
        refuse_unless(token == "t")


class ByHTTPBearer:
    def authorize(self, auth=Depends(HTTPBearer())):  # noqa: B008 - as LitServe's docs have it
        refuse_unless(auth.credentials == "t")


class ByHTTPBasic:
    def authorize(self, auth=Depends(HTTPBasic())):  # noqa: B008
        refuse_unless(auth.username == "u")


class ByOAuth2:
    def authorize(self, token: str = Depends(OAuth2PasswordBearer(tokenUrl="token"))):
        refuse_unless(token == "t")


class ByKeyHeader:
    def authorize(self, key: str = Depends(APIKeyHeader(name="x-api-key"))):
        refuse_unless(key == "k")


class ByKeyCookie:
    def authorize(self, key: str = Depends(APIKeyCookie(name="session"))):
        refuse_unless(key == "s")


class ByKeyQuery:
    def authorize(self, key: str = Depends(APIKeyQuery(name="token"))):
        refuse_unless(key == "t")


def user_of(request: Request):
    return request.headers.get("x-api-key")


def tenant_of(tenant: str, user: Annotated[str, Depends(user_of)]):
    return tenant, user


class Client:
    def __init__(self, request: Request, x_api_key: Annotated[str, Header()] = ""):
        self.path_params, self.key = request.path_params, x_api_key


class Gate:
    async def __call__(self, request: Request):
        refuse_unless(request.path_params["tenant"] != "secret" or has_key(request))


class ByDependency:
    def authorize(self, user: Annotated[str, Depends(user_of)]):
        refuse_unless(user == "k")


class ByNestedDependency:
    async def authorize(self, found: Annotated[tuple, Depends(tenant_of)]):
        refuse_unless(found[0] != "secret" or found[1] == "k")


class ByClass:
    def authorize(self, client: Annotated[Client, Depends()]):
        refuse_unless(client.path_params["tenant"] != "secret" or client.key == "k")


class ByInstance:
    def authorize(self, gate=Depends(Gate())):  # noqa: B008
        pass


class ByGenerator:
    def authorize(self, request: Request):
        refuse_unless(request.path_params["tenant"] != "secret" or has_key(request))
        yield


class ByAsyncGenerator:
    async def authorize(self, request: Request):
        refuse_unless(request.path_params["tenant"] != "secret" or has_key(request))
        yield


def within(scopes: SecurityScopes, request: Request):
    refuse_unless(scopes.scopes == ["read"] and has_key(request))


class BySecurityScopes:
    def authorize(self, found=Security(within, scopes=["read"])):  # noqa: B008
        pass


class ByMistake:
    def authorize(self, request: Request):
        return {"k": 1}[request.headers["x-api-key"]]


class Kept:
    """What a middleware outside of the cache leaves for `authorize`."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            key = dict(scope["headers"]).get(b"x-api-key", b"").decode()
            scope.setdefault("state", {})["user"] = key
            TENANT.set("secret" if key == "k" and scope["path"].endswith("/secret") else key)
        await self.app(scope, receive, send)


# Of each: what a good request has, and what a bad one has. Both have the same key.
WITH_KEY = ({"headers": [KEY]}, {})
OTHER_KEY = ({"headers": [KEY]}, {"headers": [(b"x-api-key", b"K")]})
COOKIE = ({"headers": [(b"cookie", b"session=s")]}, {"headers": [(b"cookie", b"session=S")]})
TOKEN = ({"query_string": b"token=t"}, {"query_string": b"token=T"})
BEARER = (
    {"headers": [(b"authorization", b"Bearer t")]}, {"headers": [(b"authorization", b"Bearer T")]}
)  # fmt: skip
BASIC = (
    {"headers": [(b"authorization", b"Basic dTpw")]},
    {"headers": [(b"authorization", b"Basic djpw")]},
)
# FastAPI wants a model under its parameter's name where a dependency takes of the body, too.
BODY = b'{"x": 1, "token": "t", "request": {"x": 1, "token": "t"}}'
SIGNED = (
    {"headers": [(b"x-signature", hashlib.sha256(b"key" + BODY).hexdigest().encode())]},
    {"headers": [(b"x-signature", b"0" * 64)]},
)
IN_BODY = ({}, {"body": BODY.replace(b'"t"', b'"T"')})
IN_FORM = (
    {"body": b"x=1&token=t", "headers": [FORM]}, {"body": b"x=1&token=T", "headers": [FORM]}
)  # fmt: skip

ATTACKS = {
    ByHeader: OTHER_KEY, ByHeaderParameter: WITH_KEY, ByRawHeaders: OTHER_KEY,
    ByConnection: WITH_KEY, ByCookie: COOKIE, ByCookieParameter: COOKIE,
    ByQueryParameter: TOKEN, ByQuery: TOKEN,
    ByClient: ({"client": ("10.0.0.1", 1)}, {"client": ("10.0.0.2", 1)}),
    ByHost: ({"headers": [(b"host", b"good")]}, {"headers": [(b"host", b"bad")]}),
    ByScheme: ({"scheme": "https"}, {}),
    ByPathParameter: WITH_KEY, ByPathParameterAlone: WITH_KEY, ByPathParameters: WITH_KEY,
    ByRoute: WITH_KEY, ByEndpoint: WITH_KEY, ByRouter: WITH_KEY, ByURL: WITH_KEY,
    ByAppState: WITH_KEY, ByState: WITH_KEY,
    ByBody: IN_BODY, ByBodyParameter: IN_BODY, BySignature: SIGNED,
    ByForm: IN_FORM, ByFormParameter: IN_FORM,
    ByHTTPBearer: BEARER, ByHTTPBasic: BASIC, ByOAuth2: BEARER,
    ByKeyHeader: WITH_KEY, ByKeyCookie: COOKIE, ByKeyQuery: TOKEN,
    ByDependency: WITH_KEY, ByNestedDependency: WITH_KEY, ByClass: WITH_KEY,
    ByInstance: WITH_KEY, ByGenerator: WITH_KEY, ByAsyncGenerator: WITH_KEY,
    BySecurityScopes: WITH_KEY, ByMistake: OTHER_KEY,
}  # fmt: skip


class Payload(BaseModel):
    x: int
    token: str


class Untyped:
    pass


class Typed:
    def decode_request(self, request: Payload):
        return request


def service(check, decode=Untyped, *, cached=True, **options):
    """A LitServe whose one path has a tenant in it, and that of `secret` cached."""
    api = type("API", (decode, check, ls.LitAPI), {"predict": lambda self, x: x})
    middlewares = (
        [(CacheMiddleware, {"paths": ["/p/secret"], "trial": 0, **options})] if cached else []
    )
    served = LitService(api(api_path="/p/{tenant}"), [*middlewares, (Kept, {})])
    served.app.state.keys_of_clients = {"k"}
    return served


async def ask(served, request):
    headers = request.get("headers", [])
    answer = Answer()
    rest = {name: value for name, value in request.items() if name not in ("headers", "body")}
    body = request.get("body", BODY)
    with suppress(KeyError):  # which ServerErrorMiddleware answers, and raises again
        await served.ask(body, *headers, answer=answer, path="/p/secret", **rest)
    return answer


def told(answer):
    """What a client is told, but for what the cache says of itself."""
    own = (b"age", b"cache-status")
    return answer.status, answer.body, [h for h in answer.headers if h[0] not in own]


NEEDS_FORMS = pytest.mark.skipif(
    find_spec("python_multipart") is None, reason="FastAPI reads forms with python-multipart"
)
ROWS = [
    pytest.param(
        check,
        decode,
        good,
        bad,
        id=f"{check.__name__}-{decode.__name__}",
        marks=[NEEDS_FORMS] if (good, bad) == IN_FORM else [],
    )
    for check, (good, bad) in ATTACKS.items()
    for decode in (Untyped, Typed)
    if (good, bad) != IN_FORM or decode is Untyped  # a model of JSON takes no form
]


@pytest.mark.parametrize(("check", "decode", "good", "bad"), ROWS)
def test_whom_litserve_refuses_is_refused_where_others_get_hits(check, decode, good, bad):
    async def main():
        stock, served = service(check, decode, cached=False), service(check, decode)
        allowed, refused = await ask(stock, good), await ask(stock, bad)
        assert (allowed.status, refused.status > 400) == (200, True)

        assert told(await ask(served, bad)) == told(refused)
        for expected in ("litcache; fwd=miss; stored", "litcache; hit; ttl="):
            answer = await ask(served, good)
            assert told(answer) == told(allowed)
            assert answer.cache_status.startswith(expected)
        answer = await ask(served, bad)
        assert told(answer) == told(refused)
        assert answer.cache_status in ("litcache; fwd=miss", "")  # "": ServerErrorMiddleware
        assert len(served.served) == 1

    asyncio.run(main())


@pytest.mark.parametrize(("check", "decode", "good", "bad"), ROWS)
def test_whom_litserve_refuses_is_refused_beside_an_equal_request_in_flight(
    check, decode, good, bad
):
    async def main():
        stock, served = service(check, decode, cached=False), service(check, decode)
        refused = await ask(stock, bad)
        served.go.clear()
        leader = asyncio.create_task(ask(served, good))
        await asyncio.wait_for(served.entered.acquire(), 10)
        follower = asyncio.create_task(ask(served, good))

        answer = await ask(served, bad)

        assert told(answer) == told(refused)
        assert not leader.done()
        served.go.set()
        assert told(await follower) == told(await leader)
        assert len(served.served) == 1

    asyncio.run(main())


def test_a_key_taken_from_the_state_of_the_app_is_refused_from_then_on():
    async def main():
        served = service(ByAppState)
        for _ in range(2):
            answer = await ask(served, WITH_KEY[0])
        assert answer.is_hit
        served.app.state.keys_of_clients.clear()
        assert (await ask(served, WITH_KEY[0])).status == 403

    asyncio.run(main())


@pytest.mark.parametrize("decode", [Untyped, Typed])
def test_a_one_time_token_is_used_once(decode):
    tokens = {f"{n}" for n in range(10)}

    class ByOneTimeToken:
        def authorize(self, request: Request):
            token = request.headers.get("x-token", "")
            refuse_unless(token in tokens)
            tokens.remove(token)

    async def main():
        served = service(ByOneTimeToken, decode)
        for number in range(10):
            request = {"headers": [(b"x-token", b"%d" % number)]}
            assert (await ask(served, request)).status == 200
            assert (await ask(served, request)).status == 403
        assert len(served.served) == 1

    asyncio.run(main())


class Outer:
    """A middleware outside of the cache that has path parameters of its own, as a mount has."""

    def __init__(self, app, noted):
        self.app = app
        self.noted = noted

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            scope["path_params"] = {"outer": "1"}
        await self.app(scope, receive, send)
        if scope["type"] == "http":
            names = ("path_params", "endpoint", "route")
            self.noted.append([scope[name] for name in names])


class Open:
    pass


@pytest.mark.parametrize("check", [Open, ByHeader, ByPathParameter])
def test_path_parameters_of_outer_middlewares_stay_and_the_routes_are_added(check):
    async def main():
        noted = []
        served = service(check)
        served.app.add_middleware(Outer, noted=noted)
        answers = [await ask(served, WITH_KEY[0]) for _ in range(3)]
        assert [answer.is_hit for answer in answers] == [False, True, True]
        assert noted[0][0] == {"outer": "1", "tenant": "secret"}
        assert noted[0] == noted[1] == noted[2]

    asyncio.run(main())


# ---------------------------------------------------------------------- what a check takes

FIRST = [check for check, row in ATTACKS.items() if row not in (IN_BODY, IN_FORM, SIGNED)]


@pytest.mark.parametrize("check", FIRST)
def test_of_a_client_that_is_refused_no_byte_of_the_body_is_read(check):
    async def main():
        served = service(check)
        read = []

        async def receive():
            read.append(1)
            return {"type": "http.request", "body": BODY, "more_body": False}

        bad = {n: v for n, v in ATTACKS[check][1].items() if n != "headers"}
        with suppress(KeyError):
            headers = ATTACKS[check][1].get("headers", [])
            await served.ask(b"", *headers, receive=receive, path="/p/secret", **bad)
        assert read == []

    asyncio.run(main())


def test_of_a_client_without_the_api_key_no_byte_of_the_body_is_read(monkeypatch):
    monkeypatch.setattr("litserve.server.LIT_SERVER_API_KEY", "k")

    async def main():
        served = service(Open)
        read = []

        async def receive():
            read.append(1)
            return {"type": "http.request", "body": BODY, "more_body": False}

        answer = await served.ask(b"", receive=receive, path="/p/secret")
        assert (answer.status in (401, 403), read) == (True, [])
        answer = await served.ask(b"", KEY, receive=receive, path="/p/secret")
        assert (answer.status, len(read)) == (200, 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("check", "good", "parsed"),
    [
        (ByHeader, WITH_KEY[0], 0),
        (ByPathParameter, WITH_KEY[0], 0),
        (BySignature, SIGNED[0], 0),
        (ByBody, {}, 2),  # by the check, and once more to see that it changed nothing
    ],
)
def test_a_hit_behind_a_check_parses_no_more_of_the_body_than_the_check(
    monkeypatch, check, good, parsed
):
    async def main():
        served = service(check)
        for _ in range(2):
            await ask(served, good)
        loads, calls = json.loads, []
        monkeypatch.setattr(json, "loads", lambda text: [calls.append(1), loads(text)][1])
        assert (await ask(served, good)).is_hit
        assert len(calls) == parsed

    asyncio.run(main())


def in_order(check, noted, *, cached):
    """Return what happens when the same is asked for the third time: a hit, if it is cached."""

    class Noting(Answer):
        async def send(self, message):
            await super().send(message)
            noted.append("answered" if message["type"] == "http.response.body" else "started")

    async def main():
        served = service(check, cached=cached)
        for _ in range(3):
            noted.clear()
            answer = Noting()
            await served.ask(BODY, KEY, answer=answer, path="/p/secret")
        assert answer.is_hit == cached
        return list(noted)

    return asyncio.run(main())


def test_background_tasks_of_a_check_follow_the_answer():
    noted = []

    class WithTasks:
        def authorize(self, tasks: BackgroundTasks):
            tasks.add_task(noted.append, "task")

    assert in_order(WithTasks, noted, cached=True) == ["started", "answered", "task"]


def test_a_check_cleans_up_when_it_does_without_the_cache():
    noted = []

    class Yielding:
        def authorize(self):
            noted.append("checked")
            yield
            noted.append("cleaned")

    order = in_order(Yielding, noted, cached=True)
    assert order == in_order(Yielding, noted, cached=False)
    assert set(order) == {"checked", "started", "answered", "cleaned"}


CHANGES = {
    "a value": lambda body: body.update(x=2),
    "an equal value of another type": lambda body: body.update(x=True),
    "a float": lambda body: body.update(x=1.0),
    "a new entry": lambda body: body.update(user="ann"),
    "the order": lambda body: body.update(x=body.pop("x")),
    "something that is no JSON": lambda body: body.update(user=(1, 2)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", [b"application/json", b"application/x-www-form-urlencoded; a=b"])
def test_what_a_check_changes_in_a_parsed_body_is_neither_stored_nor_answered(change, kind):
    class Changing:
        async def authorize(self, request: Request):
            parsed = await request.json()
            if has_key(request):
                change(parsed)

    async def main():
        served = service(Changing)
        changed, plain = [KEY, (b"content-type", kind)], [(b"content-type", kind)]
        hits = []
        for headers in (changed, plain, changed, plain):
            answer = await ask(served, {"headers": headers})
            assert answer.status == 200
            hits.append(answer.is_hit)
        assert hits == [False, False, False, True]
        assert len(served.served) == 3

    asyncio.run(main())


@NEEDS_FORMS
def test_what_a_check_changes_in_a_form_is_neither_stored_nor_answered():
    class Changing:
        async def authorize(self, request: Request):
            form = await request.form()
            if has_key(request):
                form._list.append(("user", "ann"))

    async def main():
        served = service(Changing)
        hits = []
        for headers in ([KEY, FORM], [FORM], [KEY, FORM], [FORM]):
            answer = await ask(served, {"headers": headers, "body": b"x=1"})
            assert answer.status == 200
            hits.append(answer.is_hit)
        assert hits == [False, False, False, True]

    asyncio.run(main())


def test_what_a_check_puts_into_a_context_variable_is_told_apart_by_vary():
    who = ContextVar("who", default="")

    class Naming:
        async def authorize(self, request: Request):
            who.set(request.headers["x-user"])

    class Personal(BaseModel):
        x: int
        user: Annotated[str, Field(default_factory=who.get)]

    class TypedByUser:
        def decode_request(self, request: Personal):
            return request

    async def main():
        served = service(Naming, TypedByUser, vary=["x-user"])
        for name in (b"ann", b"bob", b"ann", b"bob"):
            answer = await ask(served, {"headers": [(b"x-user", name)]})
            assert b'"user":"%s"' % name in answer.body
        assert answer.is_hit

    asyncio.run(main())
