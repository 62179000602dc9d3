"""Hooks that an API sets on itself in `setup`, in LitServe's loop and in `CachedBatchedLoop`."""

import logging

import litserve as ls
import pytest
from support.batches import undecorated
from support.loops import running
from support.words import LONG

from litcache import CachedBatchedLoop, cached_predict
from litcache.testing import APIRunner

LOOPS = {
    "stock": lambda: "auto",
    "one thread": CachedBatchedLoop,
    "overlap": lambda: CachedBatchedLoop(overlap=True),
}


def api(owns, decorate, loop="auto"):
    """An API that replaces a hook of its own in `setup`, as `torch.compile` of a method does."""

    class API(ls.LitAPI):
        def setup(self, device):
            self.batches = []
            own = getattr(self, owns)
            setattr(self, owns, lambda inputs: own(inputs))

        def batch(self, inputs):
            return tuple(inputs)

        @decorate
        def predict(self, words):
            self.batches.append(list(words))
            return {word: word.upper() for word in words}

        def unbatch(self, output):
            return list(output.values())

    return API(max_batch_size=2, batch_timeout=LONG, loop=loop)


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "litcache" and r.levelno > 20]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("owns", ["predict", "batch", "unbatch"])
def test_an_own_hook_is_called_and_named_once_if_nothing_is_cached(owns, loop, caplog):
    caplog.set_level(logging.WARNING, "litcache")
    cached = api(owns, cached_predict, LOOPS[loop]())
    with running(cached) as driven:
        for _ in range(2):
            assert driven.get("a", "b") == ["A", "B"]
        is_cached = loop != "stock" and owns != "predict"
        assert cached.batches == [["a", "b"]] * (1 if is_cached else 2)
        assert type(cached).predict.__get__(cached).cache.info().entries == 2 * is_cached
    messages = warnings_of(caplog)
    assert len(messages) == (not is_cached)
    if not is_cached:
        assert f"self.{owns}" in messages[0]
        assert "nothing is cached" in messages[0]


@pytest.mark.parametrize("name", ["predict", "decode_request"])
def test_an_own_hook_of_an_api_without_batches_is_named_once(name, caplog):
    caplog.set_level(logging.WARNING, "litcache")

    class API(ls.LitAPI):
        def setup(self, device):
            own = getattr(self, name)
            setattr(self, name, lambda x: own(x))

        @cached_predict
        def decode_request(self, request):
            return request

        @cached_predict
        def predict(self, word):
            return word.upper()

    with APIRunner(API()) as runner:
        assert [runner.run("a") for _ in range(3)] == ["A"] * 3
    [message] = warnings_of(caplog)
    assert f"API.{name}: the API has set self.{name}" in message


@pytest.mark.parametrize("loop", LOOPS)
def test_an_undecorated_api_may_set_hooks_in_silence(loop, caplog):
    caplog.set_level(logging.WARNING, "litcache")
    with running(api("predict", undecorated, LOOPS[loop]())) as driven:
        assert driven.get("a", "b") == ["A", "B"]
    # The loop may say that nothing is cached at all, but not whose hook would be to blame.
    assert [text for text in warnings_of(caplog) if "nothing to cache" not in text] == []


def test_a_compiled_predict_answers_and_is_named(caplog):
    torch = pytest.importorskip("torch")
    caplog.set_level(logging.WARNING, "litcache")

    class API(ls.LitAPI):
        def setup(self, device):
            self.predict = torch.compile(self.predict, backend="eager")

        def decode_request(self, request):
            return torch.full((2,), request)

        @cached_predict
        def predict(self, x):
            return x * 2

        def encode_response(self, output):
            return output.tolist()

    with APIRunner(API(max_batch_size=4)) as runner:
        assert runner.run_batch([1.0, 2.0]) == [[2.0, 2.0], [4.0, 4.0]]
    messages = [message for message in warnings_of(caplog) if "self.predict" in message]
    assert len(messages) == 1
    assert "torch.compile(self.model)" in messages[0]
