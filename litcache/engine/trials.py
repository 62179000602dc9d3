"""Hits that the model answers, too: taken up before it runs, and compared once it has answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from litcache.engine.call import VERIFIED, Call, Misses, Place
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.stores.base import Entry, NewEntry
from litcache.trial.answers.compare import Frozen, Removed, freeze
from litcache.trial.refusals import refusal
from litcache.trial.verdict import Tried, unlike
from litcache.values import chunks, codec
from litcache.values.chunks import Changes


class Stored(NamedTuple):
    """What the entries of one request hold: its output, and the changes of its context.

    Attributes:
        value: The output, in its own memory.
        changed: The entries of the context that were added or changed.
        removed: The names of those removed.
    """

    value: Any
    changed: dict[str, object]
    removed: list[str]

    def apply_to(self, context: Context) -> None:
        """Make the changes in a context."""
        context.update(self.changed)
        for name in self.removed:
            context.pop(name, None)


def read(call: Call, entries: Sequence[Entry], device: Any) -> Stored:
    """Return what the entries of one request hold, anew at each call.

    Raises:
        ValueEncodingError: If an entry cannot be read, or if they do not fit together.
    """
    plain: list[Entry] = []
    changed: dict[str, object] = {}
    removed: list[str] = []
    for entry in entries:
        changes = codec.context_changes(entry.layout, entry.payload)
        if changes is not None:
            entry = NewEntry(changes[0], changes[1])
            changed.update(changes[2])
            removed.extend(changes[3])
        plain.append(entry)
    return Stored(call.joined(plain, device), changed, removed)


def _row(call: Call, entry: Entry, device: Any) -> Any:
    """Return the output of one item, as the method returns it for that item."""
    changes = codec.context_changes(entry.layout, entry.payload)
    layout, payload = (entry.layout, entry.payload) if changes is None else changes[:2]
    return call.read(layout, payload, device)


def take_up(misses: Misses, position: int, entry: Entry, device: Any) -> bool:
    """Have the model answer an item that has an entry; return false if it cannot be read."""
    call = misses.call
    assert call.verdict is not None
    try:
        _row(call, entry, device)
    except ValueEncodingError:
        return False
    other = unlike(call.requests[position], getattr(entry, "request", 0))
    misses.tried[position] = Tried(entry, unlike=other)
    misses.keys[position] = None  # it is stored already
    misses.outcomes[position] = VERIFIED
    misses.to_compute.append(position)
    return True


def take_up_shared(misses: Misses, position: int, entry: Entry, device: Any) -> bool:
    """Have the model answer an item whose equal was computed by another call, if that is wanted."""
    call = misses.call
    return (
        call.verdict is not None
        and call.verdict.wants_equal(call.requests[position], getattr(entry, "request", 0))
        and take_up(misses, position, entry, device)
    )


def take_up_equal(misses: Misses, position: int, leader: int) -> bool:
    """Have the model answer an item whose equal it computes in the same call, if that is wanted."""
    verdict, requests = misses.call.verdict, misses.call.requests
    if verdict is None or not verdict.wants_equal(requests[position], requests[leader]):
        return False
    other = unlike(requests[position], requests[leader])
    misses.tried[position] = Tried(None, unlike=other, key=misses.keys[leader])
    misses.keys[position] = None
    misses.to_compute.append(position)
    return True


def prove(misses: Misses, device: Any) -> None:
    """Compare what the model has answered with the entries that were taken up.

    Raises:
        DisagreementError: In strict mode, if they differ.
    """
    call = misses.call
    for position in misses.to_compute:
        tried = misses.tried.get(position)
        if tried is None or call.verdict is None:
            continue
        entry = tried.entry or misses.published.get(tried.key or b"")
        if entry is None:  # the equal item has no entry
            continue
        misses.outcomes[position] = VERIFIED
        made, tried.made = tried.made, None
        fresh, tried.fresh = tried.fresh, None
        try:
            if made is not None:
                tried.contexts = _contexts(misses, position, entry, made)
            if fresh is not None:
                call.verdict.compare(tried, freeze(_row(call, entry, device)), fresh)
        except ValueEncodingError:
            continue


def refused(places: Sequence[Place], error: BaseException | None, device: Any) -> None:
    """Conclude that hits are wrong if the model refuses to answer them.

    Args:
        places: The items that it was called with. If one of them is no hit, that may be the one
            which it refuses, and there is no conclusion.
        error: What it raised.
        device: The device for tensors of the entries.

    Raises:
        DisagreementError: In strict mode, if it refuses them.
    """
    found = None
    for misses, position in places:
        tried = misses.tried.get(position)
        if tried is None or tried.entry is None or misses.call.verdict is None:
            return
        if found is None:
            try:
                found = refusal(error, freeze(_row(misses.call, tried.entry, device)))
            except ValueEncodingError:
                return
    verdict = places[0][0].call.verdict if places else None
    if found is not None and verdict is not None:
        verdict.disagreed([found])


def _contexts(
    misses: Misses, position: int, entry: Entry, made: Entry
) -> tuple[Frozen, Frozen] | None:
    """Return what a hit and the model change in the context of an item; `None`: nothing."""
    context = misses.call.context(position)
    if context is None or not _is_whole(misses, position):
        return None
    stored = _by_name(chunks.context_changes(entry.layout, entry.payload))
    fresh = _by_name(chunks.context_changes(made.layout, made.payload))
    for name in stored.keys() - fresh.keys():  # the model has left it as it is
        now = context.get(name, Removed())
        fresh[name] = dict.fromkeys(stored[name], now)
    if not fresh:
        return None
    is_stream = entry.layout == chunks.LAYOUT
    both = (
        freeze({name: values if is_stream else values[0] for name, values in side.items()})
        for side in (stored, fresh)
    )
    return next(both), next(both)


def _by_name(changes: Sequence[Changes]) -> dict[str, dict[int, Any]]:
    """Return for each entry of a context what it becomes, by the number of the change."""
    found: dict[str, dict[int, Any]] = {}
    for number, (changed, removed) in enumerate(changes):
        for name, value in (*changed.items(), *((name, Removed()) for name in removed)):
            found.setdefault(name, {})[number] = value
    return found


def _is_whole(misses: Misses, position: int) -> bool:
    """Return whether all items of the request of an item are computed.

    The items of a list change one context. What they change without those that hit says nothing.
    """
    start = 0
    for size in misses.call.sizes:
        if position < start + size:
            return set(range(start, start + size)) <= set(misses.to_compute)
        start += size
    return False
