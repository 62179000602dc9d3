"""Shapes that fail until a mend lands: line of the issue, and which plans it is about.

Each is taken out when it passes; in the end there is none.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.plan import Plan


def _only_decodes(plan: Plan) -> bool:
    """Whether the loop knows no cached `predict` of this API."""
    return plan.cached == ("decode_request",) or plan.place == "instance"


KNOWN: dict[str, Callable[[Plan], bool]] = {}


def known(plan: Plan) -> str:
    """Return which known fault a plan would meet; an empty text if none."""
    return next((name for name, meets in KNOWN.items() if meets(plan)), "")
