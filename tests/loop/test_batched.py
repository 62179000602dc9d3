"""`CachedBatchedLoop` in one process, beside LitServe's own loop."""

import pickle
import queue
import threading
import time

import litserve as ls
import numpy as np
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from litserve.loops import BatchedLoop
from litserve.specs.openai_embedding import EmbeddingRequest
from support import apis
from support.batches import BATCHES, DISTINCT, answers, undecorated
from support.loops import SECONDS, SENTINEL, Driven, prepare, run, running
from support.words import LONG, WordAPI, both_ways, looped

from litcache import (
    CachedBatchedLoop,
    MemoryStore,
    UnsupportedMethodError,
    cached_predict,
    disabled,
)
from litcache.engine.modes import Batch as BatchCall
from litcache.engine.modes import Unbatched
from litcache.engine.run import advance, computation, settle
from litcache.engine.steps import Compute, Wait
from litcache.testing import APIRunner, strict

OTHERS = [apis.undecorated_override, apis.decode_request_cached]
UNBATCHED = [apis.one_by_one, apis.one_by_one_with_context]
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


@pytest.mark.parametrize("loop", ["stock", "one thread", "overlap"])
def test_equal_refreshes_that_wait_together_are_computed_once(loop):
    class API(WordAPI):
        predict = cached_predict(refresh_if=lambda word: True)(WordAPI.predict.__wrapped__)

    api = API(window=LONG, size=3, overlap=loop == "overlap")
    if loop == "stock":
        api.loop = BatchedLoop()
    with running(api) as driven:
        for turn in (1, 2):
            words = ["a", "a", "a"] if loop == "stock" else ["a", "a", "a", "b", "c"]
            assert driven.get(*words) == [word.upper() for word in words]
            assert len(api.batches) == turn
            assert api.batches[-1].count("a") == 1
        assert api.predict.cache.info().coalesced == 4


@both_ways
def test_a_refresh_of_another_thread_waits_for_what_the_loop_has_not_begun(overlap):
    class API(WordAPI):
        predict = cached_predict(refresh_if=lambda word: True)(WordAPI.predict.__wrapped__)

    api = API(window=LONG, size=2, overlap=overlap)
    with running(api) as driven:
        cache = api.predict.cache._cache
        driven.get("b", "c")
        [pending] = driven.ask("a")
        driven.get("undecodable")  # so "a" was looked up
        steps = settle(cache, cache.lookup(BatchCall(["a"])), computation)
        assert isinstance(next(steps), Wait)
        assert driven.get("d") == ["D"]
        assert driven.wait(pending) == ["A"]
        with pytest.raises(StopIteration):
            steps.send(True)
        assert api.batches[-1] == ["a", "d"]


class CountingStore(MemoryStore):
    blocking = True

    def get_many(self, scope, keys):
        self.asked = (*getattr(self, "asked", ()), len(keys))
        return super().get_many(scope, keys)

    def set_many(self, scope, entries):
        self.written = (*getattr(self, "written", ()), len(entries))
        super().set_many(scope, entries)


@both_ways
def test_a_store_that_waits_is_asked_once_for_what_is_there_and_written_once_a_batch(overlap):
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
    assert api.predict.cache.info().stored == 8
    assert store.asked == store.written == (8,)
    assert api.batches == [list("abcdefgh")]


# ---------------------------------------------------------------------- while the model computes


def test_overlap_answers_hits_and_joins_equals_while_the_model_computes():
    api = WordAPI(overlap=True)
    with running(api) as driven:
        driven.get("a", "b")
        api.hold = True
        leader, follower = driven.ask("new", "new")
        assert api.entered.acquire(timeout=SECONDS)
        assert driven.get("a", "b") == ["A", "B"]
        joined, other = driven.ask("new", "other")
        assert driven.get("a", "undecodable")[0] == "A"
        assert not {leader, follower, joined, other} & driven.answers.keys()
        api.free.set()
        assert driven.wait(leader, follower, joined, other) == ["NEW"] * 3 + ["OTHER"]
        assert api.batches[-2:] == [["new"], ["other"]]
        assert api.counts == (3, 4, 2)


def test_overlap_keeps_the_model_in_its_thread_and_each_end_of_litserve_in_one():
    api = WordAPI(overlap=True)
    with running(api) as driven:
        driven.get("a", "b", "bad", "a", "undecodable", "bad")
        assert api.thread not in api.io_threads
        assert len(api.io_threads) == 1
        assert driven.threads == api.io_threads


def test_overlap_keeps_what_setup_made_of_torch_in_its_thread():
    torch = pytest.importorskip("torch")

    class API(ls.LitAPI):
        def setup(self, device):
            torch.set_grad_enabled(False)
            self.weight = torch.nn.Parameter(torch.ones(2))

        def decode_request(self, request):
            return torch.full((2,), request)

        @cached_predict
        def predict(self, x):
            assert not torch.is_grad_enabled()
            output = x * self.weight
            assert not output.requires_grad
            return output

        def encode_response(self, output):
            return output.tolist()

    loop = CachedBatchedLoop(overlap=True)
    with running(API(max_batch_size=4, loop=loop)) as driven:
        assert driven.get(1.0, 2.0, 1.0) == [[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("stops", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["decode_request", "predict", "encode_response"])
@both_ways
def test_what_stops_a_process_stops_the_loop_in_the_thread_of_litserve(stops, where, overlap):
    class API(WordAPI):
        def decode_request(self, request):
            if where == "decode_request":
                raise stops
            return request

        def batch(self, inputs):
            if where == "predict":
                raise stops
            return inputs

        def encode_response(self, output):
            raise stops

    api = API(overlap=overlap)
    kills = []
    api.loop.kill = lambda: kills.append(threading.get_ident())
    driven = Driven()
    driven.ask("a")
    prepare(api)
    if stops is KeyboardInterrupt:
        run(api, driven)
        assert kills == [threading.get_ident()]
    else:
        with pytest.raises(SystemExit):
            run(api, driven)


@both_ways
def test_a_queue_that_breaks_ends_the_loop_with_its_error(overlap):
    class Broken:
        def get(self, timeout=None):
            raise EOFError("the manager is gone")

    api = WordAPI(overlap=overlap)
    driven = Driven()
    driven.requests = Broken()
    prepare(api)
    with pytest.raises(EOFError, match="manager"):
        run(api, driven)


@both_ways
def test_an_item_that_another_thread_computes_is_waited_for_without_holding_others_up(overlap):
    class API(WordAPI):
        def direct(self, word):
            type(self).predict.__get__(self)([word])

    api = API(hold=True, overlap=overlap)
    with running(api) as driven:
        cache = api.predict.cache._cache
        other = cache.lookup(BatchCall(["shared"]))  # as a thread of the user's would
        steps = settle(cache, other, computation)
        assert isinstance(next(steps), Compute)
        assert other.to_compute == [0]
        [waits] = driven.ask("shared")
        api.hold = False
        assert driven.get("a") == ["A"]
        assert waits not in driven.answers
        assert advance(steps, (Unbatched(["SHARED"]), 0.0)) is None
        assert driven.wait(waits) == ["SHARED"]
        assert api.batches == [["a"]]


@both_ways
def test_an_item_that_another_thread_never_finishes_is_computed_after_the_request_timeout(overlap):
    api = WordAPI(overlap=overlap)
    with running(api, timeout=0.2) as driven:
        cache = api.predict.cache._cache
        steps = settle(cache, cache.lookup(BatchCall(["shared"])), computation)
        assert isinstance(next(steps), Compute)
        assert driven.get("shared") == ["SHARED"]


# ---------------------------------------------------------------------- what LitServe's loop does


@both_ways
def test_a_request_that_waited_too_long_is_answered_504_even_if_it_would_hit(overlap):
    api = WordAPI(overlap=overlap)
    with running(api, timeout=30) as driven:
        driven.get("a")
        [error] = driven.wait(*driven.ask("a", ago=31))
        assert (error.status_code, error.detail) == (504, "Request timed out")
        assert driven.wait(*driven.ask("a", ago=29)) == ["A"]
        assert api.counts == (1, 1, 0)


@pytest.mark.parametrize("timeout", [False, -1])
def test_without_a_request_timeout_nothing_is_stale(timeout):
    with running(WordAPI(), timeout=timeout) as driven:
        assert driven.wait(*driven.ask("a", ago=1e6)) == ["A"]


@both_ways
def test_a_start_message_goes_out_before_each_answer_if_workers_restart(overlap):
    with running(WordAPI(overlap=overlap), restart=True) as driven:
        driven.get("a", "a", "undecodable")
        assert len(driven.started) == 3
    with running(WordAPI(overlap=overlap)) as driven:
        driven.get("a")
        assert driven.started == []


@both_ways
def test_callbacks_hear_of_every_step_and_of_predict_when_the_model_runs(overlap):
    heard = []

    def listen(name):
        return lambda self, *args, lit_api, **kwargs: heard.append(name)

    steps = [
        f"on_{when}_{step}"
        for step in ("decode_request", "predict", "encode_response")
        for when in ("before", "after")
    ]
    Listener = type("Listener", (ls.Callback,), {name: listen(name) for name in steps})
    with running(WordAPI(overlap=overlap), Listener()) as driven:
        driven.get("a")
        assert heard == steps
        heard.clear()
        driven.get("a")
        assert heard == [name for name in steps if "predict" not in name]


@both_ways
def test_the_spec_fills_the_context_of_each_request(overlap):
    class Spec:
        def populate_context(self, context, request):
            context["user"] = request["user"]

    class API(ls.LitAPI):
        def decode_request(self, request, context):
            return f"{request['text']} of {context['user']}"

        @cached_predict
        def predict(self, texts):
            return texts

        def encode_response(self, output, context):
            return [output, context["user"]]

    api = API(max_batch_size=4, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        api._spec = Spec()
        requests = [{"text": "a", "user": user} for user in ("x", "y")]
        assert driven.get(*requests, requests[0]) == [
            ["a of x", "x"],
            ["a of y", "y"],
            ["a of x", "x"],
        ]


@both_ways
def test_the_sentinel_ends_the_loop_once_all_that_was_taken_is_answered(overlap):
    api = WordAPI(window=LONG, size=8, overlap=overlap)
    driven = Driven()
    asked = driven.ask("a", "b", "bad", "a")
    driven.requests.put(SENTINEL)
    later = driven.ask("later")
    prepare(api)
    before = threading.active_count()
    run(api, driven)
    assert threading.active_count() == before
    assert driven.answers.keys() == set(asked)
    assert driven.requests.qsize() == len(later)


def test_without_batches_each_request_is_answered_by_itself():
    with running(looped(apis.one_by_one_with_context(cached_predict))) as driven:
        request = {"text": "a", "language": "de"}
        answers = driven.get(request, {"text": 1}, request)
        assert [answers[0], answers[2]] == [["ade", 1]] * 2
        assert isinstance(answers[1], TypeError)


def words_in(loop, decorate):
    class API(ls.LitAPI):
        @decorate
        def predict(self, words):
            if "bad" in words:
                raise ZeroDivisionError
            return [word.upper() for word in words]

    return API(max_batch_size=3, batch_timeout=LONG, loop=loop)


@both_ways
def test_without_a_cached_method_it_is_litserves_batched_loop(overlap):
    for loop in ("auto", CachedBatchedLoop(overlap=overlap)):
        with running(words_in(loop, undecorated), timeout=100) as driven:
            errors = driven.get("good", "bad", "better")
            assert [type(error) for error in errors] == [ZeroDivisionError] * 3
            assert driven.get("a", "a", "a") == ["A", "A", "A"]


def test_the_runner_tells_outputs_apart_whichever_way_the_loop_works():
    with APIRunner(looped(apis.texts_to_dicts(cached_predict))) as runner:
        batch = [{"text": text} for text in ("a", "bb", "ccc")]
        runner.run_batch(batch[1:])
        runner.run_batch(batch)  # the hits are answered before the miss
        assert [output["text"] for output in runner.outputs] == ["a", "bb", "ccc"]
        with disabled():
            runner.run_batch(batch[::-1])
        assert [output["text"] for output in runner.outputs] == ["ccc", "bb", "a"]


@pytest.mark.parametrize("decodes", [False, True])
def test_switched_off_it_is_litserves_batched_loop(decodes):
    api = words_in(CachedBatchedLoop(), cached_predict)
    if decodes:
        decode = cached_predict(type(api).decode_request)
        type(api).decode_request = decode
        decode.__set_name__(type(api), "decode_request")
    driven = Driven()
    driven.ask("good", "bad", "better")
    driven.ask("good", "good", "good")
    driven.requests.put(SENTINEL)
    with disabled():
        prepare(api, 100)
        run(api, driven)
    kinds = [type(driven.answers[uid]) for uid in driven.order]
    assert kinds == [ZeroDivisionError] * 3 + [str] * 3
    assert api.predict.cache.info().entries == 0


@pytest.mark.parametrize("decorate", [undecorated, cached_predict])
def test_an_idle_loop_asks_its_queue_ten_times_a_second(decorate):
    class Slow:
        """A queue in which nothing comes: it says how long it was asked to wait."""

        def __init__(self):
            self.waits = []

        def get(self, timeout=None):
            self.waits.append(timeout)
            return SENTINEL if len(self.waits) > 20 else self.nothing()

        def nothing(self):
            raise queue.Empty

        get_nowait = get

    api = words_in(CachedBatchedLoop(), decorate)
    api.batch_timeout = 0
    driven = Driven()
    driven.requests = Slow()
    prepare(api)
    run(api, driven)
    assert set(driven.requests.waits) == {0.1}


@pytest.mark.parametrize("decorate", [undecorated, cached_predict])
def test_no_request_is_lost_when_the_machine_stalls_longer_than_the_batch_timeout(
    decorate, monkeypatch
):
    class Stalling:
        """A clock of LitServe's loop: at each fourth look a second has passed at once."""

        looks = 0

        def monotonic(self):
            self.looks += 1
            return time.monotonic() + (self.looks + 2) // 4

    monkeypatch.setattr("litserve.loops.base.time", Stalling())
    api = words_in(CachedBatchedLoop(), decorate)
    api.batch_timeout = 0.01
    with running(api) as driven:
        assert [driven.get(word)[0] for word in "abc"] == [word.upper() for word in "abc"]


@pytest.mark.parametrize("decorate", [undecorated, cached_predict])
def test_a_window_that_is_over_before_litserve_looks_is_none(decorate, monkeypatch):
    class Slow:
        """A clock of LitServe's loop: a second passes between any two looks."""

        looks = 0

        def monotonic(self):
            self.looks += 1
            return time.monotonic() + self.looks

    monkeypatch.setattr("litserve.loops.base.time", Slow())
    api = words_in(CachedBatchedLoop(), decorate)
    api.batch_timeout = 1e-7
    driven = Driven()
    words = driven.ask(*"abcd")
    with running(api, timeout=False, beside=driven):
        assert driven.wait(*words) == list("ABCD")


# ---------------------------------------------------------------------- lists of items


@both_ways
def test_the_missing_items_of_several_lists_are_pooled(overlap):
    class API(ls.LitAPI):
        def setup(self, device):
            self.batches = []

        @cached_predict(items="list", max_items=3)
        def predict(self, items):
            self.batches.append(items)
            if "bad" in items:
                raise ZeroDivisionError
            return {"vector": np.array([[len(i)] for i in items]), "name": list(items)}

        def encode_response(self, output):
            return [output["vector"].ravel().tolist(), output["name"]]

    api = API(max_batch_size=3, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        lists = [["a", "bb"], ["bb", "ccc"], ["a", "dddd", "e"]]
        expected = [[[len(i) for i in items], items] for items in lists]
        assert driven.get(*lists) == expected
        assert api.batches == [["a", "bb", "ccc"], ["dddd", "e"]]
        assert driven.get(lists[2]) == [expected[2]]
        api.batches.clear()
        good, bad, ok = driven.get(["a", "new"], ["bad", "a"], ["ok"])
        assert (good, ok) == ([[1, 3], ["a", "new"]], [[2], ["ok"]])
        assert isinstance(bad, ZeroDivisionError)
        info = api.predict.cache.info()
        assert (info.hits, info.misses, info.coalesced) == (3 + 2, 5 + 3, 2)


@both_ways
def test_the_openai_embedding_spec_is_answered_as_in_litserves_loop(overlap):
    def answers(loop):
        class API(ls.LitAPI):
            @cached_predict(items="list")
            def predict(self, texts):
                return np.array([[len(str(text)), 1.0] for text in texts], np.float32)

            def encode_response(self, output, context):
                return {"embeddings": output.tolist(), "model": context.get("model")}

        api = API(max_batch_size=4, spec=ls.OpenAIEmbeddingSpec(), loop=loop)
        with APIRunner(api) as runner:
            batches = [["abc", "d"], ["d", ["e", "ff"], "abc"], [[5, 6, 7], [[5, 6, 7], [8]]]]
            return [
                runner.run_batch([EmbeddingRequest(model="m", input=each) for each in batch])
                for batch in batches
            ]

    assert answers(CachedBatchedLoop(overlap=overlap)) == answers("auto")


@both_ways
def test_lists_that_are_no_rows_are_answered_uncached(overlap):
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, items):
            return object if items == [] else " ".join(items) if type(items) is list else items

        def encode_response(self, output):
            return "nothing" if output is object else output

    api = API(max_batch_size=4, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        for _ in range(2):
            assert driven.get(["a", "b"], [], "c", {"d": 1}) == ["a b", "nothing", "c", {"d": 1}]
        assert api.predict.cache.info().entries == 0


@both_ways
def test_rows_that_do_not_fit_together_are_computed_by_themselves(overlap):
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, items):
            return np.zeros((len(items), max(map(len, items))))

        def encode_response(self, output):
            return list(output.shape)

    api = API(max_batch_size=4, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        assert driven.get(["a"]) == [[1, 1]]
        assert driven.get(["bb"]) == [[1, 2]]
        assert driven.get(["a", "bb"]) == [[2, 2]]


# ---------------------------------------------------------------------- what it refuses


def test_a_streaming_api_is_refused_before_a_worker_starts():
    class API(ls.LitAPI):
        def predict(self, x):
            yield x

        def encode_response(self, output):
            yield from output

    api = API(loop=CachedBatchedLoop(), stream=True, max_batch_size=4)
    with pytest.raises(UnsupportedMethodError, match="stream=True"):
        ls.LitServer(api, accelerator="cpu")


@pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
def test_an_async_api_is_refused_before_a_worker_starts():
    api = looped(apis.asynchronous(cached_predict))
    with pytest.raises(UnsupportedMethodError, match="enable_async=True"):
        ls.LitServer(api, accelerator="cpu")


def test_overlap_without_batches_is_refused():
    with pytest.raises(ValueError, match="overlap=True needs max_batch_size"):
        ls.LitServer(looped(apis.one_by_one(cached_predict), overlap=True), accelerator="cpu")


@pytest.mark.parametrize("options", [{"overlap": 1}, {"isolate_errors": "no"}, {"overlap": None}])
def test_options_of_another_type_are_refused(options):
    with pytest.raises(TypeError, match=f"{next(iter(options))}="):
        CachedBatchedLoop(**options)
    with pytest.raises(TypeError):
        CachedBatchedLoop(True)


def test_litserves_own_checks_are_kept():
    class API(ls.LitAPI):
        def predict(self, x):
            yield x

    with pytest.raises(ValueError, match="generator"):
        ls.LitServer(API(loop=CachedBatchedLoop(), max_batch_size=2), accelerator="cpu")


def test_it_goes_to_spawned_workers_with_its_options():
    loop = pickle.loads(pickle.dumps(CachedBatchedLoop(overlap=True, isolate_errors=False)))
    assert (loop.overlap, loop.isolate_errors) == (True, False)
