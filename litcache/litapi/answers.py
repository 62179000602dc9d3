"""How a cached method answers, for each way of calling it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litcache.engine import outcomes, run
from litcache.engine.cache import Cache
from litcache.engine.call import UNCACHEABLE, Misses, NotRowsError, Part
from litcache.engine.lists import Lists, answered
from litcache.engine.modes import Batch, One
from litcache.engine.rows import Rows
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi import arrivals, rehearsal
from litcache.litapi.batches import Method, compute_batch
from litcache.litapi.own import warn_of_own
from litcache.litapi.rehearsal import Expected
from litcache.policy import CachePolicy
from litcache.values.cuts import cut, is_empty

_UNCUT = "its input goes uncached: it cannot be cut into items"
_NOT_CUT = "its input or output cannot be cut into rows, so the call goes uncached"


def compute_part(method: Method) -> Callable[[Part], Any]:
    """Return a function that calls a method with a part."""
    return lambda part: method.compute(part.argument, part.contexts, len(part.places))


def drive(cache: Cache, misses: Misses, compute: Callable[[Part], Any], seen: Any) -> Expected:
    """Give every item of a call an output; return the rehearsals of the requests that are tried."""
    steps = run.settle(cache, misses, run.computation)
    if misses.call.verdict is None:  # none of its hits is tried
        run.drive(cache, steps, compute)
        return {}
    rehearsals = rehearsal.begin(cache, misses, seen)
    with rehearsal.before(cache, [{} if misses.unclaimed else rehearsals]):
        run.drive(cache, steps, compute)
    return rehearsals


async def drive_async(
    cache: Cache, misses: Misses, compute: Callable[[Part], Awaitable[Any]], seen: Any
) -> Expected:
    """Give every item of a call of an async method an output, as `drive` does."""
    steps = run.settle(cache, misses, run.computation)
    if misses.call.verdict is None:  # as above
        await run.drive_async(cache, steps, compute)
        return {}
    rehearsals = await rehearsal.begin_async(cache, misses, seen)
    with rehearsal.before(cache, [{} if misses.unclaimed else rehearsals]):
        await run.drive_async(cache, steps, compute)
    return rehearsals


def answer_one(
    cache: Cache,
    method: Method,
    item: Any,
    context: Context | None,
    seen: Any = None,
    digest: int | None = None,
) -> Any:
    """Answer one item.

    Args:
        cache: The cache of the method.
        method: The method.
        item: The item.
        context: Its context, if the method or its policy reads it.
        seen: The contexts of the items, if another hook reads them.
        digest: The digest of the request, if the item is one.
    """
    call = One((item,), None if context is None else (context,))
    if cache.verdict is not None:
        arrivals.enter(cache, call, (item,), digest)
    misses = cache.lookup(call)
    if misses is not None:
        call.seen = seen
        rehearsals = drive(cache, misses, compute_part(method), seen)
        if rehearsals:
            rehearsal.expect(cache, call.values, rehearsals)
    return call.values[0]


async def answer_one_async(
    cache: Cache,
    method: Method,
    item: Any,
    context: Context | None,
    seen: Any = None,
    digest: int | None = None,
) -> Any:
    """Answer one item of an async method, as `answer_one` does."""
    call = One((item,), None if context is None else (context,))
    if cache.verdict is not None:
        arrivals.enter(cache, call, (item,), digest)
    misses = await run.lookup_async(cache, call)
    if misses is not None:
        call.seen = seen
        rehearsals = await drive_async(cache, misses, compute_part(method), seen)
        if rehearsals:
            rehearsal.expect(cache, call.values, rehearsals)
    return call.values[0]


def answer_tried(
    cache: Cache, method: Method, item: Any, context: Context | None, seen: Any
) -> Any:
    """Answer `decode_request` or a helper on trial: the item tells one request from another."""
    if cache.verdict is None:
        return answer_one(cache, method, item, context, seen)
    digest = arrivals.digest_of_item(cache, item)
    output = answer_one(cache, method, item, context, seen, digest)
    arrivals.note_decoded(cache, output, digest)
    return output


async def answer_tried_async(
    cache: Cache, method: Method, item: Any, context: Context | None, seen: Any
) -> Any:
    """Answer an async `decode_request` or helper on trial, as `answer_tried` does."""
    if cache.verdict is None:
        return await answer_one_async(cache, method, item, context, seen)
    digest = arrivals.digest_of_item(cache, item)
    output = await answer_one_async(cache, method, item, context, seen, digest)
    arrivals.note_decoded(cache, output, digest)
    return output


def answer_batch(
    cache: Cache, api: Any, method: Method, items: list[Any], contexts: Any, seen: Any
) -> Sequence[Any]:
    """Answer a batch of LitServe's loop: the user's three hooks run on the misses alone."""
    call = Batch(items, contexts)
    if cache.verdict is not None:
        arrivals.enter(cache, call, items)

    def compute(part: Part) -> Any:
        return compute_batch(api, method, part.argument, part.contexts)

    misses = cache.lookup(call)
    if misses is not None:
        call.seen = seen
        rehearsals = drive(cache, misses, compute, seen)
        if rehearsals:
            rehearsal.expect(cache, call.values, rehearsals)
    return call.values


# ---------------------------------------------------------------------- rows and lists


def answer_rows(
    cache: Cache,
    method: Method,
    call: Rows | Lists,
    argument: Any,
    contexts: Any = None,
    seen: Any = None,
) -> Any:
    """Answer the rows of a container; uncached if the method does not return rows."""
    misses = None
    rehearsals: Expected = {}
    is_list = type(call) is not Rows
    if is_list and cache.verdict is not None:
        arrivals.enter(cache, call, (argument,))
    try:
        misses = cache.lookup(call)
        if misses is not None:
            cache.cutting.ask_for_whole(misses)
            rehearsals = drive(cache, misses, compute_part(method), seen)
        result = call.result(getattr(cache.api, "device", None))
        if misses is not None:
            cache.cutting.note_joined(misses)
            rehearsal.expect(cache, (result,), rehearsals)
        return result
    except (NotRowsError, ValueEncodingError) as error:
        whole = _whole(cache, call, error)
        if whole:
            return whole[0]
        # The method may have run on some of the items: it finds all as it was.
        call.put_back()
        return method.compute(argument if misses is None else call.argument(0), contexts)
    finally:
        if is_list or cache.policy.outcome_in is not None:
            count(cache, call, misses)


async def answer_rows_async(
    cache: Cache,
    method: Method,
    call: Lists,
    argument: Any,
    context: Context | None,
    seen: Any = None,
) -> Any:
    """Answer the items of a list for an async method, as `answer_rows` does."""
    misses = None
    rehearsals: Expected = {}
    if cache.verdict is not None:
        arrivals.enter(cache, call, (argument,))
    try:
        misses = await run.lookup_async(cache, call)
        if misses is not None:
            cache.cutting.ask_for_whole(misses)
            rehearsals = await drive_async(cache, misses, compute_part(method), seen)
        result = call.result(getattr(cache.api, "device", None))
        if misses is not None:
            cache.cutting.note_joined(misses)
            rehearsal.expect(cache, (result,), rehearsals)
        return result
    except (NotRowsError, ValueEncodingError) as error:
        whole = _whole(cache, call, error)
        if whole:
            return whole[0]
        return await method.compute(argument if misses is None else call.argument(0), context)
    finally:
        count(cache, call, misses)


def _whole(cache: Cache, call: Rows | Lists, error: Exception) -> tuple[Any] | None:
    """Return the output of the method if it answers the whole call: it need not run again."""
    note_not_cut(cache, error)
    if isinstance(error, NotRowsError) and len(error.places) == len(call.items):
        if isinstance(call, Lists):
            call.adopt()
        return (error.output,)
    return None


def count(cache: Cache, call: Rows | Lists, misses: Misses | None) -> None:
    """Count the requests of a call of lists by how many of their items were answered."""
    outcomes.tell(cache.policy, call)  # anew, if the contexts were put back
    if isinstance(call, Lists):
        cache.counters.add_requests(*answered(misses, call.sizes))


def list_of(policy: CachePolicy, decoded: Any, context: Any) -> Lists | None:
    """Return the call for a decoded input with `items="list"`; `None` if it has no list."""
    found = cut(decoded, policy.list_at)
    if found is None or not isinstance(context, dict | None):
        return None
    return Lists([found], policy.max_items, None if context is None else [context])


def note_not_cut(cache: Cache, error: Exception) -> None:
    """Note and warn that an output could not be cut into rows, or that rows could not be joined."""
    cache.cutting.note_fault(error)
    cache.reporter.swallow("rows", error, _NOT_CUT)


def note_uncut(cache: Cache, decoded: Any, context: Any) -> None:
    """Count and warn of an input that cannot be cut into items; an empty list needs no cutting."""
    contexts = context if isinstance(context, list) else [context]
    outcomes.tell_alike(cache.policy, [decoded] * len(contexts), contexts, UNCACHEABLE)
    at = cache.policy.list_at
    if is_empty(decoded, at):
        return
    if not warn_of_own(cache, cache.api, cache.labels.method):
        where = "" if at is None else f", because there is no list at list_at={at!r}"
        cache.reporter.warn_once("uncut", f"{_UNCUT}{where}")
    cache.counters.add(uncacheable=1)
    if cache.policy.items == "list":
        cache.counters.add_requests(empty=1)
