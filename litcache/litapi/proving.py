"""The trial of responses: when the model's answer is encoded, it is compared with the rehearsal."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from litserve import LitAPI

from litcache.keys.contexts import Context
from litcache.litapi.rehearsal import Rehearsal, encoded, encoded_async
from litcache.litapi.state import state_of
from litcache.trial.compare import Frozen, freeze, raised
from litcache.values.containers import duplicate

_MOST_NOISE = 1_000


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
    found = rehearsal.verdict.differences(rehearsal.early, answer)
    if found and not _outputs_differ(rehearsal, fresh):
        with state_of(api).model_lock:
            twice = encoded(api, fresh, context)
            late = encoded(api, rehearsal.make(), rehearsal.context)
        found = _without_noise(rehearsal, answer, twice, late)
    _conclude(rehearsal, found)


async def _compare_async(
    api: LitAPI, rehearsal: Rehearsal, answer: Frozen, fresh: Any, context: Context | None
) -> None:
    found = rehearsal.verdict.differences(rehearsal.early, answer)
    if found and not _outputs_differ(rehearsal, fresh):
        twice = await encoded_async(api, fresh, context)
        late = await encoded_async(api, rehearsal.make(), rehearsal.context)
        found = _without_noise(rehearsal, answer, twice, late)
    _conclude(rehearsal, found)


def _outputs_differ(rehearsal: Rehearsal, fresh: Any) -> bool:
    return bool(rehearsal.verdict.differences(freeze(rehearsal.make()), freeze(fresh)))


def _without_noise(rehearsal: Rehearsal, answer: Frozen, twice: Frozen, late: Frozen) -> Any:
    """Return where the stored output is encoded otherwise now than before the model ran.

    Places that differ though one output was encoded twice are a clock, or random: left out.
    """
    verdict = rehearsal.verdict
    noise = [each.path for each in verdict.differences(answer, twice, limit=_MOST_NOISE)]
    if "$" in noise:
        return ()
    return verdict.differences(rehearsal.early, late, noise)


def _conclude(rehearsal: Rehearsal, found: Any) -> None:
    if found:
        rehearsal.verdict.disagreed(found)
    else:
        for tried in rehearsal.tried:
            rehearsal.verdict.agreed(tried)
