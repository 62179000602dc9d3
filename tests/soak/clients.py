"""The clients of the soak: many at a time, over connections that are kept while they may be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks import load
from benchmarks.load import Answer, Connection
from soak.judge import Ledger, Told
from soak.service import TIMEOUT
from soak.traffic import ODD, Request, odd

CLIENTS = 16
PATIENCE = TIMEOUT + 5.0
"""After so many seconds a client leaves, if its request may have been lost with a killed worker."""

LAST_SECONDS = load.SECONDS - 5.0
"""After so many seconds there is no answer."""


async def exchange(connection: Connection, request: Request) -> Answer:
    """Send a request in its pieces, and return the answer; an empty one to a client that leaves."""
    *first, last = request.pieces
    for piece in first:
        connection.write(piece)
        await asyncio.sleep(0.02)
    if request.leaves:
        connection.leave(last)
        return Answer(0, b"", b"")
    return await connection.ask(last)


async def client(port: int, requests: Iterator[Request], ledger: Ledger, until: float) -> None:
    """Send requests one after the other until a time of the monotonic clock."""
    connection = await Connection.open(port)
    while time.monotonic() < until:
        if connection.closed:
            connection = await Connection.open(port)
        request, begun = next(requests), time.monotonic()
        answer = await _answer(connection, request, ledger, begun)
        ledger.judge(request, answer, begun, time.monotonic())
        ended = answer is None or b"connection: close" in answer.headers.lower()
        if request.leaves or ended:
            connection.leave()
            connection = await Connection.open(port)
    connection.leave()


async def _answer(
    connection: Connection, request: Request, ledger: Ledger, begun: float
) -> Answer | None:
    """Return the answer; `None` if none comes, or the request may have been lost."""
    asked = asyncio.ensure_future(exchange(connection, request))
    try:
        for seconds in (PATIENCE, LAST_SECONDS - PATIENCE):
            if (await asyncio.wait([asked], timeout=seconds))[0]:
                return asked.result()
            if ledger.may_be_lost(begun, time.monotonic()):
                break
    finally:
        asked.cancel()
    return None


async def record(port: int) -> dict[str, Told]:
    """Return what a server without litcache answers to each odd request that waits for it."""
    told: dict[str, Told] = {}
    for kind in ODD:
        answers = []
        for text in ("text 1", "text 2"):
            connection = await Connection.open(port)
            answers.append(await exchange(connection, odd(kind, text)))
            connection.leave()
        first, second = answers
        assert first.status == second.status, f"{kind}: {first} and {second}"
        if first.status != 200:
            assert first.body == second.body, kind
        told[kind] = (first.status, first.body.decode())
    return told
