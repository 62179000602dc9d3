"""How the files of a ring share its budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

# Together with what one write adds to the WAL, these stay below 1.1 of the budget.
RING_SHARE = 0.8
_INDEX_SHARE = 0.2
_WAL_SHARE = 0.06
LEAST_BYTES = 4 << 20

# The fewest bytes that an entry takes in the index.
_ROW_BYTES = 40


@dataclass(frozen=True)
class Sizes:
    """The sizes that follow from the length of a ring.

    Attributes:
        capacity: The length of the ring.
    """

    capacity: int

    @classmethod
    def of_budget(cls, max_bytes: int) -> Sizes:
        """Return the sizes of the ring that a budget allows, or of the smallest ring."""
        return cls(int(max(LEAST_BYTES, max_bytes) * RING_SHARE))

    @cached_property
    def max_bytes(self) -> int:
        """The budget that a ring of this length needs."""
        return int(self.capacity / RING_SHARE)

    @cached_property
    def index_bytes(self) -> int:
        """The largest length of the index."""
        return int(self.max_bytes * _INDEX_SHARE)

    @cached_property
    def wal_bytes(self) -> int:
        """The largest length of the WAL before a write."""
        return int(self.max_bytes * _WAL_SHARE)

    @cached_property
    def sketch_bytes(self) -> int:
        """The length of a new sketch: about 16 bytes for each 2 KB of the budget.

        It stays what it was made with: of a ring that becomes longer, more look-ups ask the index.
        """
        return 1 << min(26, (self.max_bytes // 96).bit_length() - 1)

    @cached_property
    def most_entries(self) -> int:
        """A number of entries that the index cannot exceed."""
        return self.index_bytes // _ROW_BYTES

    @cached_property
    def largest(self) -> int:
        """The length of the largest frame."""
        return self.capacity // 16

    @cached_property
    def reserve(self) -> int:
        """The part of the ring that is kept free for the next writes, in bytes."""
        return min(self.capacity // 32, 4 << 20)

    @cached_property
    def chunk_bytes(self) -> int:
        """The bytes of frames that one transaction writes, unless a single frame is longer."""
        return self.reserve // 4

    @cached_property
    def chunk_entries(self) -> int:
        """The largest number of entries that one transaction writes."""
        return max(1, min(256, self.max_bytes // 80_000))

    def chunks(self, frames: Sequence[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield the keys and frames in the portions that one transaction each writes."""
        chunk: list[tuple[bytes, bytes]] = []
        size = 0
        for key, data in frames:
            if chunk and (size + len(data) > self.chunk_bytes or len(chunk) == self.chunk_entries):
                yield chunk
                chunk, size = [], 0
            chunk.append((key, data))
            size += len(data)
        if chunk:
            yield chunk
