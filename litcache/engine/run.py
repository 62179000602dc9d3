"""One way through the engine: look up, compute, publish, wait; for threads and for tasks.

The misses of a call are settled by a generator of steps, which does no I/O and calls no model. A
driver takes each step and sends its result back: `drive` in a thread, `drive_async` in a task. The
loop and the HTTP tier have their own drivers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from litcache.engine import contexts, threads, trials
from litcache.engine.cache import Cache
from litcache.engine.call import Call, Misses, Part
from litcache.engine.claims import claim
from litcache.engine.deadlock import would_last
from litcache.engine.flight import Claim, Waited
from litcache.engine.inside import claims_held, computing
from litcache.engine.steps import Compute, Step, Steps, Wait
from litcache.engine.tier import Tier

_T = TypeVar("_T", bound=Tier)
_S = TypeVar("_S")  # a step: what this module knows, or what a stream adds
_LOOK_SECONDS = 0.5
"""So often a call that waits looks whether it waits for itself."""


# ---------------------------------------------------------------------- the steps


def computation(cache: Cache, group: Sequence[Misses]) -> Steps:
    """Yield the steps that compute the misses of calls together, publish and store them.

    Args:
        cache: The cache of the calls.
        group: The misses of calls of one mode.
    """
    cache.before_compute(group)
    for number, part in enumerate(group[0].call.parts(group)):
        if number:
            cache.hold(group)
        if cache.reads_context:
            contexts.note(part.places)
        try:
            output, seconds = yield Compute(part)
        except Exception as error:
            trials.refused(part.places, error, cache.device)
            raise
        if part.contexts is not None:
            contexts.take_back(part)
        # Before the next part: a method may use its output buffer again.
        cache.keep(part.places, output, seconds)
    cache.publish(group)


def settle(
    cache: _T,
    misses: Misses,
    compute: Callable[[_T, Sequence[Misses]], Steps],
) -> Steps:
    """Yield the steps that give every item of a call an output.

    The call computes and publishes its own misses before it waits for other calls. So no two calls
    wait for each other.

    Args:
        cache: The call's cache.
        misses: The misses of the call.
        compute: Yields the steps that compute misses: `computation`, or a generator that has them
            computed elsewhere, for instance together with those of other calls.
    """
    try:
        unclaimed, misses.unclaimed = misses.unclaimed, []
        yield from claim(cache, misses, unclaimed)
        while misses.to_compute or misses.waits:
            if misses.to_compute:
                yield from compute(cache, [misses])
            else:
                yield from _wait(cache, misses)
    # Ctrl-C and a cancelled task, too: nobody may wait for this call.
    except BaseException:
        cache.abandon(misses)
        raise
    finally:
        cache.finish(misses)


def _wait(cache: Tier, misses: Misses) -> Steps:
    """Wait for a call that computes some of the misses, and take what it published."""
    misses.call.protect()
    other = next(iter(misses.waits.values()))
    if (yield from wait_for(cache, misses, other)):
        missing = _resumed(cache, misses)
        misses.failed_leaders += bool(missing) and not other.ran_out
        yield from claim(cache, misses, missing)
    else:
        other.give_up()  # it may never end: other followers need not wait for it either
        waiting = sorted(misses.waits)
        misses.waits.clear()
        yield from claim(cache, misses, waiting, force=True)


def wait_for(
    cache: Tier, misses: Misses, other: Claim, event: Waited | None = None
) -> Generator[Wait, Any, bool]:
    """Wait for a claim of another call, or for an event of it; return whether it came in time."""
    held, in_time, has_waited = claims_held(), False, False
    try:
        for mine in held:
            mine.waits_for = other
        while not in_time and not would_last(other, held, has_waited=has_waited):
            seconds = cache.remaining(misses)
            if other.is_away and cache.leases is not None:
                seconds = cache.leases.bounded(misses, seconds)
            if seconds == 0:
                break
            in_time = yield Wait(other, min(_LOOK_SECONDS, seconds or _LOOK_SECONDS), event)
            has_waited = True
    finally:
        for mine in held:
            mine.waits_for = None
    return in_time or (event is None and other.done)  # this thread may have been late itself


def _resumed(cache: Tier, misses: Misses) -> list[int]:
    """Take what other calls have published; return the positions that they did not compute."""
    missing: list[int] = []
    for position, other in list(misses.waits.items()):
        key = misses.keys[position]
        if not other.done or key is None:
            continue
        del misses.waits[position]
        if key in other.entries:
            cache.share(misses, (position,), other.entries[key])
        else:
            missing.append(position)
    return missing


# ---------------------------------------------------------------------- the drivers


def drive(cache: Cache, steps: Steps, compute: Callable[[Part], Any]) -> None:
    """Take steps in this thread.

    Args:
        cache: The cache whose steps they are.
        steps: A generator that `settle` or `computation` returned.
        compute: Calls the method with a part.
    """
    try:
        step = advance(steps, None)
        while step is not None:
            step = take_step(cache, steps, step, compute)
    finally:
        steps.close()


def advance(steps: Generator[_S, Any, None], reply: Any) -> _S | None:
    """Return the next step; `None` at the end."""
    try:
        return steps.send(reply)
    except StopIteration:
        return None


def _throw(steps: Generator[_S, Any, None], error: BaseException) -> _S | None:
    """Raise an error where the steps are; return the next step."""
    try:
        return steps.throw(error)
    except RuntimeError as raised:
        if isinstance(error, StopIteration) and raised.__cause__ is error:
            raise error from None  # it cannot leave a generator as it is (PEP 479)
        raise


def take_step(
    cache: Cache, steps: Generator[_S, Any, None], step: Step, compute: Callable[[Part], Any]
) -> _S | None:
    """Take one step; return the next."""
    reply: Any
    try:
        if isinstance(step, Compute):
            started = time.perf_counter()
            with computing(cache, step.part):
                output = compute(step.part)
            reply = output, time.perf_counter() - started
        elif isinstance(step, Wait):
            reply = (step.event or step.claim).wait(step.seconds)
        else:
            reply = step.function()
    except BaseException as error:
        return _throw(steps, error)
    return advance(steps, reply)


async def lookup_async(cache: Cache, call: Call) -> Misses | None:
    """Look up the items of a call in this task, as `Cache.lookup` does.

    The keys are made in this task, before another task can change the items. Only the question to a
    store that may wait for I/O goes to a thread, unless the store can answer at once.
    """
    if not cache.store.blocking:
        return cache.lookup(call)
    cache.ask(call, cache.scope.renewed())
    if not call.refreshed and not any(call.keys):
        return cache.sort(call, [None] * len(call.items))  # there is nothing to ask
    near = cache.guarded.find_at_once(call)
    if near is not None:
        return cache.sort(call, near)
    call.protect()
    return cache.sort(call, await threads.run(cache.guarded.find, call, cache.lease))


async def drive_async(cache: Cache, steps: Steps, compute: Callable[[Part], Any]) -> None:
    """Take steps in this task, as `drive` does; `compute` returns an awaitable."""
    try:
        step = advance(steps, None)
        while step is not None:
            step = await take_step_async(cache, steps, step, compute)
    finally:
        steps.close()


async def take_step_async(
    cache: Cache, steps: Generator[_S, Any, None], step: Step, compute: Callable[[Part], Any]
) -> _S | None:
    """Take one step in this task; return the next."""
    reply: Any
    try:
        if isinstance(step, Compute):
            started = time.perf_counter()
            with computing(cache, step.part):
                output = await compute(step.part)
            reply = output, time.perf_counter() - started
        elif isinstance(step, Wait):
            reply = await (step.event or step.claim).wait_async(step.seconds)
        elif not cache.store.blocking:
            reply = step.function()
        else:
            reply = await threads.run(step.function)
    except BaseException as error:
        return _throw(steps, error)
    return advance(steps, reply)
