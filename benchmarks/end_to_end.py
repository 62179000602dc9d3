"""Real traces through real servers with a real model, each beside its ideal.

    python -m benchmarks.end_to_end          # 2,100 requests of each trace
    python -m benchmarks.end_to_end 600      # fewer

The model is the int8 MiniLM of `examples/minilm.py`, one thread a worker. The traces are `web12`,
each of its pages standing for a question of Banking77, and the retail events, each of them asking
for the title sold; without the data, a seeded Zipf trace over phrases of this project. 8 clients, a
process of their own, each send the next request of the trace over a kept-alive connection when
their last is answered. All servers have `max_batch_size=8` and `batch_timeout=0.01`, and with two
workers two HTTP processes, as LitServe makes them; litcache's stores are then a `SharedStore` each,
since a worker's own memory is seen by that worker alone. 2,000 requests of the trace come before
the window that is measured. Every answer must have the bytes that the server without a cache gives.

The ideal. A request that is computed takes t_model, one that is not t_floor; so the window cannot
take less than Σ_misses t_model + Σ_hits t_floor, and the best speed-up over no cache is Σ t_model
over that. Both sums are measured and not multiplied out of means, since texts differ in length:

* misses are the requests whose text no earlier request of the trace had, the warm-up included,
  whatever the server at hand computed: a text computed twice, by two workers or after an eviction,
  counts against it. Σ_misses t_model is how long the server without a cache takes for these
  requests alone, sent by the same clients.
* hits are all others. Σ_hits t_floor is how long these take in a server of the same tier that need
  not look anything up. For `CacheMiddleware` it has a middleware in its place that answers
  constantly. For the others its `predict` returns a constant vector: in LitServe's batched loop for
  what is decorated there, and for `CachedBatchedLoop`, which lets hits wait for no batch, in
  LitServe's loop without batches.

"of the ideal" is this sum over how long the window took. The window is cut into seven parts, each
with an ideal of its own, and the median counts. All servers of as many workers are up at the same
time and play each part in turns; those whose turn it is not are stopped (SIGSTOP). More than 100 %
is possible: the sum knows nothing of hits that one core answers while another computes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import litserve as ls
import numpy as np

from benchmarks import load
from benchmarks.common import (  # workloads
    ROOT,
    Row,
    free_port,
    group,
    note,
    report,
    retail,
    texts,
    until_healthy,
    web12,
    zipf,
)
from examples.minilm import DIMENSIONS, VERSION, MiniLM
from litcache import CachedBatchedLoop, CacheMiddleware, SharedStore, cached_predict

CLIENTS, BATCH, SECONDS = 8, 8, 0.01
WARM, WINDOW, PARTS = 2_000, 2_100, 7
WORKERS = (1, 2)
# Of each kind of server: its name, and the kind whose hits are its floor.
KINDS = {
    "none": ("no cache", ""),
    "dict": ("a dict in predict", "constant, batched"),
    "stock": ("LitServe's loop + @cached_predict", "constant, batched"),
    "loop": ("CachedBatchedLoop + @cached_predict", "constant"),
    "http": ("CacheMiddleware", "constant, http"),
    "all": ("all together", "constant, http"),
}
OURS = ("stock", "loop", "http", "all")
FLOORS = {
    "constant": "constant predict, LitServe's loop without batches",
    "constant, batched": "constant predict, LitServe's batched loop",
    "constant, http": "constant middleware",
}


# Servers -----------------------------------------------------------------------------------


class EmbeddingAPI(ls.LitAPI):
    """The model, which notes the size of each of its batches in a file of all workers."""

    def setup(self, device: str) -> None:
        self.model = MiniLM(threads=1)
        self.calls = os.open(os.environ["CALLS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, texts: Any) -> Any:
        os.write(self.calls, b"%d\n" % len(texts))
        return self.model.encode(texts)

    def encode_response(self, vector: Any) -> dict[str, Any]:
        return {"embedding": vector.tolist()}


class DictAPI(EmbeddingAPI):
    """What one writes by hand."""

    def setup(self, device: str) -> None:
        super().setup(device)
        self.known: dict[str, Any] = {}

    def predict(self, texts: Any) -> Any:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, super().predict(new), strict=True))
        return [self.known[text] for text in texts]


def _store(name: str) -> SharedStore | None:
    folder = os.environ.get("STORES")
    return SharedStore(Path(folder, name)) if folder else None


class CachedAPI(EmbeddingAPI):
    @cached_predict(store=_store("predict"), namespace="end to end", version=VERSION, trial=0)
    def predict(self, texts: Any) -> Any:
        return super().predict(texts)


class ConstantAPI(EmbeddingAPI):
    def setup(self, device: str) -> None:
        self.vector = _constant()

    def predict(self, texts: Any) -> Any:
        return self.vector if isinstance(texts, str) else [self.vector] * len(texts)


class ConstantMiddleware:
    """Stands where CacheMiddleware stands, and answers without reading or asking anything."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.body = json.dumps({"embedding": _constant().tolist()}, separators=(",", ":")).encode()
        length = b"%d" % len(self.body)
        self.headers = [(b"content-length", length), (b"content-type", b"application/json")]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/predict":
            headers = list(self.headers)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self.body})
        else:
            await self.app(scope, receive, send)


def _constant() -> Any:
    return np.random.default_rng(7).normal(0, DIMENSIONS**-0.5, DIMENSIONS).astype(np.float32)


def serve(kind: str, workers: int, port: int) -> None:
    """Run one server in this process."""
    apis: dict[str, type[EmbeddingAPI]] = {
        "dict": DictAPI, "stock": CachedAPI, "loop": CachedAPI, "all": CachedAPI,
        **dict.fromkeys(FLOORS, ConstantAPI),
    }  # fmt: skip
    options: dict[str, Any] = {"max_batch_size": BATCH, "batch_timeout": SECONDS}
    if kind == "constant":
        options = {}
    elif kind in ("loop", "all"):
        options["loop"] = CachedBatchedLoop(overlap=True)
    middlewares: list[Any] = []
    if kind in ("http", "all"):
        cache: dict[str, Any] = {"ttl": 3600, "namespace": "http", "version": VERSION}
        middlewares = [(CacheMiddleware, {**cache, "store": _store("http")})]
    elif kind == "constant, http":
        middlewares = [ConstantMiddleware]
    server = ls.LitServer(
        apis.get(kind, EmbeddingAPI)(**options), accelerator="cpu", workers_per_device=workers,
        middlewares=middlewares,
    )  # fmt: skip
    server.run(
        host="127.0.0.1", port=port, log_level="warning", access_log=False,
        generate_client_file=False,
    )  # fmt: skip


# The load ----------------------------------------------------------------------------------


class Part(NamedTuple):
    """What became of one part of a trace.

    Attributes:
        seconds: From its first request to its last answer.
        times: What each request took, ms.
        batches: The sizes of the model's batches.
        digests: Of each text, that of its answer.
    """

    seconds: float
    times: list[float]
    batches: list[int]
    digests: dict[str, str]


async def send(port: int, calls: Path, part: list[str]) -> Part:
    """Send a part of a trace by several clients."""
    asked = [load.post({"text": text}) for text in part]
    waiting = iter(range(len(part)))
    times, answers = [0.0] * len(part), [load.Answer(0, b"", b"")] * len(part)
    connections = [await load.Connection.open(port) for _ in range(CLIENTS)]

    async def client(connection: load.Connection) -> None:
        for number in waiting:
            begun = time.perf_counter()
            answers[number] = await connection.ask(asked[number])
            times[number] = (time.perf_counter() - begun) * 1e3

    before = len(_batches(calls))
    begun = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    seconds = time.perf_counter() - begun
    for connection in connections:
        connection.leave()
    digests: dict[str, str] = {}
    for text, answer in zip(part, answers, strict=True):
        assert answer.status == 200, answer
        digest = hashlib.blake2b(answer.body, digest_size=8).hexdigest()
        assert digests.setdefault(text, digest) == digest, f"two answers to {text!r}"
    return Part(seconds, times, _batches(calls)[before:], digests)


def _batches(calls: Path) -> list[int]:
    return [int(size) for size in calls.read_text().split()] if calls.exists() else []


class Server(NamedTuple):
    """A server that is stopped unless it plays.

    Attributes:
        port: Where it listens.
        calls: The file in which it notes the model's batches.
        leader: The id of its process group.
        clients: The process of the clients.
    """

    port: int
    calls: Path
    leader: int
    clients: subprocess.Popen[str]

    def play(self, part: Sequence[str]) -> Part:
        """Let the process of the clients send a part of a trace."""
        os.killpg(self.leader, signal.SIGCONT)
        assert self.clients.stdin is not None
        assert self.clients.stdout is not None
        print(json.dumps([self.port, str(self.calls), part]), file=self.clients.stdin, flush=True)
        line = self.clients.stdout.readline()
        assert line, "the clients failed"
        os.killpg(self.leader, signal.SIGSTOP)
        return Part(*json.loads(line))


@contextmanager
def _clients() -> Iterator[subprocess.Popen[str]]:
    """Run the process of the clients: it plays what it reads, a line a part."""
    command = [sys.executable, "-m", "benchmarks.end_to_end", "load"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as process:
        yield process


@contextmanager
def served(kind: str, workers: int, clients: subprocess.Popen[str]) -> Iterator[Server]:
    """Run a server in a process group of its own."""
    note(f"{workers} workers: {FLOORS.get(kind) or KINDS[kind][0]}")
    port = free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        environment = {"CALLS": f"{folder}/calls", "TMPDIR": folder}
        if workers > 1:
            environment["STORES"] = folder
        command = (sys.executable, "-m", "benchmarks.end_to_end", "serve", kind, str(workers))
        leader = stack.enter_context(group(*command, str(port), **environment))
        until_healthy(port)
        try:
            yield Server(port, Path(environment["CALLS"]), leader, clients)
        finally:
            os.killpg(leader, signal.SIGCONT)  # stopped, it would not hear that it is to end


# Traces ------------------------------------------------------------------------------------


class Trace(NamedTuple):
    """Requests of a trace: those before the window, and the window in parts."""

    name: str
    warm: list[str]
    parts: list[list[str]]

    def cut(self) -> tuple[list[list[str]], list[list[str]]]:
        """Return, part by part, what no earlier request asked for, and all others."""
        seen = set(self.warm)
        misses: list[list[str]] = [[] for _ in self.parts]
        hits: list[list[str]] = [[] for _ in self.parts]
        for number, part in enumerate(self.parts):
            for text in part:
                (hits if text in seen else misses)[number].append(text)
                seen.add(text)
        return misses, hits


def traces(window: int) -> list[Trace]:
    """Return the traces, with so many requests in the window."""
    pages, sales = web12(), retail()
    if pages is None or sales is None:
        asked = zipf(WARM + window, 4_000)
        return [_trace("zipf", _named(asked, texts(4_000)), window)]
    sold = [sales.titles[title] for title in sales.sold[: WARM + window]]
    return [
        _trace("web12", _named(pages[: WARM + window], texts(13_000)), window),
        _trace("retail", sold, window),
    ]


def _named(ids: list[int], names: list[str]) -> list[str]:
    """Give each id a text of its own, by its first appearance; a number where texts run out."""
    places: dict[int, int] = {}
    for each in ids:
        places.setdefault(each, len(places))
    rounds = ((place, *divmod(place, len(names))) for place in places.values())
    text = {p: names[rest] + (f" ({again + 1})" if again else "") for p, again, rest in rounds}
    return [text[places[each]] for each in ids]


def _trace(name: str, requests: list[str], window: int) -> Trace:
    size = window // PARTS
    parts = [requests[start : start + size] for start in range(WARM, WARM + size * PARTS, size)]
    return Trace(name, requests[:WARM], parts)


# Results -----------------------------------------------------------------------------------


class Run(NamedTuple):
    """One kind of server under one trace, with so many workers.

    Attributes:
        parts: What became of the window.
        ideals: The ideal of each part, in seconds; empty for the server without a cache.
    """

    parts: list[Part]
    ideals: list[float]

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    @property
    def requests(self) -> int:
        return sum(len(part.times) for part in self.parts)

    @property
    def items(self) -> int:
        return sum(sum(part.batches) for part in self.parts)


def measure(workers: int, chosen: list[Trace]) -> dict[tuple[str, str], Run]:
    """Put every kind of server under every trace, with so many workers; by kind and trace."""
    runs: dict[tuple[str, str], Run] = {}
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        clients = stack.enter_context(_clients())
        for kind in (*FLOORS, *KINDS):
            servers[kind] = stack.enter_context(served(kind, workers, clients))
            servers[kind].play(chosen[0].warm[: CLIENTS * 10])
        for trace in chosen:
            runs.update({(kind, trace.name): run for kind, run in _turns(servers, trace).items()})
    return runs


def _turns(servers: dict[str, Server], trace: Trace) -> dict[str, Run]:
    """Let servers play a trace in turns."""
    for kind, (name, _) in KINDS.items():
        if kind != "none":
            note(f"{trace.name}, warm-up: {name}")
            servers[kind].play(trace.warm)
    runs = {kind: Run([], []) for kind in KINDS}
    for number, (part, new, known) in enumerate(zip(trace.parts, *trace.cut(), strict=True)):
        note(f"{trace.name}, part {number + 1} of {PARTS}")
        seconds = {kind: servers[kind].play(known).seconds for kind in FLOORS}
        model = servers["none"].play(new).seconds
        for kind, (_, floor) in KINDS.items():
            runs[kind].parts.append(servers[kind].play(part))
            if kind != "none":
                runs[kind].ideals.append(model + seconds[floor])
                right = runs["none"].parts[-1].digests
                assert runs[kind].parts[-1].digests == right, f"{kind}: wrong answers"
    return runs


def rows(runs: dict[tuple[str, str], Run], trace: str) -> list[Row]:
    """Return what a table shows of a trace; × is over no cache."""
    found = []
    none = runs["none", trace]
    for kind, (name, _) in KINDS.items():
        run = runs[kind, trace]
        times = statistics.quantiles((t for part in run.parts for t in part.times), n=100)
        rate = run.requests / run.seconds
        calls = sum(len(part.batches) for part in run.parts)
        found += [
            Row(f"{name}: requests", rate, "req/s", rate / (none.requests / none.seconds)),
            Row(f"{name}: hit rate", 1 - run.items / run.requests, ""),
            Row(f"{name}: model", calls, "calls"),
            Row(f"{name}: model", run.items, "items"),
            Row(f"{name}: p50", times[49], "ms"),
            Row(f"{name}: p99", times[98], "ms"),
        ]
        if run.ideals:
            both = zip(run.ideals, run.parts, strict=True)
            reached = statistics.median(ideal / part.seconds * 100 for ideal, part in both)
            best = none.seconds / sum(run.ideals)
            row = Row(f"{name}: of the ideal, {best:.2f} × no cache", reached, "%")
            found.append(row.at_least(90) if kind in OURS else row)
    return found


def main(window: int = WINDOW) -> bool:
    chosen = traces(window)
    tables = {}
    for workers in WORKERS:
        runs = measure(workers, chosen)
        for trace in chosen:
            title = f"{trace.name}, {workers} worker{'s' if workers > 1 else ''}"
            tables[title] = rows(runs, trace.name)
    return report("end_to_end", tables)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["load"]:
        for line in sys.stdin:
            number, path, texts_sent = json.loads(line)
            print(json.dumps(load.run(send(number, Path(path), texts_sent))), flush=True)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are ended then, too
        sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
