"""Whether a call that waits for another would wait for ever, since that one waits for it.

A model may ask a cache for an item that is being computed: for its own, in a thread that it waits
for, or for that of another model, which asks for the first one's.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

from litcache.engine.flight import Claim

# A chain of calls that wait for each other is as long as the calls are nested.
_LONGEST_CHAIN = 100
_JOINS = frozenset({"join", "_wait_for_tstate_lock"})


def would_last(other: Claim, held: Iterable[Claim]) -> bool:
    """Return whether to wait for a claim would be to wait for oneself.

    Args:
        other: The claim of another call.
        held: The claims of the calls that this thread or task is inside.
    """
    mine, claim = set(held), other
    for _ in range(_LONGEST_CHAIN):
        if claim in mine:
            return True
        if claim.waits_for is None:
            break
        claim = claim.waits_for
    thread = other.thread
    return thread is not None and thread != threading.get_ident() and _waits_for_this(thread)


def _waits_for_this(thread: int) -> bool:
    """Return whether another thread waits for this one: it joins it, or awaits its future."""
    awaited = {id(threading.current_thread()), *map(id, _futures(sys._getframe()))}
    frame = sys._current_frames().get(thread)
    while frame is not None:
        name, owner = frame.f_code.co_name, frame.f_locals.get("self")
        if id(owner) in awaited and (name in _JOINS or name == "result"):
            return True
        frame = frame.f_back
    return False


def _futures(frame: FrameType | None) -> list[Any]:
    """Return the futures whose work this thread of an executor does."""
    futures = []
    while frame is not None:
        if frame.f_code.co_name == "run":
            futures.append(getattr(frame.f_locals.get("self"), "future", None))
        frame = frame.f_back
    return [future for future in futures if future is not None]
