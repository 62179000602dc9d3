"""The trial of responses: what a hit would answer is encoded before the model runs.

The order is that of a hit. So an `encode_response` that reads what `predict` left on `self` reads
what it would read on a hit, and the answers differ.

A rehearsal works on copies: of the context, and of the API, its twin. Where that is not possible,
or where `encode_response` changes what copies share with their originals, there is none, and the
hits are compared by their outputs. The first response of an API is watched to know that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from litserve import LitAPI

from litcache.engine import outcomes, trials
from litcache.engine.cache import Cache
from litcache.engine.call import Misses
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi.own import has_own_encoding
from litcache.litapi.stage import encoded, encoded_async, note_fault, two_stages
from litcache.litapi.state import state_of
from litcache.trial.answers.compare import Frozen
from litcache.trial.verdict import Tried, Verdict
from litcache.values.copies import Copies, UncopyableError


class Watch:
    """Stands for a response that is watched, not compared: of the first request."""


class Part(NamedTuple):
    """A request that is rehearsed.

    Attributes:
        number: The number of the request in its call.
        tried: The hits of the request.
        make: Makes the stored output, anew at each call.
        contexts: Copies of its context as a hit leaves it: for two stages, and a third; `None` if
            there is none.
        own: The context of the request itself.
    """

    number: int
    tried: list[Tried]
    make: Callable[[], Any]
    contexts: tuple[Context | None, Context | None, Context | None]
    own: Context | None


class Before:
    """An API as it was before the model ran.

    Attributes:
        stage: Where the outputs of the hits have been encoded then.
        spare: Another one, where nothing has been encoded then.
        encodings: How often `encode_response` was asked for until then.
        again: What the outputs become on the spare one, by the number of the request.
    """

    def __init__(self, api: LitAPI) -> None:
        self.stage, self.spare = two_stages(api)
        self.encodings = state_of(api).encodings
        self.again: dict[int, Frozen] = {}
        self.parts: deque[Part] = deque()
        self._around = self.stage.surroundings()

    def is_steady(self) -> bool:
        """Return whether nothing has changed around the API since, as far as can be seen."""
        return self._around.is_whole and not self._around.have_changed()

    def to_encode_again(self, part: Part) -> Iterator[Part]:
        """Yield what is encoded on the spare stage for a request: all before it, in their order."""
        while part.number not in self.again and self.parts:
            yield self.parts.popleft()


class Rehearsal(NamedTuple):
    """What a hit would answer to one request, and what it takes to compare that.

    Attributes:
        call: The number of the call whose outputs are on their way to `encode_response`.
        verdict: The verdict of the method.
        part: The request.
        before: The API as it was before the model ran.
        early: What `encode_response` made of the output then.
    """

    call: int
    verdict: Verdict
    part: Part
    before: Before
    early: Frozen


Expected = dict[int, Rehearsal | Watch]
"""What is done with the responses to the requests of a call, by the number of the request."""


# ---------------------------------------------------------------------- what is rehearsed


def _parts(cache: Cache, misses: Misses, contexts: Any, before: Before) -> Iterator[Part]:
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

        own = None if contexts is None else contexts[number]
        try:
            copies = (before.stage.copies, before.spare.copies, Copies())
            first, second, third = (None if own is None else each.of(own) for each in copies)
            for context in (first, second, third):
                stored = trials.read(call, entries, cache.device)
                if context is not None:
                    stored.apply_to(context)
                    outcomes.foretell(cache.policy, context, size)
        except (ValueEncodingError, UncopyableError):
            continue
        yield Part(number, tried, make, (first, second, third), own)


def _expected(misses: Misses, before: Before, early: list[Frozen]) -> Expected:
    verdict = misses.call.verdict
    assert verdict is not None
    for part in before.parts:
        for each in part.tried:
            each.at_encoding = True
    return {
        part.number: Rehearsal(0, verdict, part, before, answer)
        for part, answer in zip(before.parts, early, strict=True)
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
        before = Before(cache.api)
        before.parts.extend(_parts(cache, misses, contexts, before))
        early = [encoded(before.stage, part.make, part.contexts[0]) for part in before.parts]
        return _expected(misses, before, early)
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
        before = Before(cache.api)
        before.parts.extend(_parts(cache, misses, contexts, before))
        early = [
            await encoded_async(before.stage, part.make, part.contexts[0]) for part in before.parts
        ]
        return _expected(misses, before, early)
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
            rehearsal = rehearsal._replace(call=state.expected_call)
        # A constant may be the output of several requests: all of them stand in the line.
        if not state.expected.put(output, rehearsal):
            state.encodes_in_sight = False  # nobody encodes: the trial must end all the same


# ---------------------------------------------------------------------- encode_response


def _encodes_in_sight(api: LitAPI) -> bool:
    """Return whether litcache sees the encoding of the responses."""
    return state_of(api).encodes_in_sight and not has_own_encoding(api)
