"""Every shape of API through LitServe's own loops, beside its undecorated twin."""

import logging

import litserve as ls
import pytest
from support import apis
from support.batches import BATCHES, DISTINCT, answers, requests, undecorated

from litcache import cached_predict
from litcache.testing import APIRunner, strict

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")


@pytest.mark.parametrize("make", apis.BATCHED + apis.OTHERS, ids=lambda make: make.__name__)
def test_an_api_answers_as_its_undecorated_twin(make):
    with APIRunner(make(undecorated)) as plain, APIRunner(make(cached_predict)) as cached:
        assert answers(cached) == answers(plain)
        for batch in BATCHES:
            expected, got = plain.run_batch(batch), cached.run_batch(batch)
            assert got == expected


@pytest.mark.parametrize("make", apis.BATCHED, ids=lambda make: make.__name__)
def test_the_model_computes_each_distinct_item_once(make):
    with strict(), APIRunner(make(cached_predict)) as runner:
        answers(runner)
        assert sum(runner.model_batches) == len(DISTINCT)
        assert runner.model_batches == [2, 3]


@pytest.mark.parametrize(
    "make",
    [apis.one_by_one, apis.one_by_one_with_context, apis.asynchronous],
    ids=lambda make: make.__name__,
)
def test_an_unbatched_api_computes_each_distinct_item_once(make):
    with strict(), APIRunner(make(cached_predict)) as runner:
        answers(runner)
        assert runner.model_batches == [1] * len(DISTINCT)


def test_items_that_differ_in_context_alone_do_not_share_an_entry():
    with APIRunner(apis.one_by_one_with_context(cached_predict)) as runner:
        english = runner.run({"text": "hello", "language": "en"})
        german = runner.run({"text": "hello", "language": "de"})
    assert (english, german) == (["helloen", 5], ["hellode", 5])


def test_an_undecorated_override_is_named_in_one_warning(caplog):
    caplog.set_level(logging.WARNING, "litcache")
    with APIRunner(apis.undecorated_override(cached_predict)) as runner:
        answers(runner)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "Override.predict" in warnings[0]


def test_a_failing_batch_raises_and_stores_nothing():
    class API(ls.LitAPI):
        failing = True

        @cached_predict
        def predict(self, texts):
            if self.failing:
                raise ZeroDivisionError("no")
            return texts

    api = API(max_batch_size=4)
    with APIRunner(api) as runner:
        with pytest.raises(ZeroDivisionError, match="no"):
            runner.run_batch(["a", "b"])
        assert api.predict.cache.info().entries == 0
        api.failing = False
        assert runner.run_batch(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("error", [StopIteration, GeneratorExit, StopAsyncIteration, RuntimeError])
@pytest.mark.parametrize("serve", [{}, {"max_batch_size": 4}], ids=["one", "batch"])
def test_an_error_leaves_as_it_is_though_it_has_a_meaning_to_a_generator(serve, error):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, text):
            raise error("no")

    api = API(**serve)
    with pytest.raises(error, match="no") as by_hand:
        api.predict(["a"])
    assert type(by_hand.value) is error
    with APIRunner(api) as runner, pytest.raises(BaseException, match="no") as served:
        runner.run("a")
    assert type(served.value) is error


@pytest.mark.parametrize("wrong", [[], ["one", "two", "three"]])
def test_a_wrong_number_of_outputs_is_answered_as_litserve_does_and_nothing_is_stored(wrong):
    from fastapi import HTTPException

    from litcache import BatchSizeError

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, texts):
            return wrong

    api = API(max_batch_size=4)
    with APIRunner(api) as runner:
        with pytest.raises(BatchSizeError) as caught:
            runner.run_batch(["a", "b"])
        assert (caught.value.expected, caught.value.actual) == (2, len(wrong))
        assert isinstance(caught.value, HTTPException)
        assert (caught.value.status_code, caught.value.detail) == (500, "Batch size mismatch")
        assert api.predict.cache.info().entries == 0


def test_by_hand_batch_and_unbatch_are_untouched():
    api = apis.texts_to_dicts(cached_predict)
    assert api.batch(["a"]) == ["a"]
    with pytest.raises(ValueError, match="unbatch"):
        api.unbatch(["a"])
    api.setup("cpu")  # setup alone does not make it served
    assert api.batch(["a"]) == ["a"]
    other = apis.texts_to_dicts(cached_predict)
    ls.LitServer(other, accelerator="cpu")  # nor does a LitServer alone
    assert other.batch(["a"]) == ["a"]
    assert other.unbatch(("a", "b")) == ["a", "b"]


@pytest.mark.parametrize("size", [1, 4])
def test_a_streaming_api_may_cache_its_decode_request(size):
    class API(ls.LitAPI):
        @cached_predict
        def decode_request(self, request):
            return request["n"]

        def predict(self, x):
            for step in range(3):
                yield [n + step for n in x] if size > 1 else x + step

        def encode_response(self, output):
            yield from output

    api = API(stream=True, max_batch_size=size)
    with APIRunner(api) as runner:
        assert [runner.run({"n": 1}), runner.run({"n": 1})] == [[1, 2, 3]] * 2
    assert api.decode_request.cache.info().hits == 1


def test_hooks_that_are_replaced_on_the_api_or_its_class_are_used(monkeypatch):
    api = apis.texts_to_array(cached_predict)
    with APIRunner(api) as runner:
        expected = runner.run_batch(requests("a", "b"))
        api.unbatch = lambda output: [row + 1 for row in output]
        changed = runner.run_batch(requests("a", "b"))
        del api.unbatch
        monkeypatch.setattr(type(api), "unbatch", lambda self, output: list(output))
        assert runner.run_batch(requests("a", "b")) == expected
    assert changed[0]["embedding"] == [n + 1 for n in expected[0]["embedding"]]
