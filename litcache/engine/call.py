"""One call of a cached method: its items, and what is known of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from litcache.engine.flight import Claim
from litcache.keys.contexts import Context
from litcache.stores.base import Entry, NewEntry, Scope
from litcache.values import codec

ROWS = ("row", "list")
"""The modes in which outputs come as rows of a container; in the others each is a value."""


_NO_POSITIONS: list[int] = []
_NO_CLAIMS: dict[int, Claim] = {}


class Call:
    """One call's items, and what is known of each by its position.

    Attributes:
        mode: How the method is called: `single`, `batch`, `row` or `list`.
        items: The items as decoded, in order of arrival.
        contexts: A context for each, or `None`.
        scope: Whose entries, and the epoch that the look-up saw.
        keys: A key for each item; `None` for one that is computed for itself, unstored.
        entries: An entry for each item that was found or computed.
        values: An output for each item (not in the modes of `ROWS`).
        misses: Positions that this call computes now, in order of arrival.
        waits: Positions that another call computes, with its claim.
        equals: Of a position that this call computes: the other positions of equal items.
        refreshed: Keys that are computed whatever is stored.
        snapshots: Of a position that this call computes: its context before.
        computed: Positions that this call computed.
        claim: This call's claim of the keys that it computes.
        released: How many claims had been released when the store was asked.
        deadline: When waiting for others ends (monotonic clock, seconds).
        store_works: Whether the store has answered.
    """

    __slots__ = (
        "bypassed", "claim", "coalesced", "computed", "contexts", "deadline", "entries", "equals",
        "hits", "items", "keys", "misses", "mode", "refreshed", "released", "scope", "snapshots",
        "store_works", "uncacheable", "values", "waits",
    )  # fmt: skip

    def __init__(
        self, mode: str, items: Sequence[object], contexts: Sequence[Context] | None, scope: Scope
    ) -> None:
        self.mode = mode
        self.items = items
        self.contexts = contexts
        self.scope = scope
        self.keys: list[bytes | None]
        self.entries: list[Entry | None]
        self.values: list[Any]
        # Shared and empty until there is something: most calls are all hits.
        self.misses = self.computed = _NO_POSITIONS
        self.waits = _NO_CLAIMS

    def spread(self, released: int) -> None:
        """Make room for what only a call that is not all hits needs."""
        self.entries = [None] * len(self.items)
        self.misses = []
        self.computed = []
        self.waits = {}
        self.values = [None] * len(self.items)
        self.released = released
        self.store_works = True
        self.claim: Claim | None = None
        self.deadline: float | None = None
        self.equals: dict[int, list[int]] = {}
        self.refreshed: set[bytes] = set()
        self.snapshots: dict[int, dict[str, object]] = {}
        self.hits = self.coalesced = 0
        self.bypassed: set[int] = set()
        self.uncacheable: set[int] = set()

    def context(self, position: int) -> Context | None:
        """Return the context of an item, if it has one."""
        return None if self.contexts is None else self.contexts[position]

    def remaining(self, timeout: float) -> float:
        """Return how many of `timeout` seconds are left, counted from when this is first asked."""
        now = time.monotonic()
        if self.deadline is None:
            self.deadline = now + timeout
        return max(0.0, self.deadline - now)

    def take(self, position: int, entry: Entry, device: Any) -> None:
        """Take an entry as the output of an item, and do again what was done to its context.

        Raises:
            ValueEncodingError: If the entry cannot be read.
        """
        changes = codec.context_changes(entry.layout, entry.payload)
        if changes is not None:
            entry = NewEntry(changes[0], changes[1], entry.expires)
        if self.mode not in ROWS:
            self.values[position] = codec.decode(entry.layout, entry.payload, device)
        self.entries[position] = entry
        context = self.context(position)
        if changes is not None and context is not None:
            context.update(changes[2])
            for name in changes[3]:
                context.pop(name, None)

    def keep(self, position: int, entry: Entry | None, output: Any, device: Any) -> None:
        """Keep what was computed for an item: the output itself, unless a hit would differ."""
        if entry is not None:
            changes = codec.context_changes(entry.layout, entry.payload)
            if changes is not None:
                entry = NewEntry(changes[0], changes[1], entry.expires)
            if self.mode not in ROWS and codec.differs_from_stored(output):
                output = codec.decode(entry.layout, entry.payload, device)
        self.computed.append(position)
        self.entries[position] = entry
        if self.mode not in ROWS:
            self.values[position] = output

    def outcomes(self) -> dict[str, int]:
        """Return how many items of a call that is over ended in each way."""
        counts = {
            "hits": self.hits,
            "coalesced": self.coalesced,
            "bypassed": len(self.bypassed),
            "uncacheable": len(self.uncacheable - self.bypassed),
        }
        return {**counts, "misses": len(self.items) - sum(counts.values())}

    def requests(self, sizes: Sequence[int]) -> tuple[int, int, int]:
        """Count requests by how much of them was answered without being computed.

        Args:
            sizes: How many items each has, in the order of the items; 1 or more.

        Returns:
            How many were answered so wholly, partly, and not at all.
        """
        if self.misses is _NO_POSITIONS:
            return len(sizes), 0, 0
        computed = set(self.computed)
        counts, start = [0, 0, 0], 0
        for size in sizes:
            found = sum(
                position not in computed and self.entries[position] is not None
                for position in range(start, start + size)
            )
            counts[0 if found == size else 1 if found else 2] += 1
            start += size
        return counts[0], counts[1], counts[2]
