"""Where an output is encoded beside the service: on a twin of the API, and in sight."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litserve import LitAPI

from litcache.keys.contexts import Context
from litcache.litapi.classes import attribute_of, takes_context
from litcache.litapi.reach import reached
from litcache.litapi.state import state_of
from litcache.litapi.surroundings import Surroundings
from litcache.litapi.twin import twin_of
from litcache.observe.log import logger
from litcache.switches import disabled
from litcache.trial.answers.compare import Frozen, freeze, raised
from litcache.values.copies import Copies, UncopyableError


class Stage:
    """A twin of an API as it is now, on which outputs are encoded.

    Args:
        api: The API.

    Raises:
        UncopyableError: If it has no twin.
    """

    def __init__(self, api: LitAPI) -> None:
        found = reached(api)
        if not found.may_run_twice(api):
            raise UncopyableError("encode_response must not run twice")
        self.copies = Copies()
        self.twin = twin_of(api, self.copies, found.names)
        self._api = api
        self._surroundings = Surroundings(found, self.copies.shared)

    def encode(self, output: Any, context: Context | None) -> Any:
        """Return what the twin makes of an output; it may have to be awaited."""
        cls = type(self.twin)
        encode = attribute_of(cls, "encode_response").__get__(self.twin, cls)
        if takes_context(encode):
            return encode(output, context={} if context is None else context)
        return encode(output)

    def leaves_traces(self) -> bool:
        """Return whether encoding has changed more than the twin: then it is not done again."""
        if self._surroundings.have_changed():
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


def encoded(
    api: LitAPI, output: Any, context: Context | None, stage: Stage | None = None
) -> Frozen | None:
    """Encode an output on a twin of an API as it is now.

    Args:
        api: The API.
        output: The output, which `encode_response` may change.
        context: Its context, which `encode_response` may change.
        stage: An earlier twin to take instead.

    Returns:
        The answer; `None` if the API has no twin, or if more than the twin was changed.
    """
    try:
        stage = stage or Stage(api)
        answer = encode_on(stage, output, context)
        return None if stage.leaves_traces() else answer
    except Exception as error:
        note_fault(api, error)
        return None


async def encoded_async(
    api: LitAPI, output: Any, context: Context | None, stage: Stage | None = None
) -> Frozen | None:
    """Encode an output as `encoded` does, by an async hook too."""
    try:
        stage = stage or Stage(api)
        answer = await encode_on_async(stage, output, context)
        return None if stage.leaves_traces() else answer
    except Exception as error:
        note_fault(api, error)
        return None


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
