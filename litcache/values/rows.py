"""Rows of outputs to entries, and entries of rows to the container that they came in.

A container of rows is a list, an array or a tensor, of exactly that type. A tuple is one, too, when
LitServe cuts the batch; with `items="list"`, so is a tuple or dict of equally long columns. Each
row becomes an entry. Its layout also names the container, so rows of different calls can be merged
into the container that their method returns. The entry of a row of columns holds the entries of its
cells side by side.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from litcache import arrays
from litcache.arrays import has_rows, is_array
from litcache.errors import ValueEncodingError, path_of
from litcache.stores.base import Entry
from litcache.values.codec import encode_many, read_many
from litcache.values.elements import encode_each, encode_narrow, stored_fault
from litcache.values.layouts import ArrayLayout, Encoded, Payload, interned, parse
from litcache.values.packing import MALFORMED, packed, unpacked

_JOINED = (b"A", b"T")
_LIST, _TUPLE = b"l", b"u"
_UNNAMED, _NAMED = b"x", b"y"
_COLUMNS = (_UNNAMED, _NAMED)
_CELLS = (b"A", b"T", b"l")  # rows of an array, a tensor, a list
_LAYOUTS = 4096


def count_rows(output: Any, *, columns: bool) -> int | None:
    """Return how many rows a container holds.

    Args:
        output: What `predict` returned.
        columns: Whether a tuple, or a dict with string keys, holds columns, as with
            `items="list"`. If not, a tuple holds rows, and a dict is no container.

    Returns:
        The number; `None` for anything that is not a container of rows.

    Example:
        >>> count_rows((["a", "b"], [1, 2]), columns=True)
        2
        >>> count_rows(("a", "b", "c"), columns=False)
        3
    """
    if is_array(output):
        return len(output) if output.ndim else None
    if type(output) is list or (type(output) is tuple and not columns) or has_rows(output):
        return len(output)
    if not columns or type(output) not in (tuple, dict):
        return None
    if type(output) is dict and any(type(name) is not str for name in output):
        return None
    parts = _columns(output)
    counts = {None if type(p) is tuple else count_rows(p, columns=False) for p in parts}
    return counts.pop() if len(counts) == 1 else None


def row_at(output: Any, index: int, *, columns: bool) -> Any:
    """Return one row of a container.

    Args:
        output: A container of rows.
        index: Which of its rows.
        columns: As for `count_rows`.

    Returns:
        The row; for columns, a tuple or dict with one element of each column.

    Raises:
        IndexError: If there are fewer rows.

    Example:
        >>> row_at({"text": ["a", "b"]}, 1, columns=True)
        {'text': 'b'}
    """
    return _row(output, index, columns=columns and type(output) in (tuple, dict))


def encode_rows(
    output: Any, *, columns: bool, store_as: str | None = None, count: int | None = None
) -> list[Encoded | ValueEncodingError]:
    """Make an entry of each row of a container.

    Args:
        output: A container of rows; a tensor goes to the CPU by one copy.
        columns: As for `count_rows`.
        store_as: The form in which arrays and tensors of floats are stored; `None`: in full.
        count: What `count_rows` has returned, if it was asked.

    Returns:
        For each row its layout, which names the container, and its payload, in its own memory; or
        the error that says why it is not stored.

    Raises:
        ValueEncodingError: If the output is not a container of rows.

    Example:
        >>> from litcache.stores.base import NewEntry
        >>> rows = encode_rows({"text": ["a", "b"], "tokens": [3, 4]}, columns=True)
        >>> merge_rows([NewEntry(*row) for row in reversed(rows)])
        {'text': ['b', 'a'], 'tokens': [4, 3]}
    """
    if count is None:
        count = count_rows(output, columns=columns)
    if count is None:
        raise ValueEncodingError("no container of rows", "$", type(output))
    if columns and type(output) in (tuple, dict):
        names = tuple(output) if type(output) is dict else None
        parts = _columns(output)
        cells = [encode_rows(part, columns=False, store_as=store_as) for part in parts]
        return [_combine(names, row) for row in zip(*cells, strict=True)]
    if type(output) in (list, tuple):
        kind = _LIST if type(output) is list else _TUPLE
        return [
            row if isinstance(row, ValueEncodingError) else (interned(kind + row[0]), row[1])
            for row in encode_many(output, store_as)
        ]
    if not count:
        return []
    try:
        if store_as is not None and (is_array(output) or stored_fault(output) is None):
            narrow = encode_narrow(output, store_as, rows=True)
            if narrow is not None:
                return list(narrow)
        if is_array(output) and output.dtype.char in "US" and _is_natural(output):
            # Alone, a row would have been as wide as its own texts, not as those of its batch.
            rows = [output[at : at + 1] for at in range(count)]
            return [encode_each(row.astype(_natural(row)))[0] for row in rows]
        return list(encode_each(output))
    except ValueEncodingError as error:
        return [error] * count


def merge_rows(entries: Sequence[Entry], device: object = None) -> Any:
    """Merge the entries of rows into the container that they came in.

    Args:
        entries: Entries that `encode_rows` made, for any calls, in order; at least one.
        device: Where a tensor goes if its rows were stored from a device of this type; else it goes
            to the CPU.

    Returns:
        The container, writable, in its own memory. Arrays and tensors are made by one copy.

    Raises:
        ValueEncodingError: If there are no entries, if they do not fit together, or if one is
            malformed.

    Example:
        >>> from litcache.stores.base import NewEntry
        >>> merge_rows([NewEntry(*row) for row in encode_rows(("a", 1), columns=False)])
        ('a', 1)
    """
    return _merge([e.layout for e in entries], [e.payload for e in entries], device)


def row_value(layout: bytes, payload: Payload, device: object = None) -> Any:
    """Make one row without a container.

    Args:
        layout: A layout that `encode_rows` made.
        payload: The payload beside it.
        device: As for `merge_rows`.

    Returns:
        What indexing the container gives; for columns, a tuple or dict with one element of each.

    Raises:
        ValueEncodingError: If the entry is malformed, or is not the entry of a row.

    Example:
        >>> row_value(*encode_rows({"text": ["a"], "tokens": [3]}, columns=True)[0])
        {'text': 'a', 'tokens': 3}
    """
    return _row(_merge([layout], [payload], device), 0, columns=layout[:1] in _COLUMNS)


def _columns(output: Any) -> list[Any]:
    return list(output.values() if type(output) is dict else output)


def _row(output: Any, index: int, *, columns: bool) -> Any:
    if not columns:
        return output[index]
    if type(output) is dict:
        return {name: column[index] for name, column in output.items()}
    return tuple(column[index] for column in output)


def _merge(layouts: Sequence[bytes], payloads: Sequence[Payload], device: object) -> Any:
    if not layouts:
        raise ValueEncodingError("no rows to merge")
    first = layouts[0]
    kind = first[:1]
    try:
        if layouts.count(first) == len(layouts) and kind in _JOINED:
            return parse(first).join(payloads, device)
        if all(layout[:1] == kind for layout in layouts):
            if kind in (_LIST, _TUPLE):
                inner = {layout: interned(layout[1:]) for layout in set(layouts)}
                rows = read_many([inner[layout] for layout in layouts], payloads, device)
                return rows if kind == _LIST else tuple(rows)
            if kind in _COLUMNS:
                names, cells = _separate(layouts, payloads)
                columns = [_merge(*column, device) for column in cells]
                return tuple(columns) if names is None else dict(zip(names, columns, strict=True))
            if kind in _JOINED:
                return _join_different(layouts, payloads, device)
    except MALFORMED as error:
        raise ValueEncodingError(f"malformed rows: {error}") from error
    raise ValueEncodingError("rows of containers that do not fit together")


def _natural(texts: Any) -> Any:
    """Return the dtype that numpy chooses for the texts of an array: as wide as the longest."""
    longest = int(arrays.numpy().char.str_len(texts).max()) if texts.size else 0
    return arrays.numpy().dtype(f"{texts.dtype.str[0]}{texts.dtype.kind}{max(1, longest)}")


def _is_natural(texts: Any) -> bool:
    """Return whether numpy itself would have chosen the dtype of an array of texts."""
    return texts.dtype.metadata is None and bool(texts.dtype == _natural(texts))


def _join_different(layouts: Sequence[bytes], payloads: Sequence[Payload], device: object) -> Any:
    """Join rows of layouts that differ in the form of their floats, or in the width of texts."""
    plans: dict[bytes, Any] = {layout: parse(layout) for layout in set(layouts)}
    if len({plan.form for plan in plans.values()}) != 1:
        return _join_texts([plans[layout] for layout in layouts], payloads)
    joined = None
    for layout, plan in plans.items():
        places = [at for at, other in enumerate(layouts) if other == layout]
        part = plan.join([payloads[at] for at in places], device)
        if joined is None:
            joined = plan.empty(len(layouts), part)
        joined[places] = part
    return joined


def _join_texts(plans: Sequence[Any], payloads: Sequence[Payload]) -> Any:
    """Join rows of string arrays into one as wide as the longest string of the rows."""
    like = {(plan.dtype.kind, plan.dtype.byteorder, plan.shape) for plan in plans}
    if len(like) != 1 or not isinstance(plans[0], ArrayLayout) or plans[0].dtype.kind not in "US":
        raise ValueEncodingError("rows of arrays of different dtypes or shapes")
    widest = max((plan.dtype for plan in plans), key=lambda dtype: dtype.itemsize)
    joined = arrays.numpy().empty((len(plans), *plans[0].shape), widest)
    for index, (plan, payload) in enumerate(zip(plans, payloads, strict=True)):
        joined[index] = plan.join([payload])[0]
    return joined


def _combine(
    names: tuple[str, ...] | None, row: Sequence[Encoded | ValueEncodingError]
) -> Encoded | ValueEncodingError:
    """Make the entry of a row of columns from the entries of its cells; dicts have names."""
    layouts, payloads = [], []
    for step, cell in zip(names or range(len(row)), row, strict=True):
        if isinstance(cell, ValueEncodingError):
            return ValueEncodingError(cell.reason, path_of([step]) + cell.path[1:], cell.type)
        layouts.append(cell[0])
        payloads.append(cell[1])
    sizes = struct.pack(f"<{len(row)}Q", *map(len, payloads))
    return _columns_layout(names, tuple(layouts)), b"".join((sizes, *payloads))


def _separate(
    layouts: Sequence[bytes], payloads: Sequence[Payload]
) -> tuple[tuple[str, ...] | None, list[tuple[tuple[bytes, ...], tuple[bytes, ...]]]]:
    """Return the names of the columns, and for each the layouts and payloads of its cells."""
    names, first = _parse_columns(layouts[0])
    parts = [first] * len(layouts)
    if layouts.count(layouts[0]) != len(layouts):
        parsed = [_parse_columns(layout) for layout in layouts]
        parts = [row for _, row in parsed]
        if any(others != names or len(row) != len(first) for others, row in parsed):
            raise ValueEncodingError("rows of other columns")
    cells = [_cells(payload, len(first)) for payload in payloads]
    return names, list(zip(zip(*parts, strict=True), zip(*cells, strict=True), strict=True))


def _cells(payload: Payload, count: int) -> list[bytes]:
    """Return the payload of each cell of a row."""
    data = bytes(payload)
    cells, start = [], 8 * count
    sizes = struct.unpack_from(f"<{count}Q", data) if len(data) >= start else ()
    for size in sizes:
        cells.append(data[start : start + size])
        start += size
    if len(cells) != count or start != len(data):
        raise ValueEncodingError("the payload has another size than its cells")
    return cells


@lru_cache(_LAYOUTS)
def _columns_layout(names: tuple[str, ...] | None, layouts: tuple[bytes, ...]) -> bytes:
    kind = _UNNAMED if names is None else _NAMED
    return interned(kind + packed([list(names or ()), list(layouts)]))


@lru_cache(_LAYOUTS)
def _parse_columns(layout: bytes) -> tuple[tuple[str, ...] | None, tuple[bytes, ...]]:
    """Return the names of columns and the layouts of their cells."""
    names, layouts = unpacked(layout[1:])
    if not layouts or any(type(part) is not bytes or part[:1] not in _CELLS for part in layouts):
        raise ValueError("no layouts of cells")
    if layout[:1] == _UNNAMED:
        return None, tuple(map(interned, layouts))
    if len(set(names)) != len(layouts) or any(type(name) is not str for name in names):
        raise ValueError("no names of columns")
    return tuple(names), tuple(map(interned, layouts))
