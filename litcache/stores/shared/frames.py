"""The file of a ring: frames at their places, read and written by many processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from litcache.stores.shared.database import IDENTITY_BYTES, DamageError, NoRoomError
from litcache.stores.shared.places import OFFSET, offset_of

KEY_BYTES = 16
# A frame as it was read, with its hash and place; the caller verifies it.
Found = tuple[int, int, bytes]
_MAGIC = b"litcache"
_HEAD_BYTES = len(_MAGIC) + IDENTITY_BYTES
# Without this, a link that somebody put there would make us overwrite another file.
FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def make(path: str, identity: bytes) -> None:
    """Make the file, which must not exist; it is on the disk when this returns."""
    fd = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, _MAGIC + identity)
        os.fsync(fd)
    finally:
        os.close(fd)


class Frames:
    """The file of a ring, opened by this process.

    Args:
        path: Its path.
        identity: The bytes with which the file must begin, as the index says.

    Attributes:
        longest: Up to this length, frames are read without asking for the length of the file.

    Raises:
        DamageError: If it was not made together with the index.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str, identity: bytes) -> None:
        self.longest = 0
        self._fd = -1
        self._fd = os.open(path, FLAGS)
        if os.pread(self._fd, _HEAD_BYTES, 0) != _MAGIC + identity:
            self.close()
            raise DamageError("its ring and its index were not made together")

    def read(self, place: int, size: int) -> bytes:
        """Return the bytes at a place.

        Raises:
            DamageError: If place or length are not numbers, because the disk damaged the index.
        """
        if type(place) is not int or type(size) is not int or size < 0:
            raise DamageError("its index holds no places")
        if size > self.longest:  # by a process with a larger budget, or a damaged index
            size = min(size, os.fstat(self._fd).st_size)
        return os.pread(self._fd, size, _HEAD_BYTES + offset_of(place))

    def read_all(self, rows: Iterable[tuple[int, int, int] | None]) -> list[Found | None]:
        """Return the bytes of rows of the index: their hashes, places and sizes.

        Raises:
            DamageError: If places or sizes are not numbers, because the disk damaged the index.
        """
        found: list[Found | None] = []
        read, fd, longest = os.pread, self._fd, self.longest
        for row in rows:
            if row is None:
                found.append(None)
                continue
            hash, place, size = row
            if type(place) is int and type(size) is int and 0 <= size <= longest:
                data = read(fd, size, _HEAD_BYTES + (place & OFFSET))  # most, without a call
            else:
                data = self.read(place, size)
            found.append((hash, place, data))
        return found

    def write(self, place: int, data: bytes) -> None:
        """Write bytes at a place.

        Raises:
            NoRoomError: If the disk is full.
        """
        if os.pwrite(self._fd, data, _HEAD_BYTES + offset_of(place)) != len(data):
            raise NoRoomError("the disk is full")

    def shorten(self, capacity: int) -> None:
        """Cut off the file at the ring's end."""
        with contextlib.suppress(OSError):
            if os.fstat(self._fd).st_size > _HEAD_BYTES + capacity:
                os.ftruncate(self._fd, _HEAD_BYTES + capacity)

    def close(self) -> None:
        """Close the file; any later use of it raises."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
