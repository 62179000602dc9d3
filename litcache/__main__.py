"""The command line: look at services, and look at, clear and verify a store that they use."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

from litcache import __version__
from litcache.errors import StoreError
from litcache.observe.counters import DISAGREEMENTS, STATE, STATES, VERIFIED
from litcache.observe.page import Page
from litcache.observe.pages import of_this_host
from litcache.policy import format_bytes
from litcache.stores.redis.store import RedisStore
from litcache.stores.shared.store import SharedStore

# The exit codes, for scripts. Argparse itself exits with 2 if it does not understand the command.
OK, CORRUPT, FOUND, WRONG, FAILED = 0, 1, 1, 2, 3

_EPILOG = """
exit codes: 0 done; 1 verify found corrupt entries, or check has findings; 2 the command is wrong,
or check cannot look at the class; 3 there is no such store or namespace, it does not answer, or the
result cannot be written
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `litcache info | clear | verify | check`.

    Args:
        arguments: The words after the command's name; by default those of this process.

    Returns:
        The exit code: 0 when done; 1 if `verify` found corrupt entries or `check` has findings; 2
        if `check` cannot look at the class; 3 if there is no such store or namespace, it does not
        answer, or the result cannot be written.

    Raises:
        SystemExit: With 2 if the command is wrong, with 0 after `--help` or `--version`.

    Example:
        >>> main(["info", "/nowhere/at/all"])
        3
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # the names of namespaces may hold any character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if options.run is _check:
            code, result, text = _check(options)
        elif options.target is None:
            code, result, text = _services()
        else:
            store = _store(options)
            try:
                code, result, text = options.run(store, options)
            finally:
                store.close()
            result = {"store": repr(store), **result}
    except (StoreError, ValueError, ImportError) as error:
        print(f"litcache: {_printable(str(error))}", file=sys.stderr)
        return WRONG if options.run is _check else FAILED
    return _print(json.dumps(result) if options.json else text, code)


def _print(text: str, code: int) -> int:
    """Print a result and return the exit code: an uncaught error would exit with 1, `CORRUPT`."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Python writes what is left in the buffer when the process ends, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader, such as `head`, has read enough
            print(f"litcache: the result cannot be written: {error}", file=sys.stderr)
            return FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "litcache", description="Check a class; look at, clear and verify a store in use.",
        epilog=_EPILOG,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"litcache {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_check(commands)
    for run, text in (
        (_info, "show namespaces, versions, entries, bytes and the state of caches that serve"),
        (_clear, "drop all entries of a namespace"),
        (_verify, "read all entries and count the corrupt ones"),
    ):
        command = commands.add_parser(run.__name__[1:], help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument(
            "target",
            type=_target,
            help="the folder of a SharedStore, or the URL of a RedisStore: redis://…, rediss://…, "
            "unix://…, or ${NAME} for an environment variable that holds the URL"
            + (
                "; without one: the caches of all services here whose counters litcache.metrics "
                "shares"
                if run is _info
                else ""
            ),
            nargs="?" if run is _info else None,
        )
        command.add_argument("--json", action="store_true", help="print JSON for programs")
        command.add_argument(
            "--prefix", default="litcache", help="the prefix of a RedisStore's keys"
        )
        command.add_argument("--cluster", action="store_true", help="the server is a Redis Cluster")
        command.add_argument(
            "--timeout", type=_seconds, default=5.0, help="how many seconds to wait for each answer"
        )
        if run is _clear:
            which = command.add_mutually_exclusive_group(required=True)
            which.add_argument("--namespace", help="drop the entries of this namespace")
            which.add_argument("--all", action="store_true", help="drop those of all namespaces")
    return parser


def _add_check(commands: Any) -> None:
    text = "show what a LitAPI caches, and what its source shows to pass the cache"
    command = commands.add_parser(
        "check", help=text, description=f"{text}. It is imported; no model is loaded."
    )
    command.set_defaults(run=_check)
    command.add_argument("target", help="the class: module:Class, or path/to/server.py:Class")
    command.add_argument("--json", action="store_true", help="print JSON for programs")


def _target(text: str) -> str:
    if not text:  # for example of a shell variable that is not set
        raise argparse.ArgumentTypeError("must name a folder or a URL, and is empty")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError
    return seconds


def _store(options: Any) -> SharedStore | RedisStore:
    if re.match(r"\w+://|\$\{", options.target):
        return RedisStore(
            options.target, options.prefix, timeout=options.timeout, cluster=options.cluster
        )
    return SharedStore.existing(options.target, timeout=options.timeout)


_Result = tuple[int, dict[str, Any], str]


def _info(store: SharedStore | RedisStore, options: Any) -> _Result:
    spaces = store.namespaces()
    # Entries of cleared namespaces only wait for their eviction: they do not count.
    entries, size = sum(space.entries for space in spaces), sum(space.bytes for space in spaces)
    budget = getattr(store, "max_bytes", None)
    result = {
        "entries": entries,
        "bytes": size,
        "max_bytes": budget,
        "namespaces": [{**space._asdict(), "versions": list(space.versions)} for space in spaces],
    }
    used = format_bytes(size) + (f" of {format_bytes(budget)}" if budget else "")
    lines = [f"{store!r}: {entries:,} entries, {used}"]
    rows: list[tuple[str, ...]] = [("namespace", "versions", "entries", "bytes")]
    for space in spaces:
        names = _printable(space.name), _printable(", ".join(space.versions)) or "-"
        rows.append((*names, f"{space.entries:,}", format_bytes(space.bytes)))
    if spaces:
        lines += _table(rows)
    known = {space.name for space in spaces}
    serving = [page for page in _serving() if page.words.get("namespace") in known]
    result["serving"] = [_described(page) for page in serving]
    return OK, result, "\n".join(lines + _states(serving))


def _services() -> _Result:
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
        names = tuple(map(_printable, (*page.labels, page.words.get("version") or "-")))
        kinds.setdefault(names, Counter())[_state(page)] += 1
        if "disagreement" in page.words:
            where = " ".join(page.labels[:2])
            differed.append(_printable(f"{where} ({page.labels.tier}) differed: "
                                       f"{page.words['disagreement']}"))  # fmt: skip
    rows: list[tuple[str, ...]] = [("api", "method", "tier", "version", "processes by state")]
    for names in sorted(kinds):
        counts = kinds[names]
        shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        rows.append((*names, shown))
    return [*_table(rows, left=5), *sorted(set(differed))] if serving else []


def _check(options: Any) -> _Result:
    from litcache.litapi.check import check

    is_found, result, text = check(options.target)
    return FOUND if is_found else OK, result, _printable_lines(text)


def _clear(store: SharedStore | RedisStore, options: Any) -> _Result:
    name = options.namespace
    if name is not None:
        known = store.names()
        if name not in known:  # clearing it would make it
            there = f"there are {', '.join(map(repr, known))}" if known else "there is none"
            raise ValueError(f"{store!r} has no namespace {name!r}; {there}")
    store.clear(name)
    what = "all namespaces" if options.all else f"namespace {name!r}"
    return OK, {"cleared": name}, f"{store!r}: cleared {what}"


def _verify(store: SharedStore | RedisStore, options: Any) -> _Result:
    entries, corrupt = store.verify()
    text = f"{store!r}: read {entries:,} entries, {corrupt:,} do not verify"
    return CORRUPT if corrupt else OK, {"entries": entries, "corrupt": corrupt}, text


def _printable(text: str) -> str:
    """Return text without control characters of a terminal: names may hold anything."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def _printable_lines(text: str) -> str:
    return "\n".join(map(_printable, text.split("\n")))


def _table(rows: Sequence[tuple[str, ...]], left: int = 2) -> list[str]:
    """Return rows as lines: text, on the left, aligned to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = list(zip(row, widths, strict=True))
        text = [cell.ljust(width) for cell, width in cells[:left]]
        lines.append("  ".join(text + [cell.rjust(width) for cell, width in cells[left:]]).rstrip())
    return lines


if __name__ == "__main__":
    sys.exit(main())
