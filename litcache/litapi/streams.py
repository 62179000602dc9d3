"""How a cached method that is a generator answers: the drivers of `engine/streams.py`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

from litcache.engine import run
from litcache.engine.cache import Cache
from litcache.engine.call import Part
from litcache.engine.inside import computing
from litcache.engine.recorder import Stream
from litcache.engine.streams import Ended, Give, Next, play
from litcache.keys.contexts import Context
from litcache.litapi import arrivals
from litcache.litapi.batches import Method

BATCHED = (
    "streams of batches go uncached: what a generator yields for a batch is no output of one item. "
    "Serve with max_batch_size=1"
)


def answer_stream(
    cache: Cache, method: Method, item: Any, context: Context | None, seen: Any = None
) -> Generator[Any, Any, Any]:
    """Answer one item with a stream; like any generator, nothing runs before the first chunk."""
    call = Stream(item, context, cache)
    call.seen = seen
    if cache.verdict is not None:
        arrivals.enter(cache, call, (item,))
    steps = play(cache, call, cache.lookup(call))

    def compute(part: Part) -> Any:
        return method.compute(part.argument, part.contexts, 1)

    try:
        step = run.advance(steps, None)
        while step is not None:
            if isinstance(step, Give):
                try:
                    sent = yield step.value
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = run.advance(steps, sent)
            elif isinstance(step, Next):
                try:
                    reply = _next(cache, call.source, step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = run.advance(steps, reply)
            else:
                step = run.take_step(cache, steps, step, compute)
    finally:
        steps.close()
        if call.source is not None:
            call.source.close()
    return call.returned


def _next(cache: Cache, source: Any, step: Next) -> tuple[Any, float]:
    """Take the next chunk of the user's generator, and the time."""
    started = time.perf_counter()
    with computing(cache, step.part):
        try:
            given = step.error
            chunk = source.send(step.sent) if given is None else source.throw(given)
        except StopIteration as stop:
            chunk = Ended(stop.value)
    return chunk, time.perf_counter() - started


async def answer_stream_async(
    cache: Cache, method: Method, item: Any, context: Context | None, seen: Any = None
) -> AsyncGenerator[Any, Any]:
    """Answer one item of an async method with a stream."""
    call = Stream(item, context, cache, is_async=True)
    call.seen = seen
    if cache.verdict is not None:
        arrivals.enter(cache, call, (item,))
    steps = play(cache, call, await run.lookup_async(cache, call))

    async def compute(part: Part) -> Any:
        return method.compute(part.argument, part.contexts, 1)

    try:
        step = run.advance(steps, None)
        while step is not None:
            if isinstance(step, Give):
                try:
                    sent = yield step.value
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = run.advance(steps, sent)
            elif isinstance(step, Next):
                try:
                    reply = await _next_async(cache, call.source, step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = run.advance(steps, reply)
            else:
                step = await run.take_step_async(cache, steps, step, compute)
    finally:
        steps.close()
        if call.source is not None:
            await call.source.aclose()


async def _next_async(cache: Cache, source: Any, step: Next) -> tuple[Any, float]:
    """Take the next chunk of the user's async generator, and the time."""
    started = time.perf_counter()
    with computing(cache, step.part):
        try:
            if step.error is not None:
                chunk = await source.athrow(step.error)
            else:
                chunk = await source.asend(step.sent)
        except StopAsyncIteration:
            chunk = Ended(None)
    return chunk, time.perf_counter() - started
