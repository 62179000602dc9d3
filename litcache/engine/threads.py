"""litcache's own threads, in which async code waits for stores."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from litcache.forks import Forkable, begin_anew

_T = TypeVar("_T")
# A slow store answers at most this number of requests at the same time.
_THREADS = 32


class _Pool(Forkable):
    """The threads of this process, which start when they are first needed."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        begin_anew(self)

    def submit(self, step: Callable[..., _T], *arguments: Any) -> Future[_T]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="litcache")
        return self._threads.submit(step, *arguments)

    def after_fork_in_child(self) -> None:
        self._threads = None


_pool = _Pool()


def submit(step: Callable[..., _T], *arguments: Any) -> Future[_T]:
    """Run a step that may wait for a store, with the context variables of the caller.

    The default executor of asyncio belongs to LitServe and the user: steps that wait could fill it.

    Args:
        step: The function to call.
        *arguments: Its arguments.

    Returns:
        The future of its result.

    Example:
        >>> submit(len, "four").result()
        4
    """
    return _pool.submit(contextvars.copy_context().run, step, *arguments)


async def run(step: Callable[..., _T], *arguments: Any) -> _T:
    """Await a step that may wait for a store; it goes on if the caller is cancelled.

    If no thread can be started, the step runs in this one.

    Args:
        step: The function to call.
        *arguments: Its arguments.

    Returns:
        Its result.

    Example:
        >>> asyncio.run(run(len, "four"))
        4
    """
    try:
        future = submit(step, *arguments)
    except RuntimeError:  # no more threads: the limit is met, or the interpreter ends
        return step(*arguments)
    return await asyncio.shield(asyncio.wrap_future(future))
