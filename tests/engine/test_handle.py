import litserve as ls
import numpy as np
import pytest

from litcache import KeyEncodingError, StoreError, ValueEncodingError, cached_predict
from litcache.testing import APIRunner


class Single(ls.LitAPI):
    @cached_predict
    def predict(self, x):
        return np.full(3, len(x), np.float32)


class WithContext(ls.LitAPI):
    def decode_request(self, request, context):
        context.update(request)
        return "item"

    @cached_predict
    def predict(self, x, context):
        context["seen"] = True
        return [context.get("user")]


def test_get_returns_a_copy_and_raises_keyerror_on_a_miss():
    api = Single()
    with pytest.raises(KeyError):
        api.predict.cache.get("ab")
    api.predict("ab")
    first = api.predict.cache.get("ab")
    first[:] = 0
    assert api.predict.cache.get("ab").tolist() == [2.0, 2.0, 2.0]


def test_what_is_warmed_is_served_and_what_is_deleted_is_not():
    api = Single()
    cache = api.predict.cache
    cache.warm(["ab", "c"], [np.ones(3), np.zeros(3)])
    assert api.predict("ab").dtype == np.float64
    assert cache.delete(["ab", "ab", "zzz"]) == 1
    assert api.predict("ab").dtype == np.float32
    assert api.predict("c").dtype == np.float64


def test_the_handle_counts_nothing():
    api = Single()
    api.predict.cache.warm(["a"], [1])
    api.predict.cache.get("a")
    api.predict.cache.delete(["a"])
    info = api.predict.cache.info()
    assert (info.hits, info.misses, info.stored) == (0, 0, 0)


@pytest.mark.parametrize("size", [1, 8])
def test_the_keys_are_those_that_the_api_serves_with(size):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            return [f"{text}!" for text in x] if size > 1 else f"{x}!"

    api = API(max_batch_size=size)
    with APIRunner(api) as runner:
        runner.run("a")
        assert api.predict.cache.get("a") == "a!"
        api.predict.cache.warm(["b"], ["warm"])
        assert runner.run("b") == "warm"
        assert runner.model_batches == [1]
        assert len(api.predict.cache.key("a")) == 16


def test_contexts_are_part_of_the_keys():
    api = WithContext()
    with APIRunner(api) as runner:
        runner.run({"user": 1})
        cache = api.predict.cache
        assert cache.get("item", {"user": 1}) == [1]
        with pytest.raises(KeyError):
            cache.get("item", {"user": 2})
        cache.warm(["item"], [["warm"]], [{"user": 2}])
        assert runner.run({"user": 2}) == ["warm"]
        assert cache.delete(["item"], [{"user": 1}]) == 1
        cache.warm(["item"], [["none"]])
        assert runner.run({}) == ["none"]


def test_clear_forgets_everything_of_the_method():
    api = Single()
    api.predict("a")
    api.predict.cache.clear()
    assert api.predict.cache.info().entries == 0
    with pytest.raises(KeyError):
        api.predict.cache.get("a")


def test_clear_says_so_where_the_entries_are_in_other_processes():
    api = Single()
    ls.LitServer(api, accelerator="cpu")  # main: the workers hold the entries
    with pytest.raises(StoreError, match="each worker has a memory store") as caught:
        api.predict.cache.clear()
    assert "SharedStore" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((["a"], [1, 2]), ValueError),
        ((["a", "b"], [1], None), ValueError),
        ((["a"], [1], [{}, {}]), ValueError),
        (([object()], [1]), KeyEncodingError),
        ((["a"], [object()]), ValueEncodingError),
    ],
)
def test_warm_refuses_what_does_not_fit(arguments, error):
    api = Single()
    with pytest.raises(error):
        api.predict.cache.warm(*arguments)
    assert api.predict.cache.info().entries == 0
