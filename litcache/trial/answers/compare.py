"""Two answers: equal within a tolerance, or where they differ."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from litcache.trial.answers.difference import Difference
from litcache.trial.answers.freeze import Removed, freeze, raised
from litcache.trial.answers.frozen import Frozen, describe
from litcache.trial.answers.places import tails, within
from litcache.trial.answers.walk import Spot, Walk

__all__ = ["CONTEXT", "Difference", "Frozen", "Removed", "differences", "freeze", "raised"]

CONTEXT = "$context"
"""The root of the places in a context."""


def differences(
    cached: Frozen,
    model: Frozen,
    *,
    tolerance: float = 0.01,
    ignore: Collection[str] = (),
    limit: int = 16,
    root: str = "$",
) -> list[Difference]:
    """Return where two answers differ.

    They agree if types, shapes, keys and values do. The order of keys does not count. Floats agree
    if they are no further apart than `tolerance` times the largest magnitude of their array. That
    is an array or a tensor as a whole; a list of numbers as a whole, with the lists in which it
    lies; and of single numbers, all that stand at the same place of any element (`$[*].score`).
    In a dict of nothing but floats each counts as if it were as large as the largest of them, up
    to 1. Single numbers agree if both are what rounding leaves of a zero. NaN agrees with NaN,
    infinity with the same infinity. Unix times, as floats of seconds or milliseconds, are compared
    to the millisecond. Text that is a JSON object or list, and the body of a response that is JSON,
    is compared by value.

    Args:
        cached: What the cache would answer, frozen.
        model: What the model answers, frozen.
        tolerance: The largest difference of floats that agree, as a share of that magnitude.
        ignore: Places that are left out, with all below them: `$.seconds`; `$.items[*].t` for every
            index, and for every key; `$["any key"]`.
        limit: How many differences are returned at most. An array or a list of numbers has one: the
            largest.
        root: How places begin: `$` in an answer, `$context` in a context.

    Returns:
        The differences in the order of the answer; none if the answers agree.

    Example:
        >>> differences(freeze({"score": 0.914}), freeze({"score": 0.912}))
        []
        >>> print(*differences(freeze({"a": [1]}), freeze({"a": [1, 2]})))
        $.a: 1 part from the cache, 2 from the model
    """
    walk = Walk(tolerance, max(1, limit))
    try:
        left_out = tails(within(ignore, root))
        if () not in left_out:
            walk.compare(cached.tree, model.tree, Spot(None, None, left_out))
        found = walk.result()
    except Exception as error:
        why = f"an answer that raises {type(error).__name__} when it is compared"
        found = [Difference("$", why, describe(model.tree))]
    if root == "$":
        return found
    return [replace(one, path=root + one.path[1:], place=root + one.place[1:]) for one in found]
