"""What a command comes to: its exit code, and what it tells programs and people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# The exit codes, for scripts. Argparse itself exits with 2 if it does not understand the command.
OK, CORRUPT, FOUND, REFUSED, WRONG, FAILED, INTERRUPTED = 0, 1, 1, 1, 2, 3, 130

Result = tuple[int, dict[str, Any], str]
"""The exit code, what programs are told, and what people are told."""


def printable(text: str) -> str:
    r"""Return text without control characters of a terminal: names may hold anything.

    Args:
        text: Any text.

    Returns:
        The text, with escapes in their place.

    Example:
        >>> print(printable("shop" + chr(27)))
        shop\x1b
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def printable_lines(text: str) -> str:
    """Return lines of text, each as `printable` returns it.

    Args:
        text: Any text.

    Returns:
        The text; its line breaks stay.

    Example:
        >>> printable_lines("a" + chr(10) + "b") == "a" + chr(10) + "b"
        True
    """
    return "\n".join(map(printable, text.split("\n")))


def table(rows: Sequence[tuple[str, ...]], left: int = 2) -> list[str]:
    """Return rows as lines.

    Args:
        rows: The cells of each row; all rows have as many.
        left: How many columns hold text, which is aligned to the left. Numbers go to the right.

    Returns:
        A line for each row.

    Example:
        >>> table([("name", "bytes"), ("a", "12")], left=1)
        ['name  bytes', 'a        12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = list(zip(row, widths, strict=True))
        text = [cell.ljust(width) for cell, width in cells[:left]]
        lines.append("  ".join(text + [cell.rjust(width) for cell, width in cells[left:]]).rstrip())
    return lines
