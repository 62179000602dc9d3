"""Cut a batch or a list into items, and take some of them.

A list is cut into its elements, an array or tensor along its first axis; anything else is one item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litcache import arrays
from litcache.arrays import has_rows, is_array, is_number

_PLAIN_NUMBERS = frozenset({int, float})


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
        The elements of a list of anything but numbers; a list of numbers (token ids) as one item,
        whatever kinds of numbers it holds; the rows of an array or tensor; a bare string as one
        item. `None` for all else, and for anything empty.

    Example:
        >>> split_items(["a", "b"]), split_items([101, 7592, 102]), split_items("a")
        (['a', 'b'], [[101, 7592, 102]], ['a'])
    """
    if type(decoded) is str:
        return [decoded]
    rows = split(decoded)
    if type(decoded) is list and rows and _are_numbers(rows):
        return [decoded]
    return rows or None


def _are_numbers(parts: list[Any]) -> bool:
    return _PLAIN_NUMBERS.issuperset(map(type, parts)) or all(map(is_number, parts))


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
    if type(container) is list:
        return [container[index] for index in indices]
    if is_array(container):
        numpy = arrays.numpy()
        return container[numpy.array(indices, dtype=numpy.intp)]
    torch = arrays.torch()
    places = torch.tensor(indices, dtype=torch.int64, device=container.device)
    return container[places]  # index_select lacks dtypes
