"""`litcache warm`: send a file of requests through a running server."""

from __future__ import annotations

import argparse
import http.client
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from litcache import __version__
from litcache.checks import HEADER_NAME
from litcache.commands import log
from litcache.commands.progress import Progress
from litcache.commands.results import FAILED, OK, REFUSED, Result
from litcache.commands.targets import add_json, seconds, whole_number

TEXT = "send a file of requests through a running server, so that its caches hold the answers"
DESCRIPTION = f"{TEXT}. Each line of the file is the body of a POST request, as JSON."

_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")  # of a header
_NO_ANSWER = "no answer"
_MOST_FAILURES = 10  # in a row, without any answer: the server is not there


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    command.add_argument("file", metavar="FILE", help="the requests, one a line")
    command.add_argument(
        "--url", type=_url, required=True, help="where to, such as http://127.0.0.1:8000/predict"
    )
    command.add_argument(
        "--concurrency",
        type=whole_number,
        default=8,
        metavar="N",
        help="requests at a time (default: 8)",
    )  # fmt: skip
    command.add_argument(
        "--header", action="append", default=[], type=_header, metavar="NAME: VALUE",
        help="a header of each request, such as an API key; ${NAME} as its value is read from the "
        "environment",
    )  # fmt: skip
    command.add_argument(
        "--timeout", type=seconds, default=60.0, help="how many seconds to wait for each answer"
    )
    add_json(command)


def _url(text: str) -> SplitResult:
    problem = f"{text!r} is no http:// or https:// URL"
    try:
        url = urlsplit(text)
        _ = url.port  # raises if it is no number
        (url.hostname or "").encode("idna")
    except ValueError:
        raise argparse.ArgumentTypeError(problem) from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise argparse.ArgumentTypeError(problem)
    if not re.fullmatch("[!-~]*", url.path + url.query):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be of ASCII without blanks; write other characters as %20"
        )
    return url


def _header(text: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not HEADER_NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise argparse.ArgumentTypeError(
            f"the header {name!r} must be written as NAME: VALUE, with a name of letters, digits "
            "and -, and a value of Latin-1 on one line (it is not shown: it may be a secret)"
        )
    return name, value


def _resolved(value: str) -> str:
    """Return the value of a header; `${NAME}` keeps a key out of the list of processes."""
    if not (value.startswith("${") and value.endswith("}")):
        return value
    name = value[2:-1]
    if name not in os.environ:
        raise ValueError(f"--header: {name} is not set in the environment")
    if not _VALUE.fullmatch(os.environ[name]):
        raise ValueError(f"--header: {name} in the environment must be Latin-1 on one line")
    return os.environ[name]


def run(options: Any) -> Result:
    """Send the requests.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        ValueError: If the file holds no requests, or a variable of a header is not set.
        OSError: If the file cannot be read.
    """
    path = Path(options.file)
    whole, began = max(1, path.stat().st_size), time.monotonic()
    with Progress("requests answered") as progress:
        sender = _Sender(
            options, log.lines(path), lambda count, end: progress.show(count, end / whole)
        )
        sender.run()
    elapsed = time.monotonic() - began
    statuses = dict(sorted(sender.statuses.items()))
    count = sum(statuses.values())
    if not count:
        raise ValueError(f"{path} holds no requests")
    result = {
        "url": options.url.geturl(),
        "requests": count,
        "statuses": statuses,
        "hits": sender.hits,
        "seconds": elapsed,
    }
    told = ", ".join(f"{number:,} {status}" for status, number in statuses.items())
    text = f"{count:,} requests in {elapsed:,.1f} s, {count / elapsed:,.0f} a second: {told}"
    if sender.hits:
        text += f"; CacheMiddleware answered {sender.hits:,} of them"
    if sender.is_lost:
        text += f"; the server does not answer ({sender.problem}), and the rest was not sent"
    if _NO_ANSWER in statuses:
        return FAILED, result, text
    return OK if all(status.startswith("2") for status in statuses) else REFUSED, result, text


class _Sender:
    """Sends requests, some at a time.

    Concurrency: `run` starts threads, each with a connection of its own.

    Attributes:
        statuses: How many requests were answered with each status.
        hits: How many of them `CacheMiddleware` answered.
        is_lost: Whether it gave up because the server does not answer.
        problem: Why the last request had no answer.
    """

    def __init__(self, options: Any, requests: Iterator[tuple[bytes, int]], show: Any) -> None:
        self._url: SplitResult = options.url
        self._timeout: float = options.timeout
        self._concurrency: int = options.concurrency
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"litcache/{__version__}",
            **{name: _resolved(value) for name, value in options.header},
        }
        self._requests = requests
        self._show = show
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failures = 0
        self.statuses: Counter[str] = Counter()
        self.hits = 0
        self.is_lost = False
        self.problem = ""

    def run(self) -> None:
        """Send all requests; after an interrupt, wait only for those that are under way."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                for future in [pool.submit(self._send_some) for _ in range(self._concurrency)]:
                    future.result()
            finally:
                self._stop.set()

    def _send_some(self) -> None:
        """Send requests, one after the other, until there are no more."""
        connection = self._connection()
        try:
            while not self._stop.is_set():
                with self._lock:  # a generator is not safe in threads
                    body, end = next(self._requests, (b"", 0))
                if not body:
                    return
                status, is_hit = self._answer(connection, body)
                self._note(status, is_hit, end)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _answer(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[str, bool]:
        """Return the status of an answer, and whether `CacheMiddleware` gave it."""
        path = self._url._replace(scheme="", netloc="", fragment="").geturl() or "/"
        for is_last in (False, True):
            is_new = connection.sock is None
            try:
                connection.request("POST", path, body, self._headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # The server closes idle connections: that is not its answer.
                if is_new or is_last or isinstance(error, TimeoutError):
                    self.problem = str(error) or type(error).__name__
                    break
            else:
                told = response.getheader("Cache-Status", "")
                return str(response.status), "litcache; hit" in told
        return _NO_ANSWER, False

    def _note(self, status: str, is_hit: bool, end: int) -> None:
        with self._lock:
            self.statuses[status] += 1
            self.hits += is_hit
            self._failures = self._failures + 1 if status == _NO_ANSWER else 0
            if self._failures >= _MOST_FAILURES:
                self.is_lost = True
                self._stop.set()
            self._show(sum(self.statuses.values()), end)
