"""Values that belong to objects on their way through a loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

_V = TypeVar("_V")


class ByIdentity(Generic[_V]):
    """Values that belong to objects on their way through a loop, found by the object itself.

    Loops hand on what a hook returned as it is. What never comes back, because its request failed,
    is forgotten after some others.

    Concurrency: safe in many threads. LitServe's async loop runs sync hooks in threads.

    Args:
        most: How many objects are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[tuple[object, _V]] = deque()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, thing: object, value: _V) -> bool:
        """Add the value of an object; return false if an older one had to be forgotten."""
        with self._lock:
            self._waiting.append((thing, value))
            if len(self._waiting) <= self._most:
                return True
            self._waiting.popleft()
            return False

    def take(self, thing: object) -> _V | None:
        """Return the value of an object, once; of equal constants, those that came first."""
        if not self._waiting:
            return None
        with self._lock:
            for place, (waiting, value) in enumerate(self._waiting):
                if waiting is thing:
                    del self._waiting[place]
                    return value
        return None

    def take_each(self, things: Sequence[Any]) -> list[_V] | None:
        """Return the values of objects; `None` if one of them has none."""
        values = [self.take(thing) for thing in things]
        return None if any(value is None for value in values) else values  # type: ignore[return-value]
