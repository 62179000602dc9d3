"""A `ttl` that is a function, through LitServe's loops."""

import asyncio
from datetime import timedelta

import litserve as ls
import numpy as np
import pytest
from support.loops import running

from litcache import CachedBatchedLoop, MemoryStore, cached_predict
from litcache.testing import APIRunner, FakeClock, strict

WRONG = [-1, float("nan"), float("inf"), "soon", b"1h", True, [60], KeyError]


def api_of(ttl, *, clock=None, **arguments):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["ttl"] = request.get("ttl")
            return request["x"]

        @cached_predict(ttl=ttl, store=MemoryStore(clock=clock or FakeClock()))
        def predict(self, x):
            return [text.upper() for text in x] if self.max_batch_size > 1 else x.upper()

    return API(**arguments)


def async_api_of(ttl, clock):
    class API(ls.LitAPI):
        async def decode_request(self, request, context):
            context["ttl"] = request.get("ttl")
            return request["x"]

        @cached_predict(ttl=ttl, store=MemoryStore(clock=clock))
        async def predict(self, x):
            await asyncio.sleep(0)
            return x.upper()

        async def encode_response(self, output):
            return output

    return API(enable_async=True)


def by_context(item, output, context):
    assert output == item.upper()
    return context["ttl"]


LOOPS = {
    "single": lambda clock: api_of(by_context, clock=clock),
    "batched": lambda clock: api_of(by_context, clock=clock, max_batch_size=4),
    "async": lambda clock: async_api_of(by_context, clock),
    "cached loop": lambda clock: api_of(
        by_context, clock=clock, max_batch_size=4, batch_timeout=0, loop=CachedBatchedLoop()
    ),
    "cached loop with overlap": lambda clock: api_of(
        by_context,
        clock=clock,
        max_batch_size=4,
        batch_timeout=0,
        loop=CachedBatchedLoop(overlap=True),
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_each_item_has_the_ttl_that_the_function_returns_for_it(loop):
    clock = FakeClock()
    api = LOOPS[loop](clock)
    times = {"a": 10, "b": "1m", "c": timedelta(hours=1), "d": None, "e": 0}
    requests = [{"x": x, "ttl": ttl} for x, ttl in times.items()]
    with running(api) as driven:
        for seconds, found in ((0, 0), (9, 4), (50, 3), (100, 2), (10**6, 1)):
            clock.advance(seconds)
            before = api.predict.cache.info()
            assert driven.get(*requests) == ["A", "B", "C", "D", "E"]
            after = api.predict.cache.info()
            assert after.hits - before.hits == found, seconds
            assert after.uncacheable == 0


def test_rows_of_lists_have_their_own_ttl():
    asked = []
    clock = FakeClock()

    def ttl(item, row):
        asked.append((item, row.tolist()))
        return 5 * row[0]

    class API(ls.LitAPI):
        @cached_predict(items="list", ttl=ttl, store=MemoryStore(clock=clock))
        def predict(self, texts):
            return np.array([[len(text)] for text in texts], np.float32)

    for size in (1, 4):
        asked.clear()
        api = API(max_batch_size=size)
        with APIRunner(api) as runner:
            runner.run_batch([["a", "bb"]])
            assert asked == [("a", [1.0]), ("bb", [2.0])]
            clock.advance(6)
            before = api.predict.cache.info().hits
            runner.run_batch([["a", "bb"]])
            assert api.predict.cache.info().hits - before == 1
        clock.advance(100)


@pytest.mark.parametrize("answer", WRONG, ids=repr)
@pytest.mark.parametrize("size", [1, 4])
def test_a_wrong_answer_is_warned_of_once_and_its_item_is_answered_and_not_stored(
    answer, size, caplog
):
    def ttl(item, output):
        if item != "bad":
            return 60
        if answer is KeyError:
            raise KeyError("unknown")
        return answer

    api = api_of(ttl, max_batch_size=size)
    with APIRunner(api) as runner:
        for _ in range(3):
            assert runner.run_batch([{"x": "bad"}, {"x": "good"}]) == ["BAD", "GOOD"]
        info = api.predict.cache.info()
        assert (info.uncacheable, info.misses, info.hits, info.entries) == (3, 1, 2, 1)
        (warning,) = [r.message for r in caplog.records if "ttl gave no time" in r.message]
        assert warning.startswith("api_of.<locals>.API.predict: ")
        if answer is not KeyError:
            assert f"the answer of ttl={answer!r}" in warning
        with strict(), pytest.raises((ValueError, TypeError, KeyError)):
            runner.run({"x": "bad"})


def test_a_ttl_of_none_for_all_keeps_entries_until_they_are_evicted():
    clock = FakeClock()
    api = api_of(lambda item, output: None, clock=clock)
    api.predict("a")
    clock.advance(10**9)
    api.predict("a")
    assert api.predict.cache.info().hits == 1


def test_what_is_warmed_has_the_ttl_that_the_function_returns():
    clock = FakeClock()
    api = api_of(lambda item, output: {"a": 10, "b": 0, "c": "soon"}[item], clock=clock)
    cache = api.predict.cache
    cache.warm(["a", "b"], ["A", "B"])
    assert cache.info().entries == 1
    assert cache.get("a") == "A"
    clock.advance(11)
    with pytest.raises(KeyError):
        cache.get("a")
    with pytest.raises(ValueError, match="'soon'"):
        cache.warm(["c"], ["C"])


def test_equal_items_that_wait_are_answered_though_nothing_is_stored():
    api = api_of(lambda item, output: 0, max_batch_size=4)
    with APIRunner(api) as runner:
        assert runner.run_batch([{"x": "a"}, {"x": "a"}]) == ["A", "A"]
        info = api.predict.cache.info()
        assert (info.misses, info.coalesced, info.entries) == (1, 1, 0)
