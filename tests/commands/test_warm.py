"""A file of requests, sent through real servers."""

import http.server
import json
import threading

import pytest
from support.servers import ROOT, free_port, serve

from litcache.__main__ import main

SCRIPT = str(ROOT / "tests" / "support" / "http_server.py")
REQUESTS = [json.dumps({"x": f"text {n % 40}"}) for n in range(120)]


@pytest.fixture
def warm(tmp_path, capsys):
    """Runs the command on requests, and returns its exit code and what it tells."""

    def run(lines, url, *arguments):
        file = tmp_path / "requests.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        capsys.readouterr()
        code = main(["warm", str(file), "--url", url, *arguments, "--json"])
        told, errors = capsys.readouterr()
        return code, json.loads(told) if told else errors

    return run


@pytest.mark.e2e
def test_the_second_run_through_a_litserve_server_is_all_hits(warm, tmp_path):
    (tmp_path / "tokens").touch()
    environment = {"CACHE": "1", "ONLY": "/key", "TOKENS": str(tmp_path / "tokens")}
    with serve(
        str(ROOT / "tests" / "support" / "http_server.py"), environment=environment
    ) as server:
        url = f"{server.url}/key"
        code, told = warm(REQUESTS, url)
        assert (code, told["statuses"]) == (0, {"200": 120})
        assert told["hits"] <= 80
        code, told = warm(REQUESTS, url, "--concurrency", "3")
        assert (code, told["statuses"], told["hits"]) == (0, {"200": 120}, 120)
        code, told = warm([*REQUESTS[:5], '{"x": "raise418"}', "no json"], url)
        assert (code, told["requests"]) == (1, 7)
        assert told["statuses"].pop("200") == 5
        assert told["statuses"].pop("418") == 1


class Handler(http.server.BaseHTTPRequestHandler):
    """Notes each request, and answers it as the server's `answer` says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, body, dict(self.headers)))
        self.send_response(self.server.answer(body))
        self.send_header("content-length", "0")
        self.end_headers()
        if body in self.server.close_after:
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.seen, server.close_after, server.answer = [], set(), lambda body: 200
    server.url = f"http://127.0.0.1:{server.server_port}/predict?a=1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_line_is_sent_once_as_it_is_with_the_headers(warm, server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    lines = [f'{{"n":  {n}}}' for n in range(50)]
    code, told = warm(
        [*lines[:9], "", *lines[9:]], server.url, "--header", "X-API-Key: ${MY_KEY}",
        "--header", "x-b: c: d",
    )  # fmt: skip
    assert (code, told["requests"]) == (0, 50)
    assert sorted(body for _, body, _ in server.seen) == sorted(line.encode() for line in lines)
    for path, _, headers in server.seen:
        assert path == "/predict?a=1"
        assert headers["Content-Type"] == "application/json"
        assert (headers["X-API-Key"], headers["x-b"]) == ("s3cret", "c: d")


def test_no_more_requests_are_under_way_than_was_said(warm, server):
    both, running, most = threading.Barrier(3), [0], [0]
    lock = threading.Lock()

    def answer(body):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        both.wait(30)  # three at a time, or this breaks
        with lock:
            running[0] -= 1
        return 200

    server.answer = answer
    assert warm(["1"] * 9, server.url, "--concurrency", "3")[0] == 0
    assert most == [3]


def test_other_answers_than_2xx_are_counted_and_the_exit_code_says_so(warm, server):
    server.answer = lambda body: int(body)
    code, told = warm(["200", "201", "404", "404", "500"], server.url)
    assert code == 1
    assert told["statuses"] == {"200": 1, "201": 1, "404": 2, "500": 1}


def test_a_connection_that_the_server_closes_costs_no_request(warm, server):
    server.close_after = {b"3", b"5"}
    lines = [str(n) for n in range(10)]
    code, told = warm(lines, server.url, "--concurrency", "1")
    assert (code, told["statuses"]) == (0, {"200": 10})
    assert [body.decode() for _, body, _ in server.seen] == lines


def test_where_no_server_is_it_gives_up_soon(warm):
    url = f"http://127.0.0.1:{free_port()}/predict"
    code, told = warm(["1"] * 1_000, url)
    assert code == 3
    assert told["statuses"]["no answer"] < 30


def test_a_variable_that_is_not_set_is_named(warm, server):
    code, errors = warm(["1"], server.url, "--header", "X-API-Key: ${NOT_SET_ANYWHERE}")
    assert (code, "NOT_SET_ANYWHERE is not set" in errors) == (3, True)
    assert server.seen == []


def test_a_variable_that_no_header_can_hold_is_named_and_not_shown(warm, server, monkeypatch):
    monkeypatch.setenv("BROKEN_KEY", "s3cret\nx: y")
    code, errors = warm(["1"], server.url, "--header", "X-API-Key: ${BROKEN_KEY}")
    assert (code, "BROKEN_KEY in the environment must be Latin-1" in errors) == (3, True)
    assert "s3cret" not in errors
    assert server.seen == []


def test_a_file_without_requests_is_refused(warm, server):
    code, errors = warm([""], server.url)
    assert (code, "holds no requests" in errors) == (3, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--url", "127.0.0.1:8000/predict"],
        ["--url", "http://x", "--concurrency", "0"],
        ["--url", "http://x", "--header", "no colon"],
    ],
)
def test_a_wrong_command_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["warm", "requests.jsonl", *arguments])
    assert exit.value.code == 2
