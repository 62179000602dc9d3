"""One call of a cached method: its items, and what became of each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, ClassVar, NamedTuple

from litcache.engine.flight import Claim
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.stores.base import Entry, Scope
from litcache.values.codec import Encoded

HIT, MISS, COALESCED, BYPASSED, UNCACHEABLE = (
    "hits", "misses", "coalesced", "bypassed", "uncacheable",
)  # fmt: skip


class Call:
    """The items of one call of a method, and their outputs; `modes` has a class for each mode.

    Args:
        items: The items as decoded, in order of arrival.
        contexts: A context for each item, if the method or its policy takes one.

    Attributes:
        mode: How the method is called: `single`, `batch`, `row` or `list`.
        scope: Whose entries; the store notes the epoch in it.
        keys: A key for each item; `None` for one that is computed for itself, unstored.
        is_plain: Whether every item has a key, and all keys are looked up.
        refreshed: Keys that are computed whatever is stored.
        bypassed: Positions of items that `bypass_if` lets past the cache.
        uncacheable: Positions of items that have no key.
        version: What `Keyring.turn` was when the keys were made.
        released: What `Flight.released` was then.
    """

    mode: ClassVar[str]

    scope: Scope
    keys: Sequence[bytes | None]
    version: int
    released: object
    # Most calls leave these as they are.
    is_plain = True
    refreshed: Set[bytes] = frozenset()
    bypassed: Set[int] = frozenset()
    uncacheable: Set[int] = frozenset()

    def __init__(self, items: Sequence[object], contexts: Sequence[Context] | None = None) -> None:
        self.items = items
        self.contexts = contexts

    def context(self, position: int) -> Context | None:
        """Return the context of an item, if it has one."""
        return None if self.contexts is None else self.contexts[position]

    def begin(self) -> None:
        """Make room for outputs that come one by one."""
        raise NotImplementedError

    def accept(self, entries: list[Any], device: Any) -> None:
        """Take the entries of all items, which have all hit.

        Raises:
            ValueEncodingError: If an entry cannot be read.
        """
        raise NotImplementedError

    def take(self, position: int, entry: Entry, device: Any) -> None:
        """Take an entry as the output of an item.

        Raises:
            ValueEncodingError: If the entry cannot be read.
        """
        raise NotImplementedError

    def keep(
        self, position: int, entry: Entry | None, output: Any, index: int, device: Any
    ) -> None:
        """Take one output of a part for an item, and its entry if it can be stored."""
        raise NotImplementedError

    def parts(self, group: Sequence[Misses]) -> Iterator[Part]:
        """Yield what the method is called with to compute the misses of calls of this mode."""
        raise NotImplementedError

    def encode(
        self, method: str, output: Any, places: Sequence[Place]
    ) -> list[Encoded | ValueEncodingError]:
        """Return an entry for each item of an output, or why it cannot be stored.

        Raises:
            BatchSizeError: If the number of outputs is another than that of the items.
            NotRowsError: If the output cannot be cut.
        """
        raise NotImplementedError

    def output_at(self, output: Any, index: int) -> Any:
        """Return the output of one item out of that of a part."""
        raise NotImplementedError

    def result(self, device: Any) -> Any:
        """Return what the caller gets, once every item has an output.

        Raises:
            ValueEncodingError: If the rows do not fit into one container.
        """
        raise NotImplementedError


class Misses:
    """The items of a call that did not hit: what it computes, and what it waits for.

    Args:
        call: The call, with its keys.
        store_works: Whether the store has answered.

    Attributes:
        call: The call.
        keys: A key for each item; `None` for one that is computed for itself, unstored.
        outcomes: What became of each item; `None` while it is open.
        unclaimed: Positions that missed and that nobody has claimed yet.
        to_compute: Positions that this call computes now, in order of arrival.
        waits: Positions that another call computes, with its claim.
        equals: Of a position that this call computes: the other positions of equal items.
        snapshots: Of a position that this call computes: its context before.
        published: What followers get for the keys that were computed.
        stored: What the store gets.
        claim: This call's claim of the keys that it computes.
        released: What `Flight.released` was when the store was asked.
        store_works: Whether the store has answered.
    """

    __slots__ = (
        "_deadline", "call", "claim", "equals", "keys", "outcomes", "published", "released",
        "snapshots", "store_works", "stored", "to_compute", "unclaimed", "waits",
    )  # fmt: skip

    def __init__(self, call: Call, *, store_works: bool) -> None:
        self.call = call
        self.keys = list(call.keys)
        self.released = call.released
        self.store_works = store_works
        self.outcomes: list[str | None] = [None] * len(self.keys)
        for position in call.uncacheable:
            self.outcomes[position] = UNCACHEABLE
        for position in call.bypassed:
            self.outcomes[position] = BYPASSED
        self.unclaimed: list[int] = []
        self.to_compute: list[int] = []
        self.waits: dict[int, Claim] = {}
        self.equals: dict[int, list[int]] = {}
        self.snapshots: dict[int, dict[str, object]] = {}
        self.published: dict[bytes, Entry | None] = {}
        self.stored: dict[bytes, Entry] = {}
        self.claim: Claim | None = None
        self._deadline: float | None = None
        call.begin()

    @property
    def is_open(self) -> bool:
        """Whether an item has no output yet."""
        return bool(self.to_compute or self.waits or self.unclaimed)

    def remaining(self, timeout: float) -> float:
        """Return how many of `timeout` seconds are left, counted from when this is first asked."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + timeout
        return max(0.0, self._deadline - now)

    def counted(self) -> Mapping[str, int]:
        """Return how many items of a call that is over ended in each way."""
        counts = dict.fromkeys((HIT, MISS, COALESCED, BYPASSED, UNCACHEABLE), 0)
        for outcome in self.outcomes:
            counts[outcome or MISS] += 1
        return counts


def uncached(call: Call) -> Misses:
    """Return a call whose items are all computed, unstored."""
    call.scope, call.version, call.released = Scope(""), 0, None
    call.keys = [None] * len(call.items)
    misses = Misses(call, store_works=False)
    misses.to_compute = list(range(len(call.items)))
    return misses


def answered(misses: Misses | None, sizes: Sequence[int]) -> tuple[int, int, int]:
    """Count requests by how many of their items were answered without being computed.

    Args:
        misses: What the call missed; `None`: all hit.
        sizes: How many items each request has, in the order of the items; 1 or more.

    Returns:
        How many requests were answered so wholly, partly, and not at all.
    """
    if misses is None:
        return len(sizes), 0, 0
    counts, start = [0, 0, 0], 0
    for size in sizes:
        found = sum(o in (HIT, COALESCED) for o in misses.outcomes[start : start + size])
        counts[0 if found == size else 1 if found else 2] += 1
        start += size
    return counts[0], counts[1], counts[2]


Place = tuple[Misses, int]
"""An item: its call, and its position there."""


class Part(NamedTuple):
    """What the method is called with at one time.

    Attributes:
        argument: The item, or a container of items.
        contexts: The context of the item, or a list of one for each item; `None` without contexts.
        places: The items in it.
    """

    argument: Any
    contexts: Any
    places: list[Place]


class NotRowsError(Exception):
    """A method returned no container of rows.

    Attributes:
        output: What it returned.
        places: The items that it was called with.
    """

    def __init__(self, output: Any, places: Sequence[Place]) -> None:
        super().__init__("the output is no list, array, tensor or columns of these")
        self.output = output
        self.places = places
