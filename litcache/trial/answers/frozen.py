"""What a frozen answer is made of: plain values as they are, and parts of a few kinds."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from litcache.trial.answers.places import Step

# Values that nothing can change, and that say all of themselves. Only exact types count.
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
NUMBERS = frozenset({float, complex})

_LONGEST_TEXT = 60


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Parts in an order.

    Attributes:
        kind: The class of the container.
        values: The parts.
        of: The type of the parts, if they are plain values of one type.
    """

    kind: str
    values: tuple[Any, ...]
    of: type | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """Parts with names: keys or attributes.

    Attributes:
        kind: The class of the container.
        values: The parts by their names.
        is_mapping: Whether the names are data, as the keys of a dict are.
    """

    kind: str
    values: dict[Step, Any]
    is_mapping: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Elements of one dtype: booleans, integers, floats or complex numbers.

    Attributes:
        kind: The class and the dtype.
        shape: The shape.
        data: An array of numpy or a tensor of torch on the CPU, contiguous, which nobody else has.
    """

    kind: str
    shape: tuple[int, ...]
    data: Any


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A float or complex number of another class than Python's."""

    kind: str
    value: float | complex


@dataclass(frozen=True, slots=True, eq=False)
class Exact:
    """A value without parts that must be equal.

    Attributes:
        kind: Its class.
        identity: What is equal of equal values.
        text: The value, for people.
    """

    kind: str
    identity: Hashable
    text: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The body of a response, which is compared by value if it is JSON."""

    data: str | bytes


@dataclass(frozen=True, slots=True, eq=False)
class Unreadable:
    """A part that cannot be compared; so it agrees with nothing.

    Attributes:
        why: What it is, for people.
    """

    why: str


Plain = None | bool | int | float | complex | str | bytes
Node = Plain | Items | Fields | Array | Number | Exact | Body | Unreadable


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frozen:
    """An answer as it was at one moment; nothing that is done to the answer later changes it.

    Attributes:
        tree: The root of its parts.
    """

    tree: Node

    def __repr__(self) -> str:
        return f"<frozen: {describe(self.tree)}>"


def kind_of(node: Node) -> str:
    """Return the name of the class of what was frozen."""
    if type(node) in PLAIN:
        return "None" if node is None else type(node).__name__
    return getattr(node, "kind", "")


def describe(node: Node) -> str:
    """Return a short text of a part.

    Example:
        >>> describe(0.5), describe(Items("list", (1, 2))), describe(Unreadable("a generator"))
        ('0.5', 'a list of 2', 'what cannot be compared (a generator)')
    """
    if isinstance(node, Items):
        return f"{with_article(node.kind)} of {len(node.values)}"
    if isinstance(node, Fields):
        count = f" of {len(node.values)}" if node.is_mapping else ""
        return f"{with_article(node.kind)}{count}"
    if isinstance(node, Array):
        return f"{with_article(node.kind)} of shape {node.shape}"
    if isinstance(node, Number):
        return number_text(node.value)
    if isinstance(node, Exact):
        return shortened(node.text or value_text(node.identity))
    if isinstance(node, Unreadable):
        return f"what cannot be compared ({node.why})"
    return value_text(node.data if isinstance(node, Body) else node)


def value_text(value: object) -> str:
    """Return a short text of a plain value."""
    if isinstance(value, str | bytes) and len(value) > _LONGEST_TEXT:
        return f"{value[: _LONGEST_TEXT - 3]!r}…"
    if type(value) in NUMBERS:
        return number_text(value)  # type: ignore[arg-type]
    try:
        return shortened(repr(value))
    except ValueError:  # an integer of more digits than Python writes
        return "a large number"


def number_text(value: float | complex) -> str:
    """Return a number; of a long one the first seven digits, but of a clock all.

    Example:
        >>> number_text(0.1), number_text(1 / 3), number_text(1764398400.25)
        ('0.1', '0.3333333', '1764398400.25')
    """
    text = repr(value)
    if len(text) <= 10 or (isinstance(value, float) and 1e9 <= value < 1e13):
        return text
    return f"{value:.7g}"


def shortened(text: str) -> str:
    """Return a text, cut if it is long."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def with_article(kind: str) -> str:
    """Return a name with its article."""
    if kind.startswith("the "):
        return kind
    return f"an {kind}" if kind[:1].lower() in "aeio" else f"a {kind}"
