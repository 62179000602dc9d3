"""A batch or a list into items, and items together in one batch.

Lists are cut, and arrays and tensors along their first axis; all else is one item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litcache import arrays
from litcache.arrays import has_rows, is_array, is_scalar, is_tensor, tensor_fault

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
    if type(container) is list or has_rows(container):
        return list(container)
    return None


def split_items(decoded: object) -> list[Any] | None:
    """Return the items of one request, with `items="list"`.

    Args:
        decoded: What `decode_request` returned.

    Returns:
        The elements of a list of anything but numbers; a list of numbers (token ids) as one item;
        the rows of an array or tensor; a bare string as one item. `None` for all else, and for
        anything empty.

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
        numpy = arrays.numpy()
        return container[numpy.array(indices, dtype=numpy.intp)]
    if is_tensor(container):
        torch = arrays.torch()
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
        return arrays.torch().stack(list(rows)) if alike else list(rows)
    if not is_array(first) and not is_scalar(first):
        return list(rows)
    numpy = arrays.numpy()
    if isinstance(first, (numpy.str_, numpy.bytes_)):
        return numpy.array(rows)  # each has the width of its own text
    if any(row.dtype != first.dtype or row.shape != first.shape for row in rows):
        return list(rows)
    joined = numpy.empty((len(rows), *first.shape), first.dtype)
    for index, row in enumerate(rows):
        joined[index] = row
    return joined
