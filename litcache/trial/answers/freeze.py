"""Answers frozen: copied into parts of known kinds, of which nobody else has any.

Freezing runs no method of the answer but those that pickling it would run, and it never raises:
what cannot be read is frozen as `Unreadable`.
"""

from __future__ import annotations

import types
from collections import deque
from typing import Any

from litcache.keys.writer import inherits
from litcache.trial.answers import leaves, objects, tables, tensors
from litcache.trial.answers.freezer import Freezer, class_kind, identity
from litcache.trial.answers.frozen import Exact, Fields, Frozen, Node, Unreadable, describe
from litcache.trial.answers.places import Key, Step


def freeze(value: object) -> Frozen:
    """Freeze an answer, so that nothing which is done to it later changes what is compared.

    Args:
        value: Any object. Of what can be read only once, such as a generator, nothing is read.

    Returns:
        Its parts. What is too large (`MOST_PARTS`, `MOST_BYTES`, `MOST_LEVELS`) or cannot be read
        is a part that agrees with nothing.

    Example:
        >>> answer = {"scores": [0.5]}
        >>> frozen = freeze(answer)
        >>> answer["scores"].append(0.25)
        >>> frozen.tree.values["scores"].values
        (0.5,)
    """
    try:
        return Frozen(_Freezer().node(value))
    except Exception:
        return Frozen(Unreadable("an answer that cannot be read"))


def raised(error: BaseException) -> Frozen:
    """Freeze an error as an answer: its class, its text, its status and detail if it has them.

    Example:
        >>> raised(KeyError("a"))
        <frozen: the error KeyError>
    """
    try:
        freezer = _Freezer()
        parts: dict[Step, Node] = {"text": freezer.part(lambda: str(error))}
        for name in ("status_code", "detail", "headers"):
            if hasattr(error, name):
                parts[name] = freezer.part(lambda name=name: getattr(error, name))  # type: ignore[misc]
        return Frozen(Fields(f"the error {class_kind(type(error))}", parts))
    except Exception:
        return Frozen(Unreadable("an error that cannot be read"))


class Removed:
    """Stands in the place of an entry of a context that was removed."""


class _Freezer(Freezer):
    def read(self, cls: type, value: Any) -> Node:
        if cls is Removed:
            return Exact("the removal", None, "the removal")
        if cls is dict:
            self.require(len(value))
            return self.fields("dict", dict(value), is_mapping=True)
        if cls is list or cls is tuple:
            return self.items(cls.__name__, len(value), value)
        for kind in (_container, tables.read, tensors.read, leaves.read):
            found = kind(self, cls, value)
            if found is not None:
                return found
        return objects.read(self, cls, value)


_SEQUENCES: tuple[Any, ...] = (list, tuple, deque)
_SETS: tuple[Any, ...] = (set, frozenset)
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_CONTAINERS = frozenset({*_SEQUENCES, *_SETS, *_VIEWS, dict, types.MappingProxyType})


def _container(to: Freezer, cls: type, value: Any) -> Node | None:
    """Freeze a container of Python, by what its base holds; of a subclass the attributes, too."""
    content = _content(to, cls, value)
    if content is None or cls in _CONTAINERS:
        return content
    return objects.with_attributes(to, value, content)


def _content(to: Freezer, cls: type, value: Any) -> Node | None:
    kind = class_kind(cls)
    for base in _SEQUENCES:
        if inherits(cls, base):
            count = base.__len__(value)
            names = getattr(cls, "_fields", None) if base is tuple else None
            if isinstance(names, tuple) and names and len(names) == count:
                return to.fields(kind, dict(zip(names, tuple.__iter__(value), strict=True)))
            return to.items(kind, count, base.__iter__(value))
    for base in _SETS:
        if inherits(cls, base):
            to.take(base.__len__(value))
            return _set(to, kind, tuple(base.__iter__(value)))
    if inherits(cls, dict):
        to.require(dict.__len__(value))
        return to.fields(kind, dict(dict.items(value)), is_mapping=True)
    if cls is types.MappingProxyType:
        return to.fields(kind, dict(value), is_mapping=True)
    return to.items(kind, len(value), value) if cls in _VIEWS else None


def _set(to: Freezer, kind: str, values: tuple[Any, ...]) -> Fields:
    nodes = [to.node(value) for value in values]
    return Fields(kind, {Key("element", identity(node), describe(node)): node for node in nodes})
