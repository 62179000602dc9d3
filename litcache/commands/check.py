"""`litcache check`: what a class caches, and what its source shows to pass the cache."""

from __future__ import annotations

import argparse
from typing import Any

from litcache.commands.results import FOUND, OK, Result, printable_lines
from litcache.commands.targets import add_json

TEXT = "show what a LitAPI caches, and what its source shows to pass the cache"
DESCRIPTION = f"{TEXT}. It is imported; no model is loaded."


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    command.add_argument("target", help="the class: module:Class, or path/to/server.py:Class")
    add_json(command)


def run(options: Any) -> Result:
    """Look at a class, which is imported.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        ValueError: If there is no such class, or it caches nothing.
    """
    from litcache.litapi.check import check

    is_found, result, text = check(options.target)
    return FOUND if is_found else OK, result, printable_lines(text)
