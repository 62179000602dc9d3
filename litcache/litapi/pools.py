"""How a cached method answers a batch of requests that are lists: their misses are pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count as count_up
from typing import Any

from litcache.engine.cache import Cache
from litcache.engine.call import NotRowsError, uncached
from litcache.engine.lists import Lists
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.contexts import Context
from litcache.litapi import arrivals, rehearsal
from litcache.litapi.answers import compute_part, count, drive, note_not_cut, note_uncut
from litcache.litapi.batches import BatchSizeMismatch, Method
from litcache.litapi.rehearsal import Expected
from litcache.policy import CachePolicy
from litcache.values.containers import own
from litcache.values.cuts import cut, is_empty


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

    def cut(self, values: Sequence[Any] | None) -> list[Any] | None:
        """Return the values of the requests that are lists, of those of all requests."""
        if values is None:
            return None
        return [value for found, value in zip(self.cuts, values, strict=True) if found is not None]

    def each(self, method: Method, results: Iterator[Any] | None) -> list[Any]:
        """Return an output for each request: its result, or the method's output for it alone."""
        outputs = []
        numbers = count_up()
        for found, request, context in zip(self.cuts, self.decoded, self._contexts, strict=True):
            if found is not None and results is not None:
                outputs.append(next(results))
                continue
            argument = request if found is None else self.call.argument(next(numbers))
            count = 0 if is_empty(request, self._at) else None
            # In memory of its own: the next call may use the same output buffer.
            outputs.append(own(method.compute(argument, context, count)))
        return outputs


def answer_lists(
    cache: Cache,
    method: Method,
    decoded: Sequence[Any],
    contexts: Sequence[Context] | None,
    seen: Any = None,
) -> list[Any]:
    """Answer a batch of requests, each a list of items: their misses are pooled."""
    pool = _Pool(cache.policy, decoded, contexts)
    misses, results = None, None
    for at, found in enumerate(pool.cuts):
        if found is None:
            note_uncut(cache, decoded[at], contexts and contexts[at])
    try:
        if pool.call.items:
            rehearsals: Expected = {}
            if cache.verdict is not None:
                arrivals.enter(cache, pool.call, pool.cut(decoded) or ())
            misses = cache.lookup(pool.call)
            if misses is not None:
                rehearsals = drive(cache, misses, compute_part(method), pool.cut(seen))
            merged = pool.call.results(cache.device)
            cache.cutting.note_joined(misses)
            rehearsal.expect(cache, merged, rehearsals)
            results = iter(merged)
    except (NotRowsError, ValueEncodingError) as error:
        note_not_cut(cache, error)
    except BatchSizeError as error:
        raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
    finally:
        count(cache, pool.call, misses)
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
            call.protect()  # each request may have to be computed by itself
            for part in call.parts([uncached(call)]):
                output = compute_part(method)(part)
                call.check(name, output, part.places)
                for index, (_, position) in enumerate(part.places):
                    call.keep(position, None, output, index, device)
            results = iter(call.results(device))
    except NotRowsError:
        pass  # each request is computed by itself
    except BatchSizeError as error:
        raise BatchSizeMismatch(error.method, error.expected, error.actual) from None
    return pool.each(method, results)
