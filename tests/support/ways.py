"""The ways in which an API is served, and what it answers in each of them."""

import functools

from litcache import CachedBatchedLoop, Trial
from litcache.testing import APIRunner
from support.loops import running

WAYS = ("single", "batched", "async", "loop", "overlap")


def undecorated(*_, **__):
    return lambda function: function


def prepared(make, way, decorate):
    """An API as one way serves it; an async one awaits the same hooks."""
    cls = make(decorate if way != "async" else _async(decorate))
    if way in ("loop", "overlap"):
        loop = CachedBatchedLoop(overlap=way == "overlap")
        return cls(max_batch_size=4, batch_timeout=0.001, loop=loop)
    if way == "batched":
        return cls(max_batch_size=4)
    return cls(enable_async=way == "async")


def _async(decorate):
    """Decorate a method as a coroutine function."""

    def with_options(**options):
        def made(function):
            @functools.wraps(function)
            async def predict(self, x):
                return function(self, x)

            return decorate(**options)(predict)

        return made

    return with_options


def answers_of(api, requests, way):
    """The answers to requests, one after the other."""
    if way in ("loop", "overlap"):
        with running(api, tried=True) as driven:
            return [driven.get(request)[0] for request in requests]
    with APIRunner(api, trial=Trial(verify=0)) as runner:
        return [runner.run(request) for request in requests]


def each(api, x, compute):
    """Compute an item, or the items of a batch."""
    return [compute(item) for item in x] if api.max_batch_size > 1 else compute(x)
