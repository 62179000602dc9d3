"""Streams: how soon a hit's first chunk comes, and what recording costs.

    python -m benchmarks.streams

The first chunk: real servers over HTTP, one client with a kept-alive connection, LitServe's
streaming loop, `def` and `async def`. The model takes 5 ms a chunk, which is fast for a chat model.
Beside them stands a server whose `predict` yields the same chunks without a model.

Recording: the same stream bare and through the decorator, in this process, in turns; with a context
of the 20 entries that LitServe's OpenAISpec makes, too. The ratio is what the stream takes with the
processor time of recording added: a sleep on a busy machine is no measure.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import litserve as ls

from benchmarks.common import Row, free_port, group, report, until_healthy
from litcache import cached_predict

CHUNKS, CHUNK_SECONDS = 40, 0.005
TURNS, REPEATS = 60, 15
KINDS = {
    "constant": "no model, no cache, def",
    "sync": "a hit, def",
    "constant async": "no model, no cache, async def",
    "async": "a hit, async def",
}


def words(text: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what a chat model yields."""
    for count in range(CHUNKS):
        if seconds:
            time.sleep(seconds)
        yield {"role": "assistant", "content": f"{text} {count} ", "completion_tokens": count}


class Constant(ls.LitAPI):
    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, text: str) -> Iterator[Any]:
        yield from words(text, 0)

    def encode_response(self, chunks: Iterator[Any]) -> Iterator[str]:
        for chunk in chunks:
            yield json.dumps(chunk) + "\n"


class Cached(Constant):
    @cached_predict
    def predict(self, text: str) -> Iterator[Any]:
        yield from words(text, CHUNK_SECONDS)


class AsyncConstant(ls.LitAPI):
    async def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    async def predict(self, text: str) -> Any:
        for chunk in words(text, 0):
            yield chunk

    async def encode_response(self, chunks: Any) -> Any:
        async for chunk in chunks:
            yield json.dumps(chunk) + "\n"


class AsyncCached(AsyncConstant):
    @cached_predict
    async def predict(self, text: str) -> Any:
        for chunk in words(text, CHUNK_SECONDS):
            yield chunk


APIS: dict[str, type[ls.LitAPI]] = {
    "constant": Constant, "sync": Cached, "constant async": AsyncConstant, "async": AsyncCached,
}  # fmt: skip


def serve(kind: str, port: int) -> None:
    """Serve one of the APIs."""
    api = APIS[kind](stream=True, enable_async="async" in kind)
    ls.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", access_log=False,
        generate_client_file=False,
    )  # fmt: skip


@contextmanager
def served(kind: str) -> Iterator[http.client.HTTPConnection]:
    """Run a server in a process group of its own; yield a connection to it."""
    port = free_port()
    with group(sys.executable, "-m", "benchmarks.streams", "serve", kind, str(port)):
        until_healthy(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def ask(connection: http.client.HTTPConnection) -> tuple[float, float]:
    """Return the milliseconds until the first chunk of an answer, and until its end."""
    start = time.perf_counter()
    body = json.dumps({"text": "the same"})
    connection.request("POST", "/predict", body, {"content-type": "application/json"})
    response = connection.getresponse()
    response.readline()
    first = time.perf_counter() - start
    rest = response.read()
    assert rest.count(b"\n") == CHUNKS - 1
    return first * 1e3, (time.perf_counter() - start) * 1e3


def first_chunks() -> list[Row]:
    """Time hits one after another, the servers in turns."""
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(served(kind)) for kind in KINDS}
        computed = {kind: ask(connection) for kind, connection in servers.items()}
        taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
        for _ in range(TURNS):
            for kind, connection in servers.items():
                taken[kind].append(ask(connection))
    rows = []
    for kind, name in KINDS.items():
        first, whole = (statistics.median(pair) for pair in zip(*taken[kind], strict=True))
        row = Row(f"{name}: first chunk", first, "ms")
        rows += [row if "constant" in kind else row.at_most(3), Row(f"{name}: all", whole, "ms")]
    rows.append(Row("a miss, def: all", computed["sync"][1], "ms"))
    return rows


class Recorded(ls.LitAPI):
    @cached_predict
    def predict(self, text: str) -> Iterator[Any]:
        yield from words(text, CHUNK_SECONDS)


class RecordedWithContext(ls.LitAPI):
    @cached_predict
    def predict(self, text: str, context: dict[str, Any]) -> Iterator[Any]:
        yield from words(text, CHUNK_SECONDS)


def recording() -> list[Row]:
    """Time a stream bare and recorded, in turns."""
    plain, contextual = Recorded(), RecordedWithContext()
    context = {f"option {number}": number if number % 2 else None for number in range(20)}
    walls: list[float] = []
    samples: dict[str, list[float]] = {"bare": [], "recorded": [], "recorded, with a context": []}
    for turn in range(REPEATS):
        streams = (
            words("text", CHUNK_SECONDS),
            plain.predict(f"text {turn}"),
            contextual.predict(f"text {turn}", context),
        )
        for name, stream in zip(samples, streams, strict=True):
            start, worked = time.perf_counter(), time.process_time()
            for _ in stream:
                pass
            samples[name].append((time.process_time() - worked) * 1e3)
            if name == "bare":
                walls.append((time.perf_counter() - start) * 1e3)
    wall, bare = statistics.median(walls), statistics.median(samples["bare"])
    rows = [Row(f"a stream of {CHUNKS} chunks, bare: all", wall, "ms", 1.0)]
    for name, taken in samples.items():
        row = Row(f"{name}: processor time", statistics.median(taken), "ms")
        row.ratio = 1 + (row.value - bare) / wall
        rows.append(row if name == "bare" else row.at_most(1.02, of="ratio"))
    return rows


def main() -> bool:
    return report("streams", {"through a server": first_chunks(), "recording": recording()})


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(0 if main() else 1)
