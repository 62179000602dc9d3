"""`list_at`: the list stands in a dict or tuple, and the rest of it belongs to each item."""

import logging

import litserve as ls
import numpy as np
import pytest
from support.loops import running

from litcache import CachedBatchedLoop, cached_predict, disabled
from litcache.testing import APIRunner, strict


def undecorated(function):
    return function


def reranker(decorate, **api):
    """A reranker that notes what reaches the model."""

    class API(ls.LitAPI):
        calls = ()

        @decorate
        def predict(self, request):
            query, documents = request["query"], request["documents"]
            self.calls = (*self.calls, (query, list(documents)))
            return np.array([len(set(query) & set(text)) for text in documents], np.float32)

        def encode_response(self, scores):
            return scores.tolist()

    return API(**api)


def asks(query, *documents, **more):
    return {"query": query, "documents": list(documents), **more}


REQUESTS = [
    asks("abc", "a", "ab", "x"),
    asks("abc", "ab", "abc"),
    asks("bcd", "a", "ab"),
    asks("abc", "abc", "abc", "new"),
    asks("abc", "a", top=3),
    asks("abc", "a"),
]
AT = cached_predict(items="list", list_at="documents")
LOOPS = {
    "single": dict,
    "batched": lambda: {"max_batch_size": 4, "batch_timeout": 0.05},
    "CachedBatchedLoop": lambda: {
        "max_batch_size": 4, "batch_timeout": 0.05, "loop": CachedBatchedLoop(),
    },
    "overlap": lambda: {
        "max_batch_size": 4, "batch_timeout": 0.05, "loop": CachedBatchedLoop(overlap=True),
    },
}  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
def test_every_loop_answers_as_the_undecorated_api_and_computes_each_item_once(loop):
    with running(reranker(undecorated)) as driven:
        expected = driven.get(*REQUESTS)
    api = reranker(AT, **LOOPS[loop]())
    with running(api) as driven:
        assert driven.get(*REQUESTS) == expected
        assert driven.get(*REQUESTS) == expected
    computed = [(query, text) for query, documents in api.calls for text in documents]
    # The request with another option has an item of its own.
    assert sorted(computed) == sorted([
        ("abc", "a"), ("abc", "ab"), ("abc", "abc"), ("abc", "new"), ("abc", "x"), ("abc", "a"),
        ("bcd", "a"), ("bcd", "ab"),
    ])  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
def test_an_async_api_does_the_same():
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(items="list", list_at=1)
        async def predict(self, pair):
            self.calls = (*self.calls, pair)
            return [pair[0] + text for text in pair[1]]

        def decode_request(self, request):
            return request["query"], request["documents"]

    with APIRunner(API(enable_async=True)) as runner:
        assert runner.run(asks("q", "a", "b")) == ["qa", "qb"]
        assert runner.run(asks("q", "b", "c")) == ["qb", "qc"]
        assert runner.run(asks("p", "b")) == ["pb"]
        assert runner.api.calls == (("q", ["a", "b"]), ("q", ["c"]), ("p", ["b"]))


@pytest.mark.parametrize("loop", [None, CachedBatchedLoop])
def test_requests_of_one_batch_are_pooled_where_their_options_are_equal(loop):
    with APIRunner(reranker(AT, max_batch_size=8, loop=loop and loop())) as runner:
        runner.run_batch(REQUESTS)
        assert sorted(runner.api.calls) == [
            ("abc", ["a"]), ("abc", ["a", "ab", "x", "abc", "new"]), ("bcd", ["a", "ab"]),
        ]  # fmt: skip
        assert runner.model_batches == [len(documents) for _, documents in runner.api.calls]
        info = runner.api.predict.cache.info()
        assert (info.misses, info.uncacheable) == (8, 0)


def test_at_most_max_items_of_a_pool_reach_the_model_at_once():
    api = reranker(cached_predict(items="list", list_at="documents", max_items=2), max_batch_size=8)
    with APIRunner(api) as runner:
        runner.run_batch([asks("a", "1", "2", "3"), asks("b", "1"), asks("a", "4")])
        assert api.calls == (("a", ["1", "2"]), ("a", ["3", "4"]), ("b", ["1"]))


def test_an_openai_like_request_is_cut_at_its_input():
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(items="list", list_at="input")
        def predict(self, request):
            self.calls = (*self.calls, request)
            size = request.get("dimensions", 2)
            return {
                "vector": np.ones((len(request["input"]), size), np.float32),
                "tokens": [len(text) for text in request["input"]],
            }

        def encode_response(self, output):
            return len(output["vector"]), sum(output["tokens"])

    with APIRunner(API()) as runner:
        assert runner.run({"model": "m", "input": ["one", "three"]}) == (2, 8)
        assert runner.run({"input": "three", "model": "m"}) == (1, 5)
        assert runner.run({"input": "three", "model": "m", "dimensions": 3}) == (1, 5)
        assert [call["input"] for call in runner.api.calls] == [["one", "three"], ["three"]]


def test_arrays_stay_arrays_of_the_misses():
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(items="list", list_at="rows")
        def predict(self, request):
            self.calls = (*self.calls, request["rows"])
            return request["rows"].sum(axis=1) * request["scale"]

    api = API()
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert api.predict({"rows": rows[:2], "scale": 2}).tolist() == [2.0, 10.0]
    assert api.predict({"rows": rows, "scale": 2}).tolist() == [2.0, 10.0, 18.0]
    assert [call.shape for call in api.calls] == [(2, 2), (1, 2)]


ODD = [{"query": "q"}, {"documents": 3, "query": "q"}, ["a"], "text", None, ("q", ["a"])]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_without_the_list_goes_uncached_and_the_place_is_named_once(loop, caplog):
    caplog.set_level(logging.WARNING, "litcache")

    def tolerant(decorate, **api):
        class API(ls.LitAPI):
            @decorate
            def predict(self, request):
                if isinstance(request, dict) and isinstance(request.get("documents"), list):
                    return [request["query"] + text for text in request["documents"]]
                return ["odd", str(request)]

        return API(**api)

    requests = [asks("q", "a"), *ODD, asks("q", "a", "b")]
    with running(tolerant(undecorated)) as driven:
        expected = driven.get(*requests)
    api = tolerant(AT, **LOOPS[loop]())
    with running(api) as driven:
        assert driven.get(*requests) == expected
    (record,) = caplog.records
    assert "list_at='documents'" in record.getMessage()
    info = api.predict.cache.info()
    assert (info.uncacheable, info.misses) == (len(ODD), 2)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_empty_list_passes_in_silence(loop, caplog):
    caplog.set_level(logging.WARNING, "litcache")
    api = reranker(AT, **LOOPS[loop]())
    with running(api) as driven:
        assert driven.get(asks("q"), asks("q", "q"), asks("q")) == [[], [1.0], []]
    assert api.predict.cache.info().uncacheable == 0
    assert caplog.records == []


def test_options_without_a_form_make_the_items_of_their_request_uncacheable(caplog):
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(items="list", list_at="texts")
        def predict(self, request):
            self.calls = (*self.calls, request["texts"])
            return request["texts"]

        def decode_request(self, request):
            return request if "n" in request else {**request, "how": object()}

    with APIRunner(API(max_batch_size=4)) as runner:
        batch = [{"texts": ["a", "b"]}, {"texts": ["a"]}, {"texts": ["a"], "n": 1}]
        assert runner.run_batch(batch) == [["a", "b"], ["a"], ["a"]]
        assert sorted(runner.api.calls) == [["a"], ["a"], ["a", "b"]]
        info = runner.api.predict.cache.info()
        assert (info.uncacheable, info.misses, info.entries) == (3, 1, 1)
    (record,) = caplog.records
    assert "$.how" in record.getMessage()


def test_a_predict_that_changes_the_options_does_not_change_those_of_others():
    class API(ls.LitAPI):
        @cached_predict(items="list", list_at="texts", max_items=1)
        def predict(self, request):
            request.pop("unused")
            words = request["words"]
            words.append("x")
            return [len(words)] * len(request.pop("texts"))

    with APIRunner(API(max_batch_size=4)) as runner:
        request = {"texts": ["a", "b"], "words": ["w"], "unused": 0}
        assert runner.run_batch([request, {**request, "texts": ["c"]}]) == [[2, 2], [2]]


def test_while_caches_are_off_predict_gets_what_it_gets_otherwise():
    with APIRunner(reranker(AT, max_batch_size=8)) as runner:
        expected = runner.run_batch(REQUESTS)
        runner.api.calls = ()
        with disabled():
            assert runner.run_batch(REQUESTS) == expected
        assert [(query, len(documents)) for query, documents in runner.api.calls] == [
            ("abc", 9), ("bcd", 2), ("abc", 1),
        ]  # fmt: skip


def test_the_cache_takes_the_container_with_one_item_in_the_place():
    api = reranker(AT)
    assert api.predict(asks("abc", "a", "ab")).tolist() == [1.0, 2.0]
    cache = api.predict.cache
    assert cache.get({"query": "abc", "documents": "ab"}) == np.float32(2)
    with pytest.raises(KeyError):
        cache.get({"query": "x", "documents": "ab"})
    cache.warm([{"query": "x", "documents": "ab"}], np.array([7.0], np.float32))
    assert api.predict(asks("x", "ab")).tolist() == [7.0]
    assert cache.delete([{"documents": "a", "query": "abc"}]) == 1
    with pytest.raises(ValueError, match="'documents'"):
        cache.key("ab")


def test_a_key_of_the_policy_stands_for_the_item_and_not_for_the_options():
    api = reranker(cached_predict(items="list", list_at="documents", key=lambda text: text.lower()))
    assert api.predict(asks("abc", "a")).tolist() == [1.0]
    assert api.predict(asks("abc", "A")).tolist() == [1.0]
    assert api.predict(asks("x", "A")).tolist() == [0.0]
    assert api.calls == (("abc", ["a"]), ("x", ["A"]))


def test_functions_of_the_policy_get_the_item():
    seen = []
    api = reranker(
        cached_predict(
            items="list",
            list_at="documents",
            bypass_if=lambda text: seen.append(text) or text == "never",
            store_if=lambda text, score: score > 0,
        )
    )
    for _ in range(2):
        assert api.predict(asks("abc", "a", "x", "never")).tolist() == [1.0, 0.0, 0.0]
    assert seen == ["a", "x", "never"] * 2
    assert api.predict.cache.info().entries == 1


def test_a_failing_batch_is_computed_again_in_parts_with_the_same_options():
    class API(ls.LitAPI):
        @cached_predict(items="list", list_at="texts")
        def predict(self, request):
            request["words"].append("x")
            if "bad" in request["texts"]:
                raise ValueError("bad")
            return [(text, len(request["words"])) for text in request["texts"]]

    api = API(max_batch_size=4, batch_timeout=0.2, loop=CachedBatchedLoop())
    with running(api) as driven:
        batch = [{"texts": [text], "words": []} for text in ("a", "bad", "b")]
        a, bad, b = driven.get(*batch)
        assert (a, b) == ([("a", 1)], [("b", 1)])
        assert isinstance(bad, Exception)


def test_another_place_is_another_key():
    def key(at):
        class API(ls.LitAPI):
            @cached_predict(items="list", list_at=at, namespace="n")
            def predict(self, request): ...

        return API().predict.cache.key({"a": None, "b": None})

    assert key("a") != key("b")


def test_in_strict_mode_options_without_a_form_raise():
    api = reranker(AT)
    with strict(), pytest.raises(Exception, match=r"\$\.how"):
        api.predict({"query": "q", "documents": ["a"], "how": object()})
