"""Many good and bad requests to one server with everything on: is every answer right, and no leak?

    python -m benchmarks.soak            # 100,000 requests
    python -m benchmarks.soak 5000       # fewer

The server has two workers and two HTTP processes, `CachedBatchedLoop(overlap=True)`,
`@cached_predict` with a `SharedStore` of 4 MiB, `CacheMiddleware` with 1 MiB a process and a ttl of
2 s, and `PrometheusLogger`; the budgets are small so that entries are evicted and expire all the
time. 32 clients, a process of their own, send requests over kept-alive connections: four of five
ask for one of 20,000 texts (Zipf), the others are drawn from `ODD`, bad or unusual ones, among them
clients that leave.

At first each odd request is sent to a LitServe server without litcache. What that answers, status
and body, is what the other server must answer; where the status is 200 the body must be what the
model makes of the text. Of each process are read from /proc, every second: resident and
proportional memory, open descriptors, threads. A fifth of the requests is the warm-up. Memory is
flat if the straight line through what follows it rises by at most 4 MiB, which is 50 bytes a
request in the whole run. Descriptors and asyncio's tasks are compared when all clients have left:
after the warm-up and at the end. Threads of pools start as they are needed, so at the end there may
be as many as in any second of the warm-up.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import litserve as ls
from fastapi import HTTPException

from benchmarks import load
from benchmarks.common import ROOT, Row, free_port, group, note, report, until_healthy, zipf
from litcache import CachedBatchedLoop, CacheMiddleware, SharedStore, cached_predict
from litcache.metrics import PrometheusLogger

REQUESTS, CLIENTS, WORKERS = 100_000, 32, 2
TEXTS, ODD_SHARE, WARM_SHARE = 20_000, 0.2, 0.2
LARGEST = 200_000
DEEP = 10_000
GROWTH_MIB = 4.0
SECONDS_TO_REST, SECONDS_BETWEEN = 30, 1
KIB = 1024


# The server --------------------------------------------------------------------------------


def numbers(text: str) -> list[float]:
    """Return what the model makes of a text."""
    return [float(byte) for byte in hashlib.sha512(text.encode()).digest()]


class NumbersAPI(ls.LitAPI):
    def setup(self, device: str) -> None:
        _tell_role("worker")

    def decode_request(self, request):  # annotated, FastAPI would check it
        text = request["text"]
        if not isinstance(text, str):
            raise HTTPException(422, "text must be a string")
        return text

    def predict(self, texts: list[str]) -> list[list[float]]:
        if any(text.startswith("raise") for text in texts):
            raise ValueError("a text that the model cannot bear")
        return [numbers(text) for text in texts]

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"numbers": output}


def _shared(api: ls.LitAPI) -> SharedStore:
    return SharedStore(Path(os.environ["FOLDER"], "entries"), "4 MiB")


class CachedAPI(NumbersAPI):
    @cached_predict(store=_shared, namespace="soak", version="1", trial=0)
    def predict(self, texts: list[str]) -> list[list[float]]:
        return super().predict(texts)


class Watched:
    """A middleware that does nothing but to note that this is an HTTP process, and its tasks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            _tell_role("HTTP")
            self._note_tasks(asyncio.get_running_loop())
        await self.app(scope, receive, send)

    def _note_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        note = Path(os.environ["FOLDER"], f"tasks.{os.getpid()}")
        note.write_text(str(len(asyncio.all_tasks(loop))))
        loop.call_later(SECONDS_BETWEEN, self._note_tasks, loop)


def _tell_role(role: str) -> None:
    Path(os.environ["FOLDER"], f"role.{os.getpid()}").write_text(role)


def serve(kind: str, port: int) -> None:
    """Run one server in this process: `stock`, or `cached`."""
    batches = {"max_batch_size": 16, "batch_timeout": 0.002}
    options: dict[str, Any] = {"middlewares": [], "workers_per_device": 1}
    api: ls.LitAPI = NumbersAPI(**batches)
    if kind == "cached":
        api = CachedAPI(loop=CachedBatchedLoop(overlap=True), **batches)
        cache = (CacheMiddleware, {"ttl": 2, "max_bytes": "1 MiB"})
        options = {"workers_per_device": WORKERS, "loggers": PrometheusLogger()}
        options["middlewares"] = [cache, Watched]
    server = ls.LitServer(api, accelerator="cpu", max_payload_size=LARGEST, **options)
    server.run(
        host="127.0.0.1", port=port, log_level="warning", access_log=False,
        generate_client_file=False,
    )  # fmt: skip


class Server(NamedTuple):
    """A server that is up.

    Attributes:
        port: Where it listens.
        leader: The id of its first process, and of its process group.
        folder: Where its processes note their roles, and `log` is what they wrote.
    """

    port: int
    leader: int
    folder: Path


@contextmanager
def served(kind: str) -> Iterator[Server]:
    """Run a server in a process group of its own."""
    port = free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        environment = {"FOLDER": folder, "TMPDIR": folder, "OUTPUT": f"{folder}/log"}
        command = (sys.executable, "-m", "benchmarks.soak", "serve", kind, str(port))
        leader = stack.enter_context(group(*command, **environment))
        until_healthy(port)
        yield Server(port, leader, Path(folder))


# Requests ----------------------------------------------------------------------------------


class Request(NamedTuple):
    """What a client sends.

    Attributes:
        kind: `plain`, or one of `ODD`.
        text: The text that it asks for.
        pieces: Its bytes, sent one after the other with a pause.
        leaves: Whether the client then leaves without waiting for the answer.
    """

    kind: str
    text: str
    pieces: Sequence[bytes]
    leaves: bool = False


def raw(body: bytes, *headers: str, line: str = "POST /predict", length: str = "right") -> bytes:
    """Return the bytes of a request."""
    head = [f"{line} HTTP/1.1", "Host: server", *headers]
    if not any(header.lower().startswith("content-type:") for header in headers):
        head.append("Content-Type: application/json")
    if length:
        head.append(f"Content-Length: {len(body) if length == 'right' else length}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def _json(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def _chunked(body: bytes, *, end: bytes = b"0\r\n\r\n", size: int = 7) -> bytes:
    parts = (body[start : start + size] for start in range(0, len(body), size))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return raw(b"", "Transfer-Encoding: chunked", length="") + chunks + end


def _slowly(text: str) -> list[bytes]:
    whole = raw(_json(text))
    return [whole[:20], whole[20:-9], whole[-9:]]


MULTIPART = "Content-Type: multipart/form-data"
FORM = "Content-Type: application/x-www-form-urlencoded"
BOMB = [f"X-Header-{number}: {'x' * 1_000}" for number in range(60)]
ODD: dict[str, Callable[[str], bytes | list[bytes]]] = {
    "not JSON": lambda text: raw(text.encode()),
    "no body": lambda text: raw(b""),
    "truncated JSON": lambda text: raw(_json(text)[:-2]),
    "not UTF-8": lambda text: raw(b'{"text": "\xff\xfe"}'),
    "a list": lambda text: raw(json.dumps([text]).encode()),
    "null": lambda text: raw(b"null"),
    "text of a wrong type": lambda text: raw(b'{"text": 7}'),
    "no text": lambda text: raw(json.dumps({"txt": text}).encode()),
    "nested 10,000 deep": lambda text: raw(b"[" * DEEP + b"]" * DEEP),
    "text nested 100 deep": lambda text: raw(b'{"text": ' + b"[" * 100 + b"]" * 100 + b"}"),
    "the model raises": lambda text: raw(_json("raise " + text)),
    "gzip-encoded": lambda text: raw(gzip.compress(_json(text)), "Content-Encoding: gzip"),
    "too large": lambda text: raw(_json(text * (LARGEST // 5))),
    "too large, chunked": lambda text: _chunked(_json(text * (LARGEST // 5)), size=60_000),
    "multipart without a boundary": lambda text: raw(_json(text), MULTIPART),
    "a form": lambda text: raw(f"text={text.replace(' ', '+')}".encode(), FORM),
    "chunked": lambda text: _chunked(_json(text)),
    "a broken chunk": lambda text: _chunked(b"", end=b"zz\r\nzz\r\n"),
    "slow": _slowly,
    "another path": lambda text: raw(_json(text), line="POST /predicts"),
    "another method": lambda text: raw(_json(text), line="PUT /predict"),
    "no method": lambda text: raw(_json(text), line="BREW /predict"),
    "not HTTP": lambda text: text.encode() + b"\r\n\r\n",
    "two lengths": lambda text: raw(_json(text), "Content-Length: 3"),
    "no number for a length": lambda text: raw(_json(text), length="many"),
    "a length and chunks": lambda text: raw(_json(text), "Transfer-Encoding: chunked"),
    "a header without a name": lambda text: raw(_json(text), ": nameless"),
    "a header with a space in its name": lambda text: raw(_json(text), "X Header: 1"),
    "two content types": lambda text: raw(
        _json(text), "Content-Type: application/json", "Content-Type: text/plain"
    ),
    "60 KB of headers": lambda text: raw(_json(text), *BOMB),
    "leaves within the headers": lambda text: raw(_json(text))[:40],
    "leaves within the body": lambda text: raw(_json(text), length="1000"),
    "leaves within a chunk": lambda text: _chunked(_json(text), end=b"ff\r\nab"),
    "leaves before the answer": lambda text: raw(_json(text)),
}  # fmt: skip


def odd(kind: str, text: str) -> Request:
    """Return an odd request of a kind that asks for a text."""
    made = ODD[kind](text)
    pieces = made if isinstance(made, list) else [made]
    return Request(kind, text, pieces, kind.startswith("leaves"))


def requests(seed: int, count: int) -> Iterator[Request]:
    """Draw so many requests; an equal seed gives equal ones."""
    draw = random.Random(seed)
    kinds = list(ODD)
    for place in zipf(count, TEXTS, seed=seed):
        text = f"text {place}"
        if draw.random() < ODD_SHARE:
            yield odd(draw.choice(kinds), text)
        else:
            yield Request("plain", text, [raw(_json(text))])


# The load ----------------------------------------------------------------------------------

Told = tuple[int, str]
"""The status and body that a client is answered."""


async def exchange(connection: load.Connection, request: Request) -> load.Answer:
    """Send a request in its pieces, and return the answer; an empty one to a client that leaves."""
    *first, last = request.pieces
    for piece in first:
        connection.write(piece)
        await asyncio.sleep(0.02)
    if request.leaves:
        connection.leave(last)
        return load.Answer(0, b"", b"")
    return await connection.ask(last)


async def record(port: int) -> dict[str, Told]:
    """Return what a server without litcache answers to each odd request that waits for it."""
    told: dict[str, Told] = {}
    for kind in ODD:
        answers = []
        for text in ("text 1", "text 2"):
            connection = await load.Connection.open(port)
            answers.append(await exchange(connection, odd(kind, text)))
            connection.leave()
        first, second = answers
        assert first.status == second.status, f"{kind}: {first} and {second}"
        if first.status == 200:
            assert json.loads(second.body) == {"numbers": numbers("text 2")}, kind
        else:
            assert first.body == second.body, kind
        told[kind] = (first.status, first.body.decode())
    return told


@dataclass
class Sent:
    """What became of the requests of one load.

    Attributes:
        seconds: From the first request to the last answer.
        kinds: How many requests there were of each kind.
        tiers: How many right answers to plain requests `Cache-Status` calls hits, misses or such.
        times: What plain requests took, ms.
        wrong: What was answered wrongly, and how.
        hanging: What was not answered in time.
    """

    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    hanging: list[str] = field(default_factory=list)


async def send(port: int, seed: int, count: int, told: dict[str, Told]) -> Sent:
    """Send drawn requests by all clients, and judge each answer."""
    sent, drawn = Sent(), requests(seed, count)

    async def client() -> None:
        connection = await load.Connection.open(port)
        for request in drawn:
            if connection.closed:
                connection = await load.Connection.open(port)
            begun = time.perf_counter()
            try:
                answer = await exchange(connection, request)
            except TimeoutError:
                sent.hanging.append(f"{request.kind}: {request.text}")
                connection.leave()
                connection = await load.Connection.open(port)
                continue
            judge(sent, request, answer, told, (time.perf_counter() - begun) * 1e3)
            if request.leaves or b"connection: close" in answer.headers.lower():
                connection.leave()
                connection = await load.Connection.open(port)
        connection.leave()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    sent.seconds = time.perf_counter() - begun
    return sent


def judge(
    sent: Sent, request: Request, answer: load.Answer, told: dict[str, Told], taken: float
) -> None:
    """Note whether an answer is right."""
    kind = request.kind
    sent.kinds[kind] += 1
    status, body = told.get(kind, (200, ""))
    right = answer.status == status
    if right and status == 200:
        right = json.loads(answer.body) == {"numbers": numbers(request.text)}
    elif right:
        right = answer.body.decode() == body
    if not right:
        sent.wrong.append(f"{kind}: {request.text}: {answer}, not {status} {body}")
    elif kind == "plain":
        sent.times.append(taken)
        found = re.search(rb"cache-status: (.*)", answer.headers)
        said = found[1].decode() if found is not None else "nothing"
        sent.tiers[re.sub(r"ttl=\d+", "ttl", said.strip())] += 1


# Processes ---------------------------------------------------------------------------------


class Usage(NamedTuple):
    """What a process uses: memory in MiB, and numbers; asyncio's tasks of HTTP processes."""

    rss: float
    pss: float
    descriptors: int
    threads: int
    tasks: int


Survey = dict[str, Usage]
Samples = list[tuple[float, Survey]]


def survey(server: Server) -> Survey:
    """Return what each process of a server uses, by its role and id."""
    found = {}
    for path in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # it has ended
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == server.leader and fields[0] != "Z":
                found[f"{_role(server, int(path.name))} {path.name}"] = _usage(server, path)
    return dict(sorted(found.items()))


def _role(server: Server, pid: int) -> str:
    if pid == server.leader:
        return "main"
    noted = server.folder / f"role.{pid}"
    return noted.read_text() if noted.exists() else "helper"


def _usage(server: Server, path: Path) -> Usage:
    memory = (path / "smaps_rollup").read_text()
    sizes = {name: int(size) / KIB for name, size in re.findall(r"(\w+): +(\d+) kB", memory)}
    descriptors, threads = (len(list((path / name).iterdir())) for name in ("fd", "task"))
    noted = server.folder / f"tasks.{path.name}"
    tasks = int(noted.read_text() or 0) if noted.exists() else 0
    return Usage(sizes["Rss"], sizes["Pss"], descriptors, threads, tasks)


def at_rest(server: Server) -> Survey:
    """Wait until connections of clients that left are gone, and return what is used then."""
    deadline = time.monotonic() + SECONDS_TO_REST
    last: list[tuple[int, int]] = []
    while True:
        found = survey(server)
        held = [(usage.descriptors, usage.tasks) for usage in found.values()]
        if held == last or time.monotonic() > deadline:
            return found
        last = held
        time.sleep(2 * SECONDS_BETWEEN)


# The run -----------------------------------------------------------------------------------


class Run(NamedTuple):
    """A whole run.

    Attributes:
        told: What a server without litcache answers to odd requests.
        warm: The warm-up.
        sent: What followed.
        early: What the processes used during the warm-up, with the seconds since its start.
        first: What they used when all clients of the warm-up had left.
        during: What they used after that, with the seconds since.
        last: What they used when all clients had left.
        scraped: How often /metrics answered, and what it said at the end.
    """

    told: dict[str, Told]
    warm: Sent
    sent: Sent
    early: Samples
    first: Survey
    during: Samples
    last: Survey
    scraped: list[str]


def run(count: int = REQUESTS) -> Run:
    """Send so many requests to a server with everything on."""
    with served("stock") as stock:
        told = load.run(record(stock.port))
    with served("cached") as server:
        warm = int(count * WARM_SHARE)
        early: Samples = []
        during: Samples = []
        scraped: list[str] = []
        warmed = _play(server, 1, warm, told, early, scraped)
        first = at_rest(server)
        rest = _play(server, 2, count - warm, told, during, scraped)
        last = at_rest(server)
        scraped.append(_scrape(server.port))
    return Run(told, warmed, rest, early, first, during, last, scraped)


def _play(
    server: Server,
    seed: int,
    count: int,
    told: dict[str, Told],
    samples: Samples,
    scraped: list[str],
) -> Sent:
    """Let a process of its own send requests, and watch the server meanwhile."""
    command = [sys.executable, "-m", "benchmarks.soak", "load", str(server.port), str(seed)]
    asked = server.folder / "told.json"
    asked.write_text(json.dumps(told))
    begun = time.monotonic()
    with (
        asked.open() as source,
        (server.folder / "sent.json").open("w+") as target,
        subprocess.Popen([*command, str(count)], cwd=ROOT, stdin=source, stdout=target) as process,
    ):
        while process.poll() is None:
            samples.append((time.monotonic() - begun, survey(server)))
            scraped.append(_scrape(server.port))
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_BETWEEN)
        assert process.returncode == 0, "the clients failed"
        target.seek(0)
        found = json.load(target)
    return Sent(**{**found, "kinds": Counter(found["kinds"]), "tiers": Counter(found["tiers"])})


def _scrape(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=load.SECONDS) as answer:
        return str(answer.read().decode())


# Results -----------------------------------------------------------------------------------


def tables(run: Run) -> dict[str, list[Row]]:
    """Return what is shown of a run."""
    sent, warm = run.sent, run.warm
    total = sum(sent.kinds.values()) + sum(warm.kinds.values())
    times = statistics.quantiles(sent.times, n=100)
    answers = [
        Row("requests", total, ""),
        Row("of them odd", total - sent.kinds["plain"] - warm.kinds["plain"], ""),
        Row("requests a second", sum(sent.kinds.values()) / sent.seconds, "req/s"),
        Row("plain requests, p50", times[49], "ms"),
        Row("plain requests, p99", times[98], "ms"),
        Row("wrong answers", len(sent.wrong) + len(warm.wrong), "").at_most(0),
        Row(f"no answer within {load.SECONDS} s", len(sent.hanging) + len(warm.hanging), "")
        .at_most(0),
        Row("scrapes of /metrics that were answered", len(run.scraped), ""),
    ]  # fmt: skip
    kinds = [
        Row(f"{kind} → {status or 'no answer'}", sent.kinds[kind] + warm.kinds[kind], "requests")
        for kind, (status, _) in run.told.items()
    ]
    return {
        "Answers": answers,
        "Odd requests, and what a server without litcache answers": kinds,
        "Plain requests by their Cache-Status": [
            Row(said, number, "requests") for said, number in sent.tiers.most_common()
        ],
        "What the caches counted": _counted(run.scraped[-1]),
        "Memory": _memory(run),
        "What is held when no client is there": _held(run),
    }


def _counted(scrape: str) -> list[Row]:
    line = r'litcache_items_total\{.*outcome="(\w+)".*tier="(\w+)"\} (\S+)'
    found = sorted((tier, outcome, float(n)) for outcome, tier, n in re.findall(line, scrape))
    return [Row(f"{tier}: {outcome}", number, "items") for tier, outcome, number in found if number]


def _memory(run: Run) -> list[Row]:
    rows = []
    for name, usage in run.last.items():
        samples = [(at, each[name].rss) for at, each in run.during if name in each]
        rows.append(Row(f"{name}: RSS after the warm-up", run.first[name].rss, "MiB"))
        rows.append(Row(f"{name}: RSS at the end", usage.rss, "MiB"))
        rows.append(Row(f"{name}: PSS at the end", usage.pss, "MiB"))
        if len(samples) > 1:
            slope = statistics.linear_regression(*zip(*samples, strict=True)).slope
            growth = slope * run.sent.seconds
            thousands = sum(run.sent.kinds.values()) / 1_000
            rows.append(Row(f"{name}: slope", growth * KIB / thousands, "KiB/1,000"))
            rows.append(Row(f"{name}: growth of the line", growth, "MiB").at_most(GROWTH_MIB))
    return rows


def _held(run: Run) -> list[Row]:
    rows = [Row("processes that ended or were added", len(set(run.first) ^ set(run.last)), "")]
    rows[0].at_most(0)
    for name in run.last.keys() & run.first.keys():
        before, after = run.first[name], run.last[name]
        threads = max(usage[name].threads for _, usage in run.early if name in usage)
        rows += [
            Row(f"{name}: descriptors", after.descriptors, "").at_most(before.descriptors),
            Row(f"{name}: threads", after.threads, "").at_most(max(threads, before.threads)),
        ]
        if after.tasks:
            rows.append(Row(f"{name}: tasks", after.tasks, "").at_most(before.tasks))
    return sorted(rows, key=lambda row: row.name)


def main(count: int = REQUESTS) -> bool:
    note(f"{count:,} requests …")
    done = run(count)
    for each in (done.warm.wrong + done.sent.wrong + done.sent.hanging)[:20]:
        note(each[:500])
    return report("soak", tables(done))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["load"]:
        port, seed, count = map(int, sys.argv[2:])
        told = {kind: (status, body) for kind, (status, body) in json.load(sys.stdin).items()}
        print(json.dumps(vars(load.run(send(port, seed, count, told)))))
    else:
        sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
