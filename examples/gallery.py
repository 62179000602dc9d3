"""Measure the gallery without and with the cache: `python -m examples.gallery [names of folders]`.

Each service is started twice, and its own client asks both servers the same in turns, a part of
the requests at a time, so that what else the machine does hits both. The figures go into the
table of the folder's README, and into that of `examples/README.md`.
"""

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

FOLDER = Path(__file__).parent
SERVICES = sorted(path.parent.name for path in FOLDER.glob("*/client.py"))
SECONDS_TO_START = 180
PARTS = 5
Report = dict[str, float]


@contextmanager
def served(name: str, *, cached: bool) -> Iterator[str]:
    """Run a service's server on a free port, and yield its URL when it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url, port = f"http://127.0.0.1:{probe.getsockname()[1]}", str(probe.getsockname()[1])
    variables = {**os.environ, "PORT": port, "LITCACHE_DISABLED": "0" if cached else "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", f"examples.{name}.server"],
        cwd=FOLDER.parent, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + SECONDS_TO_START
        with httpx.Client(base_url=url, trust_env=False) as client:
            while not _is_ready(client):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{name}: its server does not start")
                time.sleep(0.1)
        yield url
    finally:
        for ended_by in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, ended_by)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def measured(name: str) -> tuple[Report, Report]:
    """Return what a service's client reports of the server without and with the cache."""
    reports: dict[bool, list[dict]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        served(name, cached=False) as without,
        served(name, cached=True) as with_it,
    ):
        file = Path(folder, "report.json")
        for part in range(PARTS):
            for url in (without, with_it):
                options = ["--url", url, "--part", str(part), str(PARTS), "--json", str(file)]
                client = [sys.executable, "-m", f"examples.{name}.client", *options]
                subprocess.run(client, cwd=FOLDER.parent, check=True)
                reports[url == with_it].append(json.loads(file.read_text()))
    return _whole(reports[False]), _whole(reports[True])


def _whole(parts: list[dict]) -> Report:
    """Return the report of all parts."""
    whole = {name: sum(part[name] for part in parts) for name in ("requests", "right", "computed")}
    times = [seconds for part in parts for seconds in part["times"]]
    return {
        **whole,
        "requests_per_second": whole["requests"] / sum(part["seconds"] for part in parts),
        "p50_ms": 1000 * statistics.median(times),
    }


def table(without: Report, with_it: Report) -> str:
    """Return the table of one service."""
    return "\n".join(
        [
            f"| {with_it['requests']} requests | without the cache | with the cache |",
            "| --- | --- | --- |",
            *(
                f"| {what} | {without[name]:,.{digits}f} | {with_it[name]:,.{digits}f} |"
                for what, name, digits in (
                    ("requests/s", "requests_per_second", 0),
                    ("p50 of a request, ms", "p50_ms", 1),
                    ("items that the model computed", "computed", 0),
                    ("right answers", "right", 0),
                )
            ),
        ]
    )


def row(without: Report, with_it: Report) -> str:
    """Return the figures of a service in the table of all: requests/s, p50, computed items."""
    return " | ".join(
        f"{without[name]:,.{digits}f} → {with_it[name]:,.{digits}f}"
        for name, digits in (("requests_per_second", 0), ("p50_ms", 1), ("computed", 0))
    )


def put(page: Path, pattern: str, text: str) -> None:
    """Replace what stands between the groups of a pattern, which is in the page once."""
    new, count = re.subn(pattern, lambda m: f"{m[1]}{text}{m[2]}", page.read_text(), flags=re.S)
    if count != 1:
        raise SystemExit(f"{page}: {count} places for a table instead of 1")
    page.write_text(new)


if __name__ == "__main__":
    for name in sys.argv[1:] or SERVICES:
        print(f"{name}, without and with the cache, in turns:")
        reports = measured(name)
        put(FOLDER / name / "README.md", "(<!-- measured -->\n).*(\n<!-- end -->)", table(*reports))
        link = rf"(\| \[[^|]*\]\({name}/README.md\) \|[^|]*\|[^|]*\|) [^\n]*( \|\n)"
        put(FOLDER / "README.md", link, f" {row(*reports)}")
