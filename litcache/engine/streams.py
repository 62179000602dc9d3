"""Streams through the engine: recorded as they pass, and given again.

The steps of a stream are those of `run.py`, and two more: `Next` takes a chunk from the user's
generator, and `Give` gives one to the caller. The engine calls neither: the drivers of
`litapi/streams.py` do.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from typing import Any, NamedTuple, cast

from litcache.engine import trials
from litcache.engine.cache import Cache
from litcache.engine.call import COALESCED, Misses, Part, uncached
from litcache.engine.claims import claim
from litcache.engine.feeds import Seat, StreamClaim, runner
from litcache.engine.recorder import Recorder, Stream
from litcache.engine.run import wait_for
from litcache.engine.steps import Compute, Step
from litcache.errors import ValueEncodingError
from litcache.values import codec
from litcache.values.chunks import Chunk, Chunks, Read
from litcache.values.containers import duplicate


class Next(NamedTuple):
    """Take the next chunk of the user's generator; send back it, or an `Ended`, and the seconds.

    Attributes:
        part: What the generator was called with.
        sent: What the caller has sent into the stream.
        error: What the caller has thrown into the stream.
    """

    part: Part
    sent: Any = None
    error: BaseException | None = None


class Ended(NamedTuple):
    """The user's generator has ended by itself, with a value."""

    value: Any


class Give(NamedTuple):
    """Give a chunk to the caller; send back what the caller sends."""

    value: Any


StreamSteps = Generator[Step | Next | Give, Any, None]


# ---------------------------------------------------------------------- the steps


def play(cache: Cache, call: Stream, misses: Misses | None) -> StreamSteps:
    """Yield the steps that give a caller its stream.

    Args:
        cache: The call's cache.
        call: The call.
        misses: What `Cache.lookup` returned for it.
    """
    if misses is None:
        assert call.chunks is not None
        if not (yield from _replay(cache, call, call.chunks)):
            yield from _compute(cache, uncached(call))  # it is counted already, as a hit
        return
    try:
        unclaimed, misses.unclaimed = misses.unclaimed, []
        yield from claim(cache, misses, unclaimed)
        while misses.is_open:
            if misses.waits:
                yield from _follow(cache, misses, call)
            else:
                yield from _compute(cache, misses)
        if call.chunks is not None and not (yield from _replay(cache, call, call.chunks)):
            yield from _compute(cache, uncached(call))
    # The caller has left, too: nobody may wait for this call.
    except BaseException as error:
        if isinstance(misses.claim, StreamClaim) and isinstance(error, Exception):
            misses.claim.error = error
        cache.abandon(misses)
        raise
    finally:
        cache.finish(misses)


def _replay(cache: Cache, call: Stream, chunks: Chunks) -> Generator[Give, Any, bool]:
    """Give the chunks of an entry; return false if one of them cannot be read."""
    call.keep_context()
    last = len(chunks) - 1
    for index, chunk in enumerate(chunks):
        try:
            read = call.read_chunk(chunk)
        except ValueEncodingError as error:
            cache.reporter.swallow("decode", error, "an entry cannot be read and is computed anew")
            for known in islice(chunks, call.count, index):
                call.note(known)
            return False
        yield from _give(call, index, chunk, read, is_end=index == last)
    return True


def _give(
    call: Stream, index: int, chunk: Chunk, read: Read, *, is_end: bool = False
) -> Generator[Give, Any, None]:
    """Give a chunk with the changes of its context, unless the caller has it already."""
    if call.has(index, chunk, is_end=is_end):
        return
    # As the method made them: after the chunk before, and before this one.
    call.change(0, read.changed, read.removed)
    if is_end:
        call.returned = read.value
    else:
        yield Give(read.value)


def _follow(cache: Cache, misses: Misses, call: Stream) -> StreamSteps:
    """Give what another call computes, as it comes; if that breaks off, this call goes on."""
    other = misses.waits.pop(0)
    if call.verdict is not None and call.verdict.wants_equal(call.requests[0], 0):
        # While the trial lasts, nobody gets what was computed for another request.
        misses.keys[0], misses.to_compute = None, [0]
        return
    call.keep_context()
    misses.outcomes[0] = COALESCED
    cache.tell(misses)  # now: `encode_response` may read it beside the first chunk
    if isinstance(other, StreamClaim):
        state = yield from _join(cache, misses, other)
    else:  # another process computes it: its chunks come when all are there
        state = "over" if (yield from wait_for(cache, misses, other)) else "late"
        if state == "late":
            other.give_up()
    if state == "ended":
        return
    entry = other.entries.get(cast(bytes, misses.keys[0])) if other.done else None
    if entry is not None and cache.take(misses, 0, entry):
        return  # the other call has found it in the store
    misses.outcomes[0], call.cause = None, getattr(other, "error", None)
    misses.failed_leaders += not other.ran_out
    if state == "itself":
        misses.to_compute = [0]
    else:
        yield from claim(cache, misses, [0], force=state == "late")


def _join(cache: Cache, misses: Misses, other: StreamClaim) -> Generator[Step | Give, Any, str]:
    """Give the chunks of a call of this process, if it has the first ones still."""
    seat = other.join()
    if seat is None:
        return "over"
    try:
        return (yield from _listen(cache, misses, other, seat))
    finally:
        other.leave(seat)


def _listen(
    cache: Cache, misses: Misses, other: StreamClaim, seat: Seat
) -> Generator[Step | Give, Any, str]:
    """Give the chunks of another call until it ends, breaks off, or takes too long."""
    call = cast(Stream, misses.call)
    call.protect()
    index = 0
    while True:
        is_over, chunk = seat.is_over, seat.take()  # in this order: what came last is not lost
        if chunk is not None:
            is_new = index >= call.count
            yield from _give(call, index, chunk, call.read_chunk(chunk))
            if is_new:
                call.note(chunk)
            index += 1
            misses.deadline = None  # each chunk may take as long
        elif is_over:
            break
        elif other.runner == runner(
            is_async=call.is_async
        ):  # it goes on when this call returns, not before
            return "itself"
        elif not (yield from wait_for(cache, misses, other, seat)):
            other.give_up()
            return "late"
    if other.end is None or seat.is_lost:
        return "over"
    yield from _give(call, index, other.end, call.read_chunk(other.end), is_end=True)
    return "ended"


def _compute(cache: Cache, misses: Misses) -> StreamSteps:
    """Have the stream computed; give it and record it as it passes."""
    call = cast(Stream, misses.call)
    cache.before_compute([misses])
    cache.tell(misses)
    context = call.context(0)
    # After a stream that broke off, the context holds its changes: the method gets one as new.
    is_apart = context is not None and call.before is not None and cache.reads_context
    if is_apart:
        context = duplicate(call.before)
    part = Part(call.items[0], context, [(misses, 0)])
    call.source, seconds = yield Compute(part)
    recorder = Recorder(cache, misses, context if cache.reads_context else None)
    ask = go_on = Next(part)
    index = 0
    while True:
        recorder.begin()
        reply, took = yield from _taken(cache, misses, ask)
        seconds += took
        is_end = isinstance(reply, Ended)
        value = reply.value if is_end else reply
        passed = recorder.record(value, is_end=is_end, wanted=index < call.count)
        ask = go_on
        if not call.has(index, passed.chunk, is_end=is_end):
            if is_apart:
                call.change(0, passed.changed, passed.removed)
            if is_end:
                break
            ask = yield from _give_computed(call, go_on, value, passed.chunk)
            if ask is not go_on:
                recorder.stop("what was sent into a stream is in no key: it is not stored")
        index += 1
    call.returned = value
    recorder.finish(seconds)


def _taken(cache: Cache, misses: Misses, ask: Next) -> Generator[Next, Any, Any]:
    """Take a chunk; if the method refuses the item, that counts for the trial of a hit."""
    try:
        return (yield ask)
    except Exception as error:
        if ask.error is None:  # or it is what the caller has thrown
            trials.refused([(misses, 0)], error, cache.device)
        raise


def _give_computed(
    call: Stream, go_on: Next, value: Any, chunk: Chunk | None
) -> Generator[Give, Any, Next]:
    """Give what the method has yielded; return what to ask it for then."""
    if chunk is not None and codec.differs_from_stored(value):
        value = call.read_chunk(chunk).value
    try:
        sent = yield Give(value)
    except Exception as error:  # the caller's, thrown into the stream
        return go_on._replace(error=error)
    return go_on if sent is None else go_on._replace(sent=sent)
