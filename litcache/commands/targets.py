"""How a store is named on the command line, and opened."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any

from litcache.checks import LONGEST_SECONDS, WAIT, is_utf8
from litcache.sizes import parse_bytes
from litcache.stores.redis.store import RedisStore
from litcache.stores.shared.store import SharedStore

KINDS = (
    "the folder of a SharedStore, or the URL of a RedisStore: redis://…, rediss://…, unix://…, or "
    "${NAME} for an environment variable that holds the URL"
)

StoreOfCommand = SharedStore | RedisStore


def add_target(
    command: argparse.ArgumentParser, more: str = "", *, nargs: str | None = None
) -> None:
    """Add the argument that names a store, and the options that say how to open it.

    Args:
        command: The parser of the command.
        more: What else its help says.
        nargs: `"?"` if the store may be left out.
    """
    command.add_argument("target", metavar="STORE", type=_target, help=KINDS + more, nargs=nargs)
    add_options(command)


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say how to open a store, and how to print.

    Args:
        command: The parser of the command.
    """
    add_json(command)
    command.add_argument(
        "--prefix", type=_prefix, default="litcache", help="the prefix of a RedisStore's keys"
    )
    command.add_argument("--cluster", action="store_true", help="the server is a Redis Cluster")
    command.add_argument(
        "--timeout", type=seconds, default=5.0, help="how many seconds to wait for each answer"
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the option that asks for JSON.

    Args:
        command: The parser of the command.
    """
    command.add_argument("--json", action="store_true", help="print JSON for programs")


def opened(options: Any) -> StoreOfCommand:
    """Return the store that a command line names.

    Args:
        options: What the parser made of the command line.

    Returns:
        The store. A folder without one is not made into one.

    Raises:
        StoreError: If the folder holds no store.
        ValueError: If the URL is not allowed.
        ImportError: If redis-py is not installed.
    """
    if is_url(options.target):
        return RedisStore(
            options.target, options.prefix, timeout=options.timeout, cluster=options.cluster
        )
    return SharedStore.existing(options.target, timeout=options.timeout)


def is_url(target: str) -> bool:
    """Return whether a store is named by a URL, not by a folder.

    Args:
        target: What names it.

    Returns:
        Whether it is one, or a variable that holds one.

    Example:
        >>> is_url("redis://localhost"), is_url("${CACHE_URL}"), is_url("/var/cache")
        (True, True, False)
    """
    return re.match(r"\w+://|\$\{", target) is not None


def whole_number(text: str) -> int:
    """Return the number that an option says.

    Args:
        text: A whole number, 1 or more.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: If it is none.

    Example:
        >>> whole_number("8")
        8
    """
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """Return the seconds that an option says.

    Args:
        text: A positive number, at most a year.

    Returns:
        The seconds.

    Raises:
        ArgumentTypeError: If it is none.

    Example:
        >>> seconds("2.5")
        2.5
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} must be {WAIT}")
    return number


def size(text: str) -> int:
    """Return the bytes that an option says.

    Args:
        text: A size, such as `"1850"` or `"256 MiB"`.

    Returns:
        The bytes.

    Raises:
        ArgumentTypeError: If it is none.

    Example:
        >>> size("2 KiB"), size("1850")
        (2048, 1850)
    """
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _prefix(text: str) -> str:
    if not is_utf8(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be text that UTF-8 can write")
    return text


def _target(text: str) -> str:
    if not text:  # for example of a shell variable that is not set
        raise argparse.ArgumentTypeError("must name a folder or a URL, and is empty")
    return text
