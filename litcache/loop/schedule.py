"""The threads of a loop: one for everything, or one for the model and two beside it."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from litcache.loop.dispatch import Dispatcher
from litcache.loop.inbox import Backlog, Inbox
from litcache.loop.litserve import IDLE_SECONDS
from litcache.loop.requests import Batch

_SECONDS_TO_STOP = 2.0


def serve(dispatcher: Dispatcher, inbox: Inbox, backlog: Backlog) -> None:
    """Answer requests and compute misses in this thread, until the inbox is closed.

    Args:
        dispatcher: Answers the requests.
        inbox: Where they come from.
        backlog: Keeps the requests that wait while a failed batch is computed in parts.
    """
    while not (inbox.closed and dispatcher.is_empty and backlog.is_empty):
        seconds = dispatcher.seconds_left()
        if seconds > 0 and not inbox.closed:
            dispatcher.accept(inbox.take(seconds, dispatcher.at_once))
            dispatcher.look_around()
            if dispatcher.takes_what_is_there and not dispatcher.is_empty:
                dispatcher.accept(inbox.take(0, dispatcher.room))
        elif (batch := dispatcher.next_batch()) is not None:
            dispatcher.compute(batch)
            dispatcher.settle(batch)
            if dispatcher.is_retrying and dispatcher.hits:
                new = backlog.new_of(inbox.take(0, dispatcher.size))
                backlog.leave(dispatcher.accept(new, backlog.room(dispatcher.room)))
        if not dispatcher.is_retrying:
            backlog.empty_into(dispatcher)


class Overlap:
    """Answers requests while the model computes, until the inbox is closed.

    The model stays in the thread that calls `run`. That is LitServe's thread, which has run
    `setup`: torch's grad mode and CUDA device belong to a thread. A second thread dispatches, and
    only it uses the transport, because threads must not share a ZMQ socket. A third thread reads
    LitServe's queue, because only a request can wake a thread that waits there.

    Args:
        dispatcher: Answers the requests.
        inbox: Where they come from.
        backlog: Keeps the requests that wait while the model computes.
    """

    def __init__(self, dispatcher: Dispatcher, inbox: Inbox, backlog: Backlog) -> None:
        self._dispatcher = dispatcher
        self._inbox = inbox
        self._backlog = backlog
        self._at_once = dispatcher.room if dispatcher.takes_what_is_there else dispatcher.at_once
        # To the dispatcher: requests, computed batches, `None` at the end, an error of the reader.
        self._events: SimpleQueue[Any] = SimpleQueue()
        # To the model: batches, `None` at the end, an error of another thread.
        self._jobs: SimpleQueue[Batch | BaseException | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._most = dispatcher.room  # how many requests the reader may hold
        self._in_hand = 0
        self._stopping = False

    def run(self) -> None:
        """Compute batches in this thread while the other two do the rest."""
        threads = [
            self._thread(self._read, self._events, "reader"),
            self._thread(self._attend, self._jobs, "dispatcher"),
        ]
        try:
            while (job := self._jobs.get()) is not None:
                if isinstance(job, BaseException):
                    raise job
                self._dispatcher.compute(job)
                self._events.put(job)
        except BaseException:
            self._stop(threads)
            raise
        for thread in threads:
            thread.join()

    def _stop(self, threads: list[threading.Thread]) -> None:
        """End the other threads, even if there is work left, because the process ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        for thread in threads:
            thread.join(_SECONDS_TO_STOP)

    def _thread(
        self, work: Callable[[], None], listener: SimpleQueue[Any], name: str
    ) -> threading.Thread:
        """Start a thread that gives a listener the error that ends it."""

        def attempt() -> None:
            try:
                work()
            except BaseException as error:  # LitServe's thread raises it again
                listener.put(error)

        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(attempt,), name=f"litcache-{name}", daemon=True
        )
        thread.start()
        return thread

    # ------------------------------------------------------------------ the reader

    def _read(self) -> None:
        """Read requests while the dispatcher wants some."""
        while not self._inbox.closed:
            with self._changed:
                while not self._stopping and (seconds := self._seconds_to_read()) > 0:
                    self._changed.wait(seconds)
                if self._stopping:
                    return
                most = min(self._at_once, self._most - self._in_hand)
            requests = self._inbox.take(IDLE_SECONDS, most)
            with self._changed:
                self._in_hand += len(requests)
            self._events.put(requests)
        self._events.put(None)

    def _seconds_to_read(self) -> float:
        """Return how long to wait before the next look into the queue."""
        if self._most <= self._in_hand:
            return IDLE_SECONDS
        return max(0.0, self._backlog.resumes - time.monotonic())

    # ------------------------------------------------------------------ the dispatcher

    def _attend(self) -> None:
        """Dispatch requests, and give batches to the model when it is free."""
        dispatcher, backlog = self._dispatcher, self._backlog
        computing = closed = False
        while computing or not (closed and dispatcher.is_empty and backlog.is_empty):
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
            if self._stopping:
                return
            self._accept(arrived, computing=computing)
            dispatcher.look_around()
            if not computing and (closed or dispatcher.seconds_left() == 0):
                batch = dispatcher.next_batch()
                if batch is not None:
                    computing = True
                    self._jobs.put(batch)
            with self._changed:
                self._in_hand -= len(arrived)
                self._most = self._wanted(computing=computing)
                self._changed.notify()
        self._jobs.put(None)

    def _accept(self, arrived: list[Any], *, computing: bool) -> None:
        dispatcher, backlog = self._dispatcher, self._backlog
        if computing:
            new = backlog.new_of(arrived)
            backlog.leave(dispatcher.accept(new, backlog.room(dispatcher.room)))
        else:
            backlog.empty_into(dispatcher)
            dispatcher.accept(arrived)

    def _wanted(self, *, computing: bool) -> int:
        """Return how many requests the reader may hold."""
        if not computing:
            return self._dispatcher.room
        if self._dispatcher.hits:
            return self._dispatcher.size
        return self._backlog.room(self._dispatcher.room)

    def _next_events(self, seconds: float) -> list[Any]:
        """Return the events that have happened; if there are none, wait for one."""
        events = []
        try:
            events.append(self._events.get(timeout=seconds))
            while True:
                events.append(self._events.get_nowait())
        except Empty:
            return events
