"""`result="response"`: `encode_response` runs behind `predict`, so that responses are cached."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from litserve import LitAPI

from litcache.engine.modes import Unbatched
from litcache.litapi.classes import attribute_of, takes_context
from litcache.litapi.tokens import Answer, Raised


class Predict(Protocol):
    """The user's `predict`, as the wrapper around it calls it."""

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Call it with an item, or with a container of items; `items` says how many."""


class Encoding:
    """The user's `predict` and `encode_response` together, which make responses of items.

    Args:
        api: The API.
        method: Its `predict`.
        apart: Whether a response of a batch fails alone if `encode_response` raises; if not, the
            whole batch fails, as in LitServe's own loops.
    """

    def __init__(self, api: LitAPI, method: Predict, *, apart: bool = False) -> None:
        self.method = method
        self._apart = apart
        # The hook of the class: the APIRunner puts one on the object that counts its calls.
        hook = attribute_of(type(api), "encode_response")
        self._encode = hook.__get__(api, type(api))
        self._takes_context = takes_context(self._encode)

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Return the response to one item."""
        return self._encoded(self.method.compute(item, context, items), context)

    def batch(self, unbatched: Unbatched, contexts: Sequence[Any] | None) -> Unbatched:
        """Return the responses to the items of a batch, encoded in order."""
        responses: list[Any] = []
        missing: dict[int, Exception] = {}
        for position, output in enumerate(unbatched.outputs):
            context = None if contexts is None else contexts[position]
            try:
                responses.append(self._encoded(output, context))
            except Exception as error:  # encode_response is the user's
                if not self._apart:
                    raise
                responses.append(Raised(error))
                missing[position] = error
        return Unbatched(responses, unbatched.fault, missing)

    def _encoded(self, output: Any, context: Any) -> Any:
        return self._encode(output, **self._arguments(context))

    def _arguments(self, context: Any) -> dict[str, Any]:
        return {"context": context} if self._takes_context else {}


class AsyncEncoding(Encoding):
    """The user's async `predict`, and an `encode_response` that may be async."""

    async def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Return the response to one item; hooks run where LitServe's async loop runs them."""
        output = await self.method.compute(item, context, items)
        encode, arguments = self._encode, self._arguments(context)
        if inspect.iscoroutinefunction(encode):
            return await encode(output, **arguments)
        response = await asyncio.to_thread(encode, output, **arguments)
        return await response if inspect.iscoroutine(response) else response


def opening(hook: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `encode_response` as one that opens what is encoded already.

    Args:
        hook: The user's hook.
        call: Calls it.
    """

    def encode(output: Any, *args: Any, **context: Any) -> Any:
        return output.open() if type(output) is Answer else call(output, *args, **context)

    async def encode_async(output: Any, *args: Any, **context: Any) -> Any:
        return output.open() if type(output) is Answer else await call(output, *args, **context)

    return encode_async if inspect.iscoroutinefunction(hook) else encode
