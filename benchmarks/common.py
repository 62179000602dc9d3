"""What every benchmark shares: fair timing, a table with targets, servers, real workloads."""

from __future__ import annotations

import csv
import gzip
import http.client
import json
import lzma
import os
import platform
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass
class Row:
    """One line of a table: what was measured, against its floor and its target.

    Attributes:
        name: What was measured.
        value: What came out.
        unit: Of what.
        ratio: The value over the floor's, if there is a floor.
        target: What DESIGN.md asks, in words; empty if nothing.
        passed: Whether it was reached; `None` without a target.
    """

    name: str
    value: float
    unit: str = "µs"
    ratio: float | None = None
    target: str = ""
    passed: bool | None = None

    def at_most(self, limit: float, *, of: str = "value") -> Row:
        """Set the target: at most `limit`, of the `value` or of the `ratio` to the floor."""
        measured = self.ratio if of == "ratio" else self.value
        assert measured is not None, f"{self.name} has no floor"
        self.target = f"≤ {limit:g} ×" if of == "ratio" else f"≤ {limit:g} {self.unit}"
        self.passed = measured <= limit
        return self

    def at_least(self, limit: float, *, of: str = "value") -> Row:
        """Set the target: at least `limit`, of the `value` or of the `ratio` to the floor."""
        measured = self.ratio if of == "ratio" else self.value
        assert measured is not None, f"{self.name} has no floor"
        self.target = f"≥ {limit:g} ×" if of == "ratio" else f"≥ {limit:g} {self.unit}"
        self.passed = measured >= limit
        return self


def timed(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 201,
    seconds: float = 0.0005,
    per: int = 1,
    floor: str | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, Row]:
    """Time calls in turns, so that whatever slows the machine slows all of them.

    Args:
        calls: What to time, by name.
        repeats: Samples of each, short and many, so that most are interrupted by nothing else;
            their median is reported.
        seconds: About how long one sample takes.
        per: Items in one call; times are of one item.
        floor: The name of the call that the others are compared with.
        clock: What tells the seconds. The default counts while this thread has the processor, so
            that others who share it do not count; for calls that wait, give `time.perf_counter`.

    Returns:
        A row for each call, in µs an item; `ratio` is the median of the ratios within a turn.
    """
    numbers = {name: _calls_in(call, seconds, clock) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            samples[name].append(_sample(call, numbers[name], clock) / per * 1e6)
    rows = {name: Row(name, statistics.median(taken)) for name, taken in samples.items()}
    if floor is not None:
        for name, row in rows.items():
            ratios = (a / b for a, b in zip(samples[name], samples[floor], strict=True))
            row.ratio = statistics.median(ratios)
    return rows


def _sample(call: Callable[[], object], number: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(number):
        call()
    return (clock() - start) / number


def _calls_in(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> int:
    number = 1
    while (taken := _sample(call, number, clock)) * number < seconds / 4:
        number *= 2
    return max(1, int(seconds / taken))


def served(api: Any) -> Callable[[Sequence[object]], Any]:
    """Return what LitServe's batched loop does with a batch between decoding and encoding it.

    Args:
        api: An API that an `APIRunner` has prepared.

    Returns:
        A function of decoded items that returns their outputs.
    """
    return lambda batch: api.unbatch(api.predict(api.batch(batch)))


def report(name: str, tables: Mapping[str, Sequence[Row]]) -> bool:
    """Print tables and write them as JSON to `benchmarks/results/<name>.json`.

    Args:
        name: The benchmark's name.
        tables: Rows by title.

    Returns:
        Whether every target was reached.
    """
    for title, rows in tables.items():
        _print_table(title, rows)
    RESULTS.mkdir(exist_ok=True)
    content = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "tables": {title: [asdict(row) for row in rows] for title, rows in tables.items()},
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    aimed = [row for rows in tables.values() for row in rows if row.passed is not None]
    short = [row.name for row in aimed if not row.passed]
    print(f"\n{len(aimed) - len(short)} of {len(aimed)} targets reached → {path.relative_to(ROOT)}")
    for missed in short:
        print(f"  short: {missed}")
    return not short


def _print_table(title: str, rows: Sequence[Row]) -> None:
    width = max([len(row.name) for row in rows] + [4])
    with_ratio = any(row.ratio is not None for row in rows)
    print(f"\n{title}\n{'-' * len(title)}")
    for row in rows:
        ratio = f"{row.ratio:>9.2f} ×" if row.ratio is not None else " " * 11
        verdict = {True: "pass", False: "SHORT", None: ""}[row.passed]
        number = f"{row.value:>10,}" if isinstance(row.value, int) else f"{row.value:>10.4g}"
        value = f"{number} {row.unit:<9}"
        middle = ratio if with_ratio else ""
        print(f"{row.name:<{width}} {value}{middle}  {row.target:<16} {verdict}".rstrip())


def note(text: str) -> None:
    """Show progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


# Servers -----------------------------------------------------------------------------------


@contextmanager
def group(*command: str, cwd: str | Path = ROOT, **environment: str) -> Iterator[int]:
    """Run a command in a process group of its own, yield its id, and end the group.

    Args:
        *command: The command.
        cwd: The folder in which it runs.
        **environment: More variables for its environment; `OUTPUT` names a file for what it writes.

    Yields:
        The id of its first process, which is the group's too.
    """
    with open(environment.pop("OUTPUT", os.devnull), "ab") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **environment}, start_new_session=True,
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process.pid
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_healthy(port: int, seconds: float = 120) -> None:
    """Wait until a LitServe server answers `/health` with 200, as it does when it is ready.

    Args:
        port: Where it listens, or will.
        seconds: After how long it is taken to have failed.
    """
    deadline = time.monotonic() + seconds
    while not _is_healthy(port):
        assert time.monotonic() < deadline, f"the server at port {port} does not start"
        time.sleep(0.1)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


# Workloads ---------------------------------------------------------------------------------


def data_folder() -> Path | None:
    """Return the folder of real traces and texts, if there is one.

    It is `$LITCACHE_DATA`, or `shared/data` beside the repository.
    """
    named = os.environ.get("LITCACHE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def web12() -> list[int] | None:
    """Return the page of each of 95,607 requests to a shop; `None` without the data."""
    folder = data_folder()
    if folder is None:
        return None
    pages = array("i", lzma.decompress((folder / "traces" / "web12.trace.xz").read_bytes()))
    if sys.byteorder == "little":
        pages.byteswap()
    return pages.tolist()


class Retail(NamedTuple):
    """Sales of a shop: for each event the title sold (an index) and when (minutes)."""

    titles: list[str]
    sold: list[int]
    minutes: list[int]


def retail() -> Retail | None:
    """Return 540,455 sales of 4,211 titles; `None` without the data."""
    folder = data_folder()
    if folder is None:
        return None
    raw = lzma.decompress((folder / "text" / "online-retail.events.bin.xz").read_bytes())
    sold, minutes = array("H", raw[: len(raw) // 3]), array("I", raw[len(raw) // 3 :])
    if sys.byteorder == "big":
        sold.byteswap()
        minutes.byteswap()
    packed = (folder / "text" / "online-retail.texts.txt.gz").read_bytes()
    titles = gzip.decompress(packed).decode("utf-8").splitlines()
    return Retail(titles, sold.tolist(), minutes.tolist())


def banking77() -> list[str] | None:
    """Return 13,083 questions to a bank; `None` without the data."""
    folder = data_folder()
    if folder is None:
        return None
    questions = []
    for part in ("train", "test"):
        path = folder / "text" / f"banking77.{part}.csv.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            questions += [line["text"] for line in csv.DictReader(lines)]
    return questions


def texts(count: int) -> list[str]:
    """Return distinct real short texts: questions to a bank, else phrases of this project's prose.

    Args:
        count: How many; more than there are is an error.
    """
    found = list(dict.fromkeys(banking77() or _phrases()))
    assert len(found) >= count, f"there are {len(found)} texts, not {count}"
    return found[:count]


def _phrases() -> list[str]:
    """Return windows of 8 to 24 words over the docs and docstrings of this project."""
    pages = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    prose = [page.read_text("utf-8") for page in pages]
    for path in sorted((ROOT / "litcache").rglob("*.py")):
        prose += re.findall(r'"""(.*?)"""', path.read_text("utf-8"), re.DOTALL)
    words = re.findall(r"[\w'-]+", "\n".join(prose))
    return [
        " ".join(words[start : start + length])
        for start in range(len(words) - 24)
        for length in (8, 16, 24)
    ]


def zipf(length: int, distinct: int, *, exponent: float = 0.9, seed: int = 7) -> list[int]:
    """Return a seeded trace: the k-th most popular id is asked for in proportion to k^-exponent.

    Args:
        length: How many requests.
        distinct: How many ids there are.
        exponent: How skewed it is.
        seed: Of the random generator.
    """
    weights = accumulate((rank + 1) ** -exponent for rank in range(distinct))
    return random.Random(seed).choices(range(distinct), cum_weights=list(weights), k=length)
