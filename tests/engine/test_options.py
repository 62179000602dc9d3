"""What each option of a policy does, seen from outside."""

import logging

import litserve as ls
import numpy as np
import pytest

from litcache import KeyEncodingError, MemoryStore, StoreError, cached_predict
from litcache.testing import APIRunner, FakeClock, strict


def make(function=None, /, size=1, **options):
    """An API of one cached method that counts the items it computes."""

    class API(ls.LitAPI):
        computed = ()

        def decode_request(self, request, context):
            context.update(request.get("context", {}))
            return request["x"]

        @cached_predict(**options)
        def predict(self, x):
            self.computed += tuple(x) if size > 1 else (x,)
            return function(x) if function else x

    return API(max_batch_size=size)


def counts(api):
    info = api.predict.cache.info()
    return {
        "hits": info.hits,
        "misses": info.misses,
        "coalesced": info.coalesced,
        "bypassed": info.bypassed,
        "uncacheable": info.uncacheable,
    }


def only(**expected):
    return dict.fromkeys(("hits", "misses", "coalesced", "bypassed", "uncacheable"), 0) | expected


def test_an_entry_expires_after_its_ttl():
    clock = FakeClock()
    api = make(ttl=60, store=MemoryStore(clock=clock))
    with APIRunner(api) as runner:
        runner.run({"x": "a"})
        clock.advance(59.9)
        runner.run({"x": "a"})
        assert api.computed == ("a",)
        clock.advance(0.2)
        runner.run({"x": "a"})
    assert api.computed == ("a", "a")
    assert api.predict.cache.info().expired == 1


def test_the_plugin_gives_a_runner_on_a_clock(api_runner, cache_clock):
    api = make(ttl=60)
    runner = api_runner(api)
    runner.run({"x": "a"})
    cache_clock.advance(61)
    runner.run({"x": "a"})
    assert runner.model_batches == [1, 1]


def test_a_store_may_be_made_of_the_api_at_first_use():
    made = []

    def store(api):
        made.append(api)
        return MemoryStore("1 MiB")

    api = make(store=store)
    assert made == []
    api.predict("a")
    api.predict("b")
    assert made == [api]
    assert api.predict.cache.info().entries == 2


def test_a_store_function_that_returns_no_store_is_named():
    with pytest.raises(TypeError, match=r"API\.predict: store returned 5"):
        make(store=lambda api: 5).predict("a")


def test_a_persistent_store_made_by_a_function_needs_namespace_and_version():
    class DiskStore(MemoryStore):
        persistent = True

    with pytest.raises(ValueError, match=r"API\.predict: namespace and version must be given"):
        make(store=lambda api: DiskStore()).predict("a")


def test_a_store_made_by_a_function_must_grant_leases_if_they_are_asked_for():
    with pytest.raises(ValueError, match=r"API\.predict: lease=2\.0: MemoryStore grants no leases"):
        make(store=lambda api: MemoryStore(), lease=2.0).predict("a")


def test_entries_of_another_version_are_not_served():
    versions = iter(["1", "2"])
    api = make(version=lambda api: next(versions))
    api.setup("cpu")
    api.predict("a")
    api.setup("cpu")  # a new model: the version is asked again
    api.predict("a")
    api.predict("a")
    assert api.computed == ("a", "a")


def test_the_version_is_asked_at_the_end_of_each_setup():
    asked = []

    class API(ls.LitAPI):
        def setup(self, device):
            self.model = "loaded"

        @cached_predict(version=lambda api: asked.append(api.model) or api.model)
        def predict(self, x):
            return x

    with APIRunner(API()) as runner:
        assert asked == ["loaded"]
        runner.run("a")
        runner.run("b")
    assert asked == ["loaded"]


def test_the_version_is_asked_when_the_outermost_setup_is_done():
    asked = []

    class Base(ls.LitAPI):
        def setup(self, device):
            self.model = "base"

        @cached_predict(version=lambda api: asked.append(api.model) or api.model)
        def predict(self, x):
            return x

    class Tuned(Base):
        def setup(self, device):
            super().setup(device)
            self.model = "tuned"

    with APIRunner(Tuned()) as runner:
        runner.run("a")
    assert asked == ["tuned"]


def test_what_is_removed_from_a_context_is_removed_on_a_hit_too():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["secret"] = 1
            return request

        @cached_predict
        def predict(self, x, context):
            del context["secret"]
            return x

        def encode_response(self, output, context):
            return dict(context)

    with APIRunner(API()) as runner:
        assert [runner.run("a"), runner.run("a")] == [{}, {}]
        assert runner.model_batches == [1]


def test_a_version_that_is_no_text_is_named():
    with pytest.raises(ValueError, match=r"API\.predict: version returned 7"):
        make(version=lambda api: 7).predict("a")


def test_namespaces_keep_entries_of_a_shared_store_apart():
    store = MemoryStore()
    one, other = make(store=store, namespace="one"), make(store=store, namespace="other")
    one.predict("a")
    other.predict("a")
    assert (one.computed, other.computed) == (("a",), ("a",))
    one.predict.cache.clear()
    assert other.predict("a") == "a"
    assert counts(other) == only(hits=1, misses=1)


def test_equal_namespaces_share_entries_of_a_shared_store():
    store = MemoryStore()
    one, other = (make(store=store, namespace="both", version="1") for _ in range(2))
    one.predict("a")
    other.predict("a")
    assert other.computed == ()


def _context_api(option):
    class API(ls.LitAPI):
        computed = 0

        def decode_request(self, request, context):
            context.update(request)
            return "item"

        @cached_predict(context=option)
        def predict(self, x, context):
            self.computed += 1
            return x

    return API()


@pytest.mark.parametrize(("option", "computed"), [(True, 3), (("user",), 2), (False, 1), ((), 1)])
def test_context_names_the_entries_in_the_key(option, computed):
    api = _context_api(option)
    with APIRunner(api) as runner:
        runner.run({"user": 1, "trace": 1})
        runner.run({"user": 1, "trace": 2})
        runner.run({"user": 2, "trace": 2})
        runner.run({"user": 2, "trace": 2})
    assert api.computed == computed


def test_key_is_the_whole_of_item_and_context():
    api = make(key=lambda item: item.lower())
    assert [api.predict("A"), api.predict("a"), api.predict("b")] == ["A", "A", "b"]


def test_key_may_take_the_context():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["user"] = request
            return "item"

        @cached_predict(key=lambda item, context: context["user"] % 2)
        def predict(self, x):
            return x

    with APIRunner(API()) as runner:
        for user in range(6):
            runner.run(user)
        assert runner.model_batches == [1, 1]


def test_bypassed_items_are_neither_looked_up_nor_stored():
    api = make(bypass_if=lambda item: item.startswith("-"), size=8)
    with APIRunner(api) as runner:
        assert runner.run_batch([{"x": x} for x in ("-a", "b", "-a", "b")]) == [
            "-a", "b", "-a", "b",
        ]  # fmt: skip
        runner.run_batch([{"x": "-a"}, {"x": "b"}])
    assert api.computed == ("-a", "b", "-a", "-a")
    assert counts(api) == only(misses=1, coalesced=1, hits=1, bypassed=3)


def test_one_refresh_renews_all_its_equals():
    values = iter(range(100))
    wanted = set()
    api = make(lambda xs: [next(values) for _ in xs], refresh_if=lambda x: x in wanted, size=8)
    with APIRunner(api) as runner:
        assert runner.run_batch([{"x": "a"}, {"x": "b"}]) == [0, 1]
        wanted.add("a")
        assert runner.run_batch([{"x": "a"}, {"x": "b"}, {"x": "a"}]) == [2, 1, 2]
        wanted.clear()
        assert runner.run_batch([{"x": "a"}, {"x": "b"}]) == [2, 1]
    assert counts(api) == only(misses=3, coalesced=1, hits=3)


def test_store_if_answers_without_storing():
    api = make(store_if=lambda item, output: output != "bad")
    for x in ("bad", "good", "bad", "good"):
        api.predict(x)
    assert api.computed == ("bad", "good", "bad")
    assert api.predict.cache.info().stored == 1


@pytest.mark.parametrize("option", ["bypass_if", "refresh_if", "key"])
def test_a_function_that_raises_makes_its_item_uncacheable(option, caplog):
    def fail(item):
        if item == "bad":
            raise LookupError("no such thing")
        return option == "key" and item

    api = make(size=8, **{option: fail})
    with APIRunner(api) as runner:
        for _ in range(2):
            assert runner.run_batch([{"x": "bad"}, {"x": "good"}]) == ["bad", "good"]
    assert api.computed == ("bad", "good", "bad")
    assert counts(api) == only(uncacheable=2, hits=1, misses=1)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "no such thing" in warnings[0]
    with strict(), pytest.raises(LookupError):
        make(**{option: fail}).predict("bad")


def test_an_item_without_a_key_is_computed_each_time(caplog):
    api = make(lambda x: "answer")
    for _ in range(3):
        assert api.predict(object()) == "answer"
    assert counts(api) == only(uncacheable=3)
    assert len(caplog.records) == 1
    with strict(), pytest.raises(KeyEncodingError):
        api.predict(object())


def test_an_output_that_cannot_be_stored_is_answered_each_time(caplog):
    api = make(lambda x: {x, object})
    assert api.predict("a") == {"a", object}
    assert api.predict("a") == {"a", object}
    assert counts(api) == only(uncacheable=2)
    assert len(caplog.records) == 1


def test_unstorable_and_unkeyable_items_leave_their_batch_alone():
    api = make(lambda xs: [x if x != "odd" else object for x in xs], size=8)
    marker = frozenset([1])
    with APIRunner(api) as runner:
        for _ in range(2):
            outputs = runner.run_batch([{"x": x} for x in ("a", "odd", "odd", "b", marker)])
            assert outputs == ["a", object, object, "b", marker]
    assert counts(api) == only(uncacheable=4, misses=3, hits=3)


def test_a_store_that_fails_costs_misses_and_one_warning(caplog):
    from litcache.testing import FailingStore

    store = FailingStore()
    api = make(store=store, size=8)
    with APIRunner(api) as runner:
        for _ in range(3):
            assert runner.run_batch([{"x": "a"}, {"x": "b"}]) == ["a", "b"]
        assert api.computed == ("a", "b") * 3
        assert counts(api) == only(misses=6)
        assert api.predict.cache.info().store_errors == 3  # none is written to after it failed
        assert len([r for r in caplog.records if "store failed" in r.getMessage()]) == 1
        with pytest.raises(StoreError):
            api.predict.cache.get("a")
        with pytest.raises(StoreError), strict():
            runner.run_batch([{"x": "a"}])
        store.failing = False
        runner.run_batch([{"x": "a"}])
        runner.run_batch([{"x": "a"}])
    assert api.computed[-1] == "a"
    assert counts(api)["hits"] == 1


def test_an_entry_above_the_budget_is_rejected_and_counted():
    api = make(lambda x: "y" * 10_000, max_bytes=5_000)
    api.predict("a")
    api.predict("a")
    info = api.predict.cache.info()
    assert (info.misses, info.rejected, info.entries) == (2, 2, 0)


def test_seconds_saved_are_the_mean_of_those_spent():
    api = make(lambda xs: [np.linalg.norm(np.ones(1000)) for _ in xs], size=8)
    with APIRunner(api) as runner:
        runner.run_batch([{"x": "a"}, {"x": "b"}])
        runner.run_batch([{"x": "a"}, {"x": "b"}])
    info = api.predict.cache.info()
    assert info.seconds_computing > 0
    assert info.seconds_saved == pytest.approx(info.seconds_computing)
    assert info.hit_rate == 0.5


def test_one_namespace_and_store_may_serve_both_methods_of_an_api():
    options = {"store": MemoryStore(), "namespace": "service", "version": "1"}

    class API(ls.LitAPI):
        @cached_predict(**options)
        def decode_request(self, request):
            return request.strip()

        @cached_predict(**options)
        def predict(self, x):
            return x.upper()

    with APIRunner(API()) as runner:
        assert [runner.run("a"), runner.run("a")] == ["A", "A"]


def test_an_optional_argument_before_the_context_keeps_its_default():
    seen = []

    def store_if(item, output, threshold=0.5, context=None):
        seen.append((threshold, context))
        return True

    class API(ls.LitAPI):
        @cached_predict(store_if=store_if)
        def predict(self, x):
            return x

    with APIRunner(API()) as runner:
        runner.run("a")
    assert seen == [(0.5, {})]
