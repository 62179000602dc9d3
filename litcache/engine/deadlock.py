"""Find calls that would wait for each other for ever.

While a model computes an item, it may ask a cache for the same item in a thread that it then waits
for. Or it may ask for an item of another model, which asks for an item of the first model.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import Any

from litcache.engine.flight import Claim

# A chain of calls that wait for each other is only as long as calls are nested.
_LONGEST_CHAIN = 100
_JOINS = frozenset({"join", "_wait_for_tstate_lock"})


def would_last(other: Claim, held: Iterable[Claim], *, has_waited: bool) -> bool:
    """Return whether a call that waits for a claim would wait for itself.

    Args:
        other: The claim of another call.
        held: The claims of the calls inside which this thread or task runs.
        has_waited: Whether the call has waited for a while. Only then this looks into the thread of
            the other call: a thread that runs leaves its frames at any time.
    """
    mine, claim = set(held), other
    for _ in range(_LONGEST_CHAIN):
        if claim in mine:
            return True
        if claim.waits_for is None:
            break
        claim = claim.waits_for
    thread = other.thread
    if not has_waited or thread is None or thread == threading.get_ident():
        return False
    return _waits_for_this(thread)


def _waits_for_this(thread: int) -> bool:
    """Return whether another thread waits for this one: it joins it, or waits for its future."""
    awaited = {id(threading.current_thread()), *map(id, _futures(sys._getframe()))}
    frame = sys._current_frames().get(thread)
    # If the thread runs meanwhile, Python 3.11 may show what its frame has been used for since.
    with suppress(Exception):
        while frame is not None:
            name, owner = frame.f_code.co_name, frame.f_locals.get("self")
            if id(owner) in awaited and (name in _JOINS or name == "result"):
                return True
            frame = frame.f_back
    return False


def _futures(frame: FrameType | None) -> list[Any]:
    """Return the futures whose work this thread does, if it belongs to an executor."""
    futures = []
    while frame is not None:
        if frame.f_code.co_name == "run":
            futures.append(getattr(frame.f_locals.get("self"), "future", None))
        frame = frame.f_back
    return [future for future in futures if future is not None]
