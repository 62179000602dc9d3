"""The trial of responses: when the model's answer is encoded, it is compared with the rehearsal."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from litserve import LitAPI

from litcache.litapi.comparing import (
    Fresh,
    compare_outputs,
    conclude,
    doubts,
    runs,
    take,
    unexplained,
)
from litcache.litapi.rehearsal import Rehearsal, Watch
from litcache.litapi.stage import encoded, encoded_async, note_fault, watching
from litcache.litapi.state import ApiState, state_of
from litcache.trial.answers.compare import Frozen, freeze, raised


def proving(api: LitAPI, hook: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `encode_response` as one that compares its answers with what was rehearsed."""
    state = state_of(api)

    def encode(output: Any, *args: Any, **context: Any) -> Any:
        rehearsal = _expected(state, output, in_order=not api.enable_async)
        if isinstance(rehearsal, Watch):
            with state.model_lock, watching(api):  # what predict changes meanwhile is no trace
                return call(output, *args, **context)
        fresh = None
        if rehearsal is not None:
            fresh = _fresh(api, rehearsal, output, context)
        try:
            answer = call(output, *args, **context)
        except Exception as error:
            if fresh is not None:
                _compare(api, fresh, raised(error))
            raise
        finally:
            state.encodings += 1
        if fresh is not None:
            _compare(api, fresh, freeze(answer))
        return answer

    async def encode_async(output: Any, *args: Any, **context: Any) -> Any:
        rehearsal = state.expected.take(output)
        if isinstance(rehearsal, Watch):
            with watching(api):
                return await call(output, *args, **context)
        fresh = None
        if rehearsal is not None:
            fresh = _fresh(api, rehearsal, output, context)
        try:
            answer = await call(output, *args, **context)
        except Exception as error:
            if fresh is not None:
                await _compare_async(api, fresh, raised(error))
            raise
        if fresh is not None:
            await _compare_async(api, fresh, freeze(answer))
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


def _fresh(api: LitAPI, rehearsal: Rehearsal, output: Any, given: dict[str, Any]) -> Fresh | None:
    """Return what the client's response is made of, unless the outputs are compared instead."""
    context = given.get("context")
    # A constant is the output of several requests: LitServe's async loop runs their
    # `encode_response` in threads, which come in any order.
    if context is None or context is rehearsal.part.own:
        try:
            return take(api, rehearsal, output, context)
        except Exception as error:  # no memory on the device
            note_fault(api, error)
    compare_outputs(rehearsal, freeze(output))
    return None


def _compare(api: LitAPI, fresh: Fresh, answer: Frozen) -> None:
    doubted = False
    try:
        found = fresh.differences(answer)
        if found and fresh.agrees:
            with state_of(api).model_lock:
                for run in runs(fresh):
                    run.keep(encoded(run.stage, run.make, run.context))
            found, doubted = unexplained(fresh, answer, found), doubts(fresh, answer)
    except Exception as error:  # no memory on the device
        note_fault(api, error)
        compare_outputs(fresh.rehearsal, fresh.output)
        return
    conclude(fresh.rehearsal, found, doubts=doubted)


async def _compare_async(api: LitAPI, fresh: Fresh, answer: Frozen) -> None:
    doubted = False
    try:
        found = fresh.differences(answer)
        if found and fresh.agrees:
            for run in runs(fresh):
                run.keep(await encoded_async(run.stage, run.make, run.context))
            found, doubted = unexplained(fresh, answer, found), doubts(fresh, answer)
    except Exception as error:  # as above
        note_fault(api, error)
        compare_outputs(fresh.rehearsal, fresh.output)
        return
    conclude(fresh.rehearsal, found, doubts=doubted)
