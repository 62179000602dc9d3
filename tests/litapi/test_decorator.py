import asyncio
import copy
import functools
import inspect
import pickle
from datetime import timedelta

import litserve as ls
import numpy as np
import pytest

from litcache import CachePolicy, MemoryStore, UnsupportedMethodError, cached_predict, disabled


class Plain(ls.LitAPI):
    def predict(self, x: str) -> str:
        return x.upper()


class Cached(ls.LitAPI):
    calls = 0

    @cached_predict
    def predict(self, x: str) -> str:
        """Shout."""
        type(self).calls += 1
        return x.upper()


def test_a_repeated_item_is_not_computed_again():
    api = Cached()
    before = Cached.calls
    assert [api.predict("a"), api.predict("a"), api.predict(x="a")] == ["A", "A", "A"]
    assert Cached.calls == before + 1
    info = api.predict.cache.info()
    assert (info.hits, info.misses, info.entries) == (2, 1, 1)


def test_signature_annotations_docstring_and_kind_are_those_of_the_method():
    for owner in (Cached, Cached()):
        plain = Plain if owner is Cached else Plain()
        assert inspect.signature(owner.predict) == inspect.signature(plain.predict)
        assert not inspect.iscoroutinefunction(owner.predict)
        assert not inspect.isgeneratorfunction(owner.predict)
    assert Cached.predict.__doc__ == "Shout."
    assert Cached.predict.__annotations__ == {"x": str, "return": str}
    assert Cached.predict.__qualname__ == "Cached.predict"
    assert Cached.batch.__code__ is ls.LitAPI.batch.__code__
    assert Cached().unbatch.__code__ is ls.LitAPI.unbatch.__code__


@pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
def test_an_async_method_stays_a_coroutine_function():
    class API(ls.LitAPI):
        @cached_predict
        async def predict(self, x):
            return x

    api = API(enable_async=True)
    assert inspect.iscoroutinefunction(api.predict)
    assert asyncio.iscoroutinefunction(api.predict)

    async def twice():
        return [await api.predict(1), await api.predict(1)]

    assert asyncio.run(twice()) == [1, 1]
    assert api.predict.cache.info().hits == 1


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_api_pickles_without_its_entries(protocol):
    api = Cached()
    api.predict("a")
    for twin in (pickle.loads(pickle.dumps(api, protocol)), copy.deepcopy(api)):
        assert twin.predict.cache.info().entries == 0
        assert twin.predict("a") == "A"
    assert api.predict.cache.info().entries == 1


def test_a_bound_method_pickles_and_copies_with_its_api():
    api = Cached()
    api.predict("a")
    for twin in (pickle.loads(pickle.dumps(api.predict)), copy.deepcopy(api.predict)):
        assert twin("a") == "A"
        assert twin.cache.info().misses == 1
    assert api.predict.cache.info().misses == 1


def test_two_apis_do_not_share_entries():
    one, other = Cached(), Cached()
    one.predict("a")
    assert other.predict.cache.info().entries == 0


def batch(self, inputs):
    return inputs


def authorize(self, auth):
    return auth


def _of_no_item(self): ...


def _of_two_items(self, text, image): ...


def _of_an_option(self, text, normalize=True): ...


def _of_many_items(self, *texts): ...


def _of_options(self, text, **options): ...


def _of_a_keyword(self, *, text): ...


def _plain(text): ...


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (batch, "only predict and decode_request"),
        (authorize, "only predict and decode_request"),
        (_of_no_item, "no item after self"),
        (_plain, "no item after self.*a method of a LitAPI"),
        (_of_a_keyword, "no item after self"),
        (_of_many_items, r"more than an item \(\*texts\)"),
        (_of_two_items, r"more than an item \(text, image\)"),
        (_of_an_option, r"more than an item \(text, normalize=True\)"),
        (_of_options, r"more than an item \(text, \*\*options\)"),
        (Plain().predict, "bound"),
        (staticmethod(len), "staticmethod"),
        (classmethod(len), "classmethod"),
        (len, "no function"),
        (Plain, "no function"),
        (functools.partial(max, 1), "no function"),
        (Cached.__dict__["predict"], "already"),
    ],
)
def test_what_cannot_be_cached_raises_at_decoration(method, words):
    with pytest.raises(UnsupportedMethodError, match=words) as caught:
        cached_predict(method)
    assert caught.value.method


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3600, "ttl=3600"),
        (0.5, "ttl=0.5"),
        (timedelta(hours=1), "ttl=datetime.timedelta(seconds=3600)"),
        ("1 GiB", "max_bytes='1 GiB'"),
        ("list", "items='list'"),
        ("2024-11", "version='2024-11'"),
        (CachePolicy(ttl=60), "policy=CachePolicy(ttl=60"),
        (MemoryStore(), "store=MemoryStore("),
    ],
)
def test_an_option_without_its_name_is_told_its_name(value, words):
    with pytest.raises(TypeError) as caught:
        cached_predict(value)
    assert f"options are keywords: {words}" in str(caught.value)


@pytest.mark.parametrize("value", [{"ttl": 60}, ["predict"], object()])
def test_what_is_neither_a_function_nor_an_option_is_named(value):
    with pytest.raises(TypeError) as caught:
        cached_predict(value)
    assert str(caught.value) == f"cached_predict({value!r}): it is no function"


@cached_predict
def shout(text, context):
    return text.upper()


def test_a_plain_function_is_told_where_the_decorator_belongs():
    with pytest.raises(UnsupportedMethodError, match="a method of a LitAPI") as caught:
        shout("a", {})
    assert caught.value.method == "shout"


def test_under_another_decorator_the_first_call_says_to_put_it_on_top():
    torch = pytest.importorskip("torch")

    class API(ls.LitAPI):
        @torch.inference_mode()
        @cached_predict
        def predict(self, x):
            return x

    with pytest.raises(UnsupportedMethodError, match="put @cached_predict on top") as caught:
        API().predict(1)
    assert "API.predict" in caught.value.method


def test_a_class_that_is_no_litapi_is_named_when_the_method_is_called():
    class Model:
        @cached_predict
        def predict(self, x):
            return x

    with pytest.raises(UnsupportedMethodError, match="Model is no LitAPI") as caught:
        Model().predict(1)
    assert caught.value.method.endswith("Model.predict")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ttl": 0}, ValueError, ["predict", "ttl=0", "positive"]),
        ({"timeout": 3}, TypeError, ["predict", "'timeout'", "3", "ttl", "namespace"]),
        ({"policy": CachePolicy(), "ttl": 3}, TypeError, ["predict", "policy"]),
        ({"policy": {"ttl": 3}}, TypeError, ["predict", "policy={'ttl': 3}"]),
    ],
)
def test_a_bad_option_raises_at_decoration_with_class_method_option_and_value(
    options, error, words
):
    with pytest.raises(error) as caught:

        class API(ls.LitAPI):
            @cached_predict(**options)
            def predict(self, x): ...

    for word in ["API.predict", *words]:
        assert word in str(caught.value)


def test_list_items_are_refused_on_decode_request():
    with pytest.raises(UnsupportedMethodError, match="not for decode_request"):

        @cached_predict(items="list")
        def decode_request(self, request): ...


def test_a_policy_can_be_given_whole():
    class API(ls.LitAPI):
        @cached_predict(policy=CachePolicy(ttl=5))
        def predict(self, x):
            return x

    assert API().predict.cache.policy.ttl == 5


def test_a_class_has_no_cache():
    assert hasattr(Cached().predict, "cache")
    assert not hasattr(Cached.predict, "cache")


def test_disabled_computes_every_time_and_counts_nothing():
    api = Cached()
    before = Cached.calls
    with disabled():
        assert [api.predict("a"), api.predict("a")] == ["A", "A"]
    assert Cached.calls == before + 2
    assert api.predict.cache.info().misses == 0
    assert [api.predict("a"), api.predict("a")] == ["A", "A"]
    assert Cached.calls == before + 3


def test_a_call_on_the_class_is_cached_too():
    api = Cached()
    Cached.predict(api, "a")
    Cached.predict(api, "a")
    assert api.predict.cache.info().hits == 1


def test_further_arguments_go_uncached():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x, times=1):
            return x * times

    api = API()
    assert [api.predict("a"), api.predict("a", 2), api.predict("a", times=3)] == ["a", "aa", "aaa"]
    assert api.predict.cache.info().misses == 1


def test_a_method_that_calls_itself_is_cached_at_the_outermost_call():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, n):
            return 1 if n == 0 else n * self.predict(n - 1)

    api = API()
    assert [api.predict(5), api.predict(5), api.predict(4)] == [120, 120, 24]
    info = api.predict.cache.info()
    assert (info.hits, info.misses) == (1, 2)


def test_the_same_function_may_be_given_to_a_class_after_it_was_made():
    class API(ls.LitAPI):
        def predict(self, x): ...

    API.predict = cached_predict(Plain.predict)
    api = API()
    assert [api.predict("a"), api.predict("a")] == ["A", "A"]
    assert api.predict.cache.info().hits == 1


def test_a_shallow_copy_of_an_api_has_entries_of_its_own():
    class API(ls.LitAPI):
        scale = 1

        @cached_predict
        def predict(self, x):
            return x * self.scale

    api = API()
    assert api.predict(2) == 2
    other = copy.copy(api)
    other.scale = 10
    assert [other.predict(2), api.predict(2), other.predict(2)] == [20, 2, 20]
    assert api.predict.cache.info().hits == other.predict.cache.info().hits == 1


def test_arrays_are_writable_and_tensors_detached_on_a_miss_as_on_a_hit():
    torch = pytest.importorskip("torch")

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, n):
            fixed = np.arange(n)
            fixed.flags.writeable = False
            return {"array": fixed, "tensor": [torch.ones(n, requires_grad=True) * 2]}

    api = API()
    for output in (api.predict(3), api.predict(3)):
        assert output["array"].flags.writeable
        assert not output["tensor"][0].requires_grad
    assert api.predict.cache.info().hits == 1


def test_a_second_name_for_the_method_does_not_rename_it():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            return x

        infer = predict

    assert API().predict("a") == "a"
