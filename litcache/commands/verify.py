"""`litcache verify`: read all entries of a store and count the corrupt ones."""

from __future__ import annotations

import argparse
from typing import Any

from litcache.commands.results import CORRUPT, OK, Result
from litcache.commands.targets import add_target, opened

TEXT = "read all entries and count the corrupt ones"


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    add_target(command)


def run(options: Any) -> Result:
    """Read and verify all entries of a store.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        StoreError: If there is no such store, or it does not answer.
    """
    store = opened(options)
    try:
        entries, corrupt = store.verify()
    finally:
        store.close()
    text = f"{store!r}: read {entries:,} entries, {corrupt:,} do not verify"
    result = {"store": repr(store), "entries": entries, "corrupt": corrupt}
    return CORRUPT if corrupt else OK, result, text
