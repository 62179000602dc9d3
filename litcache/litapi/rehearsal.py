"""The trial of responses: what a hit would answer is encoded before the model runs.

The order is that of a hit. So an `encode_response` that reads what `predict` left on `self` reads
what it would read on a hit, and the answers differ.

A rehearsal works on copies: of the context, and of the API, its twin. Where that is not possible,
or where `encode_response` changes what copies share with their originals, there is none, and the
hits are compared by their outputs. The first response of an API is watched to know that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from litserve import LitAPI

from litcache.engine import outcomes, trials
from litcache.engine.cache import Cache
from litcache.engine.call import Misses
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi.own import has_own_encoding
from litcache.litapi.stage import Stage, encode_on, encode_on_async, note_fault
from litcache.litapi.state import state_of
from litcache.trial.answers.compare import Frozen
from litcache.trial.verdict import Tried, Verdict
from litcache.values.copies import Copies, UncopyableError


class Watch:
    """Stands for a response that is watched, not compared: of the first request."""


class Rehearsal:
    """What a hit would answer to one request, and what it takes to compare that.

    Args:
        verdict: The verdict of the method.
        tried: The hits of the request.
        make: Makes the stored output, anew at each call.
        context: A true copy of the context as a hit leaves it; `None` if there is none.
        early: What `encode_response` made of the output before the model ran.
        stage: Where it did so.
        own: The context of the request itself; `None` if it has none.

    Attributes:
        call: The number of the call whose outputs are on their way to `encode_response`.
    """

    __slots__ = ("call", "context", "early", "make", "own", "stage", "tried", "verdict")

    def __init__(
        self,
        verdict: Verdict,
        tried: Sequence[Tried],
        make: Callable[[], Any],
        context: Context | None,
        early: Frozen,
        stage: Stage,
        own: Context | None,
    ) -> None:
        self.call = 0
        self.own = own
        self.stage = stage
        self.verdict = verdict
        self.tried = tried
        self.make = make
        self.context = context
        self.early = early


Expected = dict[int, Rehearsal | Watch]
"""What is done with the responses to the requests of a call, by the number of the request."""


# ---------------------------------------------------------------------- what is rehearsed


class _Part(NamedTuple):
    """A request that is rehearsed: its hits, its output made anew, its context and two copies."""

    number: int
    tried: list[Tried]
    make: Callable[[], Any]
    contexts: tuple[Context | None, Context | None]
    own: Context | None


def _parts(cache: Cache, misses: Misses, contexts: Any, stage: Stage) -> Iterator[_Part]:
    """Yield each request of a call of which every item hit, if there are copies of its context."""
    call, start = misses.call, 0
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
            copies = (stage.copies, Copies())
            both = [None if contexts is None else each.of(contexts[number]) for each in copies]
            for context in both:
                stored = trials.read(call, entries, cache.device)
                if context is not None:
                    stored.apply_to(context)
                    outcomes.foretell(cache.policy, context, size)
        except (ValueEncodingError, UncopyableError):
            continue
        own = None if contexts is None else contexts[number]
        yield _Part(number, tried, make, (both[0], both[1]), own)


def _expected(misses: Misses, parts: list[_Part], early: list[Frozen], stage: Stage) -> Expected:
    verdict = misses.call.verdict
    assert verdict is not None
    for part in parts:
        for each in part.tried:
            each.at_encoding = True
    return {
        part.number: Rehearsal(
            verdict, part.tried, part.make, part.contexts[1], answer, stage, part.own
        )
        for part, answer in zip(parts, early, strict=True)
    }


def _is_wanted(cache: Cache, misses: Misses) -> bool:
    """Return whether responses are compared, or watched so that they can be later."""
    verdict = misses.call.verdict
    if verdict is None:
        return False
    state = state_of(cache.api)
    if state.encodes_alone is False:
        return False
    if verdict.trial.compare == "output" or not (misses.tried or state.encodes_alone is None):
        return False
    outputs_are_answers = cache.labels.method != "predict" or cache.policy.result == "response"
    return not outputs_are_answers and _encodes_in_sight(cache.api)


def begin(cache: Cache, misses: Misses, contexts: Any) -> Expected:
    """Encode what hits would answer, before the model runs.

    Args:
        cache: The cache of the call.
        misses: The misses of the call, with the hits that are tried.
        contexts: The context of each request; `None` if no hook takes one.

    Returns:
        A rehearsal for each request that can be compared when it is encoded, by its number. The
        others are compared by their outputs.
    """
    if not _is_wanted(cache, misses):
        return {}
    state = state_of(cache.api)
    if state.encodes_alone is None:
        return {0: Watch()}
    # With overlap, the model runs in another thread: what it leaves on self is not from before.
    if not state.model_lock.acquire(blocking=False):
        return {}
    try:
        stage = Stage(cache.api)
        parts = list(_parts(cache, misses, contexts, stage))
        early = [encode_on(stage, part.make(), part.contexts[0]) for part in parts]
        return {} if stage.leaves_traces() else _expected(misses, parts, early, stage)
    except Exception as error:
        note_fault(cache.api, error)
        return {}
    finally:
        state.model_lock.release()


async def begin_async(cache: Cache, misses: Misses, contexts: Any) -> Expected:
    """Encode what hits would answer, as `begin` does, in an async API."""
    if not _is_wanted(cache, misses):
        return {}
    if state_of(cache.api).encodes_alone is None:
        return {0: Watch()}
    try:
        stage = Stage(cache.api)
        parts = list(_parts(cache, misses, contexts, stage))
        early = [await encode_on_async(stage, part.make(), part.contexts[0]) for part in parts]
        return {} if stage.leaves_traces() else _expected(misses, parts, early, stage)
    except Exception as error:
        note_fault(cache.api, error)
        return {}


class before:
    """Rehearse no more if the model fails inside: it may miss what a rehearsal has used up.

    Args:
        cache: The cache of the calls.
        expected: The rehearsals of all that the model gets; it may as well fail of what has none.
    """

    __slots__ = ("_cache", "_expected")

    def __init__(self, cache: Cache, expected: Sequence[Expected]) -> None:
        self._cache = cache
        self._expected = expected

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, Exception) and all(
            isinstance(part.get(0), Rehearsal) for part in self._expected
        ):
            state_of(self._cache.api).encodes_alone = False


def expect(cache: Cache, outputs: Sequence[Any], expected: Expected) -> None:
    """Compare the answers of requests when their outputs are encoded."""
    if not expected:
        return
    state = state_of(cache.api)
    state.expected_call += 1
    for number, output in enumerate(outputs):
        rehearsal = expected.get(number)
        if isinstance(rehearsal, Rehearsal):
            rehearsal.call = state.expected_call
        # A constant may be the output of several requests: all of them stand in the line.
        if not state.expected.put(output, rehearsal):
            state.encodes_in_sight = False  # nobody encodes: the trial must end all the same


# ---------------------------------------------------------------------- encode_response


def _encodes_in_sight(api: LitAPI) -> bool:
    """Return whether litcache sees the encoding of the responses."""
    return state_of(api).encodes_in_sight and not has_own_encoding(api)
