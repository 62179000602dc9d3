"""One row of several columns as one entry: the entries of its cells side by side."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from litcache.errors import ValueEncodingError
from litcache.values.codec import Encoded
from litcache.values.layouts import Payload, interned, packed, unpacked
from litcache.values.tagged import path

UNNAMED, NAMED = b"x", b"y"

_CELLS = (b"A", b"T", b"l")  # rows of an array, a tensor, a list
_LAYOUTS = 4096


def combine(
    names: Sequence[str] | None, columns: Sequence[Sequence[Encoded | ValueEncodingError]]
) -> list[Encoded | ValueEncodingError]:
    r"""Make the entries of rows from those of their cells.

    Args:
        names: The names of the columns, of a dict; `None` for a tuple.
        columns: For each column, the entries of its rows.

    Returns:
        For each row its layout and payload, or why one of its cells is not stored.

    Example:
        >>> layout, payload = combine(("text",), [[(b"lv", b"\x01")]])[0]
        >>> separate([layout], [payload])
        (('text',), [((b'lv',), (b'\x01',))])
    """
    named = None if names is None else tuple(names)
    return [_combine(named, row) for row in zip(*columns, strict=True)]


def separate(
    layouts: Sequence[bytes], payloads: Sequence[Payload]
) -> tuple[tuple[str, ...] | None, list[tuple[tuple[bytes, ...], tuple[bytes, ...]]]]:
    """Take the entries of rows apart again.

    Args:
        layouts: The layouts of the rows.
        payloads: The payloads of the rows.

    Returns:
        The names of the columns, and for each column the layouts and the payloads of its rows.

    Raises:
        ValueEncodingError: If the rows are not all of the same columns.
    """
    names, first = _parse(layouts[0])
    parts = [first] * len(layouts)
    if layouts.count(layouts[0]) != len(layouts):
        parsed = [_parse(layout) for layout in layouts]
        parts = [row for _, row in parsed]
        if any(others != names or len(row) != len(first) for others, row in parsed):
            raise ValueEncodingError("rows of other columns")
    cells = [_cells(payload, len(first)) for payload in payloads]
    return names, list(zip(zip(*parts, strict=True), zip(*cells, strict=True), strict=True))


def _combine(
    names: tuple[str, ...] | None, row: Sequence[Encoded | ValueEncodingError]
) -> Encoded | ValueEncodingError:
    layouts, payloads = [], []
    for step, cell in zip(names or range(len(row)), row, strict=True):
        if isinstance(cell, ValueEncodingError):
            return ValueEncodingError(cell.reason, path(("$", step)) + cell.path[1:], cell.type)
        layouts.append(cell[0])
        payloads.append(cell[1])
    sizes = struct.pack(f"<{len(row)}Q", *map(len, payloads))
    return _layout(names, tuple(layouts)), b"".join((sizes, *payloads))


def _cells(payload: Payload, count: int) -> list[bytes]:
    """Return the payload of each cell of a row."""
    data = bytes(payload)
    cells, start = [], 8 * count
    sizes = struct.unpack_from(f"<{count}Q", data) if len(data) >= start else ()
    for size in sizes:
        cells.append(data[start : start + size])
        start += size
    if len(cells) != count or start != len(data):
        raise ValueEncodingError("the payload has not the size that its cells tell")
    return cells


@lru_cache(_LAYOUTS)
def _layout(names: tuple[str, ...] | None, layouts: tuple[bytes, ...]) -> bytes:
    kind = UNNAMED if names is None else NAMED
    return interned(kind + packed([list(names or ()), list(layouts)]))


@lru_cache(_LAYOUTS)
def _parse(layout: bytes) -> tuple[tuple[str, ...] | None, tuple[bytes, ...]]:
    """Return the names of columns and the layouts of their cells."""
    names, layouts = unpacked(layout[1:])
    if not layouts or any(type(part) is not bytes or part[:1] not in _CELLS for part in layouts):
        raise ValueError("no layouts of cells")
    if layout[:1] == UNNAMED:
        return None, tuple(map(interned, layouts))
    if len(set(names)) != len(layouts) or any(type(name) is not str for name in names):
        raise ValueError("no names of columns")
    return tuple(names), tuple(map(interned, layouts))
