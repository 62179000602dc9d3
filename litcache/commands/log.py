"""A log of requests: a file of JSON lines, or of lines of plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

WHOLE = "."
_NOTHING = object()


class Line(NamedTuple):
    """A line of a log.

    Attributes:
        items: The items that are asked for.
        end: Where it ends in the file, in bytes.
    """

    items: list[bytes]
    end: int


def lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield the lines of a file that are not blank, and where each ends.

    Args:
        path: The file.

    Yields:
        The line without its end, and the place of the byte behind it.
    """
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            text = line.strip()
            if text:
                yield text, end


def items(path: Path, place: str) -> Iterator[Line]:
    """Yield the items of each line of a log.

    Args:
        path: The file.
        place: Where a line holds its item: names and numbers with dots between them, such as
            `"text"` or `"messages.0.content"`, or `"."` for the whole line. If a list stands there,
            its elements are items.

    Yields:
        The lines; one that has nothing at this place has no items.
    """
    for line, end in lines(path):
        found = _found(line, place)
        if found is _NOTHING:
            yield Line([], end)
        elif isinstance(found, list) and not _is_numbers(found):
            yield Line([_identity(item) for item in found], end)
        else:
            yield Line([_identity(found)], end)


def _found(line: bytes, place: str) -> Any:
    """Return what stands at a place of a line."""
    try:
        value = json.loads(line)
    except ValueError:
        return line.decode("utf-8", "surrogateescape") if place == WHOLE else _NOTHING
    if place == WHOLE:
        return value
    for name in place.split("."):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _NOTHING
    return value


def _is_numbers(values: list[Any]) -> bool:
    """Return whether a list is one item, such as the ids of tokens."""
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _identity(item: Any) -> bytes:
    """Return bytes that are equal for equal items."""
    if isinstance(item, str):
        return item.encode("utf-8", "surrogatepass")
    return b"\0" + json.dumps(item, separators=(",", ":")).encode()
