"""What is queued for stores is written before a process ends, within a bound.

LitServe ends its workers by SIGTERM. By default that ends a process at once, without `atexit`.
"""

from __future__ import annotations

import _thread
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
import time
from types import FrameType

from litcache.stores.queued import queues

_SECONDS = 2.0
"""So long a process that ends waits in all; LitServe kills a worker after five seconds."""
_registered_in: int | None = None


def write_at_exit() -> None:
    """Write what is queued when this process ends by itself: `multiprocessing` knows of all ways.

    A child that was forked has none of its parent's exit functions.
    """
    global _registered_in
    if _registered_in != os.getpid():
        _registered_in = os.getpid()
        multiprocessing.util.Finalize(None, _write_queued, exitpriority=100)


def write_at_sigterm() -> None:
    """Write what is queued before SIGTERM ends this process, if it is a worker of a server.

    A handler that somebody else has set stays, and so does what SIGTERM does to any other process.
    """
    if (
        multiprocessing.parent_process() is not None
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
    if all(queue.is_empty for queue in queues()):
        os.kill(os.getpid(), number)
    else:
        # In a thread: this one may hold a lock that the writer needs, and goes on meanwhile. Not by
        # `threading`, whose own lock this thread may hold.
        _thread.start_new_thread(_write_and_end, (number,))


def _write_and_end(number: int) -> None:
    try:
        _write_queued()
    finally:
        os.kill(os.getpid(), number)


def _write_queued() -> None:
    deadline = time.monotonic() + _SECONDS
    for queue in queues():
        queue.flush(max(0.0, deadline - time.monotonic()))
