"""The body of a request: read for its key, and given to the app as if nobody had read it."""

from __future__ import annotations

from starlette.types import Message, Receive

from litcache.http.responses import LARGEST_BODY

# Smaller parts are joined: a client that sends byte by byte would fill the memory with messages.
_SMALL = 4096


def whole(message: Message) -> bytes | None:
    """Return the body of a request that is all in one message; `None` if a `Body` must read it.

    Example:
        >>> whole({"type": "http.request", "body": b"a"})
        b'a'
    """
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    body = message.get("body", b"")
    return body if type(body) is bytes and len(body) <= LARGEST_BODY else None


class Body:
    """The body that a client sends, as far as somebody has asked for it.

    Args:
        receive: Gives the request's messages.
        first: The first of them, or what was raised in its place, if somebody has asked for it.
    """

    __slots__ = ("_ended", "_given", "_given_end", "_kept", "_last", "_parts", "_receive", "_size")

    def __init__(self, receive: Receive, first: Message | Exception | None = None) -> None:
        self._receive = receive
        self._parts: list[bytes | bytearray] = []
        self._size = self._given = 0
        self._ended = self._given_end = False
        self._kept = True
        self._last: Message | Exception | None = None
        if isinstance(first, Exception) or (first and first["type"] != "http.request"):
            self._last = first
        elif first is not None:
            self._take(first)

    async def receive(self) -> Message:
        """Give the app the next message: of what was read before it asked, else of the client's."""
        if self._given < self._size or self._given_end is not self._ended:
            return self._give(b"".join(self._parts)[self._given :])
        if (last := self._last) is not None:
            self._last = None
            if isinstance(last, Exception):
                raise last
            return last
        message = await self._receive()
        if self._kept and message["type"] == "http.request":
            self._take(message)
            self._given, self._given_end = self._size, self._ended
            if self._size > LARGEST_BODY:
                self.forget()
        return message

    def _give(self, part: bytes) -> Message:
        """Give all that was read and not yet given; it is kept no longer."""
        self._given, self._given_end = self._size, self._ended
        self._parts = []
        return {"type": "http.request", "body": part, "more_body": not self._ended}

    async def read(self) -> bytes | None:
        """Read the rest, and return all of the body.

        An exception is kept at its place: LitServe answers 413 only if the app itself meets the
        exception of its MaxSizeMiddleware.

        Returns:
            The body as it was sent; `None` if it is too large, or does not arrive as a whole.
        """
        if not self._kept or self._last is not None:
            return None
        self._kept = False
        try:
            while not self._ended and self._size <= LARGEST_BODY:
                message = await self._receive()
                if message["type"] != "http.request":
                    self._last = message
                    return None
                self._take(message)
        except Exception as error:
            self._last = error
            return None
        if self._size > LARGEST_BODY:
            return None
        body = b"".join(self._parts)
        self._parts = [] if self._given_end else [body]
        return body

    def forget(self) -> None:
        """From now on, do not keep what the app reads."""
        self._kept = False
        if self._given == self._size:
            self._parts = []

    def _take(self, message: Message) -> None:
        part, parts = message.get("body", b""), self._parts
        self._ended = not message.get("more_body", False)
        self._size += len(part)
        if not parts or len(part) >= _SMALL:
            parts.append(part)
        elif isinstance(parts[-1], bytearray):
            parts[-1] += part
        else:
            parts.append(bytearray(part))
