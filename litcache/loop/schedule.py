"""The threads of a loop: one for everything, or one for the model and two beside it."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
            dispatcher.accept(dispatcher.open(inbox.take(seconds, dispatcher.at_once)))
            dispatcher.look_around()
            if dispatcher.takes_what_is_there and not dispatcher.is_empty:
                dispatcher.accept(dispatcher.open(inbox.take(0, dispatcher.room)))
        elif (batch := dispatcher.next_batch()) is not None:
            dispatcher.compute(batch)
            dispatcher.settle(batch)
            if dispatcher.is_retrying and dispatcher.hits:
                _accept_beside(inbox.take(0, dispatcher.size), dispatcher, backlog)
        if not dispatcher.is_retrying:
            backlog.empty_into(dispatcher)


def _accept_beside(arrived: list[Any], dispatcher: Dispatcher, backlog: Backlog) -> None:
    """Take requests while there are others to compute, and leave those that find no room."""
    new = backlog.new_of(arrived)
    most = backlog.room(dispatcher.room)
    backlog.leave(dispatcher.accept(dispatcher.open(new, starts=backlog.keeps), most))


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
        """Read requests while the dispatcher wants some.

        It takes those that are there, and no more until the dispatcher is done with them: only the
        dispatcher can start a request, and while it is in a hook that ends the process, what was
        taken since would be lost.
        """
        while not self._inbox.closed:
            with self._changed:
                while not self._stopping and (seconds := self._seconds_to_read()) > 0:
                    self._changed.wait(seconds)
                if self._stopping:
                    return
                most = self._most
            requests = self._inbox.take(IDLE_SECONDS, most)
            with self._changed:
                self._in_hand += len(requests)
            self._events.put(requests)
        self._events.put(None)

    def _seconds_to_read(self) -> float:
        """Return how long to wait before the next look into the queue."""
        if self._in_hand or not self._most:
            return IDLE_SECONDS
        return max(0.0, self._backlog.resumes - time.monotonic())

    # ------------------------------------------------------------------ the dispatcher

    def _attend(self) -> None:
        """Dispatch requests, and give batches to the model when it is free."""
        dispatcher, backlog = self._dispatcher, self._backlog
        computing = closed = False
        while computing or not (closed and dispatcher.is_empty and backlog.is_empty):
            seconds = dispatcher.seconds_between_looks if computing else dispatcher.seconds_left
            arrived, computed, error, is_end = self._next_events(seconds())
            computing, closed = computing and computed is None, closed or is_end
            # What comes while the model is free stays here: started before a hook of the user runs.
            opened = [] if computing else dispatcher.open(arrived)
            if computed is not None:
                dispatcher.settle(computed)
            if error is not None:
                raise error
            if self._stopping:
                return
            if computing:
                _accept_beside(arrived, dispatcher, backlog)
            else:
                backlog.empty_into(dispatcher)
                dispatcher.accept(opened)
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

    def _wanted(self, *, computing: bool) -> int:
        """Return how many requests the reader may hold."""
        if not computing:
            return self._dispatcher.room
        if self._dispatcher.hits:
            return self._dispatcher.size
        return self._backlog.room(self._dispatcher.room)

    def _next_events(
        self, seconds: float
    ) -> tuple[list[Any], Batch | None, BaseException | None, bool]:
        """Return what has happened, or wait for it.

        Returns:
            The requests that have arrived; the batch that is computed; an error of the reader;
            whether the inbox is closed.
        """
        arrived: list[Any] = []
        batch = error = None
        closed = False
        with suppress(Empty):
            event = self._events.get(timeout=seconds)
            while True:
                if isinstance(event, Batch):
                    batch = event
                elif isinstance(event, BaseException):
                    error = event
                elif event is None:
                    closed = True
                else:
                    arrived += event
                event = self._events.get_nowait()
        return arrived, batch, error, closed
