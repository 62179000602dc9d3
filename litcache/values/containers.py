"""Containers of rows: which kind a method gets, and how rows are put together again."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Hashable, Sequence
from typing import Any

from litcache.arrays import is_array, is_tensor

Kind = tuple[Hashable, ...]
"""The kind of a container: a list, or arrays or tensors of one dtype and shape of a row."""

LIST: Kind = ("list",)
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_LEVELS = 8


def kind_of(container: Any) -> Kind:
    """Return the kind of container in which a method gets the items of a request.

    Args:
        container: What `decode_request` returned.

    Returns:
        `LIST` for anything but an array or tensor.

    Example:
        >>> kind_of(["a", "b"]) == kind_of("a") == LIST
        True
    """
    if is_array(container):
        return ("array", container.dtype, container.shape[1:])
    if is_tensor(container):
        return ("tensor", container.dtype, tuple(container.shape[1:]), container.device)
    return LIST


def together(rows: Sequence[Any], kind: Kind) -> Any:
    """Return rows, of several requests, as one container.

    Args:
        rows: Rows of containers of one kind.
        kind: Which.

    Returns:
        A list, an array `(n, …)` or a tensor `(n, …)`.

    Example:
        >>> together(("a", "b"), LIST)
        ['a', 'b']
    """
    if kind[0] == "array":
        numpy: Any = sys.modules["numpy"]
        joined = numpy.empty((len(rows), *kind[2]), kind[1])  # type: ignore[misc]
        for index, row in enumerate(rows):
            joined[index] = row
        return joined
    if kind[0] == "tensor":
        return sys.modules["torch"].stack(list(rows))
    return list(rows)


def own(row: Any) -> Any:
    """Return a row in its own memory, because a method may use its output buffer again.

    Args:
        row: A row of an output.

    Returns:
        A copy of an array or tensor; for columns, a copy of each cell; anything else as it is.

    Example:
        >>> own("text")
        'text'
    """
    return _own(row, {}, _LEVELS)


def _own(value: Any, copies: dict[int, Any], levels: int) -> Any:
    """Return a value whose arrays are copies; what stands twice in it does so in the copy."""
    if id(value) in copies:
        return copies[id(value)]
    kind, copy = type(value), value
    if is_array(value):
        copy = value.copy()
    elif is_tensor(value):
        copy = value.clone()
    elif levels and kind in (list, tuple, dict):
        parts = list(value.values() if kind is dict else value)
        own_parts = [_own(part, copies, levels - 1) for part in parts]
        if any(one is not other for one, other in zip(parts, own_parts, strict=True)):
            copy = dict(zip(value, own_parts, strict=True)) if kind is dict else kind(own_parts)
    copies[id(value)] = copy
    return copy


def duplicate(value: Any, levels: int = _LEVELS) -> Any:
    """Return a copy of a value that shares no buffer and no builtin container with it.

    Args:
        value: An item.
        levels: How many levels of containers are copied.

    Returns:
        The copy; what is neither a buffer nor a builtin container stays the same object.

    Example:
        >>> item = {"ids": [1, 2]}
        >>> copy = duplicate(item)
        >>> item["ids"].clear()
        >>> copy
        {'ids': [1, 2]}
    """
    kind = type(value)
    if levels and kind is dict and _ATOMS.issuperset(map(type, value.values())):
        return value.copy()  # as most contexts are
    if is_array(value):
        return value.copy("K")  # in its memory order, which a service may read
    if is_tensor(value):
        return value.clone()
    if kind is bytearray or kind is array:
        return value[:]
    if levels and kind is dict:
        return {key: duplicate(part, levels - 1) for key, part in value.items()}
    if levels and kind in (list, tuple, set):
        return kind(duplicate(part, levels - 1) for part in value)
    return value


def is_duplicable(value: Any, levels: int = _LEVELS) -> bool:
    """Return whether nothing that is done to a value changes its duplicate.

    Args:
        value: An item.
        levels: How many levels of containers are looked at.

    Example:
        >>> is_duplicable({"ids": [1, 2]}), is_duplicable(open)
        (True, False)
    """
    kind = type(value)
    if kind in _ATOMS or kind is bytearray or kind is array or is_array(value) or is_tensor(value):
        return True
    if levels and kind in (dict, list, tuple, set):
        parts = value.values() if kind is dict else value
        return all(is_duplicable(part, levels - 1) for part in parts)
    return False


def assemble(rows: Sequence[Any], like: Any, *, columns: bool) -> Any:
    """Put rows into a container of the kind that their method returned.

    Args:
        rows: The rows, of any calls, in order.
        like: A container that the method returned.
        columns: Whether a tuple or a dict holds columns.

    Returns:
        The container; a list if the rows fit into no array or tensor.

    Example:
        >>> assemble([{"text": "a"}, {"text": "b"}], {"text": ["x"]}, columns=True)
        {'text': ['a', 'b']}
    """
    if columns and type(like) is dict:
        return {
            name: assemble([row[name] for row in rows], column, columns=False)
            for name, column in like.items()
        }
    if columns and type(like) is tuple:
        return tuple(
            assemble([row[at] for row in rows], column, columns=False)
            for at, column in enumerate(like)
        )
    if type(like) is tuple:
        return tuple(rows)
    try:
        if is_array(like):
            joined = sys.modules["numpy"].empty((len(rows), *like.shape[1:]), like.dtype)
            for index, row in enumerate(rows):
                joined[index] = row
            return joined
        if is_tensor(like):
            return sys.modules["torch"].stack(list(rows))
    except (ValueError, TypeError, RuntimeError):  # rows of other shapes or dtypes
        pass
    return list(rows)
