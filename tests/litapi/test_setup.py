"""While `setup` runs, a cached method is the user's own: what it is called with is no request."""

import threading

import litserve as ls
import numpy as np
import pytest

from litcache import cached_predict
from litcache.testing import APIRunner

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
