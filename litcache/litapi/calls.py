"""The ways through the engine: one item, a batch of LitServe's, rows, and lists of items."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from litcache.engine import threads
from litcache.engine.cache import Cache
from litcache.engine.call import Call
from litcache.engine.entries import NotRows
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi.classes import takes_context
from litcache.litapi.state import BatchSizeMismatch, computing, contexts_at
from litcache.stores.base import NewEntry
from litcache.values import codec
from litcache.values import rows as batching

_T = TypeVar("_T")


class Method(Protocol):
    """A user's method, as the wrapper around it calls it."""

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Call the method with an item or a container of as many items as known."""


NOT_CUT = "its input or output cannot be cut into rows, so the call goes uncached"


# ---------------------------------------------------------------------- what is asked of a method


class One:
    """One item: the method's argument itself."""

    def __init__(self, item: Any, context: Context | None) -> None:
        self.items = (item,)
        self.contexts = None if context is None else (context,)

    def arguments(self, misses: Sequence[int]) -> list[tuple[Any, Any, int]]:
        """Return what the method is called with, call by call, and how many items that is."""
        return [(self.items[0], self.contexts[0] if self.contexts else None, 1)] * len(misses)

    def result(self, cache: Cache, call: Call) -> Any:
        """Return what the caller gets."""
        return call.values[0]


class Rows:
    """The rows of a container: of a batch made by LitServe's own `batch`, or of a list of items."""

    def __init__(
        self,
        container: Any,
        items: list[Any],
        contexts: Sequence[Context] | None = None,
        max_items: int | None = None,
    ) -> None:
        self.container = container
        self.items = items
        self.contexts = contexts
        self._max_items = max_items or max(1, len(items))
        self.whole: list[Any] = []

    def arguments(self, misses: Sequence[int]) -> list[tuple[Any, Any, int]]:
        """Return what the method is called with, call by call, and how many items that is."""
        if len(misses) == len(self.items) <= self._max_items:
            return [(self.container, self.contexts, len(misses))]
        parts = [misses[i : i + self._max_items] for i in range(0, len(misses), self._max_items)]
        return [
            (batching.take(self.container, part), contexts_at(self.contexts, part), len(part))
            for part in parts
        ]

    def computed(self, call: Call, outputs: list[Any]) -> None:
        """Keep the method's own container if it answers the whole call."""
        if len(call.misses) == len(self.items) and len(outputs) == 1:
            self.whole = outputs

    def result(self, cache: Cache, call: Call) -> Any:
        """Return what the caller gets: the method's container, or one merged of rows."""
        if self.whole and not codec.differs_from_stored(self.whole[0]):
            return self.whole[0]
        return merge(cache, call, 0, len(self.items))


class Pool:
    """The items of all requests of a batch, each request a list of items."""

    def __init__(self, requests: list[list[Any]], max_items: int | None) -> None:
        self.items = [item for request in requests for item in request]
        self.contexts = None
        self._requests = requests
        self._max_items = max_items

    def arguments(self, misses: Sequence[int]) -> list[tuple[Any, Any, int]]:
        """Return what the method is called with, call by call, and how many items that is."""
        return pooled([self.items[p] for p in misses], self._max_items)

    def computed(self, call: Call, outputs: list[Any]) -> None:
        """Keep nothing: every request is merged of its rows."""

    def result(self, cache: Cache, call: Call) -> list[Any]:
        """Return the rows of each request, in the container that the method returned."""
        results, start = [], 0
        for request in self._requests:
            results.append(merge(cache, call, start, start + len(request)))
            start += len(request)
        return results


def pooled(items: list[Any], max_items: int | None) -> list[tuple[Any, None, int]]:
    """Return what a method is called with to compute the items of many requests."""
    size = max_items or max(1, len(items))
    parts = [items[i : i + size] for i in range(0, len(items), size)]
    return [(batching.gather(part), None, len(part)) for part in parts]


def merge(cache: Cache, call: Call, start: int, stop: int) -> Any:
    """Merge some rows of a call.

    Raises:
        ValueEncodingError: If one has no entry, or they do not fit together.
    """
    entries = call.entries[start:stop]
    if None in entries:
        raise ValueEncodingError("a row of the output cannot be stored", "$", object)
    return batching.merge_rows(entries, cache.device)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- calls without async


def call_one(cache: Cache, method: Method, item: Any, context: Context | None) -> Any:
    """Answer one item."""
    if context is None and (found := cache.hit(item)) is not None:
        return found[0]
    contexts = None if context is None else (context,)
    call = cache.lookup("single", (item,), contexts)
    if call.misses or call.waits:
        _settle(cache, call, lambda misses: [method.compute(item, context, 1)])
    return call.values[0]


def compute_batch(api: Any, method: Method, items: list[Any], contexts: Any) -> Sequence[Any]:
    """Run the user's `batch`, `predict` and `unbatch` as LitServe does."""
    x = call_hook(api.batch, items, contexts)
    return call_hook(api.unbatch, method.compute(x, contexts, len(items)), contexts)  # type: ignore[no-any-return]


def call_batch(
    cache: Cache, api: Any, method: Method, items: list[Any], contexts: Any
) -> Sequence[Any]:
    """Answer a batch of LitServe's: the user's three hooks run on the misses alone."""

    def compute(misses: Sequence[int]) -> Sequence[Any]:
        whole = len(misses) == len(items)
        part = contexts if whole else contexts_at(contexts, misses)
        return compute_batch(
            api, method, list(items) if whole else [items[p] for p in misses], part
        )

    call = cache.lookup("batch", items, contexts)
    if call.misses or call.waits:
        try:
            _settle(cache, call, compute)
        except BatchSizeError as error:
            raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
    return call.values


def call_rows(cache: Cache, method: Method, mode: str, rows: Rows) -> Any:
    """Answer the rows of a container; uncached if they turn out not to be rows."""
    call = cache.lookup(mode, rows.items, rows.contexts)
    try:
        if call.misses or call.waits:
            _settle(cache, call, lambda misses: _rows_of(method, rows, call, misses))
            return rows.result(cache, call)
        return batching.merge_rows(call.entries, cache.device)  # type: ignore[arg-type]
    except (NotRows, ValueEncodingError) as error:
        cache.reporter.swallow("rows", error, NOT_CUT)
        return rows.whole[0] if rows.whole else method.compute(rows.container, rows.contexts)
    finally:
        if mode == "list":
            cache.counters.add_requests(*call.requests([len(rows.items)]))


def call_pool(cache: Cache, method: Method, decoded: list[Any]) -> list[Any]:
    """Answer a batch of requests that are lists of items each."""
    split = [batching.split_items(request) for request in decoded]
    pool = Pool([items for items in split if items is not None], cache.policy.max_items)
    call = cache.lookup("list", pool.items)
    try:
        if call.misses or call.waits:
            _settle(cache, call, lambda misses: _rows_of(method, pool, call, misses))
        results = iter(pool.result(cache, call))
    except (NotRows, ValueEncodingError) as error:
        cache.reporter.swallow("rows", error, NOT_CUT)
        results = iter([method.compute(items, None) for items in split if items is not None])
    except BatchSizeError as error:
        raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
    finally:
        cache.counters.add_requests(*call.requests([len(items) for items in split if items]))
    return [
        method.compute(request, None, 0 if type(request) is list and not request else None)
        if items is None
        else next(results)
        for request, items in zip(decoded, split, strict=True)
    ]


def pass_pool(api: Any, method: Method, decoded: list[Any], max_items: int | None) -> list[Any]:
    """Answer a batch of requests that are lists of items each, with the caches off."""
    split = [batching.split_items(request) for request in decoded]
    pool = Pool([items for items in split if items is not None], max_items)
    outputs = [method.compute(*a) for a in pool.arguments(range(len(pool.items)))]
    try:
        rows = [row for output in outputs for row in batching.encode_rows(output, columns=True)]
        entries = [NewEntry(*row) for row in rows if not isinstance(row, Exception)]
    except ValueEncodingError:
        entries = []
    if len(entries) != len(pool.items):  # they cannot be cut: one call for each request
        return [method.compute(request, None) for request in decoded]
    places = iter(entries)
    return [
        method.compute(request, None)
        if items is None
        else batching.merge_rows([next(places) for _ in items], getattr(api, "device", None))
        for request, items in zip(decoded, split, strict=True)
    ]


def _rows_of(method: Method, rows: Rows | Pool, call: Call, misses: Sequence[int]) -> list[Any]:
    outputs = [method.compute(*arguments) for arguments in rows.arguments(misses)]
    rows.computed(call, outputs)
    return outputs


def call_hook(hook: Callable[..., Any], argument: Any, contexts: Any) -> Any:
    """Call a hook as LitServe does."""
    return hook(argument, context=contexts) if takes_context(hook) else hook(argument)


def _settle(cache: Cache, call: Call, compute: Callable[[Sequence[int]], Sequence[Any]]) -> None:
    """Compute what is missing and publish it before waiting for what others compute."""
    while call.misses or call.waits:
        if call.misses:
            try:
                started = cache.before_compute(call)
                with computing(cache):
                    outputs = compute(call.misses)
                cache.complete([call], outputs, started)
            except BaseException:
                cache.abandon(call)
                raise
        elif next(iter(call.waits.values())).wait(cache.remaining(call)):
            cache.resume(call)
        else:
            cache.overtake(call)
    cache.finish(call)


# ---------------------------------------------------------------------- calls with async


async def await_one(cache: Cache, method: Method, item: Any, context: Context | None) -> Any:
    """Answer one item of an async method."""
    if context is None and (found := cache.hit(item)) is not None:
        return found[0]
    one = One(item, context)
    call = await _begin(cache, "single", one)
    if call.misses or call.waits:
        await _settle_async(cache, call, method, one)
    return call.values[0]


async def await_rows(cache: Cache, method: Method, rows: Rows) -> Any:
    """Answer a list of items of an async method."""
    call = await _begin(cache, "list", rows)
    try:
        if call.misses or call.waits:
            await _settle_async(cache, call, method, rows)
        return rows.result(cache, call)
    except (NotRows, ValueEncodingError) as error:
        cache.reporter.swallow("rows", error, NOT_CUT)
        return rows.whole[0] if rows.whole else await method.compute(rows.container, rows.contexts)
    finally:
        cache.counters.add_requests(*call.requests([len(rows.items)]))


async def _begin(cache: Cache, mode: str, asked: One | Rows) -> Call:
    if not cache.store.blocking:
        return cache.lookup(mode, asked.items, asked.contexts)
    return await _in_thread(cache, None, cache.lookup, mode, asked.items, asked.contexts)


async def _settle_async(cache: Cache, call: Call, method: Method, asked: One | Rows) -> None:
    """Do as `_settle`, awaiting the method and the claims of others."""
    while call.misses or call.waits:
        if call.misses:
            try:
                started = cache.before_compute(call)
                with computing(cache):
                    outputs = [await method.compute(*a) for a in asked.arguments(call.misses)]
                if isinstance(asked, Rows):
                    asked.computed(call, outputs)
            except BaseException:
                await _engine(cache, call, cache.abandon, call)
                raise
            await _engine(cache, call, _complete, cache, call, outputs, started)
        elif await next(iter(call.waits.values())).wait_async(cache.remaining(call)):
            await _engine(cache, call, cache.resume, call)
        else:
            await _engine(cache, call, cache.overtake, call)
    await _engine(cache, call, cache.finish, call)


def _complete(cache: Cache, call: Call, outputs: Sequence[Any], started: float) -> None:
    """Complete or abandon in one go, so that a cancelled task leaves no claim behind."""
    try:
        cache.complete([call], outputs, started)
    except BaseException:
        cache.abandon(call)
        raise


async def _engine(cache: Cache, call: Call, step: Callable[..., _T], *arguments: Any) -> _T:
    if not cache.store.blocking:
        return step(*arguments)
    return await _in_thread(cache, call, step, *arguments)


async def _in_thread(
    cache: Cache, call: Call | None, step: Callable[..., _T], *arguments: Any
) -> _T:
    """Run a step that may wait for a store in litcache's own threads."""
    future = threads.submit(step, *arguments)
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except asyncio.CancelledError:
        future.add_done_callback(lambda done: _abandon_cancelled(cache, call, done))
        raise


def _abandon_cancelled(cache: Cache, call: Call | None, done: Future[Any]) -> None:
    """Give up the claims of a call whose task was cancelled while a thread worked for it."""
    if call is None and done.exception() is None:
        call = done.result()
    if call is not None and (call.misses or call.waits):
        cache.abandon(call)
