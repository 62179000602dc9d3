"""The trial of responses: what a hit would answer is encoded before the model runs.

The order is that of a hit. So an `encode_response` that reads what `predict` left on `self` reads
what it would read on a hit, and the answers differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from litserve import LitAPI

from litcache.engine import outcomes, trials
from litcache.engine.cache import Cache
from litcache.engine.call import Misses
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi.attributes import Attributes
from litcache.litapi.classes import attribute_of, takes_context
from litcache.litapi.own import has_own_encoding
from litcache.litapi.state import state_of
from litcache.trial.compare import Frozen, freeze, raised
from litcache.trial.verdict import Tried, Verdict
from litcache.values.containers import duplicate


class Rehearsal:
    """What a hit would answer to one request, and what it takes to compare that.

    Args:
        verdict: The verdict of the method.
        tried: The hits of the request.
        make: Makes the stored output, anew at each call.
        context: The context as a hit leaves it; `None` if there is none.
        early: What `encode_response` made of the output before the model ran.
    """

    __slots__ = ("context", "early", "make", "tried", "verdict")

    def __init__(
        self,
        verdict: Verdict,
        tried: Sequence[Tried],
        make: Callable[[], Any],
        context: Context | None,
    ) -> None:
        self.verdict = verdict
        self.tried = tried
        self.make = make
        self.context = context
        self.early: Frozen = raised(RuntimeError("not encoded"))


def _prepare(cache: Cache, misses: Misses, contexts: Any) -> dict[int, Rehearsal]:
    """Return a rehearsal for each request of a call of which every item hit."""
    call, verdict = misses.call, misses.call.verdict
    api = cache.api
    if verdict is None or verdict.trial.compare == "output":
        return {}
    outputs_are_answers = cache.labels.method != "predict" or cache.policy.result == "response"
    if outputs_are_answers or not _encodes_in_sight(api):
        return {}
    rehearsals: dict[int, Rehearsal] = {}
    start = 0
    for number, size in enumerate(call.sizes):
        positions = range(start, start + size)
        start += size
        tried = [misses.tried[at] for at in positions if at in misses.tried]
        entries = [each.entry for each in tried if each.entry is not None]
        if not size or len(entries) < size:
            continue

        def make(entries: list[Any] = entries) -> Any:
            return trials.read(call, entries, cache.device).value

        try:
            stored = trials.read(call, entries, cache.device)
        except ValueEncodingError:
            continue
        context = None if contexts is None else duplicate(contexts[number])
        if context is not None:
            stored.apply_to(context)
            outcomes.foretell(cache.policy, context, size)
        rehearsals[number] = Rehearsal(verdict, tried, make, context)
        for each in tried:
            each.at_encoding = True
    return rehearsals


def begin(cache: Cache, misses: Misses, contexts: Any) -> dict[int, Rehearsal]:
    """Encode what hits would answer, before the model runs.

    Args:
        cache: The cache of the call.
        misses: The misses of the call, with the hits that are tried.
        contexts: The context of each request; `None` if no hook takes one.

    Returns:
        A rehearsal for each request that can be compared when it is encoded, by its number. The
        others are compared by their outputs.
    """
    state = state_of(cache.api)
    # With overlap, the model runs in another thread, and what it sets on self must not be undone.
    if not state.model_lock.acquire(blocking=False):
        return {}
    try:
        rehearsals = _prepare(cache, misses, contexts)
        for rehearsal in rehearsals.values():
            rehearsal.early = encoded(cache.api, rehearsal.make(), rehearsal.context)
        return rehearsals
    finally:
        state.model_lock.release()


async def begin_async(cache: Cache, misses: Misses, contexts: Any) -> dict[int, Rehearsal]:
    """Encode what hits would answer, as `begin` does, in an async API."""
    rehearsals = _prepare(cache, misses, contexts)
    for rehearsal in rehearsals.values():
        rehearsal.early = await encoded_async(cache.api, rehearsal.make(), rehearsal.context)
    return rehearsals


def expect(cache: Cache, outputs: Sequence[Any], rehearsals: dict[int, Rehearsal]) -> None:
    """Compare the answers of requests when their outputs are encoded."""
    if not rehearsals:
        return
    state = state_of(cache.api)
    for number, output in enumerate(outputs):
        # A constant may be the output of several requests: all of them stand in the line.
        if not state.expected.put(output, rehearsals.get(number)):
            state.encodes_in_sight = False  # nobody encodes: the trial must end all the same


# ---------------------------------------------------------------------- encode_response


def _encodes_in_sight(api: LitAPI) -> bool:
    """Return whether litcache sees the encoding of the responses."""
    return state_of(api).encodes_in_sight and not has_own_encoding(api)


def _encoder(api: LitAPI) -> Any:
    hook = attribute_of(type(api), "encode_response")
    return hook.__get__(api, type(api))


def _call(api: LitAPI, output: Any, context: Context | None) -> Any:
    encode = _encoder(api)
    if takes_context(encode):
        return encode(output, context={} if context is None else duplicate(context))
    return encode(output)


def encoded(api: LitAPI, output: Any, context: Context | None) -> Frozen:
    """Encode an output, put back what that changed on `self`, and freeze the answer."""
    before = Attributes(api)
    try:
        return freeze(_call(api, output, context))
    except Exception as error:
        return raised(error)
    finally:
        before.put_back()


async def encoded_async(api: LitAPI, output: Any, context: Context | None) -> Frozen:
    """Encode an output as `encoded` does, by an async hook too."""
    before = Attributes(api)
    try:
        answer = _call(api, output, context)
        return freeze(await answer if inspect.isawaitable(answer) else answer)
    except Exception as error:
        return raised(error)
    finally:
        before.put_back()
