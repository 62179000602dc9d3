"""Hits through CacheMiddleware beside a constant answer in its place, stock LitServe and others.

    apt-get install wrk nginx-light; pip install cache-fastapi
    python -m benchmarks.middleware

Every server is a real one with a single HTTP process; `wrk` sends the same request over and over,
so all but the first hit. Servers are measured in turns and compared within a turn. The constant
answer is a middleware that stands where CacheMiddleware stands in LitServe and answers without
reading the body, looking anything up or adding a header: the least that a middleware can cost.
With a `SharedStore` hits come from the front in the process. The bare app is uvicorn with nothing
in it. `nginx` and `cache-fastapi` are left out where they are not installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import litserve as ls
import uvicorn

from benchmarks.common import Row, free_port, group, note, report
from litcache import CacheMiddleware, SharedStore

ROUNDS = 7
SECONDS = 2
CLIENTS = 8
API_KEY = "a key"
BODY = b'{"text": "how do I change the address of my account?"}'
ANSWER = b'{"embedding":[0.25,0.5,0.75]}'
HEADERS = [(b"content-length", b"%d" % len(ANSWER)), (b"content-type", b"application/json")]
SCRIPT = """
wrk.method = "POST"
wrk.body = [[%s]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = "%s"
"""
NGINX = """
{user}
daemon off; pid nginx.pid; error_log error.log; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u;
  scgi_temp_path s;
  proxy_cache_path cache keys_zone=hits:10m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_cache hits; proxy_cache_methods POST; proxy_cache_valid 200 60s;
      proxy_cache_key "$request_uri|$content_type|$request_body";
      client_body_buffer_size 1m;
    }}
  }}
}}
"""


class TrivialAPI(ls.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return [0.25, 0.5, 0.75]

    def encode_response(self, vector):
        return {"embedding": vector}


class ConstantMiddleware:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/predict":
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            await send({"type": "http.response.body", "body": ANSWER})
        else:
            await self.app(scope, receive, send)


class ReadingMiddleware(ConstantMiddleware):
    """Reads the body, as whoever answers by it must, and says what a hit says."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/predict":
            await receive()
            own = [(b"age", b"0"), (b"cache-status", b"litcache; hit; ttl=3600")]
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS + own})
            await send({"type": "http.response.body", "body": ANSWER})
        else:
            await self.app(scope, receive, send)


async def bare(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        await send({"type": "http.response.body", "body": ANSWER})


def _cache_fastapi():
    from cache_fastapi.Backends.memory_backend import MemoryBackend
    from cache_fastapi.cacheMiddleware import CacheMiddleware as Peer

    return [(Peer, {"cached_endpoints": ["/predict"], "backend": MemoryBackend()})]


def _shared():
    folder = tempfile.mkdtemp(dir=os.environ["BENCHMARK_FOLDER"])
    return {"store": SharedStore(folder, "16 MiB"), "namespace": "http", "version": "1"}


KINDS = {
    "constant": lambda: [(ConstantMiddleware, {})],
    "constant, reads the body": lambda: [(ReadingMiddleware, {})],
    "hit": lambda: [(CacheMiddleware, {"ttl": 3600})],
    "hit, API key": lambda: [(CacheMiddleware, {"ttl": 3600})],
    "hit, SharedStore": lambda: [(CacheMiddleware, {"ttl": 3600, **_shared()})],
    "stock LitServe": list,
    "cache-fastapi": _cache_fastapi,
}
ENVIRONMENT = {"hit, API key": {"LIT_SERVER_API_KEY": API_KEY}}


def serve(kind: str, port: int) -> None:
    """Run one server in this process."""
    if kind == "bare uvicorn":
        uvicorn.run(bare, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
        return
    server = ls.LitServer(TrivialAPI(), accelerator="cpu", middlewares=KINDS[kind]())
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", access_log=False,
        generate_client_file=False,
    )  # fmt: skip


def started(stack: ExitStack, kind: str, folder: str) -> int:
    """Start a server, wait until it answers, and return its port; its files are in a folder."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.middleware", kind, str(port))
    variables = {"BENCHMARK_FOLDER": folder, **ENVIRONMENT.get(kind, {})}
    stack.enter_context(group(*command, **variables))
    _until_it_answers(kind, port)
    return port


def _nginx(stack: ExitStack, behind: int) -> int:
    port = free_port()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    config = Path(folder, "nginx.conf")
    user = "" if os.geteuid() else "user root;"  # its worker must reach the folder
    config.write_text(NGINX.format(port=port, behind=behind, user=user))
    command = ("nginx", "-p", folder, "-e", "error.log", "-c", str(config))
    stack.enter_context(group(*command, cwd=folder))
    _until_it_answers("nginx", port)
    return port


def _until_it_answers(kind: str, port: int) -> None:
    request = Request(f"http://127.0.0.1:{port}/predict", BODY, method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("X-API-Key", API_KEY)
    deadline = time.monotonic() + 60
    while True:
        with suppress(URLError, OSError), urlopen(request, timeout=5) as answer:
            assert answer.read() == ANSWER, kind
            return
        assert time.monotonic() < deadline, f"{kind} does not answer"
        time.sleep(0.1)


def per_second(port: int, script: Path) -> float:
    """Return how many requests a second a server answers to `wrk`."""
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{SECONDS}", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/predict"], capture_output=True, text=True, check=True
    )
    assert "Non-2xx" not in done.stdout, done.stdout
    found = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


def main() -> bool:
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        script = Path(folder, "post.lua")
        script.write_text(SCRIPT % (BODY.decode(), API_KEY))
        kinds = ["bare uvicorn", *KINDS]
        if importlib.util.find_spec("cache_fastapi") is None:
            kinds.remove("cache-fastapi")
        ports = {kind: started(stack, kind, folder) for kind in kinds}
        if shutil.which("nginx") is not None:
            ports["nginx proxy_cache"] = _nginx(stack, ports["stock LitServe"])
        rates: dict[str, list[float]] = {kind: [] for kind in ports}
        for number in range(ROUNDS):
            note(f"round {number + 1} of {ROUNDS}")
            for kind, port in ports.items():
                rates[kind].append(per_second(port, script))
    return report("middleware", _tables(rates))


def _tables(rates: dict[str, list[float]]) -> dict[str, list[Row]]:
    def row(kind: str, floor: str) -> Row:
        ratios = [a / b for a, b in zip(rates[kind], rates[floor], strict=True)]
        return Row(kind, statistics.median(rates[kind]), "req/s", statistics.median(ratios))

    return {
        f"{CLIENTS} clients, beside a constant-answering middleware": [
            *(row(kind, "constant") for kind in rates if not kind.startswith("hit")),
            row("hit", "constant").at_least(0.80, of="ratio"),
            row("hit, SharedStore", "constant").at_least(0.65, of="ratio"),
            row("hit, API key", "constant").at_least(0.45, of="ratio"),
        ],
        "beside stock LitServe": [
            row("stock LitServe", "stock LitServe"),
            row("hit", "stock LitServe").at_least(8, of="ratio"),
            row("hit, API key", "stock LitServe"),
        ],
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(sys.argv[1], int(sys.argv[2]))
    else:
        main()
