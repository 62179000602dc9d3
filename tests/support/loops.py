"""A loop of an API in a thread of this process, with a real queue and every answer collected."""

from __future__ import annotations

import asyncio
import pickle
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import litserve as ls
from litserve.callbacks import CallbackRunner
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus

from litcache.litapi.state import state_of

SENTINEL = (None, None, None, None)
SECONDS = 20.0
"""How long a test waits for what must come; far more than it takes."""


class Driven(MessageTransport):
    """The queue and the answers of a running loop.

    Args:
        is_shared: Whether two workers read the queue.

    Attributes:
        answers: Of each request that was answered: what it was answered, or the error.
        order: The requests in the order of their answers.
        started: The requests whose START message came.
        failed: The error that has ended a loop, if one has.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self.requests: queue.Queue[Any] = queue.Queue()
        self.answers: dict[str, Any] = {}
        self.order: list[str] = []
        self.started: list[str] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()
        self.failed: list[BaseException] = []
        self._sent = 0
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def send(self, item: Any, consumer_id: int) -> None:
        uid, (data, status, *_) = pickle.loads(pickle.dumps(item))
        self.threads.add(threading.get_ident())
        with suppress(RuntimeError):
            self._event_loop = asyncio.get_running_loop()
        with self._changed:
            if status == LitAPIStatus.START:
                self.started.append(uid)
            else:
                assert uid not in self.answers, f"{uid} is answered twice"
                wrong = status == LitAPIStatus.ERROR
                self.answers[uid] = pickle.loads(data) if wrong and type(data) is bytes else data
                self.order.append(uid)
            self._changed.notify_all()

    def close(self, **_: Any) -> None:
        """Close the event loop that LitServe's async loop leaves open."""
        loop = self._event_loop
        if loop is not None and not loop.is_running():
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    async def areceive(self, timeout: Any = None, consumer_id: Any = None) -> Any:
        raise NotImplementedError

    def ask(self, *payloads: Any, ago: float = 0.0) -> list[str]:
        """Put requests into the queue; return their ids."""
        uids = []
        for payload in payloads:
            self._sent += 1
            uids.append(f"{self._sent}:{payload}")
            self.requests.put((0, uids[-1], time.monotonic() - ago, payload))
        return uids

    def wait(self, *uids: str) -> list[Any]:
        """Return the answers to requests once all are there."""
        with self._changed:
            self._changed.wait_for(lambda: self.failed or self.answers.keys() >= set(uids), SECONDS)
            if self.failed:
                raise self.failed[0]
            come = self.answers.keys() >= set(uids)
            assert come, f"started: {self.started}; answered: {self.order}; now: {self.stacks()}"
            return [self.answers[uid] for uid in uids]

    def fail(self, error: BaseException) -> None:
        """End all waits with the error that has ended a loop."""
        with self._changed:
            self.failed.append(error)
            self._changed.notify_all()

    def stacks(self) -> str:
        """Return where each thread of this process is."""
        frames = sys._current_frames()
        return "\n".join("".join(traceback.format_stack(frame)) for frame in frames.values())

    def get(self, *payloads: Any) -> list[Any]:
        """Return the answers to requests that arrive one after another."""
        return self.wait(*self.ask(*payloads))


def prepare(api: ls.LitAPI, timeout: float | bool = 60, *, tried: bool = False) -> None:
    """Prepare an API as a server and its worker do, in this thread.

    Its hits are tried only if asked for: most tests are about hits that are answered at once.
    """
    ls.LitServer(api, accelerator="cpu", timeout=timeout)
    state_of(api).has_own_trial = not tried
    api.setup("cpu")
    api.device = "cpu"


@contextmanager
def running(
    api: ls.LitAPI,
    *callbacks: ls.Callback,
    timeout: float | bool = 60,
    restart: bool = False,
    beside: Driven | None = None,
    tried: bool = False,
) -> Iterator[Driven]:
    """Run the loop of an API in a thread that has run its `setup`, until the block ends.

    With `beside`, it is one of two workers that read a queue.
    """
    driven = beside or Driven()
    ready = threading.Event()

    def work() -> None:
        try:
            prepare(api, timeout, tried=tried)
            api.loop._restart_workers = restart
            ready.set()
            run(api, driven, *callbacks, workers=2 if driven.is_shared else 1)
        except BaseException as error:
            driven.fail(error)
            ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(SECONDS)
    try:
        yield driven
    finally:
        driven.requests.put(SENTINEL)
        thread.join(SECONDS)
        driven.close()
    assert not thread.is_alive(), "the loop does not stop at the sentinel"
    if driven.failed:
        raise driven.failed[0]


def run(api: ls.LitAPI, driven: Driven, *callbacks: ls.Callback, workers: int = 1) -> None:
    """Run the loop of a prepared API in this thread until the sentinel comes."""
    status = {f"predict_{number}": "ready" for number in range(workers)}
    api.loop(api, "cpu", 0, driven.requests, driven, status, CallbackRunner(list(callbacks)))
