"""The list of a request, with `items="list"`: cut out of what stands around it, and put back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from litcache.values.containers import Kind, duplicate, kind_of, together
from litcache.values.items import split_items

At = str | int | None
"""Where the list stands: a key of a dict, a position or name of a tuple; `None`: it is all."""

_NOTHING = object()


class Cut:
    """The list of a request, and what stands around it.

    Args:
        items: The items of the list.
        kind: The kind of container in which the method gets items of this request.
        rest: What stands around the list: the same dict or tuple with `None` in the list's place.
        at: The list's place in it; `None` if nothing stands around it.
    """

    __slots__ = ("at", "items", "kind", "rest")

    def __init__(self, items: list[Any], kind: Kind, rest: Any, at: At) -> None:
        self.items = items
        self.kind = kind
        self.rest = rest
        self.at = at

    def filled(self, items: Sequence[Any]) -> Any:
        """Return what the method gets for some items: their container, where the list stood.

        Args:
            items: Items of this request, or of others of the same kind with an equal rest.

        Returns:
            The container, in a copy of the rest: the method may change what it gets.
        """
        container = together(items, self.kind)
        return container if self.at is None else _put(duplicate(self.rest), self.at, container)


def cut(decoded: Any, at: At) -> Cut | None:
    """Cut the list out of a decoded input.

    Args:
        decoded: What `decode_request` returned.
        at: Where the list stands: a key of a dict, a position of a tuple or a name of a named one.

    Returns:
        The list; `None` if there is none, or an empty one.

    Example:
        >>> found = cut({"query": "q", "documents": ["a", "b"]}, "documents")
        >>> found.items, found.filled(["b"])
        (['a', 'b'], {'query': 'q', 'documents': ['b']})
    """
    listed = _find(decoded, at)
    items = None if listed is _NOTHING else split_items(listed)
    if items is None:
        return None
    return Cut(items, kind_of(listed), None if at is None else _put(decoded, at, None), at)


def cut_one(item: Any, at: At) -> Cut:
    """Cut one item out of its container.

    Args:
        item: The item; with a place, the dict or tuple that has the item in the list's place.
        at: The place.

    Returns:
        A list of this item alone.

    Raises:
        ValueError: If there is no such place.

    Example:
        >>> cut_one({"query": "q", "documents": "a"}, "documents").items
        ['a']
    """
    found = _find(item, at)
    if found is _NOTHING:
        raise ValueError(f"there is nothing at {at!r}: give the container with one item there")
    return Cut([found], kind_of([]), None if at is None else _put(item, at, None), at)


def is_empty(decoded: Any, at: At) -> bool:
    """Return whether a decoded input holds an empty list in its place.

    Args:
        decoded: What `decode_request` returned.
        at: Where the list stands.

    Returns:
        Whether there is nothing to compute.

    Example:
        >>> is_empty([], None), is_empty({"texts": []}, "texts"), is_empty({}, "texts")
        (True, True, False)
    """
    listed = _find(decoded, at)
    return type(listed) is list and not listed


def _find(decoded: Any, at: At) -> Any:
    """Return what stands in a place; `_NOTHING` if there is no such place."""
    if at is None:
        return decoded
    if isinstance(decoded, dict):
        return dict.get(decoded, at, _NOTHING)  # a defaultdict would make it
    index = _index(decoded, at)
    return _NOTHING if index is None else decoded[index]


def _index(decoded: Any, at: str | int) -> int | None:
    """Return the position of a place in a tuple that can be made anew; `None` if there is none."""
    if not isinstance(decoded, tuple):
        return None
    names = getattr(decoded, "_fields", None)
    if names is None and type(decoded) is not tuple:
        return None
    if isinstance(at, str):
        return names.index(at) if names is not None and at in names else None
    return at if -len(decoded) <= at < len(decoded) else None


def _put(container: Any, at: str | int, value: Any) -> Any:
    """Return a shallow copy of a dict or tuple with another value in a place."""
    if isinstance(container, dict):
        made = dict(container) if type(container) is dict else copy.copy(container)
        made[at] = value
        return made
    index = _index(container, at)
    assert index is not None
    parts = list(container)
    parts[index] = value
    return tuple(parts) if type(container) is tuple else container._make(parts)
