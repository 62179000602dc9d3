"""Who does what in a loop: one thread all of it, or one for the model and others beside it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from litcache.loop.dispatch import Dispatcher
from litcache.loop.litserve import IDLE_SECONDS, SENTINEL
from litcache.loop.requests import Batch


class Inbox:
    """LitServe's queue of requests, until its sentinel comes.

    Args:
        queue: The queue.

    Attributes:
        closed: Whether the sentinel has come.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.closed = False

    def take(self, seconds: float, most: int = 1) -> list[Any]:
        """Return requests: wait for the first, and take no others but those that are there."""
        requests: list[Any] = []
        try:
            while len(requests) < most and not self.closed:
                request = self._queue.get(timeout=0 if requests else min(seconds, IDLE_SECONDS))
                if request == SENTINEL:
                    self.closed = True
                else:
                    requests.append(request)
        except Empty:
            pass
        return requests


def serve(dispatcher: Dispatcher, inbox: Inbox) -> None:
    """Answer requests and compute misses in this thread, until the inbox is closed.

    Args:
        dispatcher: Where requests are answered.
        inbox: Where they come from.
    """
    while not (inbox.closed and dispatcher.is_empty):
        seconds = dispatcher.seconds_left()
        if seconds > 0 and not inbox.closed:
            dispatcher.accept(inbox.take(seconds, dispatcher.at_once))
            dispatcher.look_around()
            if dispatcher.takes_what_is_there and not dispatcher.is_empty:
                dispatcher.accept(inbox.take(0, dispatcher.room))
        elif (batch := dispatcher.next_batch()) is not None:
            dispatcher.compute(batch)
            dispatcher.settle(batch)


class Overlap:
    """Answers requests while the model computes, until the inbox is closed.

    The model stays in the thread that calls `run`, LitServe's, which has run `setup`: torch's grad
    mode and CUDA device are a thread's own. A second thread dispatches, and alone uses the
    transport (a ZMQ socket must not be shared). A third alone reads LitServe's queue, since nothing
    but a request could wake it there; it stops while the next batch is full, and leaves requests to
    other workers.

    Args:
        dispatcher: Where requests are answered.
        inbox: Where they come from.
    """

    def __init__(self, dispatcher: Dispatcher, inbox: Inbox) -> None:
        self._dispatcher = dispatcher
        self._inbox = inbox
        self._at_once = dispatcher.room if dispatcher.takes_what_is_there else dispatcher.at_once
        # To the dispatcher: requests, computed batches, `None` at the end, the reader's error.
        self._events: SimpleQueue[Any] = SimpleQueue()
        # To the model: batches, `None` at the end, what another thread died of.
        self._jobs: SimpleQueue[Batch | BaseException | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._room = dispatcher.room
        self._in_hand = 0

    def run(self) -> None:
        """Compute batches in this thread while the other two do the rest."""
        threads = [
            self._thread(self._read, self._events, "reader"),
            self._thread(self._attend, self._jobs, "dispatcher"),
        ]
        while (job := self._jobs.get()) is not None:
            if isinstance(job, BaseException):
                raise job
            self._dispatcher.compute(job)
            self._events.put(job)
        for thread in threads:
            thread.join()

    def _thread(
        self, work: Callable[[], None], listener: SimpleQueue[Any], name: str
    ) -> threading.Thread:
        """Start a thread that tells a listener what it dies of."""

        def attempt() -> None:
            try:
                work()
            except BaseException as error:  # raised again in the thread of LitServe
                listener.put(error)

        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(attempt,), name=f"litcache-{name}", daemon=True
        )
        thread.start()
        return thread

    def _read(self) -> None:
        """Read requests while there is room for more misses in the next batch."""
        while not self._inbox.closed:
            with self._changed:
                self._changed.wait_for(lambda: self._room > self._in_hand)
                most = min(self._at_once, self._room - self._in_hand)
            requests = self._inbox.take(IDLE_SECONDS, most)
            with self._changed:
                self._in_hand += len(requests)
            self._events.put(requests)
        self._events.put(None)

    def _attend(self) -> None:
        """Dispatch requests, and give batches to the model when it is free."""
        dispatcher = self._dispatcher
        computing = closed = False
        while computing or not (closed and dispatcher.is_empty):
            arrived: list[Any] = []
            for event in self._next_events(
                IDLE_SECONDS if computing else dispatcher.seconds_left()
            ):
                if isinstance(event, Batch):
                    dispatcher.settle(event)
                    computing = False
                elif isinstance(event, BaseException):
                    raise event
                elif event is None:
                    closed = True
                else:
                    arrived += event
            dispatcher.accept(arrived)
            dispatcher.look_around()
            if not computing and (closed or dispatcher.seconds_left() == 0):
                batch = dispatcher.next_batch()
                if batch is not None:
                    computing = True
                    self._jobs.put(batch)
            with self._changed:
                self._in_hand -= len(arrived)
                self._room = dispatcher.room
                self._changed.notify()
        self._jobs.put(None)

    def _next_events(self, seconds: float) -> list[Any]:
        """Return what has happened; wait for it if nothing has."""
        events = []
        try:
            events.append(self._events.get(timeout=seconds))
            while True:
                events.append(self._events.get_nowait())
        except Empty:
            return events
