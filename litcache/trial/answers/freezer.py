"""What freezes the parts of one answer, and counts them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from itertools import islice
from typing import Any

from litcache.trial.answers.frozen import (
    PLAIN,
    Array,
    Exact,
    Fields,
    Items,
    Node,
    Number,
    Unreadable,
    describe,
    with_article,
)
from litcache.trial.answers.places import Key, Step

MOST_PARTS = 500_000
"""How many parts of an answer are compared: elements, values of keys, attributes."""

PLAIN_PARTS = 8
"""So many elements of a list of plain values count as one part."""

MOST_BYTES = 1 << 30
"""How many bytes of arrays and buffers of an answer are compared."""

MOST_LEVELS = 100
"""How deep the parts of an answer may be nested."""


class _TooMuch(Exception):
    """A part is too large to be compared; the message says what it has."""


class Freezer:
    """Freezes the parts of one answer.

    Attributes:
        kept: What was frozen of arrays, by their `id`, beside the array itself: several parts may
            be one array.
    """

    def __init__(self) -> None:
        self.kept: dict[int, tuple[object, Node]] = {}
        self._parts_left = MOST_PARTS
        self._bytes_left = MOST_BYTES
        self._open: dict[int, int] = {}

    def read(self, cls: type, value: Any) -> Node:
        """Freeze a value of a class that is not plain; it may raise."""
        raise NotImplementedError

    def node(self, value: Any) -> Node:
        """Freeze a part."""
        if type(value) in PLAIN:
            return value  # type: ignore[no-any-return]
        key = id(value)
        if key in self._open:
            return Exact("a part that holds itself", len(self._open) - self._open[key], "itself")
        if len(self._open) >= MOST_LEVELS:
            return Unreadable(f"a part more than {MOST_LEVELS} levels deep")
        self._open[key] = len(self._open)
        try:
            return self.read(type(value), value)
        except Exception as error:
            return Unreadable(_why(value, error))
        finally:
            del self._open[key]

    def part(self, read: Callable[[], object]) -> Node:
        """Freeze a part that has to be asked for."""
        try:
            return self.node(read())
        except Exception as error:
            return Unreadable(f"a part that raises {type(error).__name__}")

    def require(self, parts: int = 0, size: int = 0) -> None:
        """Check that so many parts, and bytes of buffers, are not too many.

        Raises:
            _TooMuch: If they are.
        """
        if parts > self._parts_left:
            raise _TooMuch(f"more than {MOST_PARTS:,} parts")
        if size > self._bytes_left:
            raise _TooMuch(f"more than {MOST_BYTES:,} bytes")

    def take(self, parts: int = 0, size: int = 0) -> None:
        """Count parts, and bytes of buffers, if they are not too many."""
        self.require(parts, size)
        self._parts_left -= parts
        self._bytes_left -= size

    def bounded(self, values: Iterable[Any]) -> list[Any]:
        """Return what an iterator yields, if it is not too much."""
        found = list(islice(values, MOST_PARTS + 1))
        self.require(len(found))
        return found

    def items(self, kind: str, count: int, values: Iterable[Any]) -> Items:
        """Freeze parts that have an order, and are so many."""
        self.require(count // PLAIN_PARTS)
        found = tuple(values)
        classes = set(map(type, found))
        if classes <= PLAIN:
            self.take(count // PLAIN_PARTS)
            return Items(kind, found, classes.pop() if len(classes) == 1 else None)
        self.take(count)
        return Items(kind, tuple(map(self.node, found)))

    def fields(self, kind: str, values: dict[Any, Any], *, is_mapping: bool = False) -> Fields:
        """Freeze parts that have names, whose order does not count."""
        self.take(len(values))
        return Fields(
            kind, {self.key(name): self.node(part) for name, part in values.items()}, is_mapping
        )

    def key(self, value: Any) -> Step:
        """Freeze the key of a dict."""
        if type(value) is str or type(value) is Key:
            return value
        node = self.node(value)
        return Key(type(value).__name__, identity(node), describe(node))


def identity(node: Node) -> Hashable:
    """Return what is equal of equal parts: of keys, and of the elements of sets."""
    if isinstance(node, Items):
        return node.kind, tuple(map(identity, node.values))
    if isinstance(node, Fields):
        return node.kind, frozenset((name, identity(part)) for name, part in node.values.items())
    if isinstance(node, Number):
        return node.kind, _number(node.value)
    if isinstance(node, Exact):
        return node.kind, node.identity
    if isinstance(node, Array | Unreadable):
        return object()  # equal to no other
    return type(node), _number(node) if isinstance(node, float | complex) else node


def _number(value: float | complex) -> str:
    return repr(value + 0.0)  # -0.0 is 0.0, and NaN is NaN


def _why(value: object, error: Exception) -> str:
    """Return why a value cannot be compared."""
    kind = with_article(class_kind(type(value)))
    if isinstance(error, _TooMuch):
        return f"{kind} of {error}"
    if isinstance(error, Unfit):
        return f"{kind}, {error}" if str(error) else kind
    return f"{kind} that raises {type(error).__name__} when it is read"


class Unfit(Exception):
    """A value of this class cannot be compared; the message says why."""


def class_kind(cls: type) -> str:
    """Return the name of a class, for people: with its module if it is not one of Python.

    Example:
        >>> from decimal import Decimal
        >>> class_kind(dict), class_kind(Decimal)
        ('dict', 'decimal.Decimal')
    """
    module = str(cls.__module__)
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"
