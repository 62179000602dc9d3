"""What a hit of CacheMiddleware takes of the HTTP process, beside a constant answer in its place.

    python -m benchmarks.http_hits

It needs no `wrk`. LitServe's own app runs in this process, with a worker, under each middleware.
All are measured in turns, by the time that this thread has the processor: so a loaded machine
disturbs little. First the app alone: a call of it, with messages that are there. Then the app under
uvicorn, which a client in another process asks by 8 connections. There, the ratio is that of the
requests a second which one HTTP process can answer. `benchmarks.middleware` measures that from
outside, with `wrk`.
"""

from __future__ import annotations

import asyncio
import copy
import os
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack

import litserve as ls
import uvicorn
import uvloop
from litserve.utils import wrap_litserve_start
from starlette.middleware import Middleware

from benchmarks.common import Row, free_port, report
from benchmarks.middleware import ANSWER, BODY, CLIENTS, KINDS, TrivialAPI

NAMES = ("constant", "constant, reads the body", "hit", "hit, SharedStore")
TARGETS = {"hit": 0.80, "hit, SharedStore": 0.65}
TURNS = 31
REQUESTS = 400
CALLS = 200
HEADERS = [
    (b"host", b"127.0.0.1:8000"), (b"content-length", b"%d" % len(BODY)),
    (b"content-type", b"application/json"),
]  # fmt: skip
RAW = b"POST /predict HTTP/1.1\r\n%s\r\n%s" % (
    b"".join(b"%s: %s\r\n" % header for header in HEADERS),
    BODY,
)


def client() -> None:
    """Ask servers as standard input says, line by line: a port, and how many requests."""
    connections: dict[int, list[socket.socket]] = {}
    for line in sys.stdin:
        port, count = map(int, line.split())
        if port not in connections:
            address = ("127.0.0.1", port)
            connections[port] = [socket.create_connection(address) for _ in range(CLIENTS)]
        for _ in range(count // CLIENTS):
            for connection in connections[port]:
                connection.sendall(RAW)
            for connection in connections[port]:
                answer = connection.recv(65536)
                while not answer.endswith(ANSWER):
                    part = connection.recv(65536)
                    assert part, answer
                    answer += part
                assert answer.startswith(b"HTTP/1.1 200 "), answer
        print(answer.lower().count(b"litcache; hit"), flush=True)


class Client:
    """The process of the client."""

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.http_hits", "client", stdin=pipe, stdout=pipe
        )

    async def ask(self, port: int, count: int) -> bool:
        """Ask a server; return whether its last answer was a hit."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(b"%d %d\n" % (port, count))
        return bool(int(await stdout.readline()))

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def under(app, middlewares):
    """Return LitServe's app with middlewares of its own; all such apps have one worker."""
    app = copy.copy(app)
    app.user_middleware = [Middleware(kind, **options) for kind, options in middlewares]
    return app


async def started(app, port: int) -> uvicorn.Server:
    """Start a server in this event loop."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=600,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    return server


def call(app):
    """Return a coroutine that asks once, without a server."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": "/predict", "raw_path": b"/predict", "query_string": b"", "root_path": "",
        "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
        "headers": HEADERS, "state": {},
    }  # fmt: skip
    return app(scope, _receive, _send)


async def _receive():
    return {"type": "http.request", "body": BODY, "more_body": False}


async def _send(message):
    pass


async def alone(app) -> float:
    """Return the µs of one request; the app is asked without a server."""
    begun = time.thread_time()
    for _ in range(CALLS):
        await call(app)
    return (time.thread_time() - begun) / CALLS * 1e6


async def measured(app) -> dict[str, list[Row]]:
    """Measure each middleware."""
    apps = {name: under(app, KINDS[name]()) for name in NAMES}
    ports = {name: free_port() for name in NAMES}
    asking = Client()
    await asking.start()
    async with app.router.lifespan_context(app):
        servers = [await started(apps[name], ports[name]) for name in NAMES]

        async def served(name: str) -> float:
            begun = time.thread_time()
            await asking.ask(ports[name], REQUESTS)
            return (time.thread_time() - begun) / REQUESTS * 1e6

        for name in TARGETS:  # a miss, and the trial
            while not await asking.ask(ports[name], 10 * CLIENTS):
                pass
        apart: dict[str, list[float]] = {name: [] for name in NAMES}
        whole: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(TURNS):
            for name in NAMES:
                apart[name].append(await alone(apps[name]))
                whole[name].append(await served(name))
        await asking.end()
        for server in servers:
            server.should_exit = True
            await server.shutdown()
    return {
        "the app alone": [_row(name, apart) for name in NAMES],
        f"under uvicorn, {CLIENTS} clients": [_aimed(name, _row(name, whole)) for name in NAMES],
    }


def _row(name: str, taken: dict[str, list[float]]) -> Row:
    """Return the µs of a request; the ratio is how many of it fit where a constant answer does."""
    ratios = [a / b for a, b in zip(taken["constant"], taken[name], strict=True)]
    return Row(name, statistics.median(taken[name]), "µs", statistics.median(ratios))


def _aimed(name: str, row: Row) -> Row:
    return row.at_least(TARGETS[name], of="ratio") if name in TARGETS else row


def main() -> bool:
    with ExitStack() as stack:
        os.environ["BENCHMARK_FOLDER"] = stack.enter_context(tempfile.TemporaryDirectory())
        server = ls.LitServer(TrivialAPI(), accelerator="cpu")
        stack.enter_context(wrap_litserve_start(server))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            tables = runner.run(measured(server.app))
    return report("http_hits", tables)


if __name__ == "__main__":
    if sys.argv[1:] == ["client"]:
        client()
    else:
        main()
