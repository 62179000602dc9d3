"""One place in which two answers differ, as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from litcache.trial.answers.frozen import (
    Node,
    Unreadable,
    describe,
    kind_of,
    number_text,
    value_text,
    with_article,
)

_BEFORE = 20  # characters of a text that are shown before the first one that differs
_LONGEST = 60
_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two answers differ.

    Attributes:
        path: The place, such as `$.embedding[3]`.
        cached: What the cache would answer there.
        model: What the model answers there.
        place: What to ignore so that this counts no more: the path; of an element of an array or a
            list of numbers, the whole of it.

    Example:
        >>> print(Difference("$.embedding[3]", "0.12", "0.57"))
        $.embedding[3]: 0.12 from the cache, 0.57 from the model
    """

    path: str
    cached: str
    model: str
    place: str = ""

    def __post_init__(self) -> None:
        if not self.place:
            object.__setattr__(self, "place", self.path)

    def __str__(self) -> str:
        where = self.path
        if len(where) > _LONGEST_PATH:
            where = f"{where[: _LONGEST_PATH // 2]}…{where[-_LONGEST_PATH // 2 :]}"
        return f"{where}: {self.cached} from the cache, {self.model} from the model"


def texts_of_kinds(cached: Node, model: Node) -> tuple[str, str]:
    """Return what two parts of different classes are.

    Example:
        >>> texts_of_kinds(1, 1.0)
        ('int 1', 'float 1.0')
    """
    return _with_kind(cached), _with_kind(model)


def texts_of_values(cached: Any, model: Any) -> tuple[str, str]:
    """Return two values of one class; of long texts the part in which they differ.

    Example:
        >>> texts_of_values("x" * 90 + "a", "x" * 90 + "b")
        ("…'xxxxxxxxxxxxxxxxxxxxa'", "…'xxxxxxxxxxxxxxxxxxxxb'")
    """
    if not isinstance(cached, str | bytes) or max(len(cached), len(model)) <= _LONGEST:
        return value_text(cached), value_text(model)
    start = max(0, _first_difference(cached, model) - _BEFORE)
    return _window(cached, start), _window(model, start)


def texts_of_numbers(cached: float | complex, model: float | complex) -> tuple[str, str]:
    """Return two numbers, with as many digits as it takes to tell them apart.

    Example:
        >>> texts_of_numbers(1 / 3, 2 / 3), texts_of_numbers(1 / 3, 1 / 3 + 1e-12)
        (('0.3333333', '0.6666667'), ('0.3333333333333333', '0.3333333333343333'))
    """
    texts = number_text(cached), number_text(model)
    are_equal = complex(texts[0]) == complex(texts[1])
    return (repr(cached), repr(model)) if are_equal else texts


def _with_kind(node: Node) -> str:
    text, kind = describe(node), kind_of(node)
    if node is None or isinstance(node, Unreadable) or text.startswith(with_article(kind)):
        return text
    return f"{kind} {text}"


def _window(text: str | bytes, start: int) -> str:
    end = start + _LONGEST
    shown = repr(text[start:end])
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"


def _first_difference(left: Any, right: Any) -> int:
    """Return where two texts differ first, without a step for each character."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high) // 2 + 1
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
