"""Testing a cached API without a server: `pytest examples/test_my_api.py`.

litcache brings the fixtures `api_runner` and `cache_clock` for pytest. The runner runs the API in
LitServe's own loop, in this process, and mocks nothing.
"""

import pytest

from examples.minilm import VERSION, MiniLM
from examples.text_embeddings.server import TextEmbeddingAPI
from litcache import StoreError, cached_predict
from litcache.testing import FailingStore, assert_batch_invariant, strict

HELLO, LONGER = {"text": "hello"}, {"text": "a longer text, for a batch of mixed lengths"}


@pytest.fixture
def api():
    return TextEmbeddingAPI(max_batch_size=32)


def test_a_text_is_embedded_once(api, api_runner):
    runner = api_runner(api)
    first = runner.run(HELLO)
    assert runner.run_batch([LONGER, HELLO, HELLO])[1:] == [first, first]
    assert runner.model_batches == [1, 1]  # items that reached predict, call by call


def test_the_answer_is_the_models(api, api_runner):
    runner = api_runner(api)
    (vector,) = MiniLM().encode(["hello"])
    for _ in ("computed", "from the cache"):
        assert runner.run(HELLO) == {"embedding": vector.tolist()}


class HourlyAPI(TextEmbeddingAPI):
    @cached_predict(ttl=3600, version=VERSION)
    def predict(self, texts):
        return super().predict(texts)


def test_an_entry_is_computed_again_after_its_ttl(api_runner, cache_clock):
    runner = api_runner(HourlyAPI(max_batch_size=32))
    for minutes, calls in ((59, 1), (2, 2)):
        runner.run(HELLO)
        cache_clock.advance(minutes * 60)
        runner.run(HELLO)
        assert len(runner.model_batches) == calls


def test_batches_may_be_split(api):
    """The vector of a text must not depend on the other texts of its batch."""
    assert_batch_invariant(api, [HELLO, LONGER, {"text": ""}])


def test_everything_can_be_keyed_and_stored(api, api_runner):
    with strict():  # raises the errors that serving only counts and warns of
        api_runner(api).run_batch([HELLO, LONGER])


def test_a_store_that_fails_costs_misses_only(api, api_runner):
    runner = api_runner(api, store=FailingStore())
    assert runner.run(HELLO) == runner.run(HELLO)
    assert runner.model_batches == [1, 1]
    with strict(), pytest.raises(StoreError):
        runner.run(HELLO)
