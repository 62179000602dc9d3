"""The queue of a loop, and the place where requests wait that the loop cannot take yet."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any

from litcache.loop.dispatch import Dispatcher
from litcache.loop.litserve import IDLE_SECONDS, SENTINEL, is_known

_SECONDS_BETWEEN_ROUNDS = 0.02
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
        """Return requests: wait for the first, then take those that are already there."""
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

    If a worker alone reads the queue, it keeps them, in their order. If several workers share the
    queue, they stay there for the worker that is free first: a worker that computes looks at each
    request once, to find hits, and puts the misses back.

    Args:
        inbox: Where requests come from.
        is_shared: Returns whether other workers read the queue.

    Attributes:
        resumes: When to read the queue again (monotonic clock, seconds).
    """

    def __init__(self, inbox: Inbox, is_shared: Callable[[], bool]) -> None:
        self._inbox = inbox
        self._ask = is_shared
        self._is_shared: bool | None = None
        self._kept: deque[bytes] = deque()
        # By id, the last seen at the end. Other workers may have answered them since.
        self._known: dict[str, None] = {}
        self._round: set[str] = set()
        self._began = 0.0
        self.resumes = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no request is kept here."""
        return not self._kept

    def room(self, room: int) -> int:
        """Return how many misses the worker may take while its model computes.

        Args:
            room: How many misses the next batch has room for.
        """
        if self._is_shared is None:  # it asks LitServe's manager, so only once for each batch
            self._is_shared = self._ask()
        return 0 if self._is_shared else room

    def leave(self, images: list[bytes]) -> None:
        """Leave requests to a free worker, or keep them if there is no other worker.

        Args:
            images: The requests as they arrived, pickled.
        """
        if not self._is_shared:
            self._kept.extend(images)
            return
        for image in images:
            self._put_back(pickle.loads(image))

    def new_of(self, arrived: list[Any]) -> list[Any]:
        """Return the requests that were not left before, and put the others back."""
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
        self._inbox.put_back(request)

    def _end_round(self) -> None:
        """Once all requests in the queue were seen, let other workers read and compute."""
        now = time.monotonic()
        self.resumes = now + max(_SECONDS_BETWEEN_ROUNDS, now - self._began)
        self._began = self.resumes
        self._round = set()

    def empty_into(self, dispatcher: Dispatcher) -> None:
        """Give a dispatcher whose model is free as many of the kept requests as its batch takes."""
        self._is_shared, self.resumes, self._began = None, 0.0, time.monotonic()
        self._round = set()
        while self._kept and dispatcher.room:
            size = min(len(self._kept), dispatcher.room)
            dispatcher.accept([pickle.loads(self._kept.popleft()) for _ in range(size)])
