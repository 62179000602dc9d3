"""While `setup` runs, a cached method is the user's own: what it is called with is no request."""

import threading

import litserve as ls
import numpy as np
import pytest

from litcache import SharedStore, cached_predict
from litcache.testing import APIRunner, FailingStore

WARM_UPS = {
    "one item": (1, {}, lambda api: api.predict("warm")),
    "with a context": (1, {}, lambda api: api.predict("warm", context={})),
    "a batch": (4, {}, lambda api: api.predict(["warm"] * 4)),
    "a batch that is none": (4, {}, lambda api: api.predict("warm")),
    "an array": (4, {}, lambda api: api.predict(np.zeros((4, 2)))),
    "by its own hooks": (4, {}, lambda api: api.unbatch(api.predict(api.batch(["a", "b"])))),
    "a list": (1, {"items": "list"}, lambda api: api.predict(["warm", "up"])),
    "lists": (4, {"items": "list"}, lambda api: api.predict([["warm"], ["up"]])),
}


@pytest.mark.parametrize(("size", "options", "warm_up"), WARM_UPS.values(), ids=WARM_UPS)
def test_a_warm_up_in_setup_reaches_the_model_as_it_is_and_leaves_nothing(size, options, warm_up):
    given = []

    class API(ls.LitAPI):
        def setup(self, device):
            self.warmed = warm_up(self)

        def one(self, x):
            given.append(x)
            return ["an output"]  # one, however many items it is given

        if options:

            @cached_predict(**options)
            def predict(self, x):
                return self.one(x)
        else:

            @cached_predict(**options)
            def predict(self, x, context=None):
                return self.one(x)

    api = API(max_batch_size=size)
    with APIRunner(api) as runner:
        info = api.predict.cache.info()
        assert (info.misses, info.uncacheable, info.entries) == (0, 0, 0)
        assert api.warmed == ["an output"]
        assert len(given) == 1
        assert runner.model_batches == []
        assert [runner.run(["text"]), runner.run(["text"])] == [runner.run(["text"])] * 2
        assert api.predict.cache.info().hits == 2


def test_a_warm_up_by_hand_passes_too():
    class API(ls.LitAPI):
        def setup(self, device):
            self.predict("warm")

        @cached_predict
        def predict(self, x):
            return x

    api = API()
    api.setup("cpu")
    assert api.predict.cache.info().entries == 0
    assert [api.predict("a"), api.predict("a")] == ["a", "a"]
    assert api.predict.cache.info().hits == 1


def test_entries_that_setup_clears_and_warms_are_served():
    class API(ls.LitAPI):
        def setup(self, device):
            self.predict.cache.clear()
            self.predict.cache.warm(["a"], ["warm"])

        @cached_predict
        def predict(self, x):
            return x

    with APIRunner(API()) as runner:
        assert [runner.run("a"), runner.run("b")] == ["warm", "b"]
        assert runner.model_batches == [1]


def test_what_another_thread_asks_while_setup_runs_again_is_computed_and_not_stored():
    class API(ls.LitAPI):
        model = 0
        in_setup, may_end = threading.Event(), threading.Event()

        def setup(self, device):
            if self.model:
                self.in_setup.set()
                self.may_end.wait()
            self.model += 1

        @cached_predict
        def predict(self, x):
            return f"{x} of model {self.model}"

    api = API()
    with APIRunner(api) as runner:
        assert runner.run("a") == "a of model 1"
        thread = threading.Thread(target=api.setup, args=("cpu",))
        thread.start()
        api.in_setup.wait()
        api.model = 1.5  # half loaded
        assert api.predict("b") == "b of model 1.5"
        api.may_end.set()
        thread.join()
        assert runner.run("b") == "b of model 2.5"
        assert runner.run("b") == "b of model 2.5"
        assert api.predict.cache.info().hits == 1


def test_a_setup_that_fails_has_ended():
    class API(ls.LitAPI):
        fails = True

        def setup(self, device):
            if self.fails:
                raise RuntimeError("no model")

        @cached_predict
        def predict(self, x):
            return x

    api = API()
    with pytest.raises(RuntimeError, match="no model"):
        api.setup("cpu")
    api.fails = False
    with APIRunner(api) as runner:
        assert [runner.run("a"), runner.run("a")] == ["a", "a"]
        assert runner.model_batches == [1]


# ---------------------------------------------------------------------- said at start


def test_what_the_source_shows_is_warned_of_once_when_setup_has_run(caplog):
    class API(ls.LitAPI):
        def setup(self, device):
            pass

        def decode_request(self, request):
            self.language = request["language"]
            return request["text"]

        @cached_predict
        def predict(self, text):
            return text, self.language

    api = API()
    with APIRunner(api):
        api.setup("cpu")
    (line,) = [r.getMessage() for r in caplog.records if "self.language" in r.getMessage()]
    assert line.startswith(f"{API.__qualname__}.predict: tests/litapi/test_setup.py:")
    assert "decode_request sets it and predict reads it" in line


def test_an_api_without_a_server_is_told_nothing(caplog):
    class API(ls.LitAPI):
        def setup(self, device):
            self.setup_again = self.setup

        @cached_predict
        def predict(self, text):
            self.setup("cpu")
            return text

    API().setup("cpu")
    assert caplog.records == []


# ---------------------------------------------------------------------- setup again


def scaled(**options):
    class API(ls.LitAPI):
        def setup(self, device):
            self.factor = getattr(self, "next_factor", 2)

        @cached_predict(**options)
        def predict(self, x):
            return x * self.factor

    return API()


def lines_of(caplog, text):
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


@pytest.mark.parametrize("kind", ["memory", "shared"])
def test_a_setup_that_runs_again_while_serving_clears_the_entries(kind, tmp_path, caplog):
    store = SharedStore(tmp_path) if kind == "shared" else None
    api = scaled(store=store, namespace="n", version="1") if store else scaled()
    with APIRunner(api) as runner:
        assert [runner.run(3), runner.run(3)] == [6, 6]
        assert api.predict.cache.info().hits == 1
        for factor in (5, 7):
            api.next_factor = factor
            api.setup("cpu")
            assert [runner.run(3), runner.run(3)] == [3 * factor] * 2
        assert api.predict.cache.info().misses == 3
    (line,) = lines_of(caplog, "setup runs again")
    assert "version=lambda api: …" in line


def test_a_version_that_is_a_function_is_asked_again_and_keeps_the_entries_of_each_model(caplog):
    api = scaled(version=lambda api: str(api.factor))
    with APIRunner(api) as runner:
        assert runner.run(3) == 6
        for factor in (5, 2):
            api.next_factor = factor
            api.setup("cpu")
            assert runner.run(3) == 3 * factor
        info = api.predict.cache.info()
        assert (info.misses, info.hits) == (2, 1)
    assert lines_of(caplog, "setup runs again") == []


def test_the_first_setup_of_another_worker_clears_nothing_of_a_shared_store(tmp_path, caplog):
    options = {"store": SharedStore(tmp_path), "namespace": "n", "version": "1"}
    with APIRunner(scaled(**options)) as first, APIRunner(scaled(**options)) as second:
        assert [first.run(3), second.run(3)] == [6, 6]
        assert second.api.predict.cache.info().hits == 1
    by_hand = scaled(**options)
    by_hand.setup("cpu")
    by_hand.setup("cpu")
    with APIRunner(by_hand) as third:
        third.run(3)
        assert by_hand.predict.cache.info().hits == 1
    assert lines_of(caplog, "setup runs again") == []


def test_what_setup_warms_when_it_runs_again_is_served():
    class API(ls.LitAPI):
        def setup(self, device):
            self.predict.cache.warm(["a"], ["warm"])

        @cached_predict
        def predict(self, x):
            return x

    api = API()
    with APIRunner(api) as runner:
        runner.run("b")
        api.setup("cpu")
        assert [runner.run("a"), runner.run("b")] == ["warm", "b"]
        assert api.predict.cache.info().misses == 2


def test_a_store_that_cannot_be_cleared_does_not_end_setup():
    api = scaled(store=FailingStore(fail=("clear",)), namespace="n", version="1")
    with APIRunner(api) as runner:
        api.setup("cpu")
        assert runner.run(3) == 6


# ---------------------------------------------------------------------- two APIs of a server


def api_at(path, **options):
    class API(ls.LitAPI):
        @cached_predict(**options)
        def predict(self, x):
            return x

    return API(api_path=path)


def server(*apis):
    return ls.LitServer(list(apis), accelerator="cpu")


def test_two_apis_of_a_server_with_one_namespace_and_version_are_named(caplog):
    same = {"namespace": "texts", "version": "1"}
    server(api_at("/a", **same), api_at("/b", **same), api_at("/c", namespace="texts"))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "API.predict at /a and " in line
    assert "API.predict at /b have the same namespace 'texts' and version '1'" in line


def test_apis_with_namespaces_or_versions_of_their_own_are_not_named(caplog):
    version = {"namespace": "texts", "version": lambda api: api.api_path}
    server(api_at("/a"), api_at("/b"))
    server(api_at("/a", namespace="one"), api_at("/b", namespace="two"))
    server(api_at("/a", **version), api_at("/b", **version))
    assert caplog.records == []


def test_the_apis_of_two_servers_are_not_compared(caplog):
    same = {"namespace": "texts", "version": "1"}
    first = server(api_at("/a", **same))
    second = server(api_at("/a", **same), api_at("/b", namespace="other"))
    assert caplog.records == []
    del first, second
