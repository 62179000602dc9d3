"""Clients that send texts to a server of the demo, over one connection each."""

import http.client
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from examples.demo.errors import DemoError


class Answer(NamedTuple):
    """One answer: the number of its text, its body, and when it came (seconds)."""

    number: int
    body: bytes
    at: float
    latency: float


class Clients:
    """Threads that each send the next text that none of them has sent.

    Args:
        port: Of the server, on 127.0.0.1. It may be changed: the next request goes there.
        texts: What is sent, in this order.
        keep: How many of the last answers are kept; by default all.
    """

    def __init__(self, port: int, texts: Iterable[str], keep: int | None = None):
        self.port = port
        self.answers: deque[Answer] = deque(maxlen=keep)
        self.answered: Counter[int] = Counter()  # by port
        self.tried = 0  # answers of the trial of responses
        self.stop = threading.Event()
        self.sent = 0
        self._texts, self._lock = iter(texts), threading.Lock()

    def start(self, pool: ThreadPoolExecutor, count: int) -> list[Future[None]]:
        """Begin to send, by so many threads of a pool."""
        return [pool.submit(self._send) for _ in range(count)]

    def _send(self) -> None:
        connections: dict[int, http.client.HTTPConnection] = {}
        try:
            while not self.stop.is_set():
                port = self.port
                with self._lock:
                    number, text = self.sent, next(self._texts, None)
                    self.sent += text is not None
                if text is None:
                    break
                if port not in connections:
                    connections[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                self._send_one(connections[port], number, text)
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"the server does not answer: {error!r}") from error
        finally:
            for connection in connections.values():
                connection.close()

    def _send_one(self, connection: http.client.HTTPConnection, number: int, text: str) -> None:
        body = json.dumps({"text": text})
        sent = time.perf_counter()
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        now = time.perf_counter()
        if response.status != 200:
            raise DemoError(f"{response.status} from the server: {answer[:200]!r}")
        self.answers.append(Answer(number, answer, now, now - sent))
        status = response.headers.get("cache-status", "")
        with self._lock:
            self.answered[connection.port] += 1
            self.tried += "detail=trial" in status


def percentile(values: Iterable[float], share: int) -> float:
    """Return the value below which so many per cent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]
