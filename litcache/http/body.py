"""The body of a request: read once for its key, and given to the app as if nobody had read it."""

from __future__ import annotations

from starlette.types import Message, Receive

from litcache.http.responses import LARGEST_BODY

# Parts below this size are put together: a message for each byte of a client that drips would
# fill the memory.
_SMALL = 4096


class Body:
    """What a client sends as its body, as far as somebody has asked for it.

    Args:
        receive: Gives the request's messages.
    """

    __slots__ = ("_ended", "_given", "_given_end", "_held", "_kept", "_parts", "_receive", "_size")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: list[bytes | bytearray] = []
        self._size = self._given = 0
        self._ended = self._given_end = False
        self._kept = True
        self._held: list[Message | Exception] = []

    async def receive(self) -> Message:
        """Give the app the next message: of what was read before it asked, else of the client's."""
        if self._held:
            message = self._held.pop(0)
            if isinstance(message, Exception):
                raise message
            return message
        message = await self._receive()
        if self._kept and message["type"] == "http.request":
            self._take(message)
            self._given, self._given_end = self._size, self._ended
            if self._size > LARGEST_BODY:
                self.forget()
        return message

    async def read(self) -> bytes | None:
        """Read the rest, and return all of the body.

        An exception is kept at its place: the one that LitServe's MaxSizeMiddleware raises becomes
        413 only where the app meets it.

        Returns:
            The body as it was sent; `None` if it is too large, or does not arrive as a whole.
        """
        last: Message | Exception | None = None
        while self._kept and not self._ended and self._size <= LARGEST_BODY:
            try:
                message = await self._receive()
            except Exception as error:
                last = error
                break
            if message["type"] != "http.request":
                last = message
                break
            self._take(message)
        body = b"".join(self._parts)
        if self._given < self._size or self._ended is not self._given_end:
            rest = body[self._given :]
            self._held.append({"type": "http.request", "body": rest, "more_body": not self._ended})
        if last is not None:
            self._held.append(last)
        whole = self._kept and self._ended and self._size <= LARGEST_BODY
        self.forget()
        return body if whole else None

    def forget(self) -> None:
        """Keep no more of what the app reads from now on."""
        self._kept = False
        self._parts = []

    def _take(self, message: Message) -> None:
        part = message.get("body", b"")
        self._ended = not message.get("more_body", False)
        self._size += len(part)
        if len(part) >= _SMALL or not self._parts:
            self._parts.append(part)
        elif isinstance(self._parts[-1], bytearray):
            self._parts[-1] += part
        else:
            self._parts.append(bytearray(part))
