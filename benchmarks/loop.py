"""What a request waits in LitServe's loops and in CachedBatchedLoop: real servers over HTTP.

    python -m benchmarks.loop

Hits, one after another: the same API in LitServe's loop without batches (whose hit is the floor),
in its batched loop, and in CachedBatchedLoop, `batch_timeout` being 50 ms. The servers are asked in
turns.

The mixed load: 8 clients who each send their next request when the last is answered, four of five
of them hits, and a model that takes 40 ms a batch of any size. The clients are a process of their
own for each server's turn, over kept-alive connections. "Hits alone" is the same load just before
without a miss: what the machine, LitServe's HTTP process and its queues take by themselves.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import repeat
from typing import Any

import litserve as ls

from benchmarks.common import ROOT, Row, free_port, group, note, report, until_healthy
from litcache import CachedBatchedLoop, cached_predict

WINDOW = 0.05
MODEL_SECONDS = 0.04
CLIENTS, REQUESTS_EACH, KNOWN, HIT_SHARE = 8, 100, 40, 0.8
TURNS, HITS_A_TURN = 31, 10
REPEATS = 3
KINDS = {
    "unbatched": "LitServe's loop without batches",
    "stock": "LitServe's batched loop",
    "loop": "CachedBatchedLoop",
    "overlap": "CachedBatchedLoop(overlap=True)",
}


class SleepingAPI(ls.LitAPI):
    """A model that takes as long whatever it gets, and leaves the processor alone."""

    def setup(self, device: str) -> None:
        self.calls = 0

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    @cached_predict(trial=0)
    def predict(self, texts: Any) -> Any:
        self.calls += 1
        time.sleep(MODEL_SECONDS)
        return texts.upper() if isinstance(texts, str) else [text.upper() for text in texts]

    def encode_response(self, output: str) -> dict[str, Any]:
        return {"text": output, "calls": self.calls}


def serve(kind: str, port: int) -> None:
    """Serve the API in one of the loops."""
    options: dict[str, Any] = {"max_batch_size": 16, "batch_timeout": WINDOW}
    if kind == "unbatched":
        options = {}
    elif kind != "stock":
        options["loop"] = CachedBatchedLoop(overlap=kind == "overlap")
    server = ls.LitServer(SleepingAPI(**options), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", access_log=False,
        generate_client_file=False,
    )  # fmt: skip


class Client:
    """One kept-alive connection to a server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, text: str) -> tuple[float, int]:
        """Return the milliseconds until the answer, and the calls of the model so far."""
        start = time.perf_counter()
        body = json.dumps({"text": text})
        self._connection.request("POST", "/predict", body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        taken = (time.perf_counter() - start) * 1e3
        assert response.status == 200, answer
        assert answer["text"] == text.upper()
        return taken, answer["calls"]


@contextmanager
def served(kind: str) -> Iterator[int]:
    """Run a server in a process group of its own; yield its port."""
    port = free_port()
    with group(sys.executable, "-m", "benchmarks.loop", "serve", kind, str(port)):
        until_healthy(port)
        yield port


def hits() -> list[Row]:
    """Time hits one after another, the servers in turns."""
    with ExitStack() as stack:
        clients = {kind: Client(stack.enter_context(served(kind))) for kind in KINDS}
        samples: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for client in clients.values():
            for _ in range(20):
                client.ask("warm")
        for _ in range(TURNS):
            for kind, client in clients.items():
                taken = [client.ask("warm")[0] for _ in range(HITS_A_TURN)]
                samples[kind].append(statistics.median(taken))
    rows = [Row(name, statistics.median(samples[kind]), "ms") for kind, name in KINDS.items()]
    for row, kind in zip(rows, KINDS, strict=True):
        ratios = (a / b for a, b in zip(samples[kind], samples["unbatched"], strict=True))
        row.ratio = statistics.median(ratios)
        if kind in ("loop", "overlap"):
            row.at_most(1.2, of="ratio")
    return rows


def load(port: int) -> dict[str, Any]:
    """Send the mixed load; return what each request took, by outcome."""
    clients = [Client(port) for _ in range(CLIENTS)]
    for number in range(KNOWN):
        _, before = clients[0].ask(f"known {number}")

    def work(number: int, hit_share: float) -> list[tuple[bool, float, int]]:
        done, draw = [], random.Random(number)
        for step in range(REQUESTS_EACH):
            known = draw.random() < hit_share
            text = f"known {draw.randrange(KNOWN)}" if known else f"new {number} {step}"
            done.append((known, *clients[number].ask(text)))
        return done

    with ThreadPoolExecutor(CLIENTS) as pool:
        alone = [each for part in pool.map(work, range(CLIENTS), repeat(1.0)) for each in part]
        start = time.perf_counter()
        done = [each for part in pool.map(work, range(CLIENTS), repeat(HIT_SHARE)) for each in part]
        seconds = time.perf_counter() - start
    return {
        "hits alone": [taken for _, taken, _ in alone],
        "rate": len(done) / seconds,
        "calls": max(calls for *_, calls in done) - before,
        "hits": [taken for known, taken, _ in done if known],
        "misses": [taken for known, taken, _ in done if not known],
    }


def mixed() -> dict[str, list[Row]]:
    """Put each server under the mixed load, several times, each time a new server."""
    tables: dict[str, list[Row]] = {}
    for kind in ("stock", "loop", "overlap"):
        runs = []
        for _ in range(REPEATS):
            note(f"mixed load: {KINDS[kind]}")
            with served(kind) as port:
                command = [sys.executable, "-m", "benchmarks.loop", "load", str(port)]
                done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
                runs.append(json.loads(done.stdout))
        tables[f"mixed load: {KINDS[kind]}"] = _mixed_rows(runs, kind)
    return tables


def _mixed_rows(runs: list[dict[str, Any]], kind: str) -> list[Row]:
    name = KINDS[kind]
    rows = [
        Row(f"{name}: all", statistics.median(run["rate"] for run in runs), "req/s"),
        Row(f"{name}: model", statistics.median(run["calls"] for run in runs), "calls"),
    ]
    for outcome in ("hits alone", "hits", "misses"):
        for share in (50, 99):
            values = [statistics.quantiles(run[outcome], n=100)[share - 1] for run in runs]
            row = Row(f"{name}: {outcome}, p{share}", statistics.median(values), "ms")
            if (kind, outcome, share) == ("overlap", "hits", 99):
                row.at_most(MODEL_SECONDS * 1e3)
            rows.append(row)
    return rows


def main() -> bool:
    tables = {f"a hit, one client, batch_timeout={WINDOW:g}": hits(), **mixed()}
    return report("loop", tables)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["load"]:
        print(json.dumps(load(int(sys.argv[2]))))
    else:
        sys.exit(0 if main() else 1)
