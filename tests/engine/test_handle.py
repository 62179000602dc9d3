import litserve as ls
import numpy as np
import pytest

from litcache import (
    KeyEncodingError,
    SharedStore,
    StoreError,
    ValueEncodingError,
    cached_predict,
)
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


class Weighted(ls.LitAPI):
    """A model whose weight is changed in place; `version` is not told of it, or is."""

    weight = 1

    def predict(self, x):
        return x * self.weight


@pytest.mark.parametrize("version", ["fixed", lambda api: f"weight {api.weight}"])
@pytest.mark.parametrize("shared", [False, True])
def test_after_renew_nothing_of_the_model_before_is_answered(version, shared, tmp_path):
    store = SharedStore(tmp_path, "4 MiB") if shared else None

    class API(Weighted):
        predict = cached_predict(version=version, namespace="n", store=store)(Weighted.predict)

    api = API()
    with APIRunner(api) as runner:
        assert [runner.run(7), runner.run(7)] == [7, 7]
        api.weight = 2
        before = api.predict.cache.key(7)
        api.predict.cache.renew()
        assert (api.predict.cache.key(7) == before) is (version == "fixed")
        assert [runner.run(7), runner.run(7)] == [14, 14]
        assert len(runner.model_batches) == 2


@pytest.mark.parametrize("size", [1, 4])
def test_what_is_computed_when_the_model_changes_is_answered_and_not_stored(size):
    class API(Weighted):
        @cached_predict(version="fixed")
        def predict(self, x):
            output = np.asarray(x) * self.weight
            if self.weight == 1:  # as another thread would, just then
                self.weight = 2
                self.predict.cache.renew()
            return output

    api = API(max_batch_size=size)
    with APIRunner(api) as runner:
        assert [int(runner.run(7)) for _ in range(3)] == [7, 14, 14]
        assert len(runner.model_batches) == 2


def test_a_version_that_is_asked_while_the_model_changes_is_asked_again():
    class API(Weighted):
        @cached_predict(version=lambda api: api.asked())
        def predict(self, x):
            return x * self.weight

        def asked(self):
            version = f"weight {self.weight}"
            if self.weight == 1:  # as another thread would, just then
                self.weight = 2
                self.predict.cache.renew()
            return version

    api = API()
    keys = [api.predict.cache.key(7) for _ in range(3)]
    assert keys[0] != keys[1] == keys[2]


def test_setup_may_renew():
    class API(Weighted):
        def setup(self, device):
            self.predict.cache.renew()
            self.weight += 1

        predict = cached_predict(version="fixed")(Weighted.predict)

    api = API()
    with APIRunner(api) as runner:
        assert [runner.run(7), runner.run(7)] == [14, 14]
        api.setup("cpu")
        assert [runner.run(7), runner.run(7)] == [21, 21]
        assert runner.model_batches == [1, 1]


def test_renew_says_what_it_cannot_do():
    class API(Weighted):
        predict = cached_predict(version=lambda api: api.weight)(Weighted.predict)

    api = API()
    with pytest.raises(ValueError, match="version returned 1"):
        api.predict.cache.renew()
    elsewhere = Single()
    ls.LitServer(elsewhere, accelerator="cpu")
    with pytest.raises(StoreError, match="each worker has a memory store"):
        elsewhere.predict.cache.renew()


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
