"""Attributes and globals by which data passes a cached method."""

from __future__ import annotations

from collections.abc import Iterator

from litcache.trial.source.events import Event, roots
from litcache.trial.source.findings import Finding
from litcache.trial.source.methods import HOOKS

_WRITES = ("set", "count", "append", "item", "part")


def state_findings(inside: list[Event], outside: list[Event], cached: str) -> Iterator[Finding]:
    """Yield what passes a cached method.

    Args:
        inside: What is read and written where a hit does not run.
        outside: What is read and written by the other hooks, for hits too.
        cached: The cached method.
    """
    for event in [*inside, *outside]:
        if event.kind == "setup":
            text = (
                f"{event.hook} calls self.setup: another model gets the same key; give version= a "
                "function that names the model, or put what chooses the model into the item"
            )
            yield Finding(event.method.file, event.line, "self.setup", text, "setup")
            break
    later = _from_call(outside, cached)
    for root in roots([*outside, *inside]):
        left = _passes_out(inside, later, root, cached)
        found = _passes_in(inside, outside, root, cached) or left or _stays(inside, root, cached)
        if found is not None:
            yield found
        if left is not None and left is not found:  # it passes in both ways
            yield left


def _from_call(outside: list[Event], cached: str) -> list[Event]:
    """Return the events of the other hooks from the call of a method on, and then those before it.

    What is set before the call is no more what the method has left.
    """
    if cached in HOOKS:
        is_later = [HOOKS.index(event.hook) > HOOKS.index(cached) for event in outside]
    else:
        is_later = [event.kind == "call" for event in outside]
    start = is_later.index(True) if True in is_later else 0
    return outside[start:] + outside[:start]


def _passes_in(inside: list[Event], outside: list[Event], root: str, cached: str) -> Finding | None:
    """Find what another hook sets and the cached method reads: it is not in the key."""
    for write in _writes(outside, root):
        for read in _reads(inside, root):
            if _is_related(write, read):
                return _finding(
                    write,
                    f"{_who(write)} sets it and {_who(read)} reads it, but it is not in the key of "
                    f"{cached}: a hit is another request's; make it part of the item",
                )
    return None


def _passes_out(inside: list[Event], later: list[Event], root: str, cached: str) -> Finding | None:
    """Find what the cached method sets and another hook reads: a hit does not set it."""
    for write in _writes(inside, root):
        for read in _reads(later, root):
            if _is_related(write, read):
                return _finding(
                    write,
                    f"{_who(write)} sets it, which a hit does not run, and {_who(read)} reads it: "
                    f"that of another request; let {cached} return it",
                    leaves=True,
                )
    return None


def _stays(inside: list[Event], root: str, cached: str) -> Finding | None:
    """Find what the cached method keeps from one call for the next."""
    for write in _writes(inside, root):
        for read in _reads(inside, root):
            is_kept = write.kind in ("count", "append") or (
                write.kind in ("set", "part")
                and not write.conditional
                and inside.index(read) < inside.index(write)
            )
            is_read = read.kind == "read" or write.kind in ("count", "append", "set")
            if (is_kept or write.kind == "item") and is_read and _is_related(write, read):
                return _finding(
                    write,
                    f"{_who(write)} keeps it for later calls, so that the output depends on "
                    f"earlier requests; make it part of the item, or do not cache {cached}",
                )
    return None


def _finding(write: Event, text: str, *, leaves: bool = False) -> Finding:
    name = f"the global {write.shown}" if write.root.startswith("global ") else write.shown
    return Finding(
        write.method.file, write.line, write.shown, f"{name}: {text}", "state", leaves=leaves
    )


def _who(event: Event) -> str:
    """Return the hook, and the method that it calls if it is there that it happens."""
    name = event.method.name
    return event.hook if name == event.hook else f"{event.hook} (in {name})"


def _writes(events: list[Event], root: str) -> Iterator[Event]:
    for event in events:
        if event.root == root and event.kind in _WRITES and not event.lazy:
            yield event


def _reads(events: list[Event], root: str) -> Iterator[Event]:
    """Yield the reads of what these hooks have not set themselves before, in the same request."""
    for event in events:
        if event.root == root:
            if event.kind == "set" and not event.conditional:
                return
            if event.kind in ("read", "lookup"):
                yield event


def _is_related(write: Event, read: Event) -> bool:
    """Return whether what is read is in what is written, or the other way round."""
    written, seen = write.shown.removesuffix("[…]"), read.shown.removesuffix("[…]")
    if seen == written or seen.startswith((f"{written}.", f"{written}[")):
        return True
    # Who calls a model does not read what is counted on it after its answer.
    is_note = write.hook == "encode_response" and write.kind in ("count", "append", "item")
    return not is_note and written.startswith((f"{seen}.", f"{seen}["))


def regions(cached: str, encodes: bool) -> tuple[list[str], list[str]]:
    """Return the hooks that a hit does not run, and the others."""
    inside = ["batch", "predict", "unbatch"] if cached == "predict" else [cached]
    if encodes:
        inside.append("encode_response")
    return inside, [hook for hook in HOOKS if hook not in inside]
