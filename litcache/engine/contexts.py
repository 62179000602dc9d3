"""The contexts of the items that a method gets: as it finds them, and as it leaves them."""

from __future__ import annotations

from collections.abc import Iterable

from litcache.engine.call import Part, Place
from litcache.engine.modes import Batch
from litcache.engine.rows import Rows
from litcache.keys.contexts import snapshot

OTHER_KIND: dict[str, object] = {}
"""Stands for the snapshot of a context in whose place the method put an object of another type."""


def note(places: Iterable[Place]) -> None:
    """Note the contexts of items as the method finds them."""
    notes: dict[int, dict[str, object]] = {}  # items of one list share a context
    for misses, position in places:
        context = misses.call.context(position)
        if context is not None:
            if id(context) not in notes:
                notes[id(context)] = snapshot(context)
            misses.snapshots[position] = notes[id(context)]


def take_back(part: Part) -> None:
    """Take what the method, or a hook of its batch, put in the places of contexts.

    LitServe's batched loop gives `encode_response` what stands in the list that it gave `predict`.
    """
    if not isinstance(part.places[0][0].call, Batch | Rows):
        return
    for (misses, position), context in zip(part.places, part.contexts, strict=False):
        call = misses.call
        given = call.context(position)
        if context is given:
            continue
        if not isinstance(call.contexts, list):
            call.contexts = list(call.contexts or ())
        call.contexts[position] = context
        if type(context) is not type(given):
            misses.snapshots[position] = OTHER_KIND
