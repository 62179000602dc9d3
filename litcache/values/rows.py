"""A batch into items, and rows of outputs into entries and back.

A container of rows is an exact list, array or tensor (also a tuple, where LitServe cuts the batch;
a tuple or dict of equally long columns, with `items="list"`). Each row becomes an entry whose
layout names the container too, so that rows of any calls are merged into what their method returns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from litcache.arrays import MALFORMED
from litcache.errors import ValueEncodingError
from litcache.values.codec import Encoded, cut, encode_many, read_many
from litcache.values.columns import NAMED, UNNAMED, combine, separate
from litcache.values.layouts import (
    Payload,
    encode_elements,
    interned,
    is_array,
    is_tensor,
    parse,
    tensor_fault,
)

if TYPE_CHECKING:
    from litcache.stores.base import Entry

_JOINED = (b"A", b"T")
_LIST, _TUPLE = b"l", b"u"
_COLUMNS = (UNNAMED, NAMED)
_NUMBERS = frozenset({int, float})


def split(container: Any) -> list[Any] | None:
    """Return the rows of a container along its first axis.

    Args:
        container: Anything.

    Returns:
        The rows of a list, an array `(n, …)` or a tensor `(n, …)`; `None` for all else.

    Example:
        >>> split(["a", "b"]), split(("a", "b"))
        (['a', 'b'], None)
    """
    if type(container) is list or _has_rows(container):
        return list(container)
    return None


def split_items(decoded: object) -> list[Any] | None:
    """Return the items of one request, with `items="list"`.

    Args:
        decoded: What `decode_request` returned.

    Returns:
        The elements of a list of anything but numbers; a list of numbers (token ids) as one item;
        the rows of an array or tensor; a bare string as one item. `None` for all else, and for
        what is empty.

    Example:
        >>> split_items(["a", "b"]), split_items([101, 7592, 102]), split_items("a")
        (['a', 'b'], [[101, 7592, 102]], ['a'])
    """
    if type(decoded) is str:
        return [decoded]
    rows = split(decoded)
    if type(decoded) is list and rows and _NUMBERS.issuperset(map(type, rows)):
        return [decoded]
    return rows or None


def take(container: Any, indices: Sequence[int]) -> Any:
    """Return a container of some rows alone.

    Args:
        container: A list, an array `(n, …)` or a tensor `(n, …)`.
        indices: Which rows, in order.

    Returns:
        A container of the same kind, dtype and device.

    Example:
        >>> take(["a", "b", "c"], [2, 0])
        ['c', 'a']
    """
    if is_array(container):
        numpy = sys.modules["numpy"]
        return container[numpy.array(indices, dtype=numpy.intp)]
    if is_tensor(container):
        torch = sys.modules["torch"]
        places = torch.tensor(indices, dtype=torch.int64, device=container.device)
        return container[places]  # index_select lacks dtypes
    return [container[index] for index in indices]


def gather(rows: Sequence[Any]) -> Any:
    """Return rows, of several requests, as one container.

    Args:
        rows: The rows.

    Returns:
        An array, if they are arrays of one dtype and shape (or numpy scalars of one dtype); a
        tensor, if they are tensors of one dtype, shape and device; else a list.

    Example:
        >>> gather(["a", "b"])
        ['a', 'b']
    """
    first: Any = rows[0] if rows else None
    if any(type(row) is not type(first) for row in rows):
        return list(rows)
    if is_tensor(first):
        like = {(row.dtype, row.shape, row.device, tensor_fault(row)) for row in rows}
        alike = like == {(first.dtype, first.shape, first.device, None)}
        return sys.modules["torch"].stack(list(rows)) if alike else list(rows)
    numpy = sys.modules.get("numpy")
    if numpy is None or not (is_array(first) or isinstance(first, numpy.generic)):
        return list(rows)
    if isinstance(first, (numpy.str_, numpy.bytes_)):
        return numpy.array(rows)  # each has the width of its own text
    if any(row.dtype != first.dtype or row.shape != first.shape for row in rows):
        return list(rows)
    joined = numpy.empty((len(rows), *first.shape), first.dtype)
    for index, row in enumerate(rows):
        joined[index] = row
    return joined


def count_rows(output: Any, *, columns: bool) -> int | None:
    """Return how many rows a container holds.

    Args:
        output: What `predict` returned.
        columns: Whether a tuple or a dict with string keys is one of columns, as with
            `items="list"`. If not, a tuple is one of rows and a dict is no container.

    Returns:
        The number; `None` for what is no container of rows.

    Example:
        >>> count_rows((["a", "b"], [1, 2]), columns=True)
        2
        >>> count_rows(("a", "b", "c"), columns=False)
        3
    """
    if type(output) is list or (type(output) is tuple and not columns) or _has_rows(output):
        return len(output)
    if not columns or type(output) not in (tuple, dict):
        return None
    if type(output) is dict and any(type(name) is not str for name in output):
        return None
    parts = _columns(output)
    counts = {None if type(p) is tuple else count_rows(p, columns=False) for p in parts}
    return counts.pop() if len(counts) == 1 else None


def row_at(outputs: Sequence[Any], index: int, *, columns: bool) -> Any:
    """Return one row of containers that follow each other.

    Args:
        outputs: Containers of rows, as several calls of `predict` returned them.
        index: Which of all their rows.
        columns: As for `count_rows`.

    Returns:
        The row; of columns a tuple or dict of each one's.

    Raises:
        IndexError: If there are not so many rows.

    Example:
        >>> row_at([["a", "b"], ["c"]], 2, columns=False)
        'c'
    """
    for output in outputs:
        count = count_rows(output, columns=columns) or 0
        if index < count:
            return _row(output, index, columns=columns and type(output) in (tuple, dict))
        index -= count
    raise IndexError("row index out of range")


def encode_rows(output: Any, *, columns: bool) -> list[Encoded | ValueEncodingError]:
    """Make an entry of each row of a container.

    Args:
        output: A container of rows, in which a tensor is brought to the CPU by one copy.
        columns: As for `count_rows`.

    Returns:
        For each row its layout, which names the container, and its payload, in memory of its own;
        or why it is not stored.

    Raises:
        ValueEncodingError: If the output is no container of rows.

    Example:
        >>> from litcache.stores.base import NewEntry
        >>> rows = encode_rows({"text": ["a", "b"], "tokens": [3, 4]}, columns=True)
        >>> merge_rows([NewEntry(*row) for row in reversed(rows)])
        {'text': ['b', 'a'], 'tokens': [4, 3]}
    """
    count = count_rows(output, columns=columns)
    if count is None:
        raise ValueEncodingError("no container of rows", "$", type(output))
    if columns and type(output) in (tuple, dict):
        columns_of_rows = [encode_rows(column, columns=False) for column in _columns(output)]
        return combine(tuple(output) if type(output) is dict else None, columns_of_rows)
    if type(output) in (list, tuple):
        kind = _LIST if type(output) is list else _TUPLE
        return [
            row if isinstance(row, ValueEncodingError) else (interned(kind + row[0]), row[1])
            for row in encode_many(output)
        ]
    if not count:
        return []
    try:
        layout, data = encode_elements(output, rows=True)
    except ValueEncodingError as error:
        return [error] * count
    return [(layout, row) for row in cut(data, count)]


def merge_rows(entries: Sequence[Entry], device: object = None) -> Any:
    """Merge the entries of rows into the container that they came in.

    Args:
        entries: Entries that `encode_rows` made, of any calls, in order; at least one.
        device: Where a tensor goes whose rows were stored from a device of its type; else the CPU.

    Returns:
        The container, writable, in memory of its own; of arrays and tensors made by one copy.

    Raises:
        ValueEncodingError: If there are none, they do not fit together, or one is malformed.

    Example:
        >>> from litcache.stores.base import NewEntry
        >>> merge_rows([NewEntry(*row) for row in encode_rows(("a", 1), columns=False)])
        ('a', 1)
    """
    layouts = [entry.layout for entry in entries]
    return _merge(layouts, [entry.payload for entry in entries], device)


def row_value(layout: bytes, payload: Payload, device: object = None) -> Any:
    """Make one row by itself.

    Args:
        layout: A layout that `encode_rows` made.
        payload: The payload beside it.
        device: As for `merge_rows`.

    Returns:
        What indexing the container would give; of columns a tuple or dict of each one's.

    Raises:
        ValueEncodingError: If the entry is malformed, or that of no row.

    Example:
        >>> row_value(*encode_rows({"text": ["a"], "tokens": [3]}, columns=True)[0])
        {'text': 'a', 'tokens': 3}
    """
    return _row(_merge([layout], [payload], device), 0, columns=layout[:1] in _COLUMNS)


def _has_rows(value: Any) -> bool:
    """Tell whether a value is an array, or a tensor of plain elements, with a first axis."""
    if is_tensor(value):
        return tensor_fault(value) is None and value.ndim > 0
    return is_array(value) and value.ndim > 0


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
                names, cells = separate(layouts, payloads)
                columns = [_merge(*column, device) for column in cells]
                return tuple(columns) if names is None else dict(zip(names, columns, strict=True))
            if kind == b"A":
                return _join_texts(layouts, payloads)
    except MALFORMED as error:
        raise ValueEncodingError(f"malformed rows: {error}") from error
    raise ValueEncodingError("rows of containers that do not fit together")


def _join_texts(layouts: Sequence[bytes], payloads: Sequence[Payload]) -> Any:
    """Join rows of string arrays, whose dtype is as wide as the longest string of its batch."""
    plans: list[Any] = [parse(layout) for layout in layouts]
    like = {(plan.dtype.kind, plan.dtype.byteorder, plan.shape) for plan in plans}
    if len(like) != 1 or plans[0].dtype.kind not in "US":
        raise ValueEncodingError("rows of arrays of different dtypes or shapes")
    widest = max((plan.dtype for plan in plans), key=lambda dtype: dtype.itemsize)
    joined = sys.modules["numpy"].empty((len(plans), *plans[0].shape), widest)
    for index, (plan, payload) in enumerate(zip(plans, payloads, strict=True)):
        joined[index] = plan.join([payload])[0]
    return joined
