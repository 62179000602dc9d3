"""Where an output is encoded beside the service: on a twin of the API, and in sight."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from litserve import LitAPI

from litcache.keys.contexts import Context
from litcache.litapi.classes import attribute_of, takes_context
from litcache.litapi.reach import Reached, reached
from litcache.litapi.state import state_of
from litcache.litapi.surroundings import MOST_PARTS_ONCE, Surroundings
from litcache.litapi.twin import twin_of
from litcache.observe.log import logger
from litcache.switches import disabled
from litcache.trial.answers.compare import Frozen, freeze, raised
from litcache.values.copies import Copies, UncopyableError


class Stage:
    """A twin of an API as it is now, on which outputs are encoded.

    Args:
        api: The API.
        context: The context of the request; what it has in common with the API is one object in
            the copies, too.
        found: What the code of `encode_response` names, if that is known.

    Attributes:
        context: A copy of the context.
        copies: What has made it, and the twin.
        reached: What the code names.

    Raises:
        UncopyableError: If the API has no twin, or the context no copy.
    """

    def __init__(
        self, api: LitAPI, context: Context | None = None, found: Reached | None = None
    ) -> None:
        self.reached = reached(api) if found is None else found
        if not self.reached.may_run_twice(api):
            raise UncopyableError("encode_response must not run twice")
        self.copies = Copies()
        self.twin = twin_of(api, self.copies, self.reached.names)
        self.context: Context | None = None if context is None else self.copies.of(context)
        self._api = api
        self._surroundings: Surroundings | None = None

    def surroundings(self, **options: int) -> Surroundings:
        """Return what surrounds the twin now."""
        return Surroundings(self.reached, self.copies.shared, **options)

    def look(self, **options: int) -> None:
        """Look at what surrounds the twin, to see later whether that has changed."""
        self._surroundings = self.surroundings(**options)

    def encode(self, output: Any, context: Context | None) -> Any:
        """Return what the twin makes of an output; it may have to be awaited."""
        cls = type(self.twin)
        encode = attribute_of(cls, "encode_response").__get__(self.twin, cls)
        if takes_context(encode):
            return encode(output, context={} if context is None else context)
        return encode(output)

    def leaves_traces(self) -> bool:
        """Return whether more than the twin has changed since `look`: then no more is encoded."""
        if self._surroundings is None or self._surroundings.have_changed():
            state_of(self._api).encodes_alone = False
            return True
        return False


def encode_on(stage: Stage, output: Any, context: Context | None) -> Frozen:
    """Return what the twin of a stage answers, frozen, or the error that it raises.

    Args:
        stage: The stage.
        output: The output, which `encode_response` may change.
        context: Its context, which `encode_response` may change.
    """
    with disabled():  # the twin has no entries
        try:
            return freeze(stage.encode(output, context))
        except Exception as error:
            return raised(error)


async def encode_on_async(stage: Stage, output: Any, context: Context | None) -> Frozen:
    """Return what `encode_on` does, of an async hook too."""
    with disabled():
        try:
            answer = stage.encode(output, context)
            return freeze(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:
            return raised(error)


class TracesError(Exception):
    """`encode_response` has changed what a twin shares with its API."""


def encoded(stage: Stage, make: Callable[[], Any], context: Context | None) -> Frozen:
    """Encode an output on a stage.

    What is around the stage is looked at directly before and after: what `predict` has changed
    since the twin was made is not taken for what `encode_response` changes.

    Args:
        stage: The stage.
        make: Makes the output, which `encode_response` may change.
        context: Its context, which `encode_response` may change.

    Raises:
        TracesError: If more than the twin has changed.
    """
    output = make()
    stage.look()
    answer = encode_on(stage, output, context)
    if stage.leaves_traces():
        raise TracesError
    return answer


async def encoded_async(stage: Stage, make: Callable[[], Any], context: Context | None) -> Frozen:
    """Encode an output as `encoded` does, by an async hook too."""
    output = make()
    stage.look()
    answer = await encode_on_async(stage, output, context)
    if stage.leaves_traces():
        raise TracesError
    return answer


def two_stages(api: LitAPI, context: Context | None = None) -> tuple[Stage, Stage]:
    """Return two stages alike: what one output becomes on both differs by clocks and chance.

    Args:
        api: The API.
        context: The context of the request, if there is but one.

    Raises:
        UncopyableError: As `Stage` does.
    """
    first = Stage(api, context)
    return first, Stage(api, context, first.reached)


def note_fault(api: LitAPI, error: Exception) -> None:
    """Rehearse no more: no request may fail because of what the trial does for itself.

    Args:
        api: The API.
        error: What went wrong; an `UncopyableError` may be that of one request.
    """
    if not isinstance(error, UncopyableError):
        state_of(api).encodes_alone = False
        logger.debug("%s: hits are compared by their outputs: %r", type(api).__qualname__, error)


@contextmanager
def watching(api: LitAPI) -> Iterator[None]:
    """Note whether `encode_response`, called inside, changes what a rehearsal would share with it.

    Args:
        api: The API.
    """
    state = state_of(api)
    try:
        stage = Stage(api)
        stage.look(most=MOST_PARTS_ONCE)  # later ones are encoded more than once
    except Exception:  # the user's classes may raise anything
        state.encodes_alone = False
        yield
        return
    try:
        yield
    finally:
        try:
            if not stage.leaves_traces() and state.encodes_alone is None:
                state.encodes_alone = True
        except Exception:
            state.encodes_alone = False
