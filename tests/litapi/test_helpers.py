"""Helpers: other methods of one item than LitServe's hooks, called by the user's own code."""

import asyncio
import copy
import logging
import pickle
from concurrent.futures import ThreadPoolExecutor

import litserve as ls
import pytest
from support.loops import running

from litcache import CachedBatchedLoop, MemoryStore, SharedStore, cached_predict, disabled
from litcache.__main__ import main
from litcache.testing import APIRunner


def undecorated(function):
    return function


def two_towers(decorate, *, where="predict", around=undecorated, **api):
    """An API whose predict or decode_request calls two helpers for each item."""

    class API(ls.LitAPI):
        images, texts = (), ()

        @decorate
        def encode_image(self, image):
            self.images = (*self.images, image)
            return [float(len(image)), 1.0]

        @decorate
        def encode_text(self, text):
            self.texts = (*self.texts, text)
            return [2.0, float(len(text))]

        def similarity(self, request):
            pair = self.encode_image(request["image"]), self.encode_text(request["text"])
            return sum(a * b for a, b in zip(*pair, strict=True))

        def decode_request(self, request):
            return self.similarity(request) if where == "decode_request" else request

        @around
        def predict(self, x):
            if where == "decode_request":
                return x
            return list(map(self.similarity, x)) if isinstance(x, list) else self.similarity(x)

    return API(**api)


REQUESTS = [
    {"image": image, "text": text}
    for image, text in [("cat", "a"), ("cat", "bb"), ("dog!", "a"), ("cat", "a"), ("dog!", "bb")]
]
LOOPS = {
    "single": {},
    "batched": {"max_batch_size": 2},
    "CachedBatchedLoop": {"max_batch_size": 2},
}


@pytest.mark.parametrize("where", ["predict", "decode_request"])
@pytest.mark.parametrize("around", [undecorated, cached_predict])
@pytest.mark.parametrize("loop", LOOPS)
def test_hooks_get_what_helpers_return_and_each_item_is_computed_once(loop, around, where):
    made = CachedBatchedLoop() if loop == "CachedBatchedLoop" else None
    api = two_towers(cached_predict, where=where, around=around, loop=made, **LOOPS[loop])
    with running(two_towers(undecorated, where=where, **LOOPS[loop])) as driven:
        expected = driven.get(*REQUESTS)
    with running(api) as driven:
        assert driven.get(*REQUESTS) == expected
    assert sorted(api.images) == ["cat", "dog!"]
    assert sorted(api.texts) == ["a", "bb"]
    calls = 4 if around is cached_predict and where == "predict" else 5  # one request comes twice
    for helper in (api.encode_image, api.encode_text):
        info = helper.cache.info()
        assert (info.misses, info.hits) == (2, calls - 2)


@pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
@pytest.mark.parametrize("around", [undecorated, cached_predict])
def test_async_helpers_are_awaited_and_computed_once(around):
    class API(ls.LitAPI):
        calls = 0

        @cached_predict
        async def embed(self, text, context=None):
            self.calls += 1
            await asyncio.sleep(0)
            return [float(len(text))]

        @around
        async def predict(self, x):
            found = await asyncio.gather(*map(self.embed, x))
            return [value for row in found for value in row]

    with APIRunner(API(enable_async=True)) as runner:
        assert runner.run_batch([["a", "bb", "a"], ["bb", "ccc"]]) == [[1.0, 2.0, 1.0], [2.0, 3.0]]
        assert runner.api.calls == 3
        info = runner.api.embed.cache.info()
        assert (info.misses, info.hits + info.coalesced) == (3, 2)


def test_threads_of_the_users_own_compute_an_item_once():
    class API(ls.LitAPI):
        calls = 0

        @cached_predict
        def encode(self, text):
            self.calls += 1
            return text.upper()

        @cached_predict
        def predict(self, texts):
            with ThreadPoolExecutor(4) as pool:
                return list(pool.map(self.encode, texts))

    api = API()
    with APIRunner(api) as runner:
        assert runner.run(["a", "b"] * 8) == ["A", "B"] * 8
    assert api.calls == 2


def test_a_helper_has_a_policy_counters_and_entries_of_its_own():
    class API(ls.LitAPI):
        @cached_predict(ttl=60)
        def encode(self, text):
            return text.upper()

        @cached_predict
        def predict(self, x):
            return self.encode(x)

    api = API()
    assert [api.predict("a"), api.encode("a"), api.encode(text="a")] == ["A", "A", "A"]
    assert (api.encode.cache.policy.ttl, api.predict.cache.policy.ttl) == (60, None)
    info = api.encode.cache.info()
    assert (info.misses, info.hits, info.entries) == (1, 2, 1)
    api.predict.cache.clear()
    assert api.encode.cache.get("a") == "A"
    api.encode.cache.warm(["b"], ["from elsewhere"])
    assert api.predict("b") == "from elsewhere"
    assert api.encode.cache.delete(["a", "b"]) == 2


@pytest.mark.parametrize("size", [1, 8])
def test_an_item_of_a_helper_is_one_item_whatever_the_batches(size):
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(namespace="n")
        def encode(self, text):
            self.calls = (*self.calls, text)
            return list(text)

        def predict(self, x):
            return x

    api = API(max_batch_size=size)
    assert [api.encode(["a", "b"]), api.encode(["a", "b"])] == [["a", "b"]] * 2
    assert api.calls == (["a", "b"],)
    assert api.encode.cache.key("a") == API(max_batch_size=3).encode.cache.key("a")


def test_methods_of_one_namespace_do_not_share_entries():
    shared = MemoryStore()

    class API(ls.LitAPI):
        @cached_predict(namespace="n", store=shared)
        def upper(self, text):
            return text.upper()

        @cached_predict(namespace="n", store=shared)
        def title(self, text):
            return text.title()

        @cached_predict(namespace="n", store=shared)
        def predict(self, text):
            return text + "!"

    api = API()
    assert [f("ab") for f in (api.upper, api.title, api.predict)] == ["AB", "Ab", "ab!"]
    assert [f("ab") for f in (api.upper, api.title, api.predict)] == ["AB", "Ab", "ab!"]


def test_what_a_helper_reads_of_a_context_is_in_the_key_and_what_it_writes_comes_back():
    class API(ls.LitAPI):
        calls = 0

        @cached_predict
        def encode(self, text, context):
            self.calls += 1
            context["length"] = len(text)
            return text + context["user"]

        def predict(self, x, context):
            return self.encode(x, context), self.encode(x, context=dict(context, length=0))

    with APIRunner(API()) as runner:
        for user, calls in (("u", 1), ("v", 2), ("u", 2)):
            context = {"user": user}
            assert runner.api.encode("text", context) == f"text{user}"
            assert context == {"user": user, "length": 4}
            assert runner.api.calls == calls


def test_while_setup_runs_a_helper_is_the_users_own():
    class API(ls.LitAPI):
        calls = ()

        def setup(self, device):
            self.warm = self.encode("warm"), self.encode("warm")

        @cached_predict
        def encode(self, text):
            self.calls = (*self.calls, text)
            return text.upper()

        def predict(self, x):
            return self.encode(x)

    api = API()
    assert [api.encode("a"), api.encode("a")] == ["A", "A"]  # by hand, before
    with APIRunner(api) as runner:
        assert runner.run("warm") == "WARM"
        assert api.encode.cache.info().misses == 1
    assert api.calls == ("a", "warm", "warm", "warm")
    with disabled():
        assert api.encode("warm") == "WARM"
    assert len(api.calls) == 5


def test_a_helper_may_take_a_list_of_items():
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(items="list", max_items=2)
        def encode(self, texts):
            self.calls = (*self.calls, texts)
            return [text.upper() for text in texts]

        def predict(self, batch):
            return list(map(self.encode, batch))

    with APIRunner(API(max_batch_size=4)) as runner:
        assert runner.run_batch([["a", "b"], ["b", "c", "d", "e"]]) == [["A", "B"], list("BCDE")]
        assert runner.api.calls == (["a", "b"], ["c", "d"], ["e"])


class Encoder:
    """A mixin."""

    @cached_predict
    def encode(self, text):
        return text.upper()

    @cached_predict
    def __hidden(self, text):
        return text.lower()

    def predict(self, x):
        return self.encode(x), self.__hidden(x)

    again = encode


class Mixed(Encoder, ls.LitAPI):
    pass


def test_a_mixin_a_private_name_and_a_second_name_are_one_cache_each():
    api = Mixed()
    assert [api.predict("aB"), api.predict("aB"), api.again("aB")] == [("AB", "ab")] * 2 + ["AB"]
    assert api.encode.cache.info().hits == api.again.cache.info().hits == 2
    assert api._Encoder__hidden.cache.info().hits == 1
    for twin in (pickle.loads(pickle.dumps(api)), copy.deepcopy(api)):
        assert twin.encode.cache.info().entries == 0
        assert twin.predict("aB") == ("AB", "ab")
    assert pickle.loads(pickle.dumps(api.encode))("a") == "A"


def test_an_undecorated_override_of_a_helper_is_named_once(caplog):
    class Overridden(Mixed):
        def encode(self, text):
            return super().encode(text)

    api = Overridden()
    assert [api.encode("a"), api.encode("a")] == ["A", "A"]
    (record,) = caplog.records
    assert "Overridden.encode: this override calls a cached method" in record.getMessage()
    assert not hasattr(api, "_litcache")


def test_what_only_looks_like_a_cached_method_is_left_alone():
    class Odd:
        @property
        def policy(self):
            raise ZeroDivisionError

    class API(ls.LitAPI):
        odd = Odd()
        policies = type("Policies", (), {"policy": Mixed.__dict__.get("policy")})()

        @cached_predict
        def predict(self, x):
            return x

    with APIRunner(API()) as runner:
        assert runner.run("a") == "a"


def test_each_method_has_its_line_at_the_start_and_its_name_in_the_metrics(caplog):
    caplog.set_level(logging.INFO, "litcache")
    api = two_towers(cached_predict, around=cached_predict, loop=CachedBatchedLoop(),
                     max_batch_size=2)  # fmt: skip
    with APIRunner(api) as runner:
        runner.run(REQUESTS[0])
    started = [r.getMessage() for r in caplog.records if "caching under" in r.getMessage()]
    name = type(api).__qualname__
    assert [line.partition(": ")[0] for line in started] == [
        f"{name}.predict", f"{name}.encode_image", f"{name}.encode_text",
    ]  # fmt: skip
    labels = {n: api._litcache.caches[n].labels for n in ("predict", "encode_image", "encode_text")}
    assert {name: (label.method, label.tier) for name, label in labels.items()} == {
        "predict": ("predict", "loop"),
        "encode_image": ("encode_image", "loop"),
        "encode_text": ("encode_text", "loop"),
    }


def test_an_own_helper_of_an_api_object_is_named_once(caplog):
    class API(ls.LitAPI):
        def setup(self, device):
            own = self.encode
            self.encode = lambda text: own(text)

        @cached_predict
        def encode(self, text):
            return text.upper()

        def predict(self, x):
            return self.encode(x)

    with APIRunner(API()) as runner:
        assert [runner.run("a"), runner.run("a")] == ["A", "A"]
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "API.encode: the API has set self.encode" in record.getMessage()


def test_the_command_line_shows_the_namespace_of_a_helper(tmp_path, capsys):
    shared = SharedStore(tmp_path / "store")

    class API(ls.LitAPI):
        @cached_predict(store=shared, namespace="images", version="1")
        def encode(self, image):
            return image.upper()

        def predict(self, x):
            return self.encode(x)

    with APIRunner(API()) as runner:
        assert runner.run("a") == "A"
    shared.close()
    assert main(["info", str(tmp_path / "store")]) == 0
    assert "images" in capsys.readouterr().out
