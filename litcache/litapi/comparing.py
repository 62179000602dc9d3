"""Whether a hit would be answered as the client is: what makes two answers to one output differ.

The answer of the rehearsal and that of the client differ for four reasons:

* the clock or chance: then outputs that are encoded twice, side by side, differ in the same places;
* what `encode_response` itself keeps, such as a number, if others were encoded between the two;
* what `predict` has left for it, which a hit does not find;
* the output itself, which a hit has as a copy.

The last two are wrong answers. To tell them from the others, the stored output is encoded on twins
from before the model ran, and on twins from directly before the client's response was made: that
may use up what `predict` has left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from litserve import LitAPI

from litcache.keys.contexts import Context
from litcache.litapi.rehearsal import Rehearsal
from litcache.litapi.stage import Stage, two_stages
from litcache.litapi.state import state_of
from litcache.trial.answers.compare import Frozen, freeze
from litcache.trial.answers.difference import Difference
from litcache.trial.answers.frozen import kind_of
from litcache.values.copies import Copies, UncopyableError

_MOST_NOISE = 1_000
_OF_EQUALS = 1e-5
"""The tolerance of answers to equal outputs: that of an `encode_response` that computes."""
_A_DAY = 86_400


class Run(NamedTuple):
    """One more encoding of an output.

    Attributes:
        keep: Keeps the answer.
        stage: Where it is encoded.
        make: Makes the output.
        context: Its context.
    """

    keep: Callable[[Frozen], None]
    stage: Stage
    make: Callable[[], Any]
    context: Context | None


@dataclass(slots=True)
class Made:
    """What an output becomes once more; `None`: it was not encoded so.

    Attributes:
        now: The stored output, on an API as it was directly before the client's response.
        beside: The same on another one; if the outputs differ, the model's output.
        next_before: The stored output, where it was encoded before the model ran.
        next_now: The stored output, where `now` was encoded.
    """

    now: Frozen | None = None
    beside: Frozen | None = None
    next_before: Frozen | None = None
    next_now: Frozen | None = None


class Fresh(NamedTuple):
    """What the client's response is made of.

    Attributes:
        rehearsal: What a hit would answer.
        output: The output.
        is_equal: Whether the stored output is equal. That leaves no room for the model's noise,
            whose tolerance is as wide as a score of 0.5 beside a coordinate of 640: it would hide
            that `encode_response` read another request's scores.
        agrees: Whether the stored output agrees.
        is_alone: Whether nothing has been encoded since the rehearsal.
        stages: Two as the API is now; `None` if it has no twin, or if the output does not agree.
        copy: Gives a copy of the output to the second one, if it is not equal and can be copied.
        made: What becomes of the output once more.
    """

    rehearsal: Rehearsal
    output: Frozen
    is_equal: bool
    agrees: bool
    is_alone: bool
    stages: tuple[Stage, Stage] | None
    copy: Callable[[], Any] | None
    made: Made

    def differences(self, answer: Frozen, ignore: tuple[str, ...] = ()) -> list[Difference]:
        """Return where the rehearsal and the client's answer differ."""
        tolerance = _OF_EQUALS if self.is_equal else math.inf
        verdict, early = self.rehearsal.verdict, self.rehearsal.early
        return verdict.differences(early, answer, ignore, tolerance=tolerance)


def take(api: LitAPI, rehearsal: Rehearsal, output: Any, context: Context | None) -> Fresh:
    """Take what the client's response is made of, before that uses it up.

    Args:
        api: The API.
        rehearsal: What a hit would answer.
        output: The output.
        context: The context of the request.
    """
    verdict, tried, state = rehearsal.verdict, rehearsal.part.tried, state_of(api)
    stored, fresh = freeze(rehearsal.part.make()), freeze(output)
    is_equal = not verdict.differences(stored, fresh, tolerance=0, limit=1) and not any(
        verdict.differences_of_context(each, tolerance=0) for each in tried
    )
    agrees = is_equal or not (
        verdict.differences(stored, fresh, limit=1)
        or any(map(verdict.differences_of_context, tried))
    )
    # Tasks and threads of an async API may be within `encode_response` at any time.
    is_alone = not api.enable_async and state.encodings == rehearsal.before.encodings + 1
    stages: tuple[Stage, Stage] | None = None
    copy: Callable[[], Any] | None = None
    with state.model_lock, suppress(UncopyableError):
        if agrees:
            stages = two_stages(api, context)
            if not is_equal:
                copy = partial(_same, stages[1].copies.of(output))
    return Fresh(rehearsal, fresh, is_equal, agrees, is_alone, stages, copy, Made())


def _same(thing: Any) -> Any:
    return thing


def runs(fresh: Fresh) -> Iterator[Run]:
    """Yield what is encoded once more to explain why the answers differ, in this order."""
    part, before, made = fresh.rehearsal.part, fresh.rehearsal.before, fresh.made
    for each in before.to_encode_again(part):
        keep = partial(before.again.__setitem__, each.number)
        yield Run(keep, before.spare, each.make, each.contexts[1])
    if fresh.stages is not None:
        now, beside = fresh.stages
        yield Run(partial(setattr, made, "now"), now, part.make, now.context)
        make = part.make if fresh.is_equal else fresh.copy
        if make is not None:
            yield Run(partial(setattr, made, "beside"), beside, make, beside.context)
    if not fresh.is_alone:
        stages = {"next_before": before.stage}
        if fresh.stages is not None:
            stages["next_now"] = fresh.stages[0]
        for name, stage in stages.items():
            context = Copies().of(part.contexts[2])
            yield Run(partial(setattr, made, name), stage, part.make, context)


def unexplained(fresh: Fresh, answer: Frozen, found: list[Difference]) -> list[Difference]:
    """Return where a hit would be answered otherwise, though the outputs agree.

    An answer of another class, such as an error, is no noise if the model's is of one class.

    Args:
        fresh: What the client's answer was made of.
        answer: That answer.
        found: Where it differs from the rehearsal.
    """
    early, made = fresh.rehearsal.early, fresh.made
    kinds = {kind_of(each.tree) for each in (answer, made.beside) if each is not None}
    if kind_of(early.tree) not in kinds:
        return found
    noise = _noise(fresh)
    if "$" in noise:
        return []
    left = fresh.differences(answer, noise)
    if made.now is None:  # by outputs that are not equal, another label may be the best
        return left if fresh.is_equal else []
    if _unlike(fresh, early, made.now, noise):
        return left
    # What a hit has as well may be another thing for an output that is a copy.
    if made.beside is not None and _unlike(fresh, made.beside, answer, noise):
        return left
    return []


def doubts(fresh: Fresh, answer: Frozen) -> bool:
    """Return whether a hit would differ in more than one output does, encoded twice side by side.

    Args:
        fresh: What the client's answer was made of.
        answer: That answer, which differs from the rehearsal.
    """
    made = fresh.made
    if made.now is None or made.beside is None:
        return True
    clocks = tuple(each.path for each in _unlike(fresh, made.now, made.beside))
    return "$" in clocks or bool(fresh.differences(answer, clocks))


def _noise(fresh: Fresh) -> tuple[str, ...]:
    """Return the places in which one output, encoded twice, has two answers."""
    early, made = fresh.rehearsal.early, fresh.made
    before = fresh.rehearsal.before
    again = before.again.get(fresh.rehearsal.part.number)
    found: list[str] = []
    # A clock may tell whole seconds: what the hit would be answered now is another thing. But if
    # predict has changed a global, that may be why.
    if again is not None:
        is_steady, unlike = before.is_steady(), _unlike(fresh, early, again)
        found += [each.path for each in unlike if is_steady or _tells_time(each)]
    if fresh.is_equal and made.now is not None and made.beside is not None:
        found += [each.path for each in _unlike(fresh, made.now, made.beside)]
    if made.next_before is not None:
        own = [each.path for each in _unlike(fresh, early, made.next_before)]
        if made.now is not None and made.next_now is not None:
            # Before the model ran, as after it: what predict has left is not used up on both.
            others = [each.path for each in _unlike(fresh, made.now, made.next_now)]
            own = [max(a, b, key=len) for a in own for b in others if _is_within(a, b)]
        found += own
    return tuple(found)


def _unlike(
    fresh: Fresh, one: Frozen, other: Frozen, ignore: tuple[str, ...] = ()
) -> list[Difference]:
    return fresh.rehearsal.verdict.differences(
        one, other, ignore, limit=_MOST_NOISE, tolerance=_OF_EQUALS
    )


def _is_within(one: str, other: str) -> bool:
    """Return whether one of two places is within the other, or is the other."""
    outer, inner = sorted((one, other), key=len)
    return inner.startswith(outer) and inner[len(outer) :][:1] in ("", ".", "[")


def _tells_time(found: Difference) -> bool:
    """Return whether two values are times of today: in seconds, in milliseconds, or as text."""
    return _is_of_today(found.cached) and _is_of_today(found.model)


def _is_of_today(text: str) -> bool:
    with suppress(ValueError):
        seconds = float(text)
        return any(abs(seconds / unit - time.time()) < _A_DAY for unit in (1, 1_000))
    with suppress(ValueError):
        at = datetime.fromisoformat(text.strip("'"))
        return abs(datetime.now(at.tzinfo) - at).total_seconds() < _A_DAY
    return False


def compare_outputs(rehearsal: Rehearsal, output: Frozen) -> None:
    """Compare the outputs alone, because the responses cannot be."""
    verdict = rehearsal.verdict
    try:
        stored = freeze(rehearsal.part.make())
    except Exception:  # no memory on the device; another hit is tried in its place
        return
    found = verdict.differences(stored, output)
    for tried in rehearsal.part.tried:
        found += verdict.differences_of_context(tried)
    conclude(rehearsal, found, by_output=True)


def conclude(
    rehearsal: Rehearsal,
    found: list[Difference],
    *,
    by_output: bool = False,
    doubts: bool = False,
) -> None:
    """Tell the verdict where a hit would be answered otherwise, if anywhere.

    Args:
        rehearsal: What a hit would answer.
        found: Where the model's answer differs, and what explains it is no noise.
        by_output: Whether the outputs alone were compared.
        doubts: Whether it differs in more than a clock or chance explains.
    """
    if found:
        rehearsal.verdict.disagreed(found)
    else:
        for tried in rehearsal.part.tried:
            rehearsal.verdict.agreed(tried, by_output=by_output, doubts=doubts)
