"""How a budget is shared out among the files of a ring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

# With what one write adds to the WAL these stay below 1.1 of the budget.
RING_SHARE = 0.8
_INDEX_SHARE = 0.2
_WAL_SHARE = 0.06
LEAST_BYTES = 4 << 20

# An entry takes no less of the index.
_ROW_BYTES = 40


@dataclass(frozen=True)
class Sizes:
    """The sizes that follow from how long a ring is.

    Attributes:
        capacity: How long the ring is.
    """

    capacity: int

    @classmethod
    def of_budget(cls, max_bytes: int) -> Sizes:
        """Return the sizes of a ring that a budget allows, or of the least one."""
        return cls(int(max(LEAST_BYTES, max_bytes) * RING_SHARE))

    @cached_property
    def max_bytes(self) -> int:
        """The budget that a ring of this length takes."""
        return int(self.capacity / RING_SHARE)

    @cached_property
    def index_bytes(self) -> int:
        """How long the index may become."""
        return int(self.max_bytes * _INDEX_SHARE)

    @cached_property
    def wal_bytes(self) -> int:
        """How long its WAL may be before a write."""
        return int(self.max_bytes * _WAL_SHARE)

    @cached_property
    def most_entries(self) -> int:
        """More entries than the index can hold."""
        return self.index_bytes // _ROW_BYTES

    @cached_property
    def largest(self) -> int:
        """The length of the largest frame."""
        return self.capacity // 16

    @cached_property
    def reserve(self) -> int:
        """How much of the ring is kept free for the next writes."""
        return min(self.capacity // 32, 4 << 20)

    @cached_property
    def chunk_bytes(self) -> int:
        """Frames written at a time, unless a single one is longer."""
        return self.reserve // 4

    @cached_property
    def chunk_entries(self) -> int:
        """Entries written at a time."""
        return max(1, min(256, self.max_bytes // 80_000))

    def chunks(self, frames: Sequence[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield what one transaction writes at a time, of keys and frames."""
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
