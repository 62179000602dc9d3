"""The trial of responses: when the model's answer is encoded, it is compared with the rehearsal."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from litserve import LitAPI

from litcache.keys.contexts import Context
from litcache.litapi.rehearsal import Rehearsal, encoded, encoded_async
from litcache.litapi.state import state_of
from litcache.trial.compare import Frozen, freeze, raised
from litcache.trial.difference import Difference
from litcache.values.containers import duplicate

_MOST_NOISE = 1_000
_OF_EQUALS = 1e-5
"""The tolerance of answers to equal outputs: that of an `encode_response` that computes."""


def proving(api: LitAPI, hook: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `encode_response` as one that compares its answers with what was rehearsed."""
    expected = state_of(api).expected

    def encode(output: Any, *args: Any, **context: Any) -> Any:
        rehearsal = expected.take(output)
        if rehearsal is None:
            return call(output, *args, **context)
        fresh, again = duplicate(output), duplicate(context.get("context"))
        try:
            answer = call(output, *args, **context)
        except Exception as error:
            _compare(api, rehearsal, raised(error), fresh, again)
            raise
        _compare(api, rehearsal, freeze(answer), fresh, again)
        return answer

    async def encode_async(output: Any, *args: Any, **context: Any) -> Any:
        rehearsal = expected.take(output)
        if rehearsal is None:
            return await call(output, *args, **context)
        fresh, again = duplicate(output), duplicate(context.get("context"))
        try:
            answer = await call(output, *args, **context)
        except Exception as error:
            await _compare_async(api, rehearsal, raised(error), fresh, again)
            raise
        await _compare_async(api, rehearsal, freeze(answer), fresh, again)
        return answer

    return encode_async if inspect.iscoroutinefunction(hook) else encode


def _compare(
    api: LitAPI, rehearsal: Rehearsal, answer: Frozen, fresh: Any, context: Context | None
) -> None:
    found, tolerance = _found(rehearsal, answer, fresh)
    if found and tolerance is not None:
        with state_of(api).model_lock:
            twice = encoded(api, fresh, context)
            late = encoded(api, rehearsal.make(), rehearsal.context)
        found = _without_noise(rehearsal, answer, twice, late, tolerance)
    _conclude(rehearsal, found)


async def _compare_async(
    api: LitAPI, rehearsal: Rehearsal, answer: Frozen, fresh: Any, context: Context | None
) -> None:
    found, tolerance = _found(rehearsal, answer, fresh)
    if found and tolerance is not None:
        twice = await encoded_async(api, fresh, context)
        late = await encoded_async(api, rehearsal.make(), rehearsal.context)
        found = _without_noise(rehearsal, answer, twice, late, tolerance)
    _conclude(rehearsal, found)


def _found(
    rehearsal: Rehearsal, answer: Frozen, fresh: Any
) -> tuple[list[Difference], float | None]:
    """Return where the answers differ, and the tolerance; `None` if the outputs differ as well.

    Equal outputs leave no room for the model's noise. Its tolerance is as wide as a score of 0.5
    beside a coordinate of 640: it would hide that `encode_response` read another request's scores.
    """
    verdict = rehearsal.verdict
    stored, output = freeze(rehearsal.make()), freeze(fresh)
    is_equal = not verdict.differences(stored, output, tolerance=0, limit=1)
    tolerance = _OF_EQUALS if is_equal else math.inf
    found = verdict.differences(rehearsal.early, answer, tolerance=tolerance)
    agree = is_equal or not found or not verdict.differences(stored, output, limit=1)
    return found, tolerance if agree else None


def _without_noise(
    rehearsal: Rehearsal, answer: Frozen, twice: Frozen, late: Frozen, tolerance: float
) -> list[Difference]:
    """Return where the stored output is encoded otherwise now than before the model ran.

    Places that differ though one output was encoded twice are a clock, or random: left out.
    """
    verdict = rehearsal.verdict
    unlike = verdict.differences(answer, twice, limit=_MOST_NOISE, tolerance=tolerance)
    noise = [each.path for each in unlike]
    if "$" in noise:
        return []
    return verdict.differences(rehearsal.early, late, noise, tolerance=tolerance)


def _conclude(rehearsal: Rehearsal, found: list[Difference]) -> None:
    if found:
        rehearsal.verdict.disagreed(found)
    else:
        for tried in rehearsal.tried:
            rehearsal.verdict.agreed(tried)
