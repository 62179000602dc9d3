"""`litcache info`: what a store holds, and the state of the caches that serve."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

from litcache.commands.results import OK, Result, printable, table
from litcache.commands.targets import StoreOfCommand, add_target, opened
from litcache.observe.counters import DISAGREEMENTS, STATE, STATES, VERIFIED
from litcache.observe.page import Page
from litcache.observe.pages import of_this_host
from litcache.sizes import format_bytes

TEXT = "show namespaces, versions, entries, bytes and the state of caches that serve"
_MORE = "; without one: the caches of all services here whose counters litcache.metrics shares"


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    add_target(command, _MORE, nargs="?")


def run(options: Any) -> Result:
    """Tell what a store holds, or without one the state of the caches of this host.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        StoreError: If there is no such store, or it does not answer.
    """
    if options.target is None:
        return _services()
    store = opened(options)
    try:
        return _info(store)
    finally:
        store.close()


def _info(store: StoreOfCommand) -> Result:
    spaces = store.namespaces()
    # Entries of cleared namespaces only wait for their eviction: they do not count.
    entries, size = sum(space.entries for space in spaces), sum(space.bytes for space in spaces)
    budget = getattr(store, "max_bytes", None)
    result = {
        "store": repr(store),
        "entries": entries,
        "bytes": size,
        "max_bytes": budget,
        "namespaces": [{**space._asdict(), "versions": list(space.versions)} for space in spaces],
    }
    used = format_bytes(size) + (f" of {format_bytes(budget)}" if budget else "")
    lines = [f"{store!r}: {entries:,} entries, {used}"]
    rows: list[tuple[str, ...]] = [("namespace", "versions", "entries", "bytes")]
    for space in spaces:
        names = printable(space.name), printable(", ".join(space.versions)) or "-"
        rows.append((*names, f"{space.entries:,}", format_bytes(space.bytes)))
    if spaces:
        lines += table(rows)
    known = {space.name for space in spaces}
    serving = [page for page in _serving() if page.words.get("namespace") in known]
    result["serving"] = [_described(page) for page in serving]
    return OK, result, "\n".join(lines + _states(serving))


def _services() -> Result:
    """Tell the state of each cache of the services of this host."""
    serving = _serving()
    text = "\n".join(_states(serving)) or (
        "no service shares its counters by files in "
        f"{tempfile.gettempdir()}: give it litcache.metrics.PrometheusLogger"
    )
    return OK, {"serving": [_described(page) for page in serving]}, text


def _serving() -> list[Page]:
    """Return the pages of caches whose processes run; none where pages cannot be."""
    return [] if sys.platform == "win32" else [page for page in of_this_host() if page.alive]


def _state(page: Page) -> str:
    return STATES[int(page.numbers[STATE])]


def _described(page: Page) -> dict[str, Any]:
    """Return what programs are told of a cache."""
    words = {name: page.words.get(name, "") for name in ("namespace", "version", "store")}
    counts = {"verified": VERIFIED, "disagreements": DISAGREEMENTS}
    return {
        **page.labels._asdict(),
        **words,
        "state": _state(page),
        **{name: int(page.numbers[place]) for name, place in counts.items()},
        "disagreement": page.words.get("disagreement", ""),
    }


def _states(serving: Sequence[Page]) -> list[str]:
    """Return a line for each kind of cache, with the states of its processes, and what differed."""
    kinds: dict[tuple[str, ...], Counter[str]] = {}
    differed = []
    for page in serving:
        names = tuple(map(printable, (*page.labels, page.words.get("version") or "-")))
        kinds.setdefault(names, Counter())[_state(page)] += 1
        if "disagreement" in page.words:
            where = " ".join(page.labels[:2])
            differed.append(printable(f"{where} ({page.labels.tier}) differed: "
                                       f"{page.words['disagreement']}"))  # fmt: skip
    rows: list[tuple[str, ...]] = [("api", "method", "tier", "version", "processes by state")]
    for names in sorted(kinds):
        counts = kinds[names]
        shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        rows.append((*names, shown))
    return [*table(rows, left=5), *sorted(set(differed))] if serving else []
