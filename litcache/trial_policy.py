"""The options of the trial, in which a cache proves itself on a service."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from litcache.checks import check_choice, check_flag, check_number, check_whole_number

STEP = r"""
    \.(?P<name>[\w-]+) | \[(?P<index>-?\d+|\*)\] | \['(?P<plain>[^'\\]*)'\]
    | \[(?P<quoted>"(?:[^"\\]|\\.)*")\]
"""
"""A step of a place in an answer, as a regular expression that is verbose."""
TOLERANCE = "a number, 0 or more"
"""What a tolerance may be."""
_PLACE = re.compile(rf"\$(?:context)?(?:{STEP})*", re.VERBOSE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a cache proves itself where it serves: the model answers hits too, and both are compared.

    Args:
        hits: How many first hits are proven; and how many first hits of a request that is another
            one than the request whose output was stored.
        verify: The share of the later hits that is proven, from 0 to 1.
        observe: Whether the trial never ends. Then every hit is computed and compared, and the
            counters say what answering from the cache would save.
        compare: `"response"`: what `encode_response` returns. `"output"`: what `predict` returns;
            then the trial never runs `encode_response`.
        ignore: Places of the response that may differ, such as `"$.seconds"`; and those of the
            context that `predict` changes, such as `"$context.seconds"`.
        tolerance: The largest difference of floats that agree, as a share of the largest magnitude
            in their array. Everything else must be equal.

    Raises:
        ValueError: If a value is not allowed.
        TypeError: If a value is of the wrong type.

    Example:
        >>> Trial(ignore=("$.seconds",)).hits
        16
    """

    hits: int = 16
    verify: float = 0.001
    observe: bool = False
    compare: Literal["response", "output"] = "response"
    ignore: tuple[str, ...] = ()
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check_whole_number("hits", self.hits, "a whole number, 0 or more")
        check_number("verify", self.verify, "a number from 0 to 1", most=1.0)
        check_number("tolerance", self.tolerance, TOLERANCE)
        check_flag("observe", self.observe)
        check_choice("compare", self.compare, ("response", "output"))
        self._check_ignore()

    def _check_ignore(self) -> None:
        places = self.ignore
        if not isinstance(places, tuple) or not all(isinstance(place, str) for place in places):
            raise TypeError(f'ignore={places!r} must be a tuple of places such as "$.seconds"')
        for place in places:
            check_place(place)


def trial_of(option: Trial | int, name: str = "trial") -> Trial | None:
    """Return the trial that an option asks for.

    Args:
        option: A `Trial`, or how many first hits are proven.
        name: The name of the option, for messages.

    Returns:
        The trial; `None` for 0: no trial at all.

    Raises:
        ValueError: If the number is negative.
        TypeError: If it is neither a `Trial` nor a number.

    Example:
        >>> trial_of(0), trial_of(8).hits
        (None, 8)
    """
    allowed = "a Trial, a whole number of hits, or 0 (no trial)"
    if isinstance(option, Trial):
        return option
    check_whole_number(name, option, allowed)
    return Trial(hits=option) if option else None


def check_place(place: object, name: str = "ignore") -> None:
    """Check a place that may differ.

    A place is `$` and the steps to it: `.name`, `["any key"]`, `[3]`, or `[*]` for every index and
    every key. What is below the place is left out with it. The places of a context begin with
    `$context`.

    Args:
        place: What the user gave.
        name: The name of the option, for the message.

    Raises:
        ValueError: If it is no place.

    Example:
        >>> check_place("$.items[*].seconds")
    """
    if not isinstance(place, str) or not _PLACE.fullmatch(place):
        raise ValueError(
            f"{name}={place!r} is no place of an answer: write it as "
            '"$.seconds", "$.items[*].id" or \'$["any key"]\''
        )
