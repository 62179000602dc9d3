"""`assert_cacheable`: services that a cache would answer wrongly are named, others pass."""

import itertools

import litserve as ls
import numpy as np
import pytest

from litcache import SharedStore, Trial, cached_predict
from litcache.testing import assert_cacheable


class Good(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    @cached_predict
    def predict(self, x):
        texts = x if self.max_batch_size > 1 else [x]
        rows = np.array([[len(text), text.count("a")] for text in texts], np.float32)
        return rows if self.max_batch_size > 1 else rows[0]

    def encode_response(self, output):
        return {"vector": output.tolist()}


REQUESTS = [
    {"text": text, "language": language} for text in ("a", "bb", "a") for language in ("en", "fr")
]


@pytest.mark.parametrize("size", [1, 4])
def test_a_service_without_hidden_inputs_passes(size):
    assert_cacheable(Good(max_batch_size=size), REQUESTS)


class Language(Good):
    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]

    @cached_predict
    def predict(self, x):
        return f"{self.language}: {x}"

    def encode_response(self, output):
        return {"text": output}


def test_an_option_on_self_is_named_with_its_request():
    with pytest.raises(AssertionError) as raised:
        assert_cacheable(Language(), REQUESTS)
    assert "request 1 of 6 is answered otherwise from the cache" in str(raised.value)
    assert "at $.text 'fr: a' is expected, and 'en: a' is answered" in str(raised.value)


def test_a_model_that_answers_anew_each_time_is_named_without_a_cache():
    class Counting(Good):
        count = itertools.count()

        @cached_predict
        def predict(self, x):
            return np.array([next(self.count)])

    with pytest.raises(AssertionError, match="asked again, without a cache"):
        assert_cacheable(Counting(), REQUESTS)
    assert_cacheable(Counting(), REQUESTS, ignore=("$.vector",))


def test_what_the_trial_of_a_method_leaves_out_may_differ():
    class Counting(Good):
        count = itertools.count()

        @cached_predict(trial=Trial(ignore=("$.vector",)))
        def predict(self, x):
            return np.array([next(self.count)])

    assert_cacheable(Counting(), REQUESTS)


def test_an_output_that_depends_on_its_neighbours_is_named():
    class Padded(Good):
        @cached_predict
        def predict(self, x):
            return [np.array([len(text) / max(map(len, x))]) for text in x]

    with pytest.raises(AssertionError, match="together with the others, without a cache"):
        assert_cacheable(Padded(max_batch_size=4), REQUESTS)


def test_errors_are_answers():
    class Failing(Good):
        @cached_predict
        def predict(self, x):
            raise ValueError(x)

    assert_cacheable(Failing(), REQUESTS)


def test_the_users_own_store_is_left_alone(tmp_path):
    store = SharedStore(tmp_path)

    class Stored(Good):
        @cached_predict(store=store, namespace="n", version="1")
        def predict(self, x):
            return np.array([len(x)])

    assert_cacheable(Stored(), REQUESTS)
    assert store.info().entries == 0


@pytest.mark.parametrize(
    ("requests", "ignore", "told"), [([], (), "requests"), (REQUESTS, ("seconds",), "seconds")]
)
def test_what_can_see_nothing_is_refused(requests, ignore, told):
    with pytest.raises(ValueError, match=told):
        assert_cacheable(Good(), requests, ignore=ignore)
