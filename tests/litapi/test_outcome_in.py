"""`outcome_in`: what became of a request, as `encode_response` reads it, through real loops."""

import asyncio
import threading

import litserve as ls
import numpy as np
import pytest
from support.loops import SECONDS, running

from litcache import (
    CachedBatchedLoop,
    CachePolicy,
    MemoryStore,
    Trial,
    UnsupportedMethodError,
    cached_predict,
    disabled,
)
from litcache.testing import APIRunner

FIRST_ALONE = Trial(verify=0)


def is_private(item):
    return item[0] == "private"


def decoded(request):
    """What has no key, and what is bypassed, by the name of the request."""
    return (request, object()) if request == "odd" else (request, None)


class Plain(ls.LitAPI):
    """Only `encode_response` takes the context."""

    def decode_request(self, request):
        return decoded(request)

    @cached_predict(outcome_in="cache", bypass_if=is_private, trial=FIRST_ALONE)
    def predict(self, item):
        if self.max_batch_size > 1:
            return [name.upper() for name, _ in item]
        return item[0].upper()

    def encode_response(self, output, context):
        return output, context["cache"]


class Asynchronous(ls.LitAPI):
    async def decode_request(self, request):
        return decoded(request)

    @cached_predict(outcome_in="cache", bypass_if=is_private, trial=FIRST_ALONE)
    async def predict(self, item):
        await asyncio.sleep(0)
        return item[0].upper()

    async def encode_response(self, output, context):
        return output, context["cache"]


LOOPS = {
    "single": lambda: Plain(),
    "batched": lambda: Plain(max_batch_size=8, batch_timeout=0.01),
    "async": lambda: Asynchronous(enable_async=True),
    "cached": lambda: Plain(max_batch_size=8, batch_timeout=0.01, loop=CachedBatchedLoop()),
    "overlap": lambda: Plain(
        max_batch_size=8, batch_timeout=0.01, loop=CachedBatchedLoop(overlap=True)
    ),
    "cached, one by one": lambda: Plain(loop=CachedBatchedLoop()),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_encode_response_finds_what_became_of_its_request(loop):
    with running(LOOPS[loop]()) as driven:
        for request, outcome in [
            ("a", "miss"), ("a", "hit"), ("b", "miss"), ("private", "bypassed"),
            ("odd", "uncacheable"), ("a", "hit"),
        ]:  # fmt: skip
            assert driven.get(request) == [(request.upper(), outcome)]


@pytest.mark.parametrize("size", [1, 8])
def test_the_runner_shows_outcomes_and_those_of_one_batch_are_each_their_own(size):
    with APIRunner(Plain(max_batch_size=size)) as runner:
        runner.run("a")
        outcomes = [o for _, o in runner.run_batch(["a", "b", "b", "private", "odd"])]
        third = "coalesced" if size > 1 else "hit"
        assert outcomes == ["hit", "miss", third, "bypassed", "uncacheable"]


@pytest.mark.parametrize("loop", ["cached", "overlap"])
def test_equal_items_that_wait_for_each_other_are_coalesced(loop):
    with running(LOOPS[loop]()) as driven:
        answers = driven.get("a", "a", "a")
    assert sorted(outcome for _, outcome in answers) in (
        ["coalesced", "coalesced", "miss"],
        ["coalesced", "hit", "miss"],
        ["hit", "hit", "miss"],
    )


def test_a_task_that_waits_for_another_is_coalesced():
    class API(Asynchronous):
        async def decode_request(self, request):
            arrived.append(request)
            return decoded(request)

        @cached_predict(outcome_in="cache")
        async def predict(self, item):
            while len(arrived) < 3:  # the others are on their way
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            return item[0].upper()

    arrived = []

    with running(API(enable_async=True)) as driven:
        answers = driven.get("a", "a", "a")
    assert sorted(outcome for _, outcome in answers) == ["coalesced", "coalesced", "miss"]


@pytest.mark.parametrize("size", [1, 8])
def test_with_the_caches_off_requests_are_bypassed(size):
    with APIRunner(Plain(max_batch_size=size)) as runner:
        runner.run("a")
        with disabled():
            assert runner.run_batch(["a", "b"]) == [("A", "bypassed"), ("B", "bypassed")]


# ---------------------------------------------------------------------- lists


def lists(**options):
    class API(ls.LitAPI):
        @cached_predict(outcome_in="cache", items="list", trial=FIRST_ALONE, **options)
        def predict(self, texts):
            if not isinstance(texts, list):
                return np.zeros((1, 1), np.float32)
            return np.array([[len(text)] for text in texts], np.float32)

        def encode_response(self, output, context):
            return len(output), dict(context["cache"])

    return API


LISTS = {
    "single": {},
    "batched": {"max_batch_size": 8, "batch_timeout": 0.01},
    "cached": {"max_batch_size": 8, "batch_timeout": 0.01},
    "overlap": {"max_batch_size": 8, "batch_timeout": 0.01},
}


@pytest.mark.parametrize("loop", LISTS)
def test_a_list_finds_how_many_of_its_items_were_what(loop):
    arguments = dict(LISTS[loop])
    if loop in ("cached", "overlap"):
        arguments["loop"] = CachedBatchedLoop(overlap=loop == "overlap")
    with running(lists(bypass_if=lambda text: text == "p")(**arguments)) as driven:
        assert driven.get(["a", "b"]) == [(2, {"miss": 2})]
        assert driven.get(["a", "b", "c", "c", "p"]) == [
            (5, {"hit": 2, "miss": 1, "coalesced": 1, "bypassed": 1})
        ]
        assert driven.get(["a"]) == [(1, {"hit": 1})]
        assert driven.get([]) == [(0, {})]
        assert driven.get(5) == [(1, {"uncacheable": 1})]


def test_an_outcome_that_did_not_occur_counts_0():
    told = []

    class API(lists()):
        def encode_response(self, output, context):
            told.append(context["cache"])
            return

    with APIRunner(API()) as runner:
        runner.run(["a"])
    assert (told[0]["miss"], told[0]["hit"]) == (1, 0)


@pytest.mark.parametrize("size", [1, 8])
def test_lists_are_pooled_and_told_apart_with_the_caches_off_too(size):
    with APIRunner(lists()(max_batch_size=size)) as runner:
        with disabled():
            assert runner.run_batch([["a", "b"], ["c"], []]) == [
                (2, {"bypassed": 2}), (1, {"bypassed": 1}), (0, {}),
            ]  # fmt: skip
        runner.model_batches.clear()
        assert runner.run_batch([["a", "b"], ["b", "c"], []]) == [
            (2, {"miss": 2}), (2, {"coalesced" if size > 1 else "hit": 1, "miss": 1}), (0, {}),
        ]  # fmt: skip
        if size > 1:  # the contexts do not keep lists apart
            assert runner.model_batches[0] == 3


def test_a_list_of_which_the_method_makes_no_rows_is_told_all_the_same():
    class API(ls.LitAPI):
        @cached_predict(outcome_in="cache", items="list")
        def predict(self, texts, context):
            context["seen"] = True
            return "no rows"

        def encode_response(self, output, context):
            return output, context["seen"], sum(context["cache"].values())

    with APIRunner(API()) as runner:
        assert runner.run(["a", "b"]) == ("no rows", True, 2)


# ---------------------------------------------------------------------- in no key, in no entry


def test_the_outcome_is_in_no_key_and_in_no_entry():
    store = MemoryStore()

    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["cache"] = request["flag"]  # the user's own, of the same name
            context["user"] = request["user"]
            return request["x"]

        @cached_predict(outcome_in="cache", store=store)
        def predict(self, x, context):
            context["tokens"] = len(x)
            context["cache"] = "of predict"
            return x.upper()

        def encode_response(self, output, context):
            return context["cache"], context["tokens"]

    with APIRunner(API()) as runner:
        request = {"x": "abc", "user": 1, "flag": 1}
        assert runner.run(request) == ("miss", 3)
        assert runner.run(dict(request, flag=2)) == ("hit", 3)
        assert runner.run(dict(request, user=2)) == ("miss", 3)
        context = {"user": 1}
        key = runner.api.predict.cache.key("abc", context)
        assert runner.api.predict.cache.key("abc", dict(context, cache="hit")) == key


def test_an_entry_that_predict_removes_is_the_caches_own():
    class API(ls.LitAPI):
        @cached_predict(outcome_in="cache")
        def predict(self, x, context):
            context.pop("cache", None)
            return x

        def decode_request(self, request, context):
            context["cache"] = "mine"
            return request

        def encode_response(self, output, context):
            return context["cache"]

    with APIRunner(API()) as runner:
        assert [runner.run("a") for _ in range(3)] == ["miss", "hit", "hit"]


def test_a_request_that_fails_and_is_computed_alone_is_told_its_own_outcome():
    class API(ls.LitAPI):
        @cached_predict(outcome_in="cache")
        def predict(self, items):
            if "bad" in items:
                raise ValueError("bad")
            return [item.upper() for item in items]

        def encode_response(self, output, context):
            return output, context["cache"]

    gate = threading.Event()

    class Gated(API):
        def decode_request(self, request):
            gate.wait(SECONDS)  # so that all are in one batch
            return request

    api = Gated(max_batch_size=3, batch_timeout=0.5, loop=CachedBatchedLoop())
    with running(api) as driven:
        uids = driven.ask("a", "bad", "b")
        gate.set()
        first, failed, last = driven.wait(*uids)
        assert (first, last) == (("A", "miss"), ("B", "miss"))
        assert isinstance(failed, ValueError)
        assert driven.get("a") == [("A", "hit")]


def test_calls_by_hand_are_told_if_they_give_a_context():
    api = Plain()
    context = {}
    assert api.predict(("a", None), context=context) == "A"
    assert context == {"cache": "miss"}
    assert api.predict(("a", None)) == "A"


# ---------------------------------------------------------------------- where it is refused


@pytest.mark.parametrize("name", ["decode_request", "encode_image"])
def test_another_method_than_predict_is_refused_at_decoration(name):
    def method(self, item):
        return item

    method.__name__ = method.__qualname__ = name
    with pytest.raises(UnsupportedMethodError, match="outcome_in='cache' is for predict alone"):
        cached_predict(outcome_in="cache")(method)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"outcome_in": 3}, TypeError),
        ({"outcome_in": True}, TypeError),
        ({"outcome_in": ""}, ValueError),
        ({"outcome_in": "cache", "context": ("user", "cache")}, ValueError),
    ],
)
def test_a_name_that_is_none_raises(options, error):
    with pytest.raises(error, match="outcome_in="):
        CachePolicy(**options)


# ---------------------------------------------------------------------- the trial


@pytest.mark.parametrize("loop", LOOPS)
def test_on_trial_a_request_is_verified_and_its_answer_agrees(loop):
    api = LOOPS[loop]()
    with running(api, tried=True) as driven:
        told = [driven.get("a")[0][1] for _ in range(20)]
        told += [driven.get("private")[0][1], driven.get("odd")[0][1]]
        info = api.predict.cache.info()
    assert told == ["miss", *["verified"] * 16, *["hit"] * 3, "bypassed", "uncacheable"]
    assert (info.state, info.disagreement) == ("on", "")


@pytest.mark.parametrize("loop", LISTS)
def test_on_trial_a_list_is_told_of_its_verified_items(loop):
    arguments = dict(LISTS[loop])
    if loop in ("cached", "overlap"):
        arguments["loop"] = CachedBatchedLoop(overlap=loop == "overlap")
    api = lists()(**arguments)
    with running(api, tried=True) as driven:
        told = [driven.get(["a", "b"])[0][1] for _ in range(10)]
        info = api.predict.cache.info()
    assert told == [{"miss": 2}, *[{"verified": 2}] * 8, {"hit": 2}]
    assert (info.state, info.disagreement) == ("on", "")


@pytest.mark.parametrize("loop", LOOPS)
def test_after_a_disagreement_requests_are_bypassed(loop):
    api = LOOPS[loop]()
    with running(api, tried=True) as driven:
        api.predict.cache.warm([("a", None)], ["wrong"])
        assert driven.get("a") == [("A", "verified")]
        assert driven.get("a") == [("A", "bypassed")]
        assert api.predict.cache.info().state == "off"
