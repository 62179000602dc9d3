"""How a cached method answers, for each way of calling it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from litcache.engine import run
from litcache.engine.cache import Cache
from litcache.engine.call import Misses, NotRowsError, Part, answered, uncached
from litcache.engine.modes import Batch, Lists, One, Rows
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi.batches import BatchSizeMismatch, Method, compute_batch
from litcache.values.containers import duplicate, kind_of, own
from litcache.values.items import split_items

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
    misses, before = None, [duplicate(context) for context in contexts or ()]
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
        for context, entries in zip(contexts or (), before, strict=True):
            context.clear()
            context.update(entries)
        return method.compute(argument, contexts)
    finally:
        _count(cache, call, misses)


async def answer_rows_async(cache: Cache, method: Method, call: Lists, argument: Any) -> Any:
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
        return whole[0] if whole else await method.compute(argument, None)
    finally:
        _count(cache, call, misses)


def _whole(cache: Cache, call: Rows | Lists, error: Exception) -> tuple[Any] | None:
    """Return the output of the method if it answers the whole call: it need not run again."""
    cache.reporter.swallow("rows", error, NOT_CUT)
    if isinstance(error, NotRowsError) and len(error.places) == len(call.items):
        return (error.output,)
    return None


def _count(cache: Cache, call: Rows | Lists, misses: Misses | None) -> None:
    if isinstance(call, Lists):
        cache.counters.add_requests(*answered(misses, call.sizes))


def list_of(decoded: Any, max_items: int | None) -> Lists | None:
    """Return the call for a decoded input with `items="list"`; `None` if it is not a list."""
    items = split_items(decoded)
    return None if items is None else Lists([items], [kind_of(decoded)], max_items)


# ---------------------------------------------------------------------- batches of lists


class _Pool:
    """The requests of a batch, of which some are lists of items and some are not.

    Args:
        decoded: What `decode_request` returned for each request.
        max_items: The largest number of items in one call of the method; `None`: any number.
    """

    def __init__(self, decoded: Sequence[Any], max_items: int | None) -> None:
        self.decoded = decoded
        self.split = [split_items(request) for request in decoded]
        cut = [
            (items, request) for items, request in zip(self.split, decoded, strict=True) if items
        ]
        self.call = Lists(
            [items for items, _ in cut], [kind_of(request) for _, request in cut], max_items
        )

    def each(self, method: Method, results: Iterator[Any] | None) -> list[Any]:
        """Return an output for each request: its result, or the method's output for it alone."""
        return [
            next(results)
            if items and results is not None
            # In memory of its own: the next call may use the same output buffer.
            else own(method.compute(request, None, None if items else _count_of_none(request)))
            for items, request in zip(self.split, self.decoded, strict=True)
        ]


def _count_of_none(request: Any) -> int | None:
    return 0 if type(request) is list and not request else None


def answer_lists(cache: Cache, method: Method, decoded: Sequence[Any]) -> list[Any]:
    """Answer a batch of requests, each a list of items: their misses are pooled."""
    pool = _Pool(decoded, cache.policy.max_items)
    misses, results = None, None
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
    method: Method, api: Any, name: str, decoded: Sequence[Any], max_items: int | None
) -> list[Any]:
    """Answer a batch of requests, each a list of items, while the caches are off."""
    pool = _Pool(decoded, max_items)
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
