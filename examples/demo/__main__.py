"""`make demo`: a LitServe server without a cache, with the decorator, and with all tiers.

All serve the int8 MiniLM. Several clients send the same short texts in the same order to each of
the servers, one after the other. The workers themselves count what the models compute. Writes
demo.json, and demo.png, which is drawn from it.
"""

import argparse
import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.demo.clients import Clients, percentile
from examples.demo.errors import DemoError, check_packages
from examples.demo.serving import Server, pick_port, serving
from examples.demo.traffic import traffic

KINDS = {"none": "no cache", "decorator": "@cached_predict", "tiers": "all tiers"}


@dataclass(frozen=True)
class Run:
    """What one server did with the traffic: bodies by number, and figures of it."""

    answers: dict[int, bytes]
    figures: dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="at most so many a run")
    parser.add_argument("--seconds", type=float, default=25, help="the first run ends after these")
    parser.add_argument("--clients", type=int, default=8, help="that send at the same time")
    parser.add_argument("--port", type=int, help="to serve on (default: any that is free)")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of demo.json and demo.png")
    options = parser.parse_args()
    if min(options.requests, options.seconds, options.clients) <= 0:
        parser.error("--requests, --seconds and --clients must be more than 0")
    start = time.monotonic()
    try:
        with interruptible():
            check_packages()
            texts, origin = traffic(options.requests)
            print(f"{options.clients} clients send {origin}.")
            print(f"Three servers, one after the other: about {options.seconds * 2 + 15:.0f} s.\n")
            runs = run_all(options, texts)
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; the server is ended", file=sys.stderr)
        return 130
    figures = report(runs, texts, origin, options.clients)
    print_table(figures)
    return close(figures, options.out, time.monotonic() - start)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the servers, too."""
    # A job in the background of a script inherits an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the servers would live on
    yield


def run_all(options: argparse.Namespace, texts: list[str]) -> dict[str, Run]:
    port, runs = pick_port(options.port), {}
    seconds = options.seconds
    for kind in KINDS:
        runs[kind] = run(kind, port, texts, options.clients, seconds)
        texts = texts[: len(runs[kind].answers)]
        seconds = math.inf  # the others answer what the first answered
    return runs


def run(kind: str, port: int, texts: list[str], count: int, seconds: float) -> Run:
    print(f"{KINDS[kind]}: starting", flush=True)
    with serving(kind, port) as server:
        clients = Clients(port, texts)
        start = time.perf_counter()
        with ThreadPoolExecutor(count) as pool:
            running = clients.start(pool, count)
            try:
                pause = 0.25 if sys.stdout.isatty() else 5
                while wait(running, pause, FIRST_EXCEPTION).not_done:
                    if any(future.done() and future.exception() for future in running):
                        break
                    show_progress(clients, server, len(texts), start)
                    if time.perf_counter() > start + seconds:
                        break
            finally:
                clients.stop.set()
            for future in running:
                future.result()
        elapsed = time.perf_counter() - start
        show_progress(clients, server, len(texts), start)
        print()
        return Run(
            {answer.number: answer.body for answer in clients.answers},
            figures_of(clients, server.counters(), elapsed),
        )


def show_progress(clients: Clients, server: Server, total: int, start: float) -> None:
    """Redraw a bar on a terminal; write a line where output goes to a file."""
    done = len(clients.answers)
    text = f"{done:,} of {total:,}, {time.perf_counter() - start:.0f} s{trial_of(clients, server)}"
    if sys.stdout.isatty():
        print(f"\r  {'█' * (30 * done // total):░<30} {text:<60}", end="", flush=True)
    else:
        print(f"  {text}", flush=True)


def trial_of(clients: Clients, server: Server) -> str:
    """Return how far the trials are: the method's, and that of the middleware."""
    counters = server.counters()
    if "state" not in counters:
        return ""
    passed = {"trial": "", "on": ", on", "off": ", OFF"}[counters["state"]]
    text = f"; trial: {counters['verified']} agreed{passed}"
    return f"{text}; of responses: {clients.tried} agreed" if clients.tried else text


def figures_of(clients: Clients, counters: dict[str, Any], elapsed: float) -> dict[str, Any]:
    latencies = [answer.latency for answer in clients.answers]
    count = len(latencies)
    return {
        "requests": count,
        "seconds": elapsed,
        "requests_per_second": count / elapsed,
        "p50_ms": 1e3 * percentile(latencies, 50),
        "p99_ms": 1e3 * percentile(latencies, 99),
        "model_items": counters["items"],
        "model_seconds": counters["seconds"],
        "verified": counters.get("verified", 0),
        "state": counters.get("state", ""),
    }


def report(runs: dict[str, Run], texts: list[str], origin: str, clients: int) -> dict[str, Any]:
    """Return all that demo.json holds."""
    plain = runs["none"].answers
    sent = texts[: len(plain)]
    return {
        "traffic": origin,
        "model": "all-MiniLM-L6-v2, int8, on the CPU",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "clients": clients,
        "different_texts": len(set(sent)),
        "hit_rate": 1 - len(set(sent)) / len(sent),
        "different_answers": sum(
            run.answers[number] != body for run in runs.values() for number, body in plain.items()
        ),
        "runs": {kind: run.figures for kind, run in runs.items()},
    }


def print_table(figures: dict[str, Any]) -> None:
    runs = figures["runs"].values()

    def row(name: str, values: list[str], remark: str = "") -> None:
        print(f"{name:<26}{''.join(f'{value:>17}' for value in values)}   {remark}".rstrip())

    print()
    row("", list(KINDS.values()))
    row("requests", [f"{run['requests']:,}" for run in runs],
        f"{figures['different_texts']:,} different texts")  # fmt: skip
    row("requests/s", [f"{run['requests_per_second']:,.0f}" for run in runs])
    for share in ("p50", "p99"):
        row(f"{share} latency, ms", [f"{run[f'{share}_ms']:,.1f}" for run in runs])
    row("items the model computed", [f"{run['model_items']:,}" for run in runs])
    row("of these to prove hits", [f"{run['verified']:,}" for run in runs])
    row("seconds in the model", [f"{run['model_seconds']:.1f}" for run in runs])
    different = figures["different_answers"]
    print(f"\nanswers that differ from those without a cache, in a single bit: {different:,}")


def close(figures: dict[str, Any], folder: Path, seconds: float) -> int:
    """Write the two files and the closing sentence; return 1 if an answer was wrong."""
    from examples.demo.picture import draw

    written, picture = folder / "demo.json", folder / "demo.png"
    written.write_text(json.dumps(figures, indent=1) + "\n")
    draw(json.loads(written.read_text()), picture)
    runs = figures["runs"]
    factor = [
        runs[kind]["requests_per_second"] / runs["none"]["requests_per_second"] for kind in KINDS
    ]
    equal = "the same answers" if not figures["different_answers"] else "WRONG answers"
    print(
        f"With {equal}, one line serves {factor[1]:.1f} times the requests, and all tiers "
        f"{factor[2]:.1f} times. ({seconds:.0f} s; {written} and {picture} are written.)"
    )
    return 1 if figures["different_answers"] else 0


if __name__ == "__main__":
    sys.exit(main())
