"""An interrupt at a chosen place, as by Ctrl-C."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable


class Interrupt(BaseException):
    """Raised where a test wants it, as Ctrl-C would be."""


def interrupted(function: Callable[[], object], place: int, room: str) -> bool:
    """Call a function; raise before the n-th line of a room of litcache. Return whether it was."""
    met = 0

    def trace(frame, event, _):
        nonlocal met
        if f"/litcache/{room}/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            met += 1
            if met == place:
                sys.settrace(None)
                raise Interrupt
        return trace

    # What a context variable says at the interrupt, it would say to all later calls of this thread.
    context = contextvars.copy_context()
    before = sys.gettrace()  # that of `make coverage`
    sys.settrace(trace)
    try:
        context.run(function)
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return met >= place
