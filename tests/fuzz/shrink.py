"""Makes a failing plan small: what is not needed for the failure is taken out."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator
from typing import Any

from fuzz.check import check
from fuzz.plan import ASKS, Plan
from fuzz.policies import Stores
from fuzz.rules import settle

TRIES = 3
"""How often a plan of threads or tasks is run before it is said to pass."""


def failure(plan: Plan, stores: Stores) -> Exception | None:
    """Return what a plan fails with, if it does."""
    races = plan.driver in ("threads", "tasks", "served_tasks", "loop")
    errors = (_error(plan, stores) for _ in range(TRIES if races else 1))
    return next((error for error in errors if error is not None), None)


def _error(plan: Plan, stores: Stores) -> Exception | None:
    try:
        check(plan, stores)
    except Exception as error:  # whatever it is: it is what is looked for
        return error
    return None


def shrink(plan: Plan, stores: Stores, seconds: float = 60.0) -> Plan:
    """Return the smallest plan that is found within some time and fails as this one does.

    Args:
        plan: A plan that fails.
        stores: What makes its store.
        seconds: How long to look.

    Returns:
        A plan that fails in the same way.
    """
    kind = _kind(failure(plan, stores))
    until = time.monotonic() + seconds
    smaller = True
    while smaller and time.monotonic() < until:
        smaller = False
        for candidate in _simpler(plan):
            if time.monotonic() > until:
                break
            if candidate != plan and _kind(failure(candidate, stores)) == kind:
                plan, smaller = candidate, True
                break
    return plan


def _kind(error: Exception | None) -> str:
    """Return what failures alike have in common: the type, and what is said before a number."""
    said = str(error).partition(": ")[2]
    return f"{type(error).__name__} {re.split('[0-9]', said)[0]}"


def _simpler(plan: Plan) -> Iterator[Plan]:
    """Iterate the plans that lack one thing."""
    for steps in _fewer(plan.steps):
        yield settle(dataclasses.replace(plan, steps=steps))
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        if value == field.default or field.name in ("seed", "steps"):
            continue
        yield settle(dataclasses.replace(plan, **{field.name: field.default}))
        if isinstance(value, tuple):
            for fewer in _fewer(value):
                yield settle(dataclasses.replace(plan, **{field.name: fewer}))
    for place, step in enumerate(plan.steps):
        if step[0] in ASKS:
            for asked in _fewer(step[1:]):
                if asked:
                    steps = (*plan.steps[:place], (step[0], *asked), *plan.steps[place + 1 :])
                    yield settle(dataclasses.replace(plan, steps=steps))


def _fewer(parts: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Iterate a tuple's halves, and the tuple without each of its parts."""
    half = len(parts) // 2
    if half > 1:
        yield parts[:half]
        yield parts[half:]
    for place in range(len(parts)):
        yield parts[:place] + parts[place + 1 :]
