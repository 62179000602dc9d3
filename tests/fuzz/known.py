"""Shapes that fail until a mend lands: line of the issue, and which plans it is about.

Each is taken out when it passes; in the end there is none.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.plan import Plan


def _only_decodes(plan: Plan) -> bool:
    """Whether the loop knows no cached `predict` of this API."""
    return plan.cached == ("decode_request",) or plan.place == "instance"


KNOWN: dict[str, Callable[[Plan], bool]] = {
    "9: max_items, or requests that are no lists, with a buffer that is used again": (
        lambda plan: plan.reuse_output and ("max_items" in plan.options or plan.lists == "other")
    ),
    "11: async with a blocking store and buffers that are used again": lambda plan: (
        plan.is_async
        and plan.store in ("shared", "tiered", "redis")
        and (plan.reuse_item or plan.reuse_output)
    ),
    "new: predict changes the list that it gets": lambda plan: (
        plan.spoil_item and (plan.lists == "one" or (plan.driver == "loop" and _only_decodes(plan)))
    ),
    "13: lists, and a predict that setup puts on the instance": lambda plan: (
        bool(plan.lists) and plan.size > 1 and plan.place == "instance"
    ),
    "S3: an innocent request fails beside a bad one": lambda plan: (
        plan.driver == "loop"
        and bool(plan.bad)
        and (not plan.stored or "bypass_if" in plan.options)
    ),
    "S10: decode_request takes what it reads out of the request": lambda plan: (
        plan.driver == "loop" and plan.consume and (bool(plan.bad) or plan.unbatch == "generator")
    ),
}


def known(plan: Plan) -> str:
    """Return which known fault a plan would meet; an empty text if none."""
    return next((name for name, meets in KNOWN.items() if meets(plan)), "")
