"""One connection to a Redis server: send commands and read answers within a deadline."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from ssl import SSLWantReadError
from typing import Any

Command = Sequence[bytes | str | int]

# An exchange may take longer than its timeout only while it moves this many bytes a second: a large
# value needs the time, and a very slow answer is given up.
BYTES_PER_SECOND = 8 << 20

# Redis takes strings of up to 512 MiB, and nests answers three deep.
_LONGEST = 512 << 20
_DEEPEST = 8
_NULL = b"$-1\r\n"
_CHUNK_BYTES = 1 << 16
_MOST_BYTES = 1 << 20

# When the time is up, what is there is read so many times: this process may have been paused. In
# an exchange with several nodes it may be there from each of them.
_LATE_READS = 16


class ErrorAnswer(Exception):
    """An error that a server answered; its text begins with a code."""


class Deadline:
    """The time at which an exchange must be over, with all its reads and writes.

    Args:
        timeout: Seconds that it may take if it moves little data.
    """

    def __init__(self, timeout: float) -> None:
        self._until = time.monotonic() + timeout
        self._late_reads = 0

    def left(self) -> float:
        """Return how many seconds are left.

        Raises:
            TimeoutError: If no seconds are left.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left

    def left_to_read(self) -> float:
        """Return how many seconds are left; 0 if no more than what is there may be read.

        Raises:
            TimeoutError: If no seconds are left, and what was there has been read.
        """
        left = self._until - time.monotonic()
        if left > 0:
            return left
        if self._late_reads == _LATE_READS:
            raise TimeoutError("no answer in time")
        self._late_reads += 1
        return 0.0

    def moved(self, number: int) -> None:
        """Note that bytes were sent or received."""
        self._until += number / BYTES_PER_SECOND


def packed(commands: Iterable[Command]) -> bytes:
    """Return commands in the form that a server takes."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        data = [part if type(part) is bytes else str(part).encode() for part in command]
        for length, some in groupby(data, len):  # most are names, of one length
            head = b"\r\n$%d\r\n" % length
            parts += (head[2:], head.join(some), b"\r\n")
    return b"".join(parts)


class Wire:
    """An open connection.

    Args:
        connection: The connection of redis-py.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket = connection._sock
        self._data = b""
        self._at = 0

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of these bytes.

        Raises:
            OSError: If that fails, or the time is up.
        """
        left = memoryview(data)
        while left:
            self._socket.settimeout(deadline.left())
            number = self._socket.send(left[:_MOST_BYTES])
            deadline.moved(number)
            left = left[number:]

    def answers(self, number: int, deadline: Deadline) -> list[Any]:
        """Return the next answers; errors of the server may be among them.

        Raises:
            OSError, ValueError: If they are not answers, or the time is up.
        """
        return [self._answer(deadline) for _ in range(number)]

    def is_quiet(self) -> bool:
        """Return whether the server has neither closed the connection nor sent anything unasked."""
        if self._at < len(self._data):
            return False
        if not hasattr(select, "poll"):
            return not select.select([self._socket], [], [], 0)[0]
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close it."""
        self._connection.disconnect()

    def _answer(self, deadline: Deadline) -> Any:
        # Lists that are not complete yet, and the length that each will have.
        open_lists: list[tuple[list[Any], int]] = []
        while True:
            line = self._line(deadline)
            kind, rest = line[:1], line[1:]
            value: Any
            if kind == b"$":
                value = self._string(int(rest), deadline)
            elif kind == b"*":
                length = int(rest)
                if length > 0 and self._skips_nulls(length):
                    value = [None] * length
                elif length > 0:
                    if len(open_lists) == _DEEPEST:
                        raise ValueError("answers are nested too deeply")
                    open_lists.append(([], length))
                    continue
                else:
                    value = [] if length == 0 else None
            elif kind == b":":
                value = int(rest)
            elif kind == b"+":
                value = rest
            elif kind == b"-":
                value = ErrorAnswer(rest.decode("utf-8", "replace"))
            else:
                raise ValueError("no answer of Redis")
            while open_lists:
                values, length = open_lists[-1]
                values.append(value)
                if len(values) < length:
                    break
                value, _ = open_lists.pop()
            if not open_lists:
                return value

    def _skips_nulls(self, number: int) -> bool:
        """Return whether so many nulls, and nothing else, came at once; then they are behind us."""
        end = self._at + number * len(_NULL)
        if end > len(self._data) or not self._data.startswith(_NULL * number, self._at):
            return False
        self._at = end
        return True

    def _line(self, deadline: Deadline) -> bytes:
        start = self._at
        while True:
            end = self._data.find(b"\r\n", start)
            if end >= 0:
                line = self._data[self._at : end]
                self._at = end + 2
                return line
            if len(self._data) - self._at > _CHUNK_BYTES:
                raise ValueError("no answer of Redis")
            start = max(self._at, len(self._data) - 1)
            start -= self._receive(deadline)

    def _string(self, length: int, deadline: Deadline) -> bytes | None:
        if length == -1:
            return None
        if not 0 <= length <= _LONGEST:
            raise ValueError("no answer of Redis")
        end = self._at + length
        if len(self._data) >= end + 2:
            value = self._data[self._at : end]
            self._at = end + 2
            return value
        parts = [self._data[self._at :]]
        missing = length + 2 - len(parts[0])
        self._data, self._at = b"", 0
        while missing > 0:
            parts.append(self._read(max(_CHUNK_BYTES, min(missing, _MOST_BYTES)), deadline))
            missing -= len(parts[-1])
        if missing < 0:
            self._data = parts[-1][missing:]
            parts[-1] = parts[-1][:missing]
        return b"".join(parts)[:length]

    def _receive(self, deadline: Deadline) -> int:
        """Receive bytes; return by how many bytes the earlier ones moved to the front."""
        data = self._read(_CHUNK_BYTES, deadline)
        gone, self._at = self._at, 0
        self._data = self._data[gone:] + data
        return gone

    def _read(self, most: int, deadline: Deadline) -> bytes:
        self._socket.settimeout(deadline.left_to_read())
        try:
            data: bytes = self._socket.recv(most)
        except (BlockingIOError, SSLWantReadError):
            raise TimeoutError("no answer in time") from None
        if not data:
            raise ConnectionError("the server closed the connection")
        deadline.moved(len(data))
        return data
