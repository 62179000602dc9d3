"""The hits of this process that it has not noted in the index yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

_MOST_PENDING = 4_096
_MOST_KNOWN = 65_536


class Touched:
    """The places of entries that were hit in this process since they were written.

    Args:
        most: How many places there can be; if more are noted, the first of them were evicted.
    """

    def __init__(self) -> None:
        self.most = _MOST_KNOWN
        self._known: set[int] = set()
        self._pending: list[int] = []

    def __len__(self) -> int:
        return len(self._known)

    def add(self, places: Sequence[int]) -> None:
        """Note hits; the next write notes them in the index."""
        known = self._known
        fresh = [place for place in places if place not in known]
        if fresh and len(self._pending) < _MOST_PENDING:
            if len(known) > min(self.most, _MOST_KNOWN):
                known.clear()
            known.update(fresh)
            self._pending += fresh

    def tell(self, db: sqlite3.Connection, most: int) -> None:
        """Note in the index, in its transaction, which entries were hit."""
        if self._pending:
            told = [(place,) for place in self._pending[:most]]
            del self._pending[: len(told)]
            db.executemany("INSERT OR IGNORE INTO touched VALUES (?)", told)
