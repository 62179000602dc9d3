"""Calls that wait for what another call computes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from litcache.engine.flight import Claim


@contextmanager
def following() -> Iterator[threading.Semaphore]:
    """Give a semaphore that every call releases when it begins to wait for another's claim."""
    begun = threading.Semaphore(0)
    wait, wait_async = Claim.wait, Claim.wait_async

    def noted(claim: Claim, timeout: float | None) -> bool:
        begun.release()
        return wait(claim, timeout)

    async def noted_async(claim: Claim, timeout: float | None) -> bool:
        begun.release()
        return await wait_async(claim, timeout)

    with (
        mock.patch.object(Claim, "wait", noted),
        mock.patch.object(Claim, "wait_async", noted_async),
    ):
        yield begun


async def all_begun(begun: threading.Semaphore, followers: int) -> None:
    """Let other tasks run until so many calls wait."""
    for _ in range(followers):
        while not begun.acquire(blocking=False):
            await asyncio.sleep(0)
