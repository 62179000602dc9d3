"""`litcache clear`: drop the entries of a namespace."""

from __future__ import annotations

import argparse
from typing import Any

from litcache.commands.results import OK, Result
from litcache.commands.targets import StoreOfCommand, add_target, opened

TEXT = "drop all entries of a namespace"


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    add_target(command)
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--namespace", help="drop the entries of this namespace")
    which.add_argument("--all", action="store_true", help="drop those of all namespaces")


def run(options: Any) -> Result:
    """Clear a namespace of a store, or all.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        StoreError: If there is no such store, or it does not answer.
        ValueError: If the store has no such namespace.
    """
    store = opened(options)
    try:
        name = options.namespace
        if name is not None:
            require(store, name)  # clearing it would make it
        store.clear(name)
    finally:
        store.close()
    what = "all namespaces" if options.all else f"namespace {name!r}"
    return OK, {"store": repr(store), "cleared": name}, f"{store!r}: cleared {what}"


def require(store: StoreOfCommand, name: str) -> None:
    """Check that a store has a namespace.

    Args:
        store: The store.
        name: The namespace.

    Raises:
        ValueError: If the store has no such namespace; the message names those it has.
    """
    known = store.names()
    if name not in known:
        there = f"there are {', '.join(map(repr, known))}" if known else "there is none"
        raise ValueError(f"{store!r} has no namespace {name!r}; {there}")
