"""The entries of a context that are in the key, and those that a method changes."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any

import msgpack

from litcache.arrays import is_tensor
from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical
from litcache.keys.objects import state
from litcache.keys.writer import LARGE, inherits, loaded

Context = dict[str, Any]

_PLAIN = frozenset({type(None), bool, int, str, bytes})
_NOTED = _PLAIN | {float}
# The notes that are remembered: how many, and how long they may be.
_MOST_KNOWN = 1_024
_SMALL_NOTE = 256
_MOST_PARTS = 1_000
_LARGEST = 1 << 16


def select(
    context: Mapping[str, object], names: bool | tuple[str, ...], hidden: str | None = None
) -> dict[str, object]:
    """Return the entries of a context that are in the key.

    Args:
        context: One item's context.
        names: `True` for all entries, or the names of the wanted ones.
        hidden: The name of an entry that is the cache's own, if there is one.

    Returns:
        The entries, without those that the context does not have.

    Example:
        >>> select({"user": 1, "trace": 2}, ("user", "tenant"))
        {'user': 1}
    """
    if isinstance(names, tuple):
        return {name: context[name] for name in names if name in context}
    selected = dict(context)
    if hidden is not None:
        selected.pop(hidden, None)
    return selected


class ContextForms:
    """Makes the canonical forms of the contexts of batches, and remembers those of small ones.

    Concurrency: safe in many threads.

    Args:
        digest: As for `canonical`.

    Example:
        >>> one, other = ContextForms().of([{"user": 1}, {"user": True}])
        >>> one == other
        False
    """

    __slots__ = ("_digest", "_known")

    def __init__(self, digest: str = "blake") -> None:
        self._digest = digest
        self._known: dict[bytes, bytes] = {}

    def of(self, contexts: Sequence[Mapping[str, object]]) -> list[bytes]:
        """Return the canonical form of each context.

        Args:
            contexts: The entries that are in the key, for each item.

        Raises:
            KeyEncodingError: If one of them has no canonical form.
        """
        forms = self._of_plain(contexts)
        if forms is not None:
            return forms
        if len(contexts) == 1:
            return [canonical(contexts[0], self._digest, "$context")]
        # One that is not plain slows down no other.
        return [form for context in contexts for form in self.of((context,))]

    def _of_plain(self, contexts: Sequence[Any]) -> list[bytes] | None:
        """Return the forms of contexts of plain values; `None` if others are among them.

        The msgpack of a context is the note of it, and sorted it is the form. It takes no loop in
        Python unless a new context has several entries.
        """
        pack = msgpack.Packer(strict_types=True).pack
        try:
            # What equal notes are of is equal, too, as far as msgpack writes each type in its own
            # way: all but bytes, which is found out below before a note is known.
            forms = list(map(self._known.get, map(pack, contexts)))
            if all(forms):
                return forms  # type: ignore[return-value]
            notes = list(map(pack, contexts))
            distinct = dict(zip(notes, contexts, strict=True))
            some = distinct.values()
            "".join(chain.from_iterable(some))  # the names are text
            values = list(chain.from_iterable(map(dict.values, some)))
            kinds = set(map(type, values))
            has_bytes = bytes in kinds
            if has_bytes:  # a bytearray is written alike
                kinds = set(map(type, chain.from_iterable(map(dict.values, contexts))))
            if not kinds <= _NOTED or (float in kinds and any(map(operator.ne, values, values))):
                return None  # a NaN has one form, whatever its bits
            largest = max(map(len, distinct))
            if largest > LARGE:
                return None
            orders = {names: sorted(names, key=pack) for names in set(map(tuple, some))}
            made = {
                note: pack({name: context[name] for name in orders[tuple(context)]})
                for note, context in distinct.items()
            }
        except (TypeError, ValueError, OverflowError):
            return None  # no dict of plain values, a lone surrogate, or a long integer
        if largest <= _SMALL_NOTE and not has_bytes:
            self._remember(made)
        return list(map(made.__getitem__, notes))

    def _remember(self, made: dict[bytes, bytes]) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known = {}
        self._known.update(made)


def snapshot(context: Mapping[str, object]) -> dict[str, object]:
    """Return a note of the entries of a context, for `changes`.

    Args:
        context: One item's context.

    Returns:
        A note of each entry: its type and value if that says all, its canonical form, or an
        `Opaque` if it has none.
    """
    return {name: _form(value) for name, value in context.items()}


def changes(
    before: Mapping[str, object], context: Mapping[str, object], hidden: str | None = None
) -> tuple[dict[str, object], list[str]]:
    """Return the changes of a context since its snapshot.

    Args:
        before: What `snapshot` returned.
        context: The context now.
        hidden: The name of an entry that is the cache's own, if there is one.

    Returns:
        The entries that were added or changed, also in place, and the names of those removed.

    Example:
        >>> context = {"a": [1], "b": 2}
        >>> before = snapshot(context)
        >>> context["a"].append(3); context["c"] = 4; del context["b"]
        >>> changes(before, context)
        ({'a': [1, 3], 'c': 4}, ['b'])
    """
    own = () if hidden is None else (hidden,)  # an entry may be named None
    changed = {
        name: value
        for name, value in context.items()
        if name not in own and (name not in before or not _same(before[name], _form(value)))
    }
    return changed, [name for name in before if name not in context and name not in own]


class Opaque:
    """A note of an object that has no canonical form, by which a change of it is noticed.

    Args:
        value: The object.
        above: The objects through which it was reached, and those met before.

    Attributes:
        value: The object; notes of two different objects are never the same.
        parts: Notes of its attributes or elements.
    """

    __slots__ = ("parts", "value")

    def __init__(self, value: object, above: dict[int, object]) -> None:
        above[id(value)] = value
        self.value = value
        self.parts = {name: _part(part, above) for name, part in _parts(value).items()}

    def same(self, other: object) -> bool:
        """Return whether another note is of the same object in the same state."""
        return (
            isinstance(other, Opaque)
            and other.value is self.value
            and other.parts.keys() == self.parts.keys()
            and all(_same(part, other.parts[name]) for name, part in self.parts.items())
        )


def _form(value: object) -> object:
    if type(value) in _PLAIN:  # most are, and this is asked before and after each chunk of a stream
        return type(value), value
    try:
        return canonical(value)
    except KeyEncodingError:
        return Opaque(value, {})


def _parts(value: object) -> Mapping[Any, object]:
    """Return the parts of an object that Python can see."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    if isinstance(value, (type, ModuleType, FunctionType)):
        return {}
    try:
        return state(value)
    except Exception:  # a property of the user's may raise anything
        return {}


def _part(value: object, above: dict[int, object]) -> object:
    """Return a note of a part of an object; of a large part, only that it is there."""
    if type(value) in _PLAIN:
        return type(value), value
    if is_tensor(value) or inherits(type(value), loaded("torch.nn", "Parameter")):
        return id(value), value._version  # type: ignore[attr-defined]
    if id(value) in above or len(above) > _MOST_PARTS or getattr(value, "nbytes", 0) > _LARGEST:
        return id(value)
    try:
        return canonical(value)
    except KeyEncodingError:
        return Opaque(value, above)


def _same(before: object, after: object) -> bool:
    """Return whether notes are equal: canonical forms by value, other objects by their parts."""
    if isinstance(before, Opaque):
        return before.same(after)
    return type(before) is type(after) and before == after
