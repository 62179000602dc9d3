"""litcache's own threads, in which async code waits for stores."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
# So many, since a slow store bounds the rate of requests to theirs by its latency.
_THREADS = 32

_pool: ThreadPoolExecutor | None = None


def submit(step: Callable[..., _T], *arguments: Any) -> Future[_T]:
    """Run a step that may wait for a store, with the context variables of the caller.

    The default executor is left to LitServe and the user: steps that wait could fill it.

    Args:
        step: What to call.
        *arguments: With what.

    Returns:
        The future of its result.

    Example:
        >>> submit(len, "four").result()
        4
    """
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="litcache")
    return _pool.submit(contextvars.copy_context().run, step, *arguments)


async def run(step: Callable[..., _T], *arguments: Any) -> _T:
    """Await a step that may wait for a store; a cancelled caller leaves it running.

    Args:
        step: What to call.
        *arguments: With what.

    Returns:
        Its result.

    Example:
        >>> asyncio.run(run(len, "four"))
        4
    """
    return await asyncio.shield(asyncio.wrap_future(submit(step, *arguments)))


def _after_fork() -> None:
    """Forget the threads, which a forked child does not have."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
