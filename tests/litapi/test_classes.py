"""Whatever is done to a class of API does what it does without litcache."""

import dataclasses
import functools
import gc
import inspect
import weakref
from unittest import mock

import litserve as ls
import pytest
from support.batches import undecorated

from litcache import UnsupportedMethodError, cached_predict
from litcache.litapi.classes import takes_context
from litcache.litapi.proxies import Acting
from litcache.testing import APIRunner


def of_all_kinds():
    """Functions, methods and other callables, with and without a parameter `context`."""

    def plain(x): ...
    def last(x, context): ...
    def keyword(x, *, context=None): ...
    def local(x):
        for context in x:
            print(context)

    def several(x, *context): ...
    def named(x, **context): ...
    def both(x, *rest, context=None, **others): ...
    def positional(context, /, x): ...
    @functools.wraps(last)
    def wrapping(*args, **kwargs): ...
    def signed(x): ...

    signed.__signature__ = inspect.signature(last)

    class Hooks:
        def method(self, x, context): ...
        def without(self, x): ...
        def only(context): ...
        def of_any(*context): ...

        @staticmethod
        def static(context): ...
        @classmethod
        def of_class(cls, context): ...
        def __call__(self, x, context): ...

    hooks = Hooks()
    return {
        "plain": plain, "last": last, "keyword": keyword, "local": local, "several": several,
        "named": named, "both": both, "positional": positional, "wrapping": wrapping,
        "signed": signed, "an object": hooks, "method": hooks.method, "without": hooks.without,
        "only": hooks.only, "of any": hooks.of_any, "static": hooks.static,
        "of a class": hooks.of_class, "partial": functools.partial(last, 1),
        "partial with it": functools.partial(last, context=1), "a builtin": len, "a class": dict,
        "no callable": 7, "cached": cached_predict(last), "a mock": mock.Mock(),
        "an autospec": mock.create_autospec(last),
    }  # fmt: skip


@pytest.mark.parametrize("made", [lambda each: each, lambda each: Acting(each, len)])
@pytest.mark.parametrize("name", of_all_kinds())
def test_a_hook_takes_the_context_if_its_signature_has_it(name, made):
    function = made(of_all_kinds()[name])
    try:
        expected = "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        expected = False
    assert takes_context(function) is expected


def slotted(decorate):
    """`@dataclass(slots=True)` puts a new class in the place of the one that was decorated."""

    @dataclasses.dataclass(slots=True, eq=False)
    class API(ls.LitAPI):
        times: int = 2

        def __post_init__(self):
            ls.LitAPI.__init__(self, max_batch_size=4)

        @decorate
        def predict(self, x):
            return [text * self.times for text in x]

    return API


def attrs_defined(decorate):
    attrs = pytest.importorskip("attrs")

    @attrs.define(eq=False)
    class API(ls.LitAPI):
        times: int = 2

        def __attrs_pre_init__(self):
            super().__init__(max_batch_size=4)

        @decorate
        def predict(self, x):
            return [text * self.times for text in x]

        def unbatch(self, output):
            return super().unbatch(output)

    return API


def below(make):
    def subclass(decorate):
        class Below(make(decorate)):
            def __init_subclass__(cls, tag=None, **kwargs):
                super().__init_subclass__(**kwargs)
                cls.tag = tag

            def batch(self, inputs):
                return super().batch(inputs)

        class Lowest(Below, tag="lowest"):
            def decode_request(self, request):
                return super().decode_request(request).lower()

        assert Lowest.tag == "lowest"
        return Lowest

    return subclass


def assigned_later(decorate):
    class API(ls.LitAPI):
        def __init__(self):
            super().__init__(max_batch_size=4)

        def predict(self, x): ...

    def fast(self, x):
        return [text * 2 for text in x]

    API.predict = decorate(fast)
    return API


@pytest.mark.parametrize(
    "make", [slotted, attrs_defined, below(slotted), below(attrs_defined), assigned_later]
)
def test_a_class_that_was_made_anew_or_changed_is_served_from_the_cache(make):
    requests = ["a", "b"], ["b", "c", "a"]
    with APIRunner(make(undecorated)()) as plain, APIRunner(make(cached_predict)()) as cached:
        for batch in requests:
            assert cached.run_batch(batch) == plain.run_batch(batch)
        assert cached.model_batches == [2, 1]


def test_an_assigned_method_is_cached_from_the_first_batch_though_setup_ran_unseen():
    class API(ls.LitAPI):
        def batch(self, inputs):
            return " ".join(inputs)

        def predict(self, x): ...

        def unbatch(self, output):
            return output

    api = API(max_batch_size=4)
    ls.LitServer(api, accelerator="cpu")
    api.setup("cpu")
    api.device = "cpu"  # as LitServe does once setup has run
    API.predict = cached_predict(lambda self, x: x.upper().split())
    api.predict("a b")
    with APIRunner(api) as runner:
        assert runner.run_batch(["a", "b"]) == ["A", "B"]
        assert runner.run_batch(["b", "a"]) == ["B", "A"]
        assert runner.model_batches == [2]


def test_a_method_under_one_of_litserves_names_is_known_by_that_name():
    class API(ls.LitAPI):
        @cached_predict
        def fast(self, x):
            return x

        predict = fast

    api = API()
    assert [api.predict("a"), api.predict("a")] == ["a", "a"]
    assert api.predict.cache.info().hits == 1


def test_lists_are_refused_for_a_decode_request():
    class API(ls.LitAPI):
        def predict(self, x): ...

    API.decode_request = cached_predict(items="list")(lambda self, request: request)
    with pytest.raises(UnsupportedMethodError, match="not for decode_request"):
        API().decode_request(["a"])


class Mocked(ls.LitAPI):
    @cached_predict
    def predict(self, x: str):
        return x


def test_a_cached_method_can_be_mocked_with_its_own_signature():
    spec = mock.create_autospec(Mocked)
    assert Mocked.predict.__annotations__ == Mocked().predict.__annotations__ == {"x": str}
    with pytest.raises(TypeError):
        spec.predict(1, 2, 3)
    for target in (Mocked, Mocked()):
        with mock.patch.object(target, "predict", autospec=True, return_value="mocked") as mocked:
            api = target if isinstance(target, Mocked) else target()
            assert api.predict("a") == "mocked"
            with pytest.raises(TypeError):
                api.predict()
            assert mocked.call_count == 1
        assert Mocked().predict("a") == "a"


def below_a_living_class(decorate):
    class Below(Mocked):
        def __init__(self):
            super().__init__(max_batch_size=4)

    return Below


@pytest.mark.parametrize("make", [slotted, below(slotted), assigned_later, below_a_living_class])
def test_a_class_is_freed_with_its_last_instance(make):
    def used():
        cls = make(cached_predict)
        api = cls()
        api.pre_setup()
        api.request_timeout = 60  # a LitServer is kept by FastAPI for ever, with its APIs
        api.setup("cpu")
        api.predict(api.batch(["a", "b"]))
        assert api.predict.cache.info().misses == 2
        return weakref.ref(cls)

    reference = used()
    gc.collect()
    assert reference() is None


def test_a_hook_that_is_called_on_the_class_is_the_users():
    class API(ls.LitAPI):
        def batch(self, inputs):
            return tuple(inputs)

        @cached_predict
        def predict(self, x):
            return x

    class Below(API):
        pass

    api = Below(max_batch_size=4)
    with APIRunner(api) as runner:
        runner.run_batch(["a"])
        assert Below.batch(api, [1, 2]) == API.batch(api, [1, 2]) == (1, 2)
    with pytest.raises(TypeError, match="self"):
        API.predict()
