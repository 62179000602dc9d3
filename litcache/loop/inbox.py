"""Where the requests of a loop come from, and where those wait that it cannot take yet."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any

from litcache.loop.dispatch import Dispatcher
from litcache.loop.litserve import IDLE_SECONDS, SENTINEL, is_known
from litcache.loop.requests import Request

_SECONDS_BETWEEN_ROUNDS = 0.02
_MOST_SECONDS_BETWEEN_ROUNDS = 1.0
_MOST_KNOWN = 10_000


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

    def put_back(self, request: Any) -> None:
        """Return a request to the queue, for any worker."""
        self._queue.put(request)


class Backlog:
    """Requests that need the model while it computes something else.

    A worker that alone reads the queue keeps them, in their order. The workers of one API share
    their queue, and there they stay for the worker that is free first: one that computes looks at
    each request once, to find hits, and puts back what misses.

    Args:
        inbox: Where requests come from.
        is_shared: Says whether other workers read the queue.

    Attributes:
        resumes: When the queue is to be read again (monotonic clock, seconds).
    """

    def __init__(self, inbox: Inbox, is_shared: Callable[[], bool]) -> None:
        self._inbox = inbox
        self._ask = is_shared
        self._is_shared: bool | None = None
        self._kept: deque[bytes] = deque()
        # By id, those that were seen last at the end: other workers may have answered them since.
        self._known: dict[str, None] = {}
        self._round: set[str] = set()
        self._spent = 0.0
        self.resumes = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no request is kept here."""
        return not self._kept

    @property
    def keeps(self) -> bool:
        """Whether requests that are left stay here."""
        return not self._is_shared

    def room(self, room: int) -> int:
        """Return how many misses may be taken while the model computes.

        Args:
            room: How many the next batch has room for.
        """
        if self._is_shared is None:  # asks LitServe's manager, so once for each batch
            self._is_shared = self._ask()
        return 0 if self._is_shared else room

    def leave(self, images: list[bytes]) -> None:
        """Leave requests to a worker that is free, or keep them if there is no other.

        What is kept must be started, and what is not must not be: if this worker dies, LitServe
        answers what it has started, also if that waits in the queue again.

        Args:
            images: The requests as they arrived, pickled.
        """
        if not self._is_shared:
            self._kept.extend(images)
            return
        for image in images:
            self._put_back(pickle.loads(image))

    def new_of(self, arrived: list[Any]) -> list[Any]:
        """Return those of some requests that were not left before; put the others back."""
        new = []
        for request in arrived:
            if is_known(request) and request[1] in self._known:
                if request[1] in self._round:
                    self._end_round()
                self._put_back(request)
            else:
                new.append(request)
        return new

    def _put_back(self, request: Any) -> None:
        uid = request[1]
        self._known.pop(uid, None)
        self._known[uid] = None
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._round.add(uid)
        began = time.monotonic()
        self._inbox.put_back(request)
        self._spent += 2 * (time.monotonic() - began)  # to get it took as long

    def _end_round(self) -> None:
        """Let others read, and compute, once all that is in the queue was seen."""
        # If the machine stalls in a round, the round seems long; and hits wait in the pause.
        spent = min(self._spent, _MOST_SECONDS_BETWEEN_ROUNDS)
        self.resumes = time.monotonic() + max(_SECONDS_BETWEEN_ROUNDS, spent)
        self._round, self._spent = set(), 0.0

    def empty_into(self, dispatcher: Dispatcher) -> None:
        """Give what is left to a dispatcher whose model is free, as far as its next batch goes."""
        self._is_shared, self.resumes = None, 0.0
        self._round, self._spent = set(), 0.0
        while self._kept and dispatcher.room:
            size = min(len(self._kept), dispatcher.room)
            kept = [pickle.loads(self._kept.popleft()) for _ in range(size)]
            dispatcher.accept([Request(each, is_started=True) for each in kept])
