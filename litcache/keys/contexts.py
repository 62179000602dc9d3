"""Which entries of a request's context a method reads, and which of them it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical

Context = dict[str, Any]


def select(context: Mapping[str, object], names: bool | tuple[str, ...]) -> dict[str, object]:
    """Return the entries of a context that stand in the key.

    Args:
        context: One item's context.
        names: `True` for all entries, or the names of those wanted.

    Returns:
        The entries, those that are missing left out.

    Example:
        >>> select({"user": 1, "trace": 2}, ("user", "tenant"))
        {'user': 1}
    """
    if isinstance(names, tuple):
        return {name: context[name] for name in names if name in context}
    return dict(context)


def snapshot(context: Mapping[str, object]) -> dict[str, object]:
    """Return a note of the entries of a context, with which `changes` finds what was changed.

    Args:
        context: One item's context.

    Returns:
        The canonical form of each entry; the entry itself where it has none.
    """
    return {name: _form(value) for name, value in context.items()}


def changes(
    before: Mapping[str, object], context: Mapping[str, object]
) -> tuple[dict[str, object], list[str]]:
    """Return the changes of a context since its snapshot.

    Args:
        before: What `snapshot` returned.
        context: The context now.

    Returns:
        The entries that were added or changed, in place too, and the names of those removed.

    Example:
        >>> context = {"a": [1], "b": 2}
        >>> before = snapshot(context)
        >>> context["a"].append(3); context["c"] = 4; del context["b"]
        >>> changes(before, context)
        ({'a': [1, 3], 'c': 4}, ['b'])
    """
    changed = {
        name: value
        for name, value in context.items()
        if name not in before or not _same(before[name], _form(value))
    }
    return changed, [name for name in before if name not in context]


def _form(value: object) -> object:
    try:
        return canonical(value)
    except KeyEncodingError:
        return value


def _same(before: object, after: object) -> bool:
    """Compare canonical forms by value, and entries without one by identity."""
    if type(before) is bytes and type(after) is bytes:
        return before == after
    return before is after
