"""What an output and its context share: a change of it at one place is seen at the other.

On a hit the output is a new object, and so is each entry of the context that the method changed.
They would share nothing with one another, or with what the request itself has. So an output that
does is not stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

from litcache.arrays import is_array, is_tensor, tensor_fault
from litcache.errors import ValueEncodingError, path_of
from litcache.keys.contexts import Context
from litcache.keys.objects import is_plain, state
from litcache.values.sharing import is_changeable, is_frozen, share_memory
from litcache.values.tagged import NATIVE

_CHANGEABLE = frozenset({list, dict, set, bytearray})
_CONTAINERS = (list, tuple, set, frozenset, deque)
_TWO = "it shares a part with context[{!r}], and on a hit there would be two: put a copy there"

_WHOLE = "it holds its context, and on a hit there would be two: return a copy, as dict(context)"


class _Parts:
    """What can be changed in place of a value: objects by their id, and arrays and tensors."""

    __slots__ = ("elements", "ids")

    def __init__(self, value: object) -> None:
        self.ids: dict[int, object] = {}  # which keeps them, so that the ids stay theirs
        self.elements: list[Any] = []
        seen: dict[int, object] = {}
        waiting: list[Any] = [value]
        while waiting:
            part = waiting.pop()
            kind = type(part)
            if kind in NATIVE or id(part) in seen:
                continue
            seen[id(part)] = part
            if kind in _CHANGEABLE:
                self.ids[id(part)] = part
            elif kind is not tuple and self._is_leaf(part):
                continue
            inner: Any = part.values() if kind is dict else _inner(part)
            if not NATIVE.issuperset(map(type, inner)):
                waiting.extend(inner)

    def _is_leaf(self, part: Any) -> bool:
        """Note a part that is no container of Python; return whether it has no parts itself."""
        if is_frozen(part):
            return True
        if is_changeable(part):
            self.ids[id(part)] = part
        if is_array(part) or (is_tensor(part) and tensor_fault(part) is None):
            self.elements.append(part)
            return True
        return False

    def meet(self, other: _Parts) -> bool:
        """Return whether a change in one value can be seen in the other."""
        return not self.ids.keys().isdisjoint(other.ids) or share_memory(
            self.elements, other.elements
        )


def _inner(value: Any) -> Collection[object]:
    """Return the parts of a container, or of an object that is made of its attributes."""
    if isinstance(value, _CONTAINERS):
        return value
    if isinstance(value, dict):
        return value.values()
    return state(value).values() if is_plain(type(value)) else ()


def fault_of_output(output: object, context: object) -> ValueEncodingError | None:
    """Return why an output is not stored: it shares something with an entry of its context.

    Args:
        output: The output of one item.
        context: The context of the item, as the method has left it.

    Example:
        >>> labels = ["cat"]
        >>> fault_of_output(labels, {"labels": list(labels), "count": 1}) is None
        True
        >>> fault_of_output(labels, {"labels": labels}).reason
        "it shares a part with context['labels'], and on a hit there would be two: put a copy there"
    """
    if type(output) in NATIVE or not isinstance(context, dict):
        return None
    if is_array(output) and NATIVE.issuperset(map(type, context.values())):
        return None  # an array holds no context
    return _fault("$", {(): output}, context, whole=context)


def fault_of_changes(context: Context, changed: Mapping[str, object]) -> ValueEncodingError | None:
    """Return why an output is not stored: what was changed in its context shares with the rest.

    Args:
        context: The context of the item, as the method has left it.
        changed: Its entries that were added or changed. What they share they share on a hit, too.
    """
    if NATIVE.issuperset(map(type, changed.values())):
        return None
    rest = {name: value for name, value in context.items() if name not in changed}
    if NATIVE.issuperset(map(type, rest.values())):
        return None
    return _fault("$context", {(name,): part for name, part in changed.items()}, rest)


def _fault(
    root: str,
    values: Mapping[tuple[object, ...], object],
    context: Context,
    whole: object = None,
) -> ValueEncodingError | None:
    """Return the error of one of some values, by the way to it, that shares with a context."""
    try:
        parts = _Parts(tuple(values.values()))
        if id(whole) in parts.ids:
            return ValueEncodingError(_WHOLE, root, type(whole))
        if not parts.ids or NATIVE.issuperset(map(type, context.values())):
            return None  # as most are
        if not parts.meet(_Parts(tuple(context.values()))):
            return None
        for steps, value in values.items():
            parts = _Parts(value)
            for name, entry in context.items():
                if parts.meet(_Parts(entry)):
                    return ValueEncodingError(_TWO.format(name), path_of(steps, root), type(value))
    except Exception as error:  # of the user's class, or another thread changes it meanwhile
        reason = f"it cannot be told whether it shares a part with its context: {error!r}"
        return ValueEncodingError(reason, root, type(error))
    return None
