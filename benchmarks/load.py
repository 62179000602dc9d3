"""Clients over kept-alive connections, for load generators in a process of their own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable
from typing import Any, NamedTuple, TypeVar

SECONDS = 60
"""An answer that takes longer does not come."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_T = TypeVar("_T")


class Answer(NamedTuple):
    """What a server answered.

    Attributes:
        status: Its status; 0 if the server closed the connection without an answer.
        headers: Its headers, as sent.
        body: Its body.
    """

    status: int
    headers: bytes
    body: bytes


class Connection(asyncio.Protocol):
    """A connection to 127.0.0.1 with one request at a time; made by `open`.

    Attributes:
        closed: Whether the server has closed it.
    """

    def __init__(self) -> None:
        self.closed = False
        self._received = bytearray()
        self._answer: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port."""
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, "127.0.0.1", port))[1]

    async def ask(self, request: bytes) -> Answer:
        """Send the bytes of a request and return the answer.

        Raises:
            TimeoutError: If none comes within `SECONDS`.
        """
        loop = asyncio.get_running_loop()
        self._received.clear()
        answer = self._answer = loop.create_future()
        if self.closed:
            return Answer(0, b"", b"")
        late = loop.call_later(SECONDS, self._give_up)
        self._transport.write(request)
        try:
            return await answer
        finally:
            late.cancel()

    def write(self, part: bytes) -> None:
        """Send a part of a request; `ask` sends the last."""
        if not self.closed:
            self._transport.write(part)

    def leave(self, last: bytes = b"") -> None:
        """Close the connection without waiting for an answer, after some last bytes."""
        self.write(last)
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._read(ended=False)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._read(ended=True)

    def _give_up(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TimeoutError(f"no answer within {SECONDS} s"))

    def _read(self, *, ended: bool) -> None:
        """Take the answer out of what was received, if it is there."""
        if self._answer is None or self._answer.done():
            return
        head = self._received.find(b"\r\n\r\n")
        if head >= 0:
            headers = bytes(self._received[:head])
            length = _LENGTH.search(headers)
            body = head + 4
            end = body + int(length[1]) if length is not None else len(self._received)
            if len(self._received) >= end and (length is not None or ended):
                status = int(headers[9:12])
                self._answer.set_result(Answer(status, headers, bytes(self._received[body:end])))
                return
        if ended:
            self._answer.set_result(Answer(0, b"", b""))


def post(content: Any, path: str = "/predict") -> bytes:
    """Return the bytes of a POST of something as JSON."""
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def run(work: Awaitable[_T]) -> _T:
    """Run a coroutine on uvloop, which LitServe's uvicorn brings, and leaves servers more time."""
    import uvloop

    return uvloop.run(work)
