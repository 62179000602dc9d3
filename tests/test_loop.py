"""`CachedBatchedLoop` in one process, beside LitServe's own loop."""

import logging
import os
import pickle
import threading
import time
from collections import Counter

import apis
import litserve as ls
import numpy as np
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from litserve.loops import BatchedLoop
from loops import SECONDS, SENTINEL, Driven, prepare, run, running
from test_loops import BATCHES, DISTINCT, answers, undecorated

from litcache import (
    CachedBatchedLoop,
    MemoryStore,
    UnsupportedMethodError,
    cached_predict,
    disabled,
    internals,
)
from litcache.errors import LitCacheError, UnsupportedLitServeError
from litcache.testing import APIRunner, strict

LONG = 50.0  # a window that no test waits for
OTHERS = [apis.undecorated_override, apis.decode_request_cached]
UNBATCHED = [apis.one_by_one, apis.one_by_one_with_context]
both_ways = pytest.mark.parametrize("overlap", [False, True], ids=["one thread", "overlap"])


def looped(api, **options):
    api.loop = CachedBatchedLoop(**options)
    return api


class WordAPI(ls.LitAPI):
    """Words in capitals; it notes the batches that reach the model, and may be held up there."""

    def __init__(self, *, hold=False, window=0.0, size=8, **options):
        super().__init__(
            loop=CachedBatchedLoop(**options), max_batch_size=size, batch_timeout=window
        )
        self.hold = hold

    def setup(self, device):
        self.batches = []
        self.entered, self.free = threading.Semaphore(0), threading.Event()
        self.thread = threading.get_ident()
        self.io_threads = set()

    def decode_request(self, request):
        self.io_threads.add(threading.get_ident())
        if request == "undecodable":
            raise ValueError("undecodable")
        if request == "forbidden":
            raise HTTPException(403, "not you")
        return request

    @cached_predict
    def predict(self, words):
        self.batches.append(list(words))
        assert threading.get_ident() == self.thread, "the model has left the thread of setup"
        if self.hold:
            self.entered.release()
            assert self.free.wait(SECONDS)
        if "bad" in words:
            raise ZeroDivisionError("a bad word")
        if "teapot" in words:
            raise HTTPException(418, "a teapot")
        if "short" in words:
            return []
        return [word.upper() for word in words]

    def encode_response(self, output):
        self.io_threads.add(threading.get_ident())
        if output == "UNENCODABLE":
            raise KeyError("unencodable")
        return threading.Lock() if output == "LOCK" else output

    @property
    def counts(self):
        info = self.predict.cache.info()
        return info.hits, info.misses, info.coalesced


# ---------------------------------------------------------------------- equal to LitServe's loop


@both_ways
@pytest.mark.parametrize("make", apis.BATCHED + OTHERS + UNBATCHED, ids=lambda make: make.__name__)
def test_an_api_answers_as_in_litserves_own_loop(make, overlap):
    overlap = overlap and make not in UNBATCHED
    cached_api = looped(make(cached_predict), overlap=overlap)
    with APIRunner(make(undecorated)) as plain, APIRunner(cached_api) as cached:
        assert answers(cached) == answers(plain)


@both_ways
@pytest.mark.parametrize("make", apis.BATCHED, ids=lambda make: make.__name__)
def test_the_model_computes_each_distinct_item_once(make, overlap):
    with strict(), APIRunner(looped(make(cached_predict), overlap=overlap)) as runner:
        answers(runner)
        assert runner.model_batches == [2, 3]
        info = runner.api.predict.cache.info()
    assert info.misses == info.stored == len(DISTINCT)
    assert info.hits + info.coalesced + info.misses == sum(map(len, BATCHES))


RULES = {
    "bypass": {"bypass_if": lambda item: item["text"] == "hello"},
    "refresh": {"refresh_if": lambda item: item["text"] == "hello"},
    "store": {"store_if": lambda item, output: item["text"] != "hello"},
    "key": {"key": lambda item: item["text"].lower()},
    "keyless": {"key": lambda item: object() if item["text"] == "hello" else item["text"]},
    "context": {"context": False},
    "raising": {"bypass_if": lambda item: 1 / 0 if item["text"] == "x" else False},
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_and_counters_are_those_of_the_decorator(rule):
    def api(loop="auto"):
        class API(ls.LitAPI):
            @cached_predict(**RULES[rule])
            def predict(self, inputs, context):
                for item, each in zip(inputs, context, strict=True):
                    each["length"] = len(item["text"])
                return [item["text"] for item in inputs]

            def encode_response(self, output, context):
                return [output, dict(context)]

        return API(max_batch_size=8, loop=loop)

    def counters(runner):
        info = runner.api.predict.cache.info()
        return info.hits, info.misses, info.coalesced, info.bypassed, info.uncacheable, info.stored

    with APIRunner(api()) as stock, APIRunner(api(CachedBatchedLoop())) as cached:
        for batch in BATCHES:
            assert cached.run_batch(batch) == stock.run_batch(batch)
            assert counters(cached) == counters(stock)
        assert sum(cached.model_batches) == sum(stock.model_batches)


@both_ways
@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["a", "b", "c", "bad", "undecodable", "unencodable", "teapot", "short", "lock"]
            ),
            min_size=1,
            max_size=9,
        ),
        max_size=5,
    )
)
def test_every_request_gets_its_own_answer_whatever_its_neighbours(overlap, batches):
    expected = {
        "bad": ZeroDivisionError, "undecodable": ValueError, "unencodable": KeyError,
        "teapot": HTTPException, "short": HTTPException, "lock": TypeError,
    }  # fmt: skip
    with running(WordAPI(size=4, overlap=overlap)) as driven:
        for batch in batches:
            for word, answer in zip(batch, driven.get(*batch), strict=True):
                wanted = expected.get(word)
                assert answer == word.upper() if wanted is None else isinstance(answer, wanted)


# ---------------------------------------------------------------------- hits do not wait


@both_ways
def test_a_hit_is_answered_while_the_window_of_a_miss_is_open(overlap):
    api = WordAPI(window=LONG, size=2, overlap=overlap)
    with running(api) as driven:
        driven.get("a", "b")
        [miss] = driven.ask("new")
        assert driven.get("a", "b", "a") == ["A", "B", "A"]
        assert api.batches == [["a", "b"]]
        assert miss not in driven.answers
        assert driven.get("newer") == ["NEWER"]
        assert driven.wait(miss) == ["NEW"]
        assert api.batches == [["a", "b"], ["new", "newer"]]
        assert api.counts == (3, 4, 0)


@both_ways
def test_the_window_opens_at_the_first_miss(overlap):
    class API(WordAPI):
        def batch(self, inputs):
            self.begun = time.monotonic()
            return inputs

    api = API(window=0.05, overlap=overlap)
    with running(api) as driven:
        driven.get("a")
        driven.get("a")
        asked = time.monotonic()
        driven.get("b")
        assert 0.05 <= api.begun - asked < SECONDS


@both_ways
def test_equal_misses_do_not_fill_a_batch_and_are_computed_once(overlap):
    api = WordAPI(window=LONG, size=2, overlap=overlap)
    with running(api) as driven:
        assert driven.get("a", "a", "a", "b", "a") == ["A", "A", "A", "B", "A"]
        assert api.batches == [["a", "b"]]
        assert sum(api.counts) == 5
        assert api.counts[1] == 2


@both_ways
def test_more_misses_than_a_batch_holds_are_computed_in_several(overlap):
    api = WordAPI(size=2, overlap=overlap)
    with running(api) as driven:
        words = [str(number) for number in range(7)]
        assert driven.get(*words) == words
    assert max(map(len, api.batches)) <= 2
    assert sorted(word for batch in api.batches for word in batch) == words


class CountingStore(MemoryStore):
    blocking = True

    def get_many(self, scope, keys):
        self.asked = (*getattr(self, "asked", ()), len(keys))
        return super().get_many(scope, keys)


@both_ways
def test_a_store_that_waits_is_asked_once_for_the_requests_that_are_there(overlap):
    class API(WordAPI):
        pass

    store = CountingStore()
    API.predict = cached_predict(store=store)(WordAPI.predict.__wrapped__)
    API.predict.__set_name__(API, "predict")
    api = API(size=8, window=LONG, overlap=overlap)
    driven = Driven()
    driven.ask(*"abcdefgh")
    driven.requests.put(SENTINEL)
    prepare(api)
    run(api, driven)
    assert driven.wait(*driven.order) == list("ABCDEFGH")
    assert store.asked == (8,)
    assert api.batches == [list("abcdefgh")]


# ---------------------------------------------------------------------- errors are isolated


@both_ways
@pytest.mark.parametrize(
    ("culprit", "status"),
    [("bad", None), ("teapot", 418), ("short", 500), ("undecodable", None), ("forbidden", 403),
     ("unencodable", None), ("lock", None)],
)  # fmt: skip
def test_a_request_that_fails_fails_alone(culprit, status, overlap):
    api = WordAPI(window=LONG, size=3, overlap=overlap)
    with running(api) as driven:
        good, wrong, better = driven.ask("good", culprit, "better")
        if culprit in ("undecodable", "forbidden"):
            driven.ask("best")  # the other does not take a place in the batch
        assert driven.wait(good, better) == ["GOOD", "BETTER"]
        [error] = driven.wait(wrong)
        assert isinstance(error, Exception)
        assert getattr(error, "status_code", None) == status
        hits, misses, coalesced = api.counts
        assert (hits, coalesced) == (0, 0)
        assert misses == 3  # each item once, however often it was computed
        assert driven.get("good", "better") == ["GOOD", "BETTER"]
        assert api.counts == (2, 3, 0)


@both_ways
def test_without_isolation_all_of_a_batch_fail_as_in_litserves_loop(overlap):
    api = WordAPI(window=LONG, size=2, isolate_errors=False, overlap=overlap)
    with running(api) as driven:
        errors = driven.get("good", "good", "bad")
        assert [type(error) for error in errors] == [ZeroDivisionError] * 3
        assert api.batches == [["good", "bad"]]
        assert api.predict.cache.info().entries == 0
        assert driven.get("undecodable", "good", "fine")[1:] == ["GOOD", "FINE"]


@both_ways
def test_the_followers_of_a_request_that_fails_are_computed_by_themselves(overlap):
    class API(WordAPI):
        def batch(self, inputs):
            self.tries = getattr(self, "tries", 0) + 1
            if self.tries <= 2:
                raise OSError("not yet")
            return inputs

    api = API(window=LONG, size=1 + 1, overlap=overlap)
    with running(api) as driven:
        first, second, third = driven.ask("a", "a", "b")
        answers = driven.wait(first, second, third)
        # The batch fails, then "a" alone; "b" alone and the follower of "a" succeed.
        assert [type(answer) for answer in answers] == [OSError, str, str]
        assert api.batches == [["b"], ["a"]]


@both_ways
def test_what_a_failing_batch_changed_in_place_is_restored_before_it_runs_again(overlap):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["trail"] = []
            return {"text": request, "seen": []}

        @cached_predict
        def predict(self, inputs, context):
            for item, each in zip(inputs, context, strict=True):
                item["seen"].append(len(inputs))
                each["trail"].append("predict")
            if any(item["text"] == "bad" for item in inputs):
                raise ZeroDivisionError
            return inputs

        def encode_response(self, output, context):
            return [output, context["trail"]]

    api = API(max_batch_size=3, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        a, bad, b = driven.get("a", "bad", "b")
        assert isinstance(bad, ZeroDivisionError)
        assert a == [{"text": "a", "seen": [1]}, ["predict"]]
        assert b == [{"text": "b", "seen": [1]}, ["predict"]]
        assert driven.get("a") == [a]
        assert api.predict.cache.info().entries == 2


def test_a_request_whose_decoding_cannot_be_repeated_fails_rather_than_be_answered_wrongly():
    class API(ls.LitAPI):
        def decode_request(self, request):
            return [request.pop("text", "nothing")]

        @cached_predict
        def predict(self, inputs):
            for item in inputs:
                item.append("changed")
            if ["bad", "changed"] in inputs:
                raise ZeroDivisionError
            return [" ".join(item) for item in inputs]

    api = API(max_batch_size=2, batch_timeout=LONG, loop=CachedBatchedLoop())
    with running(api) as driven:
        good, bad = driven.get({"text": "good"}, {"text": "bad"})
        assert isinstance(good, RuntimeError)
        assert isinstance(bad, RuntimeError)
        again = driven.get({"text": "good"}, {"text": "fine"})
        assert again == ["good changed", "fine changed"]


def test_an_error_that_cannot_be_pickled_is_answered_as_another():
    class Unpicklable(Exception):
        def __reduce__(self):
            raise TypeError("no")

    class API(WordAPI):
        def decode_request(self, request):
            raise Unpicklable(request)

    with running(API()) as driven:
        [error] = driven.get("a")
        assert isinstance(error, RuntimeError)
        assert "Unpicklable" in str(error)
