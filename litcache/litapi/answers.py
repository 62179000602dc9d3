"""How a cached method answers, for each way of calling it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from litcache.engine import run
from litcache.engine.cache import Cache
from litcache.engine.call import Misses, NotRowsError, Part, answered, uncached
from litcache.engine.lists import Lists
from litcache.engine.modes import Batch, One, Rows
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi.batches import BatchSizeMismatch, Method, compute_batch
from litcache.litapi.hooks import warn_of_own
from litcache.policy import CachePolicy
from litcache.values.containers import duplicate, own
from litcache.values.cuts import cut, is_empty

_UNCUT = "its input goes uncached: it cannot be cut into items"
NOT_CUT = "its input or output cannot be cut into rows, so the call goes uncached"


def _compute(method: Method) -> Callable[[Part], Any]:
    """Return a function that calls a method with a part."""
    return lambda part: method.compute(part.argument, part.contexts, len(part.places))


def answer_one(cache: Cache, method: Method, item: Any, context: Context | None) -> Any:
    """Answer one item."""
    call = One((item,), None if context is None else (context,))
    misses = cache.lookup(call)
    if misses is not None:
        run.drive(cache, run.settle(cache, misses, run.computation), _compute(method))
    return call.values[0]


async def answer_one_async(cache: Cache, method: Method, item: Any, context: Context | None) -> Any:
    """Answer one item of an async method."""
    call = One((item,), None if context is None else (context,))
    misses = await run.lookup_async(cache, call)
    if misses is not None:
        await run.drive_async(cache, run.settle(cache, misses, run.computation), _compute(method))
    return call.values[0]


def answer_batch(
    cache: Cache, api: Any, method: Method, items: list[Any], contexts: Any
) -> Sequence[Any]:
    """Answer a batch of LitServe's loop: the user's three hooks run on the misses alone."""
    call = Batch(items, contexts)

    def compute(part: Part) -> Any:
        return compute_batch(api, method, part.argument, part.contexts)

    misses = cache.lookup(call)
    if misses is not None:
        run.drive(cache, run.settle(cache, misses, run.computation), compute)
    return call.values


# ---------------------------------------------------------------------- rows and lists


def answer_rows(
    cache: Cache, method: Method, call: Rows | Lists, argument: Any, contexts: Any = None
) -> Any:
    """Answer the rows of a container; uncached if the method does not return rows."""
    misses = None
    # A call of lists gives the method copies.
    changed = [] if isinstance(call, Lists) else list(contexts or ())
    before = [duplicate(context) for context in changed]
    try:
        misses = cache.lookup(call)
        if misses is not None:
            run.drive(cache, run.settle(cache, misses, run.computation), _compute(method))
        return call.result(cache.device)
    except (NotRowsError, ValueEncodingError) as error:
        whole = _whole(cache, call, error)
        if whole:
            return whole[0]
        # The method may have run on some of the items: it finds each context as it was.
        for context, entries in zip(changed, before, strict=True):
            context.clear()
            context.update(entries)
        return method.compute(argument, contexts)
    finally:
        _count(cache, call, misses)


async def answer_rows_async(
    cache: Cache, method: Method, call: Lists, argument: Any, context: Context | None
) -> Any:
    """Answer the items of a list for an async method, as `answer_rows` does."""
    misses = None
    compute: Callable[[Part], Awaitable[Any]] = _compute(method)
    try:
        misses = await run.lookup_async(cache, call)
        if misses is not None:
            await run.drive_async(cache, run.settle(cache, misses, run.computation), compute)
        return call.result(cache.device)
    except (NotRowsError, ValueEncodingError) as error:
        whole = _whole(cache, call, error)
        return whole[0] if whole else await method.compute(argument, context)
    finally:
        _count(cache, call, misses)


def _whole(cache: Cache, call: Rows | Lists, error: Exception) -> tuple[Any] | None:
    """Return the output of the method if it answers the whole call: it need not run again."""
    cache.reporter.swallow("rows", error, NOT_CUT)
    if isinstance(error, NotRowsError) and len(error.places) == len(call.items):
        if isinstance(call, Lists):
            call.adopt()
        return (error.output,)
    return None


def _count(cache: Cache, call: Rows | Lists, misses: Misses | None) -> None:
    if isinstance(call, Lists):
        cache.counters.add_requests(*answered(misses, call.sizes))


def list_of(policy: CachePolicy, decoded: Any, context: Any) -> Lists | None:
    """Return the call for a decoded input with `items="list"`; `None` if it has no list."""
    found = cut(decoded, policy.list_at)
    if found is None or not isinstance(context, dict | None):
        return None
    return Lists([found], policy.max_items, None if context is None else [context])


def note_uncut(cache: Cache, decoded: Any) -> None:
    """Count and warn of an input that cannot be cut into items; an empty list needs no cutting."""
    at = cache.policy.list_at
    if is_empty(decoded, at):
        return
    if not warn_of_own(cache, cache.api, cache.labels.method):
        where = "" if at is None else f", because there is no list at list_at={at!r}"
        cache.reporter.warn_once("uncut", f"{_UNCUT}{where}")
    cache.counters.add(uncacheable=1)
    if cache.policy.items == "list":
        cache.counters.add_requests(empty=1)


# ---------------------------------------------------------------------- batches of lists


class _Pool:
    """The requests of a batch, of which some are lists of items and some are not.

    Args:
        policy: The policy of the method.
        decoded: What `decode_request` returned for each request.
        contexts: The context of each request, if the method or its policy takes one.
    """

    def __init__(
        self, policy: CachePolicy, decoded: Sequence[Any], contexts: Sequence[Context] | None
    ) -> None:
        self._at = policy.list_at
        self.decoded = decoded
        self._contexts = [None] * len(decoded) if contexts is None else contexts
        self.cuts = [cut(request, policy.list_at) for request in decoded]
        self.call = Lists(
            [found for found in self.cuts if found is not None],
            policy.max_items,
            None
            if contexts is None
            else [c for c, found in zip(contexts, self.cuts, strict=True) if found is not None],
        )

    def each(self, method: Method, results: Iterator[Any] | None) -> list[Any]:
        """Return an output for each request: its result, or the method's output for it alone."""
        outputs = []
        for found, request, context in zip(self.cuts, self.decoded, self._contexts, strict=True):
            if found is not None and results is not None:
                outputs.append(next(results))
                continue
            argument = request if found is None else found.filled(found.items)
            count = 0 if is_empty(request, self._at) else None
            # In memory of its own: the next call may use the same output buffer.
            outputs.append(own(method.compute(argument, context, count)))
        return outputs


def answer_lists(
    cache: Cache, method: Method, decoded: Sequence[Any], contexts: Sequence[Context] | None
) -> list[Any]:
    """Answer a batch of requests, each a list of items: their misses are pooled."""
    pool = _Pool(cache.policy, decoded, contexts)
    misses, results = None, None
    for found, request in zip(pool.cuts, decoded, strict=True):
        if found is None:
            note_uncut(cache, request)
    try:
        if pool.call.items:
            misses = cache.lookup(pool.call)
            if misses is not None:
                run.drive(cache, run.settle(cache, misses, run.computation), _compute(method))
            results = iter(pool.call.results(cache.device))
    except (NotRowsError, ValueEncodingError) as error:
        cache.reporter.swallow("rows", error, NOT_CUT)
    except BatchSizeError as error:
        raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
    finally:
        _count(cache, pool.call, misses)
    return pool.each(method, results)


def pass_lists(
    method: Method, api: Any, name: str, policy: CachePolicy, decoded: Sequence[Any], contexts: Any
) -> list[Any]:
    """Answer a batch of requests, each a list of items, while the caches are off."""
    pool = _Pool(policy, decoded, contexts)
    if contexts is not None:
        return pool.each(method, None)  # with its own context
    call, device, results = pool.call, getattr(api, "device", None), None
    try:
        if call.items:
            for part in call.parts([uncached(call)]):
                output = _compute(method)(part)
                call.check(name, output, part.places)
                for index, (_, position) in enumerate(part.places):
                    call.keep(position, None, output, index, device)
            results = iter(call.results(device))
    except NotRowsError:
        pass  # each request is computed by itself
    except BatchSizeError as error:
        raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
    return pool.each(method, results)
