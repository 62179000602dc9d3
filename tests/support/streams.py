"""A transport for LitServe's streaming loops, which collects the chunks of each request."""

from __future__ import annotations

import pickle
from typing import Any

from litserve.utils import LitAPIStatus

from support.loops import SECONDS, Driven


class DrivenStreams(Driven):
    """The queue and the chunks of a running streaming loop.

    Attributes:
        chunks: Of each request, the chunks so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chunks: dict[str, list[Any]] = {}

    def send(self, item: Any, consumer_id: int) -> None:
        uid, (data, status, *_) = pickle.loads(pickle.dumps(item))
        if status == LitAPIStatus.OK:
            with self._changed:
                self.chunks.setdefault(uid, []).append(data)
                self._changed.notify_all()
            return
        if status == LitAPIStatus.FINISH_STREAMING:
            data = self.chunks.get(uid, [])
            item = (uid, (data, status))
        super().send(item, consumer_id)

    def wait_for_chunks(self, uid: str, count: int) -> list[Any]:
        """Return the chunks of a request once so many are there."""
        with self._changed:
            come = self._changed.wait_for(lambda: len(self.chunks.get(uid, ())) >= count, SECONDS)
            assert come, f"{uid} has only {self.chunks.get(uid)}"
            return list(self.chunks[uid])
