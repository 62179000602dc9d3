"""Values that belong to objects on their way through a loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
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
        # By the id of the object, which is its own as long as the object is kept here. What one
        # operation of the dict does needs no lock, which would take longer than all the rest.
        self._waiting: dict[int, tuple[object, _V]] = {}
        self._later: deque[tuple[object, _V]] = deque()  # objects that are waiting already
        self._lock = threading.Lock()  # for the latter

    def __bool__(self) -> bool:
        return bool(self._waiting or self._later)

    def put(self, thing: object, value: _V) -> bool:
        """Add the value of an object; return false if an older one had to be forgotten."""
        pair = (thing, value)
        waiting = self._waiting
        if waiting.setdefault(id(thing), pair) is not pair:
            with self._lock:
                self._later.append(pair)
        if len(waiting) + len(self._later) <= self._most:
            return True
        self._forget_one()
        return False

    def take(self, thing: object) -> _V | None:
        """Return the value of an object, once; of equal constants, those that came first."""
        pair = self._waiting.pop(id(thing), None)
        if self._later:
            pair = self._with_later(thing, pair)
        return None if pair is None else pair[1]

    def take_each(self, things: Sequence[Any]) -> list[_V] | None:
        """Return the values of objects; `None` if one of them has none."""
        if self._later:
            values = [self.take(thing) for thing in things]
            return None if any(value is None for value in values) else values  # type: ignore[return-value]
        pop = self._waiting.pop
        pairs = [pop(id(thing), None) for thing in things]
        return None if None in pairs else [pair[1] for pair in pairs]  # type: ignore[index]

    def forget(self, unwanted: Callable[[_V], bool]) -> None:
        """Forget the objects whose values are not wanted any more."""
        with self._lock:
            for place, pair in list(self._waiting.items()):
                if unwanted(pair[1]):
                    self._waiting.pop(place, None)
            self._later = deque(pair for pair in self._later if not unwanted(pair[1]))

    def _with_later(self, thing: object, pair: tuple[object, _V] | None) -> Any:
        """Return the pair of an object, or the next one of that object, and have the next wait."""
        with self._lock:
            for place, later in enumerate(self._later):
                if later[0] is thing:
                    if pair is None or self._waiting.setdefault(id(thing), later) is later:
                        del self._later[place]
                    return pair or later
        return pair

    def _forget_one(self) -> None:
        with self._lock:
            try:
                self._waiting.pop(next(iter(self._waiting)), None)
            except StopIteration:
                if self._later:  # others may have taken everything since it was counted
                    self._later.popleft()
            except RuntimeError:  # another thread has just taken one
                pass
