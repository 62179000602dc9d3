"""Real LitServe servers for tests: each in a process group of its own, on a free loopback port."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 300
SECONDS_TO_STOP = 10

_COUNTERS = re.compile(
    r"\[(\d+)\] - litcache - INFO - .* - (\w+\.\w+): (?:hit rate [^,]*, )?(\d.*)"
)


class Server:
    """A server that is up.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        url: The same as a URL.
        client: A client of it, safe in threads.
    """

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self._log = log

    @property
    def log(self) -> str:
        """What its processes wrote so far."""
        return self._log.read_text()

    def post(self, path: str, body: Any) -> httpx.Response:
        """Send one request, and check that it was answered."""
        response = self.client.post(path, json=body)
        assert response.status_code == 200, f"{response.status_code}: {response.text}\n{self.log}"
        return response

    def counters(self, method: str) -> Counter[str]:
        """Return the sums of a cached method's counters, as its workers last logged them."""
        last = {pid: text for pid, name, text in _COUNTERS.findall(self.log) if name == method}
        total: Counter[str] = Counter()
        for text in last.values():
            total.update({name: int(n) for n, name in re.findall(r"(\d+) (\w+)", text)})
        return total


@contextmanager
def serve(
    *command: str,
    environment: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Run a script or module that starts a server on the port that `PORT` tells it.

    Args:
        *command: What follows the interpreter: `"-m", "examples.async_api"`, or a path.
        environment: More variables for its environment.
        headers: What `/health` must be asked with, where LitServe wants a key.

    Yields:
        The server, once `/health` answers 200. At the end its whole process group is ended.

    Raises:
        RuntimeError: If it ends or is not ready in time; the message shows its log.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        server = Server(free_port(), log)
        variables = {
            **os.environ,
            "PORT": str(server.port),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "LITCACHE_LOG_SECONDS": "0.000001",  # a line of counters after every call
            "OMP_NUM_THREADS": "1",  # torch's threads wait for each other on a busy machine
            "TMPDIR": folder,  # what its processes leave behind goes with the folder
            **(environment or {}),
        }
        with log.open("wb") as output, interruptible():
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder, env=variables, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            _wait_until_ready(process, server, headers)
            yield server
        finally:
            server.client.close()
            end_group(process)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the processes started in this block end at an interrupt.

    A shell starts a script's background jobs with SIGINT ignored, and their children inherit that;
    a signal that has a handler goes back to its default in a new program.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # so that threads may start processes, too
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads its group, and all others of the group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_STOP)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(ready: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask until something is so; `TimeoutError` if it is not in time."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not ready after {seconds:g} s")
        pause.wait(0.05)


def _is_healthy(server: Server, headers: dict[str, str] | None) -> bool:
    try:
        return server.client.get("/health", headers=headers).status_code == 200
    except httpx.TransportError:
        return False


def _wait_until_ready(
    process: subprocess.Popen[bytes], server: Server, headers: dict[str, str] | None
) -> None:
    try:
        wait_until(
            lambda: process.poll() is not None or _is_healthy(server, headers),
            "server",
            SECONDS_TO_START,
        )
    except TimeoutError as error:
        raise RuntimeError(f"{error}; its log:\n{server.log}") from None
    if process.poll() is not None:
        raise RuntimeError(f"the server ended with {process.returncode}; its log:\n{server.log}")
