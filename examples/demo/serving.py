"""One server of the demo, as a process group of its own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from examples.demo.errors import DemoError

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 60
SECONDS_TO_END = 10


class Server:
    """A server that is up: its port, and what its worker has counted."""

    def __init__(self, port: int, counters: Path):
        self.port, self._counters = port, counters

    def counters(self) -> dict[str, Any]:
        """Return what the worker counted until its last batch."""
        if not self._counters.exists():
            return {"items": 0, "seconds": 0.0}
        return json.loads(self._counters.read_text())


def pick_port(wanted: int | None = None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise DemoError(f"port {wanted}: {error.strerror}; choose another --port") from None
        return probe.getsockname()[1]


@contextmanager
def serving(kind: str, port: int) -> Iterator[Server]:
    """Run a server in its own process group, and end the group in any case."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        counters, log = Path(folder) / "counters.json", Path(folder) / "server.log"
        command = [sys.executable, "-m", "examples.demo.server", kind, str(port), str(counters)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "TMPDIR": folder},
            )
        try:
            _wait_until_ready(process, port, log)
            yield Server(port, counters)
        finally:
            _end(process, port)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + SECONDS_TO_START
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"the server does not start; its log ends\n{log.read_text()[-2000:]}")
        pause.wait(0.1)


def _end(process: subprocess.Popen[bytes], port: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Its other processes end a moment later; the next server may want the same port.
    deadline, pause = time.monotonic() + SECONDS_TO_END, threading.Event()
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
