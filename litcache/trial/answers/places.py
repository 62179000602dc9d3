"""Places in an answer, such as `$.items[3].score`: as text, and which of them are left out."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

from litcache.trial_policy import STEP

EVERY = "[*]"

_NAME = re.compile(r"[^\W\d][\w-]*")
_STEP = re.compile(STEP, re.VERBOSE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is no text: of a dict, or an attribute beside the keys of a dict.

    Attributes:
        kind: The type of the key, or `"attribute"`.
        identity: What is equal of equal keys.
        text: The key, for people.
    """

    kind: str
    identity: Hashable
    text: str = field(compare=False)


# A step: an index, the name of an attribute, or the key of a dict.
Step = int | str | Key
# The way from the answer to one of its parts, the last step first.
Place = tuple["Place", Step] | None
# What is left out below a part: steps as text.
Tails = list[tuple[str, ...]]


def step_text(step: Step) -> str:
    """Return a step as it stands in a path.

    Example:
        >>> step_text("score"), step_text("a b"), step_text(3), step_text("3")
        ('.score', '["a b"]', '[3]', '["3"]')
    """
    if isinstance(step, int):
        return f"[{step}]"
    if isinstance(step, Key):
        if step.kind == "int":
            return f"[{step.text}]"
        step = step.text
    if _NAME.fullmatch(step):
        return f".{step}"
    return f"[{json.dumps(step, ensure_ascii=False)}]"


def path(place: Place) -> str:
    """Return a place as text.

    Example:
        >>> path(((None, "items"), 3))
        '$.items[3]'
    """
    steps = []
    while place is not None:
        place, step = place
        steps.append(step_text(step))
    return "".join(["$", *reversed(steps)])


def tails(places: Collection[str]) -> Tails:
    """Return the steps of the places that are left out; what is no place is none of them."""
    return [steps for place in places if (steps := _steps(place)) is not None]


def within(places: Collection[str], root: str) -> Collection[str]:
    """Return the places below a root such as `$context`, as places of an answer.

    Example:
        >>> within(["$.a", "$context.a[3]", "$context"], "$context")
        ['$.a[3]', '$']
    """
    if root == "$":
        return places
    return [f"${at[len(root) :]}" for at in places if at.startswith((f"{root}.", f"{root}["))] + [
        "$" for at in places if at == root
    ]


def below(left_out: Tails, step: Step) -> Tails:
    """Return what is left out below a part; an empty tuple is in it if the part itself is."""
    text = step_text(step)
    return [tail[1:] for tail in left_out if tail[0] in (text, EVERY)]


def _steps(place: object) -> tuple[str, ...] | None:
    if not isinstance(place, str) or not place.startswith("$"):
        return None
    at, steps = 1, []
    while at < len(place):
        found = _STEP.match(place, at)
        if found is None:
            return None
        at = found.end()
        steps.append(_canonical(found))
    return tuple(steps)


def _canonical(found: re.Match[str]) -> str:
    """Return a step that a user wrote as `step_text` writes it."""
    if found["index"]:
        return EVERY if found["index"] == "*" else f"[{int(found['index'])}]"
    if found["quoted"]:
        try:
            return step_text(json.loads(found["quoted"], strict=False))
        except ValueError:  # an escape that JSON does not know
            return step_text(found["quoted"][1:-1])
    return step_text(found["name"] or found["plain"] or "")
