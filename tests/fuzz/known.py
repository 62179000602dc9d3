"""Shapes that fail until a mend lands: what is wrong, and which plans it is about."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.plan import Plan

KNOWN: dict[str, Callable[[Plan], bool]] = {
    # A direct call of a batch with equal items runs the model again on all of it, if what it
    # returned of the distinct ones cannot be cut: it computes 3 items for 2.
    "10: equal items by hand, and an output that cannot be cut": lambda plan: (
        plan.driver in ("hand", "threads")
        and plan.size > 1
        and not plan.lists
        and plan.container in ("iterator", "characters", "keys")
    ),
}


def known(plan: Plan) -> str:
    """Return which known fault a plan would meet; an empty text if none."""
    return next((name for name, meets in KNOWN.items() if meets(plan)), "")
