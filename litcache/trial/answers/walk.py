"""The walk through two frozen answers, side by side."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import compress
from typing import Any

from litcache.trial.answers import numbers
from litcache.trial.answers.difference import (
    Difference,
    texts_of_kinds,
    texts_of_numbers,
    texts_of_values,
)
from litcache.trial.answers.freeze import freeze
from litcache.trial.answers.frozen import (
    NUMBERS,
    PLAIN,
    Array,
    Body,
    Exact,
    Fields,
    Items,
    Number,
    Unreadable,
    describe,
    kind_of,
)
from litcache.trial.answers.objects import parsed
from litcache.trial.answers.places import EVERY, Place, Step, Tails, below, path


@dataclass(slots=True)
class _Noise:
    """A difference of floats, to be judged when all magnitudes are known."""

    difference: Callable[[], Difference]
    distance: float
    group: Hashable
    floor: float


@dataclass(slots=True)
class Spot:
    """Where the walk is.

    Attributes:
        place: The way from the root.
        pattern: The same for all elements of one list: with their numbers it is that their
            magnitude counts.
        left_out: What is left out below.
        floor: The least magnitude against which a number counts.
    """

    place: Place
    pattern: Hashable
    left_out: Tails
    floor: float = 0.0

    def inner(self, step: Step, pattern: Hashable, floor: float = 0.0) -> Spot | None:
        """Return the spot of a part; `None` if it is left out."""
        left_out = below(self.left_out, step) if self.left_out else self.left_out
        if () in left_out:
            return None
        return Spot((self.place, step), (self.pattern, pattern), left_out, floor)


class Walk:
    """Finds where two answers differ.

    Args:
        tolerance: The largest difference of numbers that agree, as a share of a magnitude.
        limit: How many differences are found at most.
    """

    def __init__(self, tolerance: float, limit: int) -> None:
        self._tolerance = tolerance
        self._limit = limit
        self._found: list[Difference | _Noise] = []
        self._certain = 0
        self._magnitudes: dict[Hashable, float] = {}
        self._distances: dict[tuple[int, int], numbers.Distance] = {}

    def result(self) -> list[Difference]:
        """Return the differences, in the order of the answer."""
        found = []
        for one in self._found:
            if isinstance(one, Difference):
                found.append(one)
            elif not one.distance <= self._tolerance * max(
                one.floor, self._magnitudes.get(one.group, 0.0)
            ):
                found.append(one.difference())
            if len(found) == self._limit:
                break
        return found

    def compare(self, cached: Any, model: Any, at: Spot) -> None:
        """Compare two parts."""
        readable = not isinstance(cached, Unreadable)
        if not readable or type(cached) is not type(model) or kind_of(cached) != kind_of(model):
            self._differ(at, *texts_of_kinds(cached, model))
        elif type(cached) in NUMBERS:
            self._numbers(cached, model, at)
        elif type(cached) in PLAIN:
            self._plain(cached, model, at)
        else:
            _COMPARE[type(cached)](self, cached, model, at)

    @property
    def _is_enough(self) -> bool:
        return self._certain >= self._limit

    def _differ(self, at: Spot, cached: str, model: str, step: Step | None = None) -> None:
        place = path(at.place)
        exact = place if step is None else path((at.place, step))
        self._certain += 1
        self._found.append(Difference(exact, cached, model, place))

    # ------------------------------------------------------------------ values

    def _plain(self, cached: Any, model: Any, at: Spot) -> None:
        if cached == model:
            return
        if type(cached) in (str, bytes) and _may_be_json(cached) and _may_be_json(model):
            self._text(cached, model, at)
        else:
            self._differ(at, *texts_of_values(cached, model))

    def _text(self, cached: str | bytes, model: str | bytes, at: Spot) -> None:
        """Compare two texts by value if both are JSON."""
        both = parsed(cached), parsed(model)
        if both[0] and both[1]:
            self.compare(freeze(both[0][0]).tree, freeze(both[1][0]).tree, at)
        else:
            self._differ(at, *texts_of_values(cached, model))

    def _body(self, cached: Body, model: Body, at: Spot) -> None:
        if cached.data != model.data:
            self._text(cached.data, model.data, at)

    def _exact(self, cached: Exact, model: Exact, at: Spot) -> None:
        if cached.identity != model.identity:
            texts = describe(cached), describe(model)
            if not (cached.text or model.text):
                texts = texts_of_values(cached.identity, model.identity)
            self._differ(at, *texts)

    def _number(self, cached: Number, model: Number, at: Spot) -> None:
        self._numbers(cached.value, model.value, at)

    def _numbers(self, cached: complex, model: complex, at: Spot) -> None:
        magnitude = max(numbers.size(cached), numbers.size(model))
        gap = 0.0 if self._are_rests(cached, model) else numbers.gap(cached, model)
        self._noise(
            at,
            numbers.Distance(gap, 0, magnitude),
            at.pattern,
            lambda: Difference(path(at.place), *texts_of_numbers(cached, model)),
        )

    def _are_rests(self, cached: Any, model: Any) -> bool:
        """Return whether two single numbers are zero but for rounding, if that is allowed."""
        return self._tolerance > 0 and numbers.are_rests(cached, model)

    def _noise(
        self,
        at: Spot,
        distance: numbers.Distance,
        group: Hashable,
        difference: Callable[[], Difference],
    ) -> None:
        """Note a distance of numbers, and their magnitude."""
        if group is not None:
            known = self._magnitudes.get(group, 0.0)
            self._magnitudes[group] = max(known, distance.magnitude)
        if distance.worst:
            floor = at.floor if group is not None else distance.magnitude
            self._found.append(_Noise(difference, distance.worst, group, floor))

    # ------------------------------------------------------------------ arrays

    def _array(self, cached: Array, model: Array, at: Spot) -> None:
        if cached.shape != model.shape:
            self._differ(at, f"shape {cached.shape}", f"shape {model.shape}")
            return
        distance = self._distance(cached, model, at.left_out)
        index = _index(distance.at, cached.shape)

        def difference() -> Difference:
            place: Place = at.place
            for step in index:
                place = (place, step)
            texts = _texts(cached.data[index].item(), model.data[index].item())
            return Difference(path(place), *texts, path(at.place))

        is_alone = cached.data.reshape(-1).shape[0] == 1
        both = [side.data.item() for side in (cached, model)] if is_alone else []
        if both and numbers.is_inexact(cached.data) and self._are_rests(*both):
            distance = distance._replace(worst=0.0)
        self._noise(at, distance, at.pattern if is_alone else None, difference)

    def _distance(self, cached: Array, model: Array, left_out: Tails) -> numbers.Distance:
        """Return how far two arrays are apart; of two that are many parts, once."""
        if left_out:
            return numbers.of_arrays(
                *(numbers.without(each.data, left_out) for each in (cached, model))
            )
        key = id(cached), id(model)
        if key not in self._distances:
            self._distances[key] = numbers.of_arrays(cached.data, model.data)
        return self._distances[key]

    # ------------------------------------------------------------------ containers

    def _items(self, cached: Items, model: Items, at: Spot) -> None:
        count = len(cached.values)
        if count != len(model.values):
            parts = f"{count} part{'s' * (count != 1)}"
            self._differ(at, parts, f"{len(model.values)}")
            return
        is_run = cached.of is model.of and cached.of is not None and not at.left_out
        if is_run and cached.of in NUMBERS:
            self._run(cached, model, at)
        elif is_run and cached.of not in (str, bytes):
            for step in compress(range(count), map(operator.ne, cached.values, model.values)):
                texts = texts_of_values(cached.values[step], model.values[step])
                self._differ(at, *texts, step)
                break
        elif not (is_run and cached.values == model.values):
            self._each(cached, model, at)

    def _run(self, cached: Items, model: Items, at: Spot) -> None:
        """Compare two lists of numbers."""
        if not cached.values:
            return
        distance = numbers.of_rows(cached.values, model.values)
        if len(cached.values) == 1 and self._are_rests(cached.values[0], model.values[0]):
            distance = distance._replace(worst=0.0)
        step = distance.at

        def difference() -> Difference:
            texts = texts_of_numbers(cached.values[step], model.values[step])
            return Difference(path((at.place, step)), *texts, path(at.place))

        self._noise(at, distance, (at.pattern, EVERY), difference)

    def _each(self, cached: Items, model: Items, at: Spot) -> None:
        # The parts of a tuple may be of several sorts, such as boxes and scores.
        is_row = cached.kind != "tuple" or cached.of in NUMBERS
        for step, (one, other) in enumerate(zip(cached.values, model.values, strict=True)):
            if self._is_enough:
                return
            if type(one) in _EXACT and type(one) is type(other) and one == other:
                continue
            inner = at.inner(step, EVERY if is_row else step)
            if inner is not None:
                self.compare(one, other, inner)

    def _fields(self, cached: Fields, model: Fields, at: Spot) -> None:
        floor = min(1.0, _largest(cached, model))
        for step in {**cached.values, **model.values}:
            if self._is_enough:
                return
            inner = at.inner(step, step, floor)
            if inner is None:
                continue
            if step not in model.values:
                self._differ(inner, describe(cached.values[step]), "not there")
            elif step not in cached.values:
                self._differ(inner, "not there", describe(model.values[step]))
            else:
                self.compare(cached.values[step], model.values[step], inner)


_EXACT = PLAIN - NUMBERS
_COMPARE: dict[type, Any] = {
    Items: Walk._items,
    Fields: Walk._fields,
    Array: Walk._array,
    Number: Walk._number,
    Exact: Walk._exact,
    Body: Walk._body,
}


def _largest(*both: Fields) -> float:
    """Return the largest number of dicts that hold nothing but floats, such as scores of labels."""
    largest = 0.0
    for fields in both:
        for part in fields.values.values():
            value = part.value if isinstance(part, Number) else part
            if not fields.is_mapping or type(value) is not float:
                return 0.0
            largest = max(largest, numbers.size(value))
    return largest


def _may_be_json(text: str | bytes) -> bool:
    text = text.removeprefix("data:") if isinstance(text, str) else text.removeprefix(b"data:")
    return text.lstrip()[:1] in ("{", "[", b"{", b"[")


def _index(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of an element from its position in C order."""
    index: list[int] = []
    for size in reversed(shape):
        position, step = divmod(position, size) if size else (0, 0)
        index.append(step)
    return tuple(reversed(index))


def _texts(cached: Any, model: Any) -> tuple[str, str]:
    of = texts_of_numbers if type(cached) in NUMBERS else texts_of_values
    return of(cached, model)
