"""Shapes that fail until a mend lands: line of the issue, and which plans it is about.

Each is taken out when it passes; in the end there is none.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.items import SHAPES
from fuzz.plan import Plan
from fuzz.rows import KINDS


def _gathers(plan: Plan) -> bool:
    return bool(plan.lists) and plan.row == "text" and SHAPES[plan.item].stacks != ""


def _runs_again(plan: Plan) -> bool:
    by_hand = plan.driver in ("hand", "threads") and plan.size > 1
    uncut = by_hand and plan.container in ("keys", "characters", "iterator")
    return uncut or ((bool(plan.lists) or by_hand) and not KINDS[plan.row].stored)


def _only_decodes(plan: Plan) -> bool:
    """Whether the loop knows no cached `predict` of this API."""
    return plan.cached == ("decode_request",) or plan.place == "instance"


KNOWN: dict[str, Callable[[Plan], bool]] = {
    "5: a str subclass with attributes": lambda plan: plan.item == "attributed",
    "6: what predict gets of a list": _gathers,
    "7: key= reads an upload": lambda plan: plan.item == "stream" and "key" in plan.options,
    "8: unbatch returns dict.values() or a generator": lambda plan: (
        plan.unbatch in ("values", "generator")
    ),
    "9: max_items, or requests that are no lists, with a buffer that is used again": (
        lambda plan: plan.reuse_output and ("max_items" in plan.options or plan.lists == "other")
    ),
    "10: rows that cannot be stored": _runs_again,
    "11: async with a blocking store and buffers that are used again": lambda plan: (
        plan.is_async
        and plan.store in ("shared", "tiered", "redis")
        and (plan.reuse_item or plan.reuse_output)
    ),
    "12: a warm-up call in setup": lambda plan: plan.warm_up,
    "12: a custom unbatch by hand": lambda plan: (
        plan.driver in ("hand", "threads") and plan.container in ("namespace", "columns")
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
        plan.driver == "loop" and plan.consume and bool(plan.bad)
    ),
    "14: an object in the context whose attributes change": lambda plan: "holder" in plan.changes,
    "14: aliasing inside one output": lambda plan: plan.row == "aliased",
}

KNOWN_AFTERWARDS = {
    "png", "jpeg", "gif", "tiff", "bmp", "mpo", "webp", "cut jpeg", "cut png", "tensor",
    "tensor of many", "turned tensor", "graph", "tensors",
}  # fmt: skip
"""Items that keying changes: line 1."""

LEAVES_ARE_KNOWN = True
"""Whether `leaves.NEW_IN_0_4` share keys: lines 2 to 5."""


def known(plan: Plan) -> str:
    """Return which known fault a plan would meet; an empty text if none."""
    return next((name for name, meets in KNOWN.items() if meets(plan)), "")
