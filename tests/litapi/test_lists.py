"""`items="list"`: every item of a list is cached by itself."""

import litserve as ls
import numpy as np
import pytest
from litserve.specs.openai_embedding import EmbeddingRequest

from litcache import BatchSizeError, CacheInfo, cached_predict, disabled
from litcache.testing import APIRunner, strict


def lists(kind=list, size=1, spec=None, **options):
    """An API of lists that notes what reaches the model, and returns rows in one kind."""

    class API(ls.LitAPI):
        calls = ()

        @cached_predict(items="list", **options)
        def predict(self, items):
            self.calls = (*self.calls, items)
            rows = [[float(len(str(item))), 1.0] for item in items]
            if kind == "array":
                return np.array(rows, np.float32)
            if kind == "tuple":
                return np.array(rows, np.float32), [len(str(item)) for item in items]
            if kind == "dict":
                return {"vector": np.array(rows, np.float32), "name": [str(i) for i in items]}
            return rows

    return API(max_batch_size=size, spec=spec)


def test_only_the_missing_items_of_a_list_reach_the_model_in_order():
    api = lists()
    assert api.predict(["a", "bb"]) == [[1.0, 1.0], [2.0, 1.0]]
    assert api.predict(["ccc", "bb", "dddd", "a", "ccc"]) == [
        [3.0, 1.0], [2.0, 1.0], [4.0, 1.0], [1.0, 1.0], [3.0, 1.0],
    ]  # fmt: skip
    assert api.calls == (["a", "bb"], ["ccc", "dddd"])
    info = api.predict.cache.info()
    assert (info.hits, info.misses, info.coalesced) == (2, 4, 1)


@pytest.mark.parametrize("items", [["a", "bb"], ["bb"], ["x", "a", "x"], ["a", "bb", "a"]])
def test_rows_come_back_in_the_container_that_predict_returned(items):
    for kind in ("array", "tuple", "dict", "list"):
        cached, plain = lists(kind), lists(kind)
        cached.predict(["a", "bb"])
        expected = type(plain).predict.__wrapped__(plain, items)
        got = cached.predict(items)
        assert type(got) is type(expected)
        for left, right in zip(_columns(got), _columns(expected), strict=True):
            assert type(left) is type(right)
            assert getattr(left, "dtype", None) == getattr(right, "dtype", None)
            assert np.array_equal(left, right)


def _columns(output):
    if isinstance(output, dict):
        return list(output.values())
    return list(output) if isinstance(output, tuple) else [output]


def test_a_bare_text_is_a_list_of_one():
    api = lists()
    assert api.predict("abc") == [[3.0, 1.0]]
    assert api.predict(["abc"]) == [[3.0, 1.0]]
    assert api.calls == (["abc"],)


def test_a_list_of_numbers_is_one_item():
    api = lists()
    api.predict([1, 2, 3])
    api.predict([[1, 2, 3], [4]])
    assert api.calls == ([[1, 2, 3]], [[4]])


def test_an_empty_list_passes_through():
    api = lists()
    assert api.predict([]) == []
    assert api.calls == ([],)
    info = api.predict.cache.info()
    assert info.misses == info.uncacheable == 0


def test_arrays_and_tensors_are_cut_along_their_first_axis():
    torch = pytest.importorskip("torch")
    for stack in (np.array, torch.tensor):
        api = lists("array")
        api.predict(stack([[1.0, 2.0], [3.0, 4.0]]))
        api.predict(stack([[5.0, 6.0], [3.0, 4.0], [1.0, 2.0]]))
        assert [call.tolist() for call in api.calls] == [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]]
        assert type(api.calls[1]) is type(stack([1.0]))


def test_at_most_max_items_reach_the_model_in_one_call():
    api = lists(max_items=2)
    assert len(api.predict([str(n) for n in range(5)])) == 5
    api.predict([str(n) for n in range(3, 7)])
    assert api.calls == (["0", "1"], ["2", "3"], ["4"], ["5", "6"])


def test_nothing_of_a_call_is_stored_if_one_of_its_parts_raises():
    class API(ls.LitAPI):
        @cached_predict(items="list", max_items=1)
        def predict(self, items):
            if items == ["bad"]:
                raise ZeroDivisionError
            return items

    api = API()
    with pytest.raises(ZeroDivisionError):
        api.predict(["good", "bad"])
    assert api.predict.cache.info().entries == 0


def test_a_wrong_number_of_rows_raises_and_nothing_is_stored():
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, items):
            return items[1:]

    api = API()
    with pytest.raises(BatchSizeError) as caught:
        api.predict(["a", "b", "c"])
    assert (caught.value.expected, caught.value.actual) == (3, 2)
    assert "API.predict" in str(caught.value)
    assert api.predict.cache.info().entries == 0


def test_an_output_that_is_no_rows_is_answered_uncached(caplog):
    class API(ls.LitAPI):
        calls = 0

        @cached_predict(items="list")
        def predict(self, items):
            self.calls += 1
            return " ".join(items)

    api = API()
    assert [api.predict(["a", "b"]), api.predict(["a", "b"])] == ["a b", "a b"]
    assert api.calls == 2
    assert api.predict.cache.info().entries == 0
    assert len(caplog.records) == 1


def test_rows_of_different_shapes_in_one_array_are_computed_together_again():
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, items):
            longest = max(map(len, items))
            return np.array([[ord(c) for c in item.ljust(longest)] for item in items])

    api = API()
    assert api.predict(["a"]).shape == (1, 1)
    assert api.predict(["bb"]).shape == (1, 2)
    assert api.predict(["a", "bb"]).tolist() == [[97, 32], [98, 98]]


def test_misses_of_many_requests_reach_the_model_together_each_once():
    api = lists("array", size=8)
    with strict(), APIRunner(api) as runner:
        first = runner.run_batch([["a", "bb"], "a", ["ccc", "a"]])
        second = runner.run_batch([["bb", "x"], [], ["y", "x"]])
    assert api.calls == (["a", "bb", "ccc"], ["x", "y"], [])
    assert [row.tolist() for row in first] == [
        [[1.0, 1.0], [2.0, 1.0]], [[1.0, 1.0]], [[3.0, 1.0], [1.0, 1.0]],
    ]  # fmt: skip
    assert [row.tolist() for row in second] == [
        [[2.0, 1.0], [1.0, 1.0]], [], [[1.0, 1.0], [1.0, 1.0]],
    ]  # fmt: skip
    assert runner.model_batches == [3, 2, 0]


def embed(**fields):
    return EmbeddingRequest(model="m", **fields)


@pytest.mark.parametrize("size", [1, 8])
def test_the_openai_embedding_spec_gets_its_rows(size):
    spec = ls.OpenAIEmbeddingSpec()
    api = lists("array", size=size, spec=spec)
    with APIRunner(api) as runner:
        one = runner.run(embed(input="abc"))
        many = runner.run(embed(input=["abc", "d"]))
        tokens = runner.run(embed(input=[5, 6, 7]))
        batch = runner.run(embed(input=[[5, 6, 7], [8]]))
    assert one["embeddings"].tolist() == [[3.0, 1.0]]
    assert many["embeddings"].tolist() == [[3.0, 1.0], [1.0, 1.0]]
    assert tokens["embeddings"].tolist() == [[9.0, 1.0]]
    assert batch["embeddings"].tolist() == [[9.0, 1.0], [3.0, 1.0]]
    assert [list(call) for call in api.calls] == [["abc"], ["d"], [[5, 6, 7]], [[8]]]


def test_usage_is_right_on_partial_hits():
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, texts):
            return [[0.5] for _ in texts], [len(text.split()) for text in texts]

        def encode_response(self, output, context):
            vectors, counts = output
            total = sum(counts)
            return {"embeddings": vectors, "prompt_tokens": total, "total_tokens": total}

    with APIRunner(API(spec=ls.OpenAIEmbeddingSpec())) as runner:
        first = runner.run(embed(input=["one", "two words"]))
        second = runner.run(embed(input=["now three words", "two words", "one"]))
        third = runner.run(embed(input=["two words"]))
    assert [r["prompt_tokens"] for r in (first, second, third)] == [3, 6, 2]
    assert [len(r["embeddings"]) for r in (first, second, third)] == [2, 3, 1]
    assert runner.model_batches == [2, 1]


def test_get_warm_and_delete_speak_of_single_items():
    api = lists("tuple")
    cache = api.predict.cache
    cache.warm(["a", "b"], (np.ones((2, 2), np.float32), [7, 8]))
    vector, count = cache.get("b")
    assert (vector.tolist(), count) == ([1.0, 1.0], 8)
    vectors, counts = api.predict(["b", "a"])
    assert (vectors.tolist(), counts) == ([[1.0, 1.0]] * 2, [8, 7])
    assert api.calls == ()
    assert cache.delete(["a", "zzz"]) == 1
    with pytest.raises(KeyError):
        cache.get("a")


def test_an_empty_array_passes_through_a_batch():
    api = lists("array", size=4)
    with APIRunner(api) as runner:
        first, second = runner.run_batch([np.zeros((0, 3)), ["a"]])
    assert len(first) == 0
    assert second.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("kind", ["list", "array", "tuple", "dict"])
def test_with_the_caches_off_the_items_of_a_batch_are_pooled_as_well(kind):
    requests = [["a", "bb"], "ccc", ["a"], [1, 2], []]
    with APIRunner(lists(kind, 8)) as runner:
        expected = runner.run_batch(requests)
    api = lists(kind, 8, max_items=3)
    with disabled(), APIRunner(api) as runner:
        got = runner.run_batch(requests)
        assert api.calls == (["a", "bb", "ccc"], ["a", [1, 2]], [])
        assert api.predict.cache.info() == CacheInfo()
    for left, right in zip(got, expected, strict=True):
        assert type(left) is type(right)
        for a, b in zip(_columns(left), _columns(right), strict=True):
            assert type(a) is type(b)
            assert np.array_equal(a, b)


def test_with_the_caches_off_what_cannot_be_cut_is_computed_request_by_request():
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, items):
            return "".join(items)

    with disabled(), APIRunner(API(max_batch_size=8)) as runner:
        assert runner.run_batch([["a", "b"], ["c"]]) == ["ab", "c"]
