"""What is surely not in an index, and the tokens of its namespaces, in memory of all processes."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterable, Sequence

from litcache.stores.shared.database import IDENTITY_BYTES, DamageError
from litcache.stores.shared.finding import TOKENS_BYTES
from litcache.stores.shared.frames import FLAGS
from litcache.stores.shared.places import LAP

_MAGIC = b"litseen\0"
_HEAD_BYTES = len(_MAGIC) + IDENTITY_BYTES
# Behind the table are the head, the last lap of each flag, and slots: a tag and its tokens each.
_TAIL_BYTES = 4096
_LAP_BYTES = 8
_SLOTS_AT = 64
_TAG_BYTES = 8
_SLOT_BYTES = _TAG_BYTES + TOKENS_BYTES
_SLOTS = (_TAIL_BYTES - _SLOTS_AT) // _SLOT_BYTES
_CHUNK_BYTES = 1 << 20


def make(path: str, identity: bytes, length: int) -> None:
    """Make the file, which must not exist; it is on the disk when this returns.

    Args:
        path: Its path.
        identity: The bytes that the index has, too.
        length: The length of its table, a power of two.
    """
    fd = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # All of it is written: memory of a file with holes cannot be used when the disk is full.
        left = bytes(length) + (_MAGIC + identity).ljust(_TAIL_BYTES, b"\0")
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
    finally:
        os.close(fd)


class Sketch:
    """Tells without SQLite that none of some hashes is in an index, and which tokens count.

    It is a Bloom filter (1970) with four places of a byte for each hash. A hash is added before the
    index has it, and never taken away: so what the sketch lacks is not in the index. Entries of a
    lap have one of two flags in these bytes, in turn. The flag of a lap is taken from all places
    when the lap begins, since the index has no entry any more of the lap before the last.

    Tokens are noted before they are committed. If the commit fails, look-ups see tokens that never
    counted; the write that is refused for them notes the right ones. After a power failure hashes
    may be missing: their entries are gone until they are written again.

    Concurrency: everybody may read at any time. Who holds the write lock of the index may write.

    Args:
        path: The path of the file.
        identity: The bytes that it must hold, as the index says.

    Raises:
        DamageError: If it was not made together with the index.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str, identity: bytes) -> None:
        fd = os.open(path, FLAGS)
        try:
            self._tail = os.fstat(fd).st_size - _TAIL_BYTES
            if self._tail <= 0 or self._tail & (self._tail - 1):
                raise DamageError("its sketch is cut off")
            self._map = mmap.mmap(fd, self._tail + _TAIL_BYTES)
        finally:
            os.close(fd)
        self._mask = self._tail - 1
        if self._map[self._tail : self._tail + _HEAD_BYTES] != _MAGIC + identity:
            self.close()
            raise DamageError("its sketch and its index were not made together")

    def lacks(self, hashes: Iterable[int]) -> bool:
        """Return whether surely none of the hashes is in the index."""
        table, mask = self._map, self._mask
        try:
            for hash in hashes:
                if (
                    (flags := table[hash & mask])
                    and (flags := flags & table[hash >> 13 & mask])
                    and flags & table[hash >> 26 & mask] & table[hash >> 37 & mask]
                ):
                    return False
        except ValueError as error:
            raise _closed() from error
        return True

    def tokens(self, tag: bytes) -> bytes | None:
        """Return the tokens of a namespace; `None` if the index has to be asked."""
        at = self._slot(tag)
        try:
            slot = self._map[at : at + _SLOT_BYTES]
        except ValueError as error:
            raise _closed() from error
        return slot[_TAG_BYTES:] if slot[:_TAG_BYTES] == tag else None

    def add(self, hashes: Iterable[int], place: int) -> None:
        """Add hashes, before the index has them, whose frames are written from a place on."""
        lap = place // LAP
        flag = 1 << (lap & 1)
        self._begin(lap, flag)
        table, mask = self._map, self._mask
        for hash in hashes:
            table[hash & mask] |= flag
            table[hash >> 13 & mask] |= flag
            table[hash >> 26 & mask] |= flag
            table[hash >> 37 & mask] |= flag

    def _begin(self, lap: int, flag: int) -> None:
        """Take the flag from all places if it is still that of another lap."""
        at = self._tail + _HEAD_BYTES + (lap & 1) * _LAP_BYTES
        number = lap.to_bytes(_LAP_BYTES, "little")
        if self._map[at : at + _LAP_BYTES] == number:
            return
        without = bytes(flags & ~flag for flags in range(256))
        for start in range(0, self._tail, _CHUNK_BYTES):
            part = slice(start, min(start + _CHUNK_BYTES, self._tail))
            self._map[part] = self._map[part].translate(without)
        self._map[at : at + _LAP_BYTES] = number

    def note(self, spaces: Sequence[tuple[object, object]]) -> None:
        """Note tokens by tag: those of a namespace, or anything else if it has none now."""
        for tag, tokens in spaces:
            if not isinstance(tag, bytes) or len(tag) != _TAG_BYTES:
                continue  # the disk damaged the index
            at = self._slot(tag)
            if isinstance(tokens, bytes) and len(tokens) == TOKENS_BYTES:
                self._map[at : at + _SLOT_BYTES] = tag + tokens
            elif self.tokens(tag) is not None:
                self._map[at : at + _SLOT_BYTES] = bytes(_SLOT_BYTES)

    def _slot(self, tag: bytes) -> int:
        """Return where the tokens of a tag are, unless a later tag has taken the slot."""
        return self._tail + _SLOTS_AT + int.from_bytes(tag, "little") % _SLOTS * _SLOT_BYTES

    def close(self) -> None:
        """Close the file; any later use of it raises."""
        self._map.close()


def _closed() -> OSError:
    return OSError(errno.EBADF, "its sketch is closed")
