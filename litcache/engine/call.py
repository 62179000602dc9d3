"""One call of a cached method: its items, and the outcome of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, ClassVar, NamedTuple

from litcache.engine.flight import Claim
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.keys.encoder import differ
from litcache.keys.keyer import Keyring
from litcache.stores.base import Entry, Scope
from litcache.trial.verdict import Tried, Verdict
from litcache.values.containers import duplicate
from litcache.values.layouts import Encoded, Payload

HIT, MISS, COALESCED = "hits", "misses", "coalesced"
VERIFIED, BYPASSED, UNCACHEABLE = "verified", "bypassed", "uncacheable"


class Call:
    """The items of one call of a method, and their outputs; there is a class for each mode.

    Args:
        items: The items as decoded, in order of arrival.
        contexts: A context for each item, if the method or its policy takes one.

    Attributes:
        mode: How the method is called: `single`, `batch`, `row`, `list` or `stream`.
        scope: Whose entries; the store notes the epoch in it.
        keys: A key for each item; `None` for an item that is computed alone and not stored.
        is_plain: Whether every item has a key, and all keys are looked up.
        refreshed: Keys that are computed even if they are stored.
        bypassed, uncacheable: Positions where `bypass_if` was true, and of items without a key.
        version, released: `Keyring.turn` and `Flight.released` when the keys were made.
        verdict: The verdict that some of its hits are tried for; `None`: none is tried.
        requests: With a verdict, a digest of the request of each item; 0 if it is not known.
        copies: What the items were before a task waited; `None` if it has not.
        outcomes: The outcome of each item of a finished call that may have missed.
        away: Who else has leased keys; `None`: nobody was asked.
        seen: The context of each item, if other hooks read it and the method does not.
    """

    mode: ClassVar[str]

    scope: Scope
    keys: Sequence[bytes | None]
    version: int
    released: object
    # Most calls leave these as they are.
    verdict: Verdict | None = None
    requests: Sequence[int] = ()
    is_plain = True
    refreshed: Set[bytes] = frozenset()
    bypassed: Set[int] = frozenset()
    uncacheable: Set[int] = frozenset()
    copies: list[object] | None = None
    outcomes: Sequence[str | None] = ()
    away: Mapping[bytes, bytes] | None = None
    seen: Sequence[Context] | None = None

    def __init__(self, items: Sequence[object], contexts: Sequence[Context] | None = None) -> None:
        self.items = items
        self.contexts = contexts

    def context(self, position: int) -> Context | None:
        """Return the context of an item, if it has one."""
        return None if self.contexts is None else self.contexts[position]

    @property
    def sizes(self) -> Sequence[int]:
        """How many of the items each request has, in order."""
        return (1,) * len(self.items)

    def joined(self, entries: Sequence[Entry], device: Any) -> Any:
        """Return the output of one request, of the entries of its items.

        Raises:
            ValueEncodingError: If an entry cannot be read, or if they do not fit together.
        """
        raise NotImplementedError

    def protect(self) -> None:
        """Copy the items before a task waits: another task may use the same buffers meanwhile."""
        if self.copies is None:
            self.copies = [duplicate(item) for item in self.items]

    def restore(self) -> None:
        """Put the copies in the place of items that were changed since."""
        if self.copies is not None:
            pairs = zip(self.items, self.copies, strict=True)
            self.items = [copy if differ(item, copy) else item for item, copy in pairs]

    def renew(self, fresh: Call) -> None:
        """Take the items of a call of equal items that are as new."""
        self.items, self.contexts, self.copies = fresh.items, fresh.contexts, None

    @property
    def request_contexts(self) -> Sequence[Context] | None:
        """The context of each request, if the method or its policy takes one."""
        return self.contexts

    def change(self, position: int, changed: Mapping[str, Any], removed: Sequence[str]) -> None:
        """Do in the context of an item what the method did in it."""
        context = self.context(position)
        if context is not None:
            context.update(changed)
            for name in removed:
                context.pop(name, None)

    def keys_at_once(self, keyring: Keyring) -> list[bytes]:
        """Return the keys of all items, unless the policy has a `key`.

        Raises:
            KeyEncodingError: If one of them has none.
        """
        if self.contexts is not None:
            return keyring.keys(self.mode, self.items, self.contexts)
        return keyring.keyer(self.mode).keys(self.items)

    def key_of(self, keyring: Keyring, position: int) -> bytes:
        """Return the key of one item.

        Raises:
            KeyEncodingError: If it has none.
        """
        return keyring.key(self.mode, self.items[position], self.context(position))

    def keys_again(self, keyring: Keyring) -> list[bytes]:
        """Return the keys of the items as they are now.

        Raises:
            KeyEncodingError: If one of them has none.
        """
        return [self.key_of(keyring, position) for position in range(len(self.items))]

    def new_claim(self) -> Claim:
        """Return a claim for the keys that this call computes."""
        return Claim(self.scope.epoch)

    def begin(self) -> None:
        """Get ready for outputs that come one by one."""
        raise NotImplementedError

    def accept(self, entries: list[Any], api: Any) -> None:
        """Take the entries of the items that hit, for an API; `None` stands for the others.

        Raises:
            ValueEncodingError: If an entry cannot be read; so do `take` and `read`.
        """
        raise NotImplementedError

    def take(self, position: int, entry: Entry, device: Any) -> None:
        """Take an entry as the output of an item."""
        raise NotImplementedError

    def read(self, layout: bytes, payload: Payload, device: Any) -> Any:
        """Return the output of an entry, as `output_at` returns that of the method."""
        raise NotImplementedError

    def keep(
        self, position: int, entry: Entry | None, output: Any, index: int, device: Any
    ) -> None:
        """Take one output of a part for an item, and its entry if it can be stored."""
        raise NotImplementedError

    def keep_all(
        self, places: Sequence[Place], entries: Sequence[Entry], output: Any, device: Any
    ) -> None:
        """Take all outputs of a part for items of this call, and their entries."""
        raise NotImplementedError

    def hold(self) -> None:
        """Give outputs memory of their own: the method runs again and may use its buffer again."""

    def parts(self, group: Sequence[Misses]) -> Iterator[Part]:
        """Yield the parts in which the method computes the misses of calls of this mode."""
        raise NotImplementedError

    def encode(
        self, method: str, output: Any, places: Sequence[Place], store_as: str | None
    ) -> list[Encoded | ValueEncodingError]:
        """Return an entry for each item of an output, or the error that says why there is none.

        Raises:
            BatchSizeError: If there is not one output for each item.
            NotRowsError: If the output cannot be cut into rows.
        """
        raise NotImplementedError

    def as_stored(
        self, output: Any, encoded: Sequence[Encoded | ValueEncodingError], device: Any
    ) -> Any:
        """Return an output whose parts are read from their entries, as those of a hit will be."""
        raise NotImplementedError

    def output_at(self, output: Any, index: int) -> Any:
        """Return the output of one item, which is a piece of the output of a part."""
        raise NotImplementedError

    def result(self, device: Any) -> Any:
        """Return the result for the caller, once every item has an output.

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
        keys: A key for each item; `None` for an item that is computed alone and not stored.
        outcomes: The outcome of each item; `None` as long as it has none.
        unclaimed: Positions that missed and that no call has claimed yet.
        to_compute: Positions that this call computes now, in order of arrival.
        waits: For each position that another call computes, the claim of that call.
        equals: For a position that this call computes, the other positions of equal items.
        snapshots: For a position that this call computes, a snapshot of its context before.
        published: What followers get for the keys that were computed.
        stored: What the store gets.
        claim: This call's claim of the keys that it computes.
        deadline, patience: Until when it waits for calls and processes, once it has begun to.
        failed_leaders: How often what it waited for was not computed.
        has_computed: Whether the method has run for it.
        released: What `Flight.released` was when the store was asked; `store_works`: it answered.
        tried: For each position that hit and that the model answers, too: what is compared.
    """

    __slots__ = (
        "call", "claim", "deadline", "equals", "failed_leaders", "has_computed", "keys",
        "outcomes", "patience", "published", "released", "snapshots", "store_works", "stored",
        "to_compute", "tried", "unclaimed", "waits",
    )  # fmt: skip

    def __init__(self, call: Call, *, store_works: bool) -> None:
        self.call = call
        self.keys = list(call.keys)
        self.released = call.released
        self.store_works = store_works
        self.tried: dict[int, Tried] = {}
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
        self.failed_leaders, self.has_computed = 0, False
        self.deadline: float | None = None
        self.patience: float | None = None
        call.begin()

    @property
    def is_open(self) -> bool:
        """Whether an item has no output yet."""
        return bool(self.to_compute or self.waits or self.unclaimed)

    def remaining(self, timeout: float) -> float:
        """Return how many of `timeout` seconds are left since the first call of this method."""
        now = time.monotonic()
        if self.deadline is None:
            self.deadline = now + timeout
        return max(0.0, self.deadline - now)

    def counted(self) -> Mapping[str, int]:
        """Return how many items of a finished call had each outcome that any had."""
        kinds, total = set(self.outcomes), len(self.outcomes)
        if not kinds <= {HIT, None}:
            return Counter([outcome or MISS for outcome in self.outcomes])
        hits = self.outcomes.count(HIT) if HIT in kinds else 0
        return {HIT: hits, MISS: total - hits} if hits else {MISS: total}


def uncached(call: Call, outcome: str | None = None) -> Misses:
    """Return the misses of a call whose items are all computed and not stored."""
    call.scope, call.version, call.released = Scope(""), 0, None
    call.keys = [None] * len(call.items)
    misses = Misses(call, store_works=False)
    misses.to_compute, misses.outcomes = list(range(len(call.items))), [outcome] * len(call.items)
    return misses


Place = tuple[Misses, int]
"""An item: its call, and its position there."""


class Part(NamedTuple):
    """What one call of the method gets.

    Attributes:
        argument: The item, or a container of items.
        contexts: The context of the item, or a list of one for each item; `None` without contexts.
        places: The items in it.
    """

    argument: Any
    contexts: Any
    places: list[Place]


class NotRowsError(Exception):
    """A method did not return a container of rows.

    Attributes:
        output: What it returned.
        places: The items that it was called with.
    """

    def __init__(self, output: Any, places: Sequence[Place]) -> None:
        super().__init__("the output is no list, array, tensor or columns of these")
        self.output = output
        self.places = places
