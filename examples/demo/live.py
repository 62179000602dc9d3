"""`make demo-live`: the demo's three servers at work, on a page that moves.

Clients send the demo's texts, again and again the next one, to one of three servers: without a
cache, with the decorator, or with all tiers. The page shows what that does to requests/s, to the
latency and to the model, and switches the traffic from one server to another.
"""

import argparse
import itertools
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from examples.demo.__main__ import KINDS, interruptible
from examples.demo.clients import Answer, Clients, percentile
from examples.demo.errors import DemoError, check_packages
from examples.demo.serving import Server, pick_port, serving
from examples.demo.traffic import traffic

PAGE = Path(__file__).with_name("live.html")
SECOND = 1.0
SECONDS_SHOWN = 120


class Live:
    """What flows: which server gets the traffic, and what came of it, second by second."""

    def __init__(self, servers: dict[str, Server], clients: Clients):
        self.servers, self.clients = servers, clients
        self.kind = "none"
        self.chosen = False  # by the visitor; until then the traffic moves on by itself
        self.series: deque[dict[str, Any]] = deque(maxlen=SECONDS_SHOWN)

    def choose(self, kind: str) -> None:
        """Send what comes next to this server."""
        self.kind = kind
        self.clients.port = self.servers[kind].port

    def tick(self, second: int, every: int) -> None:
        """Add what the last second brought; after so many seconds go on to the next server."""
        now = time.perf_counter()
        last = [answer for answer in list(self.clients.answers) if answer.at > now - SECOND]
        self.series.append({"kind": self.kind, **_speed(last)})
        if not self.chosen and second % every == every - 1:
            kinds = list(KINDS)
            self.choose(kinds[min(kinds.index(self.kind) + 1, len(kinds) - 1)])

    def state(self) -> dict[str, Any]:
        """Return what the page shows."""
        counters = self.servers[self.kind].counters()
        requests = self.clients.answered[self.servers[self.kind].port]
        items = counters["items"]
        return {
            "kind": self.kind,
            "kinds": KINDS,
            "series": list(self.series),
            "requests": requests,
            "model_items": items,
            "without_the_model": max(0.0, 1 - items / requests) if requests else 0.0,
            "trial": counters.get("state", "none"),
            "verified": counters.get("verified", 0),
        }


def _speed(answers: list[Answer]) -> dict[str, float]:
    latencies = [answer.latency for answer in answers]
    return {
        "requests_per_second": len(answers) / SECOND,
        "p50_ms": 1e3 * percentile(latencies, 50) if latencies else 0.0,
    }


class Handler(BaseHTTPRequestHandler):
    """The page, its figures as JSON, and the choice of a server."""

    live: Live

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer("text/html; charset=utf-8", PAGE.read_bytes())
        elif self.path == "/state":
            self._answer("application/json", json.dumps(self.live.state()).encode())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        kind = self.path.rpartition("/")[2]
        if kind not in KINDS:
            self.send_error(404)
            return
        self.live.chosen = True
        self.live.choose(kind)
        self._answer("application/json", b"{}")

    def _answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: the page asks every half second."""


def endless(texts: list[str]) -> Iterator[str]:
    return itertools.chain.from_iterable(itertools.repeat(texts))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo.live", description=__doc__)
    parser.add_argument("--port", type=int, default=8090, help="of the page")
    parser.add_argument("--clients", type=int, default=8, help="that send at the same time")
    parser.add_argument("--seconds", type=int, default=12, help="then the next server has its turn")
    options = parser.parse_args()
    try:
        with interruptible():
            check_packages()
            serve(options)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; the servers are ended", file=sys.stderr)
        return 130
    return 0


def serve(options: argparse.Namespace) -> None:
    """Run servers, traffic and page until somebody interrupts."""
    page_port = pick_port(options.port)
    texts, origin = traffic(100_000)
    with ExitStack() as stack:
        print("three servers are starting …", flush=True)
        servers = {kind: stack.enter_context(serving(kind, pick_port())) for kind in KINDS}
        clients = Clients(servers["none"].port, endless(texts), keep=20_000)
        live = Live(servers, clients)
        handler = type("LiveHandler", (Handler,), {"live": live})
        page = ThreadingHTTPServer(("127.0.0.1", page_port), handler)
        stack.callback(page.server_close)
        threading.Thread(target=page.serve_forever, daemon=True).start()
        stack.callback(page.shutdown)
        pool = stack.enter_context(ThreadPoolExecutor(options.clients))
        stack.callback(clients.stop.set)
        running = clients.start(pool, options.clients)
        print(f"{options.clients} clients send {origin}.")
        print(f"Look at http://127.0.0.1:{page_port}/ ; Ctrl-C ends it.", flush=True)
        begin = time.perf_counter()
        for second in itertools.count():
            clients.stop.wait(max(0.0, begin + second + SECOND - time.perf_counter()))
            for future in running:
                if future.done():
                    future.result()
            live.tick(second, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
