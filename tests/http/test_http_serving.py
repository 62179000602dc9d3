"""CacheMiddleware in real LitServe servers, beside the same servers without it."""

import gzip
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from support.servers import ROOT, serve, wait_until

pytestmark = pytest.mark.e2e

KEY = {"x-api-key": "a key"}
SCRIPT = str(ROOT / "tests" / "support" / "http_server.py")
LARGE = 17_000_000  # above what is held in memory, below LitServe's limit here
TOO_LARGE = 50_000_000


@contextmanager
def server(tokens, cache, **environment):
    variables = {
        "CACHE": str(int(cache)), "TOKENS": str(tokens), "LIT_SERVER_API_KEY": KEY["x-api-key"],
        **environment,
    }  # fmt: skip
    with serve(SCRIPT, environment=variables, headers=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text("good fine")
    return path


@pytest.fixture(scope="module")
def servers(tokens):
    """Two equal servers, the first with the middleware."""
    with ExitStack() as stack:
        yield [stack.enter_context(server(tokens, cache)) for cache in (True, False)]


def told(response):
    """What a client is told, but for the headers that are the cache's own or tell the time."""
    own = ("age", "cache-status", "date")
    headers = [(n, v) for n, v in response.headers.multi_items() if n not in own]
    return response.status_code, response.content, sorted(headers)


def is_hit(response):
    return response.headers.get("cache-status", "").startswith("litcache; hit")


# ---------------------------------------------------------------------------- no leak

BEARER = {"authorization": "Bearer good"}
ATTACKS = [
    ("/key", KEY, {}),
    ("/key", KEY, {"x-api-key": "another"}),
    ("/key", KEY, {"x-api-key": ""}),
    ("/key", KEY, {"authorization": "a key"}),
    ("/header", {"x-anything": "good"}, {}),
    ("/header", {"x-anything": "good"}, {"x-anything": "bad"}),
    ("/header", {"x-anything": "good"}, [("x-anything", "bad"), ("x-anything", "good")]),
    ("/cookie", {"cookie": "session=good"}, {"cookie": "session=bad"}),
    ("/cookie", {"cookie": "session=good"}, {}),
    ("/host", {"host": "good.example"}, {}),
    ("/host", {"host": "good.example"}, {"x-forwarded-host": "good.example"}),
    ("/bearer", BEARER, {}),
    ("/bearer", BEARER, {"authorization": "Bearer stolen"}),
    ("/bearer", BEARER, {"authorization": "Basic good"}),
    ("/oauth", BEARER, {}),
    ("/oauth", BEARER, {"authorization": "Bearer expired"}),
    ("/typed", KEY, {}),
    ("/p/secret", {"x-anything": "good"}, {}),
]


@pytest.mark.parametrize(("path", "good", "bad"), ATTACKS)
def test_nobody_is_answered_whom_litserve_refuses(servers, path, good, bad):
    body = {"x": 7}
    for running in servers:
        running.client.post(path, json=body, headers=good)
    hit = servers[0].client.post(path, json=body, headers=good)
    assert is_hit(hit)
    assert hit.json() == {"echo": 7}

    refused, expected = (r.client.post(path, json=body, headers=bad) for r in servers)

    assert expected.status_code in (401, 403)
    assert told(refused) == told(expected)
    assert refused.headers["cache-status"] == "litcache; fwd=miss"


def test_a_client_of_another_address_is_refused(servers):
    with httpx.Client(
        base_url=servers[0].url, transport=httpx.HTTPTransport(local_address="127.0.0.2")
    ) as stranger:
        body = {"x": "address"}
        servers[0].post("/client", body)
        assert is_hit(servers[0].post("/client", body))
        assert stranger.post("/client", json=body).status_code == 403
        headers = {"x-forwarded-for": "10.0.0.1"}
        assert stranger.post("/client", json=body, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/bearer", "/oauth"])
def test_a_token_that_ended_between_two_requests_is_refused(servers, tokens, path):
    fine = {"authorization": "Bearer fine"}
    body = {"x": "revoked"}
    try:
        servers[0].client.post(path, json=body, headers=fine)
        assert is_hit(servers[0].client.post(path, json=body, headers=fine))
        tokens.write_text("good")
        refused, expected = (r.client.post(path, json=body, headers=fine) for r in servers)
        assert told(refused) == told(expected)
        assert refused.status_code == 403
        assert is_hit(servers[0].client.post(path, json=body, headers=BEARER))
    finally:
        tokens.write_text("good fine")


def test_what_authorize_writes_into_a_body_reaches_its_own_client_alone(servers):
    body = {"x": "mine"}
    for user in ("ann", "bob", "ann", None, "bob", None):
        headers = {"x-user": user} if user else {}
        answer = servers[0].client.post("/personal", json=body, headers=headers)
        assert answer.json() == {"echo": f"for {user}" if user else "mine"}
    assert is_hit(answer)


# ---------------------------------------------------------------------------- no byte is read

REFUSED = ["/key", "/header", "/cookie", "/host", "/bearer", "/oauth", "/p/secret"]


@contextmanager
def refused(running, path, sent=b"", *headers, length):
    """A connection of a client without any credentials that has sent a part of its body."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        lines = [b"POST %s HTTP/1.1" % path.encode(), b"host: h", *headers]
        lines += [b"content-type: application/json", b"content-length: %d" % length]
        with suppress(OSError):  # it may answer before it has read all, and close
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + sent)
        yield connection


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("headers", [[], [b"expect: 100-continue"]])
def test_who_is_refused_is_answered_before_the_body_is_there(servers, path, headers):
    answers = []
    for running in servers:
        with refused(running, path, b"" if headers else b"{", *headers, length=1000) as connection:
            answers.append(connection.recv(1 << 16).partition(b"\r\n")[0])
    assert answers[0] == answers[1]
    assert answers[0].split()[1] in (b"401", b"403")


def test_clients_that_are_refused_take_no_memory(servers):
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")

    def rss():
        return sum(map(_anonymous_bytes, _processes(f"PORT={servers[0].port}")))

    part = b"x" * 15_000_000
    for path in ("/key", "/header"):
        before = rss()
        with ExitStack() as stack:
            for _ in range(30):
                connection = refused(servers[0], path, part, length=len(part) + 1)
                stack.enter_context(connection).recv(1 << 16)
            assert rss() - before < 60_000_000


# ---------------------------------------------------------------------------- bad input


def request(body=b"", *headers, path="/key", host=b"h", declared=True):
    """A request as it goes over the wire."""
    lines = [b"POST %s HTTP/1.1" % path.encode(), b"host: %s" % host, b"x-api-key: a key"]
    lines += [b"connection: close", *headers]
    if not any(line.lower().startswith(b"content-type") for line in headers):
        lines.append(b"content-type: application/json")
    if declared:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*chunks, end=True):
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    body = b"".join(parts) + (b"0\r\n\r\n" if end else b"")
    return request(body, b"transfer-encoding: chunked", declared=False)


GOOD = b'{"x": 1}'
FORM = b"content-type: application/x-www-form-urlencoded"
BAD = {
    "not JSON": request(b"x=1"),
    "no body": request(b""),
    "not UTF-8": request(b'{"x": "\xff\xfe"}'),
    "no x": request(b"{}"),
    "a list": request(b"[1]"),
    "nested 10,000 deep": request(b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "NaN": request(b'{"x": NaN}'),
    "a lone surrogate": request(b'{"x": "\\ud800"}'),
    "a form": request(b"x=1", FORM),
    "JSON in a form": request(GOOD, FORM),
    "gzip-encoded": request(gzip.compress(GOOD, mtime=0), b"content-encoding: gzip"),
    "an error of the API": request(b'{"x": "raise418"}'),
    "a failing API": request(b'{"x": "raise500"}'),
    "of the wrong type": request(b'{"x": "no number"}', path="/typed"),
    "50 MB": request(b'{"x": "' + b"y" * TOO_LARGE + b'"}'),
    "50 MB, chunked": chunked(*[b" " * 1_000_000] * 50),
    "50 MB, typed": request(b'{"x": "' + b"y" * TOO_LARGE + b'"}', path="/typed"),
    "broken chunks": request(b"zz\r\n{}\r\n0\r\n\r\n", b"transfer-encoding: chunked",
                             declared=False),
    "two lengths": request(GOOD, b"content-length: 3"),
    "a bad length": request(GOOD, b"content-length: many", declared=False),
    "a negative length": request(GOOD, b"content-length: -1", declared=False),
    "length and chunks": request(b"8\r\n" + GOOD + b"\r\n0\r\n\r\n",
                                 b"transfer-encoding: chunked"),
    "no colon": request(GOOD, b"nonsense"),
    "a name with a space": request(GOOD, b"a b: c"),
    "a control character": request(GOOD, b"a: \x01\x00"),
    "a header bomb": request(GOOD, *[b"h%d: %s" % (n, b"x" * 8_000) for n in range(100)]),
    "bad multipart": request(b"--x", b"content-type: multipart/form-data; boundary=y"),
    "multipart without boundary": request(b"--x", b"content-type: multipart/form-data"),
    "bad query": request(GOOD, path="/typed?\xff%ff=%00"),
    "bad host": request(b"{}", host=b"\xff\xff"),
}  # fmt: skip
GOOD_ONES = {
    "chunked": chunked(b'{"x"', b": 1", b"}"),
    "two content types": request(GOOD, b"content-type: application/json", b"content-type: a/b"),
    "many headers": request(GOOD, *[b"h%d: x" % n for n in range(200)]),
    "a header twice": request(GOOD, b"x-a: 1", b"x-a: 2"),
    "a header of Latin-1": request(GOOD, b"x-a: \xe9"),
    "large": request(b'{"x": "' + b"y" * LARGE + b'"}'),
}


def exchange(running, raw, *, pause=None):
    """Send bytes as they are, and return status and body; nothing if there was no answer."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
        with suppress(OSError):  # it may answer before it has read all, and close
            step = len(raw) if pause is None else 16
            for start in range(0, len(raw), step):
                connection.sendall(raw[start : start + step])
                if pause is not None:
                    pause()
        answer = b""
        with suppress(OSError):
            while part := connection.recv(1 << 20):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    own = re.compile(rb"(date|age|cache-status):.*", re.IGNORECASE)
    lines = [line for line in head.split(b"\r\n") if not own.fullmatch(line)]
    return lines[:1] + sorted(lines[1:]), body, re.findall(rb"(?i)cache-status: (.*)\r?", head)


def without_noise(body):
    return re.sub(rb"0x[0-9a-f]+", b"", body)


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_bad_input_gets_what_litserve_answers_and_is_not_stored(servers, raw):
    (lines, body, _), (again, body_again, status) = (exchange(servers[0], raw) for _ in range(2))
    expected, expected_body, _ = exchange(servers[1], raw)
    if b" 413 " in b"".join(expected):  # the rest of it may be cut by a reset
        expected_body = body = body_again
    assert (lines, without_noise(body)) == (expected, without_noise(expected_body))
    assert (again, without_noise(body_again)) == (expected, without_noise(expected_body))
    if b" 200 " not in b"".join(lines):
        assert not any(b"hit" in each or b"stored" in each for each in status)


@pytest.mark.parametrize("raw", GOOD_ONES.values(), ids=GOOD_ONES)
def test_unusual_input_gets_what_litserve_answers(servers, raw):
    expected = exchange(servers[1], raw)[:2]
    assert b" 200 " in expected[0][0]
    for _ in range(3):
        assert exchange(servers[0], raw)[:2] == expected


def test_a_slow_client_is_answered_and_holds_up_nobody(servers):
    others = []

    def meanwhile():
        if len(others) < 5:
            others.append(servers[0].client.post("/key", json={"x": len(others)}, headers=KEY))

    raw = request(b'{"x": "slow"}')
    slow = [exchange(running, raw, pause=meanwhile)[:2] for running in servers]
    assert slow[0] == slow[1]
    assert {other.status_code for other in others} == {200}


@pytest.mark.parametrize("sent", [0.3, 0.9, 1.0])
def test_a_client_that_leaves_leaves_nothing_behind(servers, sent):
    body = json.dumps({"x": f"left {sent}"}).encode()
    raw = request(body, b"x-padding: " + b"x" * 300)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", servers[0].port)) as connection:
            connection.sendall(raw[: int(len(raw) * sent)])
    answers = [exchange(running, raw) for running in servers]
    assert answers[0][:2] == answers[1][:2]
    assert b" 200 " in answers[0][0][0]


def _processes(variable):
    """The processes that have a variable in their environment."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # another user's, or gone
            if variable.encode() in environ.read_bytes().split(b"\0"):
                yield environ.parent


def _anonymous_bytes(process):
    with suppress(OSError):
        found = re.search(r"RssAnon:\s+(\d+)", (process / "status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def test_memory_stays_bounded_under_large_bodies(servers):
    def rss():
        return sum(map(_anonymous_bytes, _processes(f"PORT={servers[0].port}")))

    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    bad = [request(b"%d" % n + b"x" * 15_000_000) for n in range(4)]
    for raw in bad:
        exchange(servers[0], raw)
    before = rss()
    for _ in range(5):
        for raw in bad:
            assert b" 500 " in exchange(servers[0], raw)[0][0]
    assert rss() - before < 60_000_000


# ---------------------------------------------------------------------------- like LitServe itself

ASKED = [
    ("GET", "/", {}), ("GET", "/health", {}), ("GET", "/info", {}), ("GET", "/docs", {}),
    ("GET", "/openapi.json", {}), ("GET", "/key", {}), ("HEAD", "/key", {}),
    ("OPTIONS", "/key", {}), ("POST", "/nowhere", {}), ("POST", "/key/", {}),
    ("GET", "/metrics", {}), ("DELETE", "/header", {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers"), ASKED)
def test_whatever_is_no_post_to_a_cached_path_is_left_alone(servers, method, path, headers):
    first, second = (
        running.client.request(method, path, headers={**KEY, **headers}) for running in servers
    )
    assert "cache-status" not in first.headers
    assert first.status_code == second.status_code
    ports = [str(running.port).encode() for running in servers]
    assert first.content.replace(ports[0], b"") == second.content.replace(ports[1], b"")


@pytest.mark.parametrize("encoding", ["gzip", "identity", "", "br"])
def test_clients_with_and_without_gzip_get_what_they_can_read(servers, encoding):
    headers = {**KEY, "accept-encoding": encoding}
    body = {"x": "compressed"}
    expected = servers[1].client.post("/long", json=body, headers=headers)
    for _ in range(3):
        answer = servers[0].client.post("/long", json=body, headers=headers)
        assert told(answer) == told(expected)
    assert is_hit(answer)
    assert ("content-encoding" in answer.headers) == (encoding == "gzip")


@pytest.mark.parametrize("seed", range(3))
def test_request_by_request_the_answers_are_those_without_it(servers, seed):
    paths = ["/key", "/typed", "/personal", "/long", "/client"]
    requests = [(paths[(n + seed) % 5], {"x": n % 4 if n % 7 else "raise422"}) for n in range(60)]

    def ask(running):
        with ThreadPoolExecutor(8) as pool:
            return list(
                pool.map(lambda r: running.client.post(r[0], json=r[1], headers=KEY), requests)
            )

    cached, bare = ask(servers[0]), ask(servers[1])
    assert list(map(told, cached)) == list(map(told, bare))
    assert all("cache-status" in answer.headers for answer in cached)


def test_a_stream_is_passed_on_and_never_stored(tokens):
    with server(tokens, True, STREAM="1", ONLY="/key") as running:
        for _ in range(3):
            answer = running.client.post("/stream", json={"x": "a"}, headers=KEY)
            assert answer.text == "abc"
            assert answer.headers["cache-status"] == "litcache; fwd=miss"
        body = {"x": 1}
        running.client.post("/key", json=body, headers=KEY)
        assert is_hit(running.client.post("/key", json=body, headers=KEY))


# Two HTTP servers in threads wait for ever now and then, with and without us: LitServe sets the
# event of one loop's request from the thread of another.
@pytest.mark.parametrize(("kind", "number"), [("process", 2), ("thread", 1)])
@pytest.mark.parametrize("shared", [True, False])
def test_several_http_servers_answer_right_and_share_a_store(
    tokens, tmp_path, kind, number, shared
):
    environment = {"SERVERS": str(number), "TYPE": kind, "ONLY": "/key"}
    if shared:
        environment["STORE"] = str(tmp_path)
    with server(tokens, True, **environment) as running:
        started = "Application startup complete"
        wait_until(lambda: running.log.count(started) == number, "all HTTP servers", 30)

        def ask(number):
            with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client:
                answer = client.post("/key", json={"x": number % 10}, headers=KEY)
            assert answer.json() == {"echo": number % 10}
            return is_hit(answer)

        with ThreadPoolExecutor(8) as pool:
            hits = list(pool.map(ask, range(200)))
        assert all(map(ask, range(10))) or not shared
        assert sum(hits) >= 100
        assert "Traceback" not in running.log


def test_a_killed_worker_holds_up_nobody_who_asks_the_same_later(tokens, tmp_path):
    poison = tmp_path / "poison"
    poison.touch()
    body = {"x": str(poison)}
    with server(tokens, True, ONLY="/deadly", TIMEOUT="6") as running:
        with pytest.raises(httpx.ReadTimeout):  # LitServe never answers it
            running.client.post("/deadly", json=body, headers=KEY, timeout=2)
        wait_until(lambda: not poison.exists(), "the kill", 20)
        first, second = (running.client.post("/deadly", json=body, headers=KEY) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert is_hit(second)
