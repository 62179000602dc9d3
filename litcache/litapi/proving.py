"""The trial of responses: when the model's answer is encoded, it is compared with the rehearsal."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from litserve import LitAPI

from litcache.keys.contexts import Context
from litcache.litapi.rehearsal import Rehearsal, Watch
from litcache.litapi.stage import encoded, encoded_async, note_fault, watching
from litcache.litapi.state import ApiState, state_of
from litcache.trial.answers.compare import Frozen, freeze, raised
from litcache.trial.answers.difference import Difference
from litcache.trial.answers.frozen import kind_of
from litcache.values.copies import Copies, UncopyableError

_MOST_NOISE = 1_000
_OF_EQUALS = 1e-5
"""The tolerance of answers to equal outputs: that of an `encode_response` that computes."""


def proving(api: LitAPI, hook: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `encode_response` as one that compares its answers with what was rehearsed."""
    state = state_of(api)

    def encode(output: Any, *args: Any, **context: Any) -> Any:
        rehearsal = _expected(state, output, in_order=not api.enable_async)
        if rehearsal is None:
            return call(output, *args, **context)
        if isinstance(rehearsal, Watch):
            with watching(api):
                return call(output, *args, **context)
        copies = _copies(rehearsal, output, context.get("context"))
        if copies is None:
            _compare_outputs(rehearsal, output)
            return call(output, *args, **context)
        fresh, again = copies
        try:
            answer = call(output, *args, **context)
        except Exception as error:
            _compare(api, rehearsal, raised(error), fresh, again)
            raise
        _compare(api, rehearsal, freeze(answer), fresh, again)
        return answer

    async def encode_async(output: Any, *args: Any, **context: Any) -> Any:
        rehearsal = state.expected.take(output)
        if rehearsal is None:
            return await call(output, *args, **context)
        if isinstance(rehearsal, Watch):
            with watching(api):
                return await call(output, *args, **context)
        copies = _copies(rehearsal, output, context.get("context"))
        if copies is None:
            _compare_outputs(rehearsal, output)
            return await call(output, *args, **context)
        fresh, again = copies
        try:
            answer = await call(output, *args, **context)
        except Exception as error:
            await _compare_async(api, rehearsal, raised(error), fresh, again)
            raise
        await _compare_async(api, rehearsal, freeze(answer), fresh, again)
        return answer

    return encode_async if inspect.iscoroutinefunction(hook) else encode


def _expected(state: ApiState, output: Any, *, in_order: bool) -> Rehearsal | Watch | None:
    """Return what is done with the response to an output, unless an earlier call has left it."""
    found: Rehearsal | Watch | None = state.expected.take(output)
    if not in_order:  # LitServe's async loop encodes the responses of several calls at a time
        return found

    # LitServe's batched loop encodes no further once one response of a batch has failed.
    def is_left(other: Rehearsal | Watch | None) -> bool:
        return isinstance(other, Rehearsal) and other.call != state.expected_call

    if found is None:  # while any is expected, each response takes longer
        state.expected.forget(is_left)
    return None if is_left(found) else found


def _copies(rehearsal: Rehearsal, output: Any, context: Context | None) -> tuple[Any, Any] | None:
    """Return copies from which the answer can be made once more; `None` if there are none."""
    # A constant is the output of several requests: LitServe's async loop runs their
    # `encode_response` in threads, which come in any order.
    if context is not None and context is not rehearsal.own:
        return None
    try:
        copied: tuple[Any, Any] = Copies().of((output, context))
        return copied
    except UncopyableError:
        return None


def _compare_outputs(rehearsal: Rehearsal, output: Any) -> None:
    """Compare the outputs alone, because the responses cannot be."""
    verdict = rehearsal.verdict
    try:
        stored = freeze(rehearsal.make())
    except Exception:  # no memory on the device; another hit is tried in its place
        return
    found = verdict.differences(stored, freeze(output))
    for tried in rehearsal.tried:
        found += verdict.differences_of_context(tried)
    _conclude(rehearsal, found, by_output=True)


def _compare(
    api: LitAPI, rehearsal: Rehearsal, answer: Frozen, fresh: Any, context: Context | None
) -> None:
    try:
        found, tolerance = _found(rehearsal, answer, fresh)
        doubts = False
        if found and tolerance is not None:
            with state_of(api).model_lock:
                copy = _copy(rehearsal)
                twice = encoded(api, fresh, context)
                late = encoded(api, rehearsal.make(), rehearsal.context)
                again = encoded(api, rehearsal.make(), copy, rehearsal.stage)
            found = _without_noise(rehearsal, answer, (twice, late, again), tolerance)
            doubts = _doubts(rehearsal, answer, twice, tolerance)
    except Exception as error:  # no memory on the device
        note_fault(api, error)
        _compare_outputs(rehearsal, fresh)
        return
    _conclude(rehearsal, found, doubts=doubts)


async def _compare_async(
    api: LitAPI, rehearsal: Rehearsal, answer: Frozen, fresh: Any, context: Context | None
) -> None:
    try:
        found, tolerance = _found(rehearsal, answer, fresh)
        doubts = False
        if found and tolerance is not None:
            copy = _copy(rehearsal)
            twice = await encoded_async(api, fresh, context)
            late = await encoded_async(api, rehearsal.make(), rehearsal.context)
            again = await encoded_async(api, rehearsal.make(), copy, rehearsal.stage)
            found = _without_noise(rehearsal, answer, (twice, late, again), tolerance)
            doubts = _doubts(rehearsal, answer, twice, tolerance)
    except Exception as error:  # as above
        note_fault(api, error)
        _compare_outputs(rehearsal, fresh)
        return
    _conclude(rehearsal, found, doubts=doubts)


def _copy(rehearsal: Rehearsal) -> Context | None:
    """Return a copy of the context as a hit leaves it, before an encoding can change that."""
    copied: Context | None = Copies().of(rehearsal.context)
    return copied


def _found(
    rehearsal: Rehearsal, answer: Frozen, fresh: Any
) -> tuple[list[Difference], float | None]:
    """Return where the answers differ, and the tolerance; `None` if the outputs differ as well.

    Equal outputs leave no room for the model's noise. Its tolerance is as wide as a score of 0.5
    beside a coordinate of 640: it would hide that `encode_response` read another request's scores.
    """
    verdict = rehearsal.verdict
    stored, output = freeze(rehearsal.make()), freeze(fresh)
    is_equal = not verdict.differences(stored, output, tolerance=0, limit=1) and not any(
        verdict.differences_of_context(tried, tolerance=0) for tried in rehearsal.tried
    )
    tolerance = _OF_EQUALS if is_equal else math.inf
    found = verdict.differences(rehearsal.early, answer, tolerance=tolerance)
    agree = (
        is_equal
        or not found
        or not (
            verdict.differences(stored, output, limit=1)
            or any(map(verdict.differences_of_context, rehearsal.tried))
        )
    )
    return found, tolerance if agree else None


def _without_noise(
    rehearsal: Rehearsal,
    answer: Frozen,
    others: tuple[Frozen | None, Frozen | None, Frozen | None],
    tolerance: float,
) -> list[Difference]:
    """Return where a hit would be answered otherwise, though the outputs agree.

    Places that differ though one output was encoded twice are a clock, or random: left out. In all
    others the answers to equal outputs must be equal. If the outputs differ by noise, another label
    may be the best; then the stored output must be encoded now as before the model ran. A clock may
    tell whole seconds: what the earlier twin now makes otherwise than before is left out, too.

    An answer of another class, such as an error, is no noise if the model's is of one class.
    """
    verdict, (twice, late, again) = rehearsal.verdict, others
    kinds = {kind_of(each.tree) for each in (answer, twice) if each is not None}
    if kind_of(rehearsal.early.tree) not in kinds:
        return verdict.differences(rehearsal.early, answer)
    if twice is None or late is None:  # not to be had: the outputs agree
        return []
    unlike = verdict.differences(answer, twice, limit=_MOST_NOISE, tolerance=tolerance)
    if again is not None:
        unlike += verdict.differences(
            rehearsal.early, again, limit=_MOST_NOISE, tolerance=tolerance
        )
    noise = [each.path for each in unlike]
    if "$" in noise:
        return []
    other = answer if tolerance == _OF_EQUALS else late
    return verdict.differences(rehearsal.early, other, noise, tolerance=tolerance)


def _doubts(rehearsal: Rehearsal, answer: Frozen, twice: Frozen | None, tolerance: float) -> bool:
    """Return whether a hit would differ in more than one output does that is encoded twice now."""
    verdict = rehearsal.verdict
    if twice is None:
        return True
    unlike = verdict.differences(answer, twice, limit=_MOST_NOISE, tolerance=tolerance)
    clocks = [each.path for each in unlike]
    return "$" in clocks or bool(
        verdict.differences(rehearsal.early, answer, clocks, limit=1, tolerance=tolerance)
    )


def _conclude(
    rehearsal: Rehearsal,
    found: list[Difference],
    *,
    by_output: bool = False,
    doubts: bool = False,
) -> None:
    if found:
        rehearsal.verdict.disagreed(found)
    else:
        for tried in rehearsal.tried:
            rehearsal.verdict.agreed(tried, by_output=by_output, doubts=doubts)
