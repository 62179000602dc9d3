"""The trial of a served API: what it catches, where it stays quiet, and what it costs meanwhile."""

import contextlib
import copy
import inspect
import itertools
import logging
import random
import time
import uuid
from types import MethodType, SimpleNamespace

import litserve as ls
import numpy as np
import pytest
from support.loops import running
from support.ways import WAYS, answers_of, each, prepared, undecorated

from litcache import (
    DisagreementError,
    LitCacheError,
    MemoryStore,
    SharedStore,
    Trial,
    cached_predict,
)
from litcache.litapi.state import state_of
from litcache.testing import APIRunner, strict

# LitServe runs the plain hooks of an async API in threads, and warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")


# ---------------------------------------------------------------------- what it catches


def language_on_self(cached):
    class API(ls.LitAPI):
        def decode_request(self, request):
            self.language = request["language"]
            return request["text"]

        @cached()
        def predict(self, x):
            return each(self, x, lambda text: f"{self.language}: {text}")

    return API


def voice_read_by_encode(cached):
    class API(ls.LitAPI):
        def decode_request(self, request):
            return request["text"]

        @cached()
        def predict(self, x):
            self.voice = x[0] if self.max_batch_size > 1 else x  # left for encode_response
            return each(self, x, len)

        def encode_response(self, output):
            return {"length": output, "voice": self.voice}

    return API


def another_model_by_a_hook(cached):
    class API(ls.LitAPI):
        def setup(self, device):
            self.factor = 1 if device == "cpu" else 2

        def decode_request(self, request):
            if request["language"] == "fr":
                type(self).setup.own(self, "other") if False else setattr(self, "factor", 2)
            else:
                self.factor = 1
            return request["text"]

        @cached()
        def predict(self, x):
            return each(self, x, lambda text: len(text) * self.factor)

    return API


def key_without_the_user(cached):
    class API(ls.LitAPI):
        @cached(key=lambda item: item["text"])
        def predict(self, x):
            return each(self, x, lambda item: {"text": item["text"], "for": item["language"]})

    return API


def scores_read_by_encode(cached):
    """Another request's scores hide beside coordinates, within the tolerance of the model."""

    class API(ls.LitAPI):
        def decode_request(self, request):
            return request["text"]

        @cached()
        def predict(self, x):
            self.scores = [len(text) / 10 for text in (x if self.max_batch_size > 1 else [x])]
            return each(self, x, lambda text: 1)

        def encode_response(self, count):
            return {"boxes": [[0.0, 0.0, 640.0, 480.0, score] for score in self.scores]}

    return API


CAUGHT_BY_ANOTHER_REQUEST = [
    scores_read_by_encode,
    language_on_self, voice_read_by_encode, another_model_by_a_hook, key_without_the_user,
]  # fmt: skip


def requests_of(languages, texts=("a", "bb", "a")):
    return [{"text": t, "language": language} for language in languages for t in texts]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", CAUGHT_BY_ANOTHER_REQUEST)
def test_data_that_passes_the_cache_is_caught_and_no_answer_is_wrong(make, way):
    requests = requests_of(["en", "en", "fr", "en", "fr"])
    expected = answers_of(prepared(make, way, undecorated), requests, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, requests, way) == expected
    info = api.predict.cache.info()
    assert (info.state, info.hits, info.entries) == ("off", 0, 0)
    assert info.disagreements == 1
    assert "from the cache" in info.disagreement


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "make_output",
    [lambda: time.perf_counter_ns(), lambda: str(uuid.uuid4()), random.random,
     lambda: np.random.default_rng().normal(size=4)],
    ids=["clock", "uuid", "random", "generator"],
)  # fmt: skip
def test_an_output_that_is_new_each_time_is_caught(make_output, way):
    def make(cached):
        class API(ls.LitAPI):
            @cached()
            def predict(self, x):
                return each(self, x, lambda item: {"item": item, "new": make_output()})

            def encode_response(self, output):
                return {"item": output["item"], "new": str(output["new"])}

        return API

    api = prepared(make, way, cached_predict)
    answers = answers_of(api, ["a", "a", "a", "a"], way)
    assert len({answer["new"] for answer in answers}) == 4
    assert api.predict.cache.info().state == "off"


@pytest.mark.parametrize("noise", [0.0, 1e-4])
@pytest.mark.parametrize("way", WAYS)
def test_an_attribute_that_a_tensor_has_now_and_had_not_when_it_was_stored_is_caught(way, noise):
    torch = pytest.importorskip("torch")

    def make(cached):
        class API(ls.LitAPI):
            calls = 0

            def vector(self, text):
                self.calls += 1
                vector = torch.ones(3) + noise * self.calls
                if self.calls > 1:
                    vector.tokens = len(text)
                return vector

            @cached()
            def predict(self, x):
                return each(self, x, self.vector)

            def encode_response(self, output):
                return getattr(output, "tokens", None)

        return API

    api = prepared(make, way, cached_predict)
    assert answers_of(api, ["a", "a", "a"], way) == [None, 1, 1]
    assert api.predict.cache.info().state == "off"


def test_options_of_the_first_request_of_a_batch_are_caught():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, requests):
            scale = requests[0]["scale"]
            return [len(request["text"]) * scale for request in requests]

    with APIRunner(API(max_batch_size=4), trial=16) as runner:
        one, two = {"text": "a", "scale": 1}, {"text": "bb", "scale": 2}
        assert runner.run_batch([one, two]) == [1, 2]
        assert runner.run_batch([two, one]) == [4, 2]
        assert runner.api.predict.cache.info().state == "off"


def test_an_output_that_depends_on_its_neighbours_is_caught():
    class API(ls.LitAPI):
        def batch(self, rows):
            width = max(map(len, rows))
            return np.array([row + [0] * (width - len(row)) for row in rows], np.float32)

        @cached_predict
        def predict(self, x):
            return x.mean(axis=1)  # without a mask

        def encode_response(self, output):
            return float(output)

    with APIRunner(API(max_batch_size=4), trial=16) as runner:
        assert runner.run_batch([[2], [2, 2, 2, 2]]) == [0.5, 2.0]
        assert runner.run_batch([[2], [2, 2]]) == [1.0, 2.0]
        assert runner.api.predict.cache.info().state == "off"


def test_weights_that_change_in_place_are_caught():
    class API(ls.LitAPI):
        def setup(self, device):
            self.weights = np.ones(3)

        @cached_predict
        def predict(self, x):
            return self.weights * x

    with APIRunner(API(), trial=16) as runner:
        runner.run(2)
        runner.api.weights *= 5
        assert runner.run(2).tolist() == [10.0] * 3
        assert runner.api.predict.cache.info().state == "off"


def test_an_entry_of_another_models_process_is_tried_too(tmp_path):
    def serve(factor):
        class API(ls.LitAPI):
            @cached_predict(store=SharedStore(tmp_path), namespace="n", version="forgotten")
            def predict(self, x):
                return x * factor

        with APIRunner(API(), trial=16) as runner:
            return runner.run(3), runner.api.predict.cache.info().state

    assert serve(1) == (3, "trial")
    assert serve(2) == (6, "off")


# ---------------------------------------------------------------------- where it stays quiet


def dict_in_another_order(count):
    return {"a": 1, "b": 2} if count % 2 else {"b": 2, "a": 1}


QUIET = {
    "noise of bfloat16": lambda count: np.full(8, 1 + 0.004 * (count % 2), np.float32),
    "noise of threads": lambda count: [0.1 + 1e-7 * (count % 3), 0.5],
    "order of a dict": dict_in_another_order,
    "minus zero": lambda count: [0.0 if count % 2 else -0.0, 1.0],
    "no number": lambda _: [float("nan"), 1.0],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("output", QUIET.values(), ids=QUIET)
def test_noise_without_meaning_is_no_disagreement(output, way):
    def make(cached):
        class API(ls.LitAPI):
            def setup(self, device):
                self.count = itertools.count()

            @cached(trial=Trial(verify=0))
            def predict(self, x):
                return each(self, x, lambda _: output(next(self.count)))

        return API

    api = prepared(make, way, cached_predict)
    answers_of(api, ["a"] * 20, way)
    info = api.predict.cache.info()
    assert (info.state, info.misses, info.verified, info.hits) == ("on", 1, 16, 3)


@pytest.mark.parametrize("size", [1, 4])
def test_tokens_that_are_counted_in_the_context_agree(size):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x, context):
            pairs = zip(x, context, strict=True) if size > 1 else [(x, context)]
            for text, each_context in pairs:
                each_context["tokens"] = len(text)
            return each(self, x, str.upper)

        def encode_response(self, output, context):
            return {"text": output, "tokens": context["tokens"]}

    with APIRunner(API(max_batch_size=size), trial=2) as runner:
        for _ in range(5):
            assert runner.run("abc") == {"text": "ABC", "tokens": 3}
        info = runner.api.predict.cache.info()
        assert (info.state, info.verified, info.hits) == ("on", 2, 2)


def test_a_clock_in_encode_response_is_no_disagreement():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            return x.upper()

        def encode_response(self, output):
            return {"text": output, "id": str(uuid.uuid4()), "at": time.perf_counter_ns()}

    with APIRunner(API(), trial=2) as runner:
        for _ in range(4):
            assert runner.run("a")["text"] == "A"
        assert runner.api.predict.cache.info().state == "on"


def test_a_place_that_may_differ_is_left_out():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            return {"text": x, "seconds": time.perf_counter()}

    with APIRunner(API(), trial=Trial(hits=2, ignore=("$.seconds",))) as runner:
        for _ in range(4):
            runner.run("a")
        assert runner.api.predict.cache.info().state == "on"


def test_an_error_of_encode_response_agrees_with_the_same_error_only():
    class API(ls.LitAPI):
        text = "too short"

        @cached_predict
        def predict(self, x):
            return x

        def encode_response(self, output):
            raise ValueError(self.text)

    with APIRunner(API(), trial=1) as runner:
        for _ in range(3):
            with pytest.raises(ValueError, match="too short"):
                runner.run("a")
        assert runner.api.predict.cache.info().state == "on"


def test_what_an_early_encode_response_pops_from_self_is_there_for_the_answer():
    class API(ls.LitAPI):
        def setup(self, device):
            self.waiting = []
            self.last = {}

        def decode_request(self, request):
            self.waiting.append(request["id"])
            return request["text"]

        @cached_predict
        def predict(self, x):
            return x.upper()

        def encode_response(self, output):
            self.last["output"] = output
            return {"id": self.waiting.pop(0), "text": output}

    with APIRunner(API(), trial=2) as runner:
        for number in range(5):
            assert runner.run({"id": number, "text": "a"}) == {"id": number, "text": "A"}
        assert runner.api.predict.cache.info().state == "on"


# ---------------------------------------------------------------------- while it lasts


class Counting(ls.LitAPI):
    """Counts what its hooks get."""

    def setup(self, device):
        self.encoded = []

    def decode_request(self, request):
        return request["text"]

    @cached_predict
    def predict(self, texts):
        return [text.upper() for text in texts]

    def encode_response(self, output):
        self.encoded.append(output)
        return output


def asked(*texts, **more):
    return [{"text": text, **more} for text in texts]


def test_hits_that_are_tried_share_the_batch_of_the_misses():
    with APIRunner(Counting(max_batch_size=4), trial=16) as runner:
        assert runner.run_batch(asked("a", "b")) == ["A", "B"]
        assert runner.run_batch(asked("b", "c", "a", "d")) == ["B", "C", "A", "D"]
        assert runner.model_batches == [2, 4]
        info = runner.api.predict.cache.info()
        assert (info.misses, info.verified, info.stored) == (4, 2, 4)


def test_equal_items_of_a_batch_are_computed_apart_and_compared():
    class API(ls.LitAPI):
        @cached_predict(key=lambda item: item["text"])
        def predict(self, x):
            return [item["n"] for item in x]

    with APIRunner(API(max_batch_size=4), trial=16) as runner:
        assert runner.run_batch([{"text": "a", "n": 1}, {"text": "a", "n": 2}]) == [1, 2]
        assert runner.api.predict.cache.info().state == "off"


def test_the_log_tells_begin_and_end(caplog):
    caplog.set_level(logging.INFO, "litcache")
    with APIRunner(Counting(max_batch_size=4), trial=2) as runner:
        for _ in range(4):
            runner.run_batch(asked("a"))
    assert "trial: the first 2 hits are computed and compared" in caplog.text
    assert "trial: 2 of 2 agreed: answering from the cache" in caplog.text
    assert caplog.text.count("agreed") == 1


def test_a_disagreement_is_logged_once_and_says_where(caplog):
    api = prepared(language_on_self, "single", cached_predict)
    answers_of(api, requests_of(["en", "fr", "en"]), "single")
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "$: 'en: a' from the cache, 'fr: a' from the model" in line.message
    assert "off" in line.message


def test_strict_raises_a_disagreement():
    api = language_on_self(cached_predict)()
    with APIRunner(api, trial=16) as runner, strict():
        runner.run({"text": "a", "language": "en"})
        with pytest.raises(DisagreementError) as raised:
            runner.run({"text": "a", "language": "fr"})
        assert raised.value.method == f"{type(api).__qualname__}.predict"
        assert len(raised.value.differences) == 1


def test_after_the_trial_a_hit_of_another_request_is_still_tried():
    api = language_on_self(cached_predict)()
    with APIRunner(api, trial=2) as runner:
        for _ in range(6):
            assert runner.run({"text": "a", "language": "en"}) == "en: a"
        assert api.predict.cache.info().state == "on"
        assert runner.run({"text": "a", "language": "fr"}) == "fr: a"
        assert api.predict.cache.info().state == "off"


def test_a_share_of_the_later_hits_is_verified():
    with APIRunner(Counting(max_batch_size=4), trial=Trial(hits=1, verify=1.0)) as runner:
        for _ in range(10):
            runner.run_batch(asked("a"))
        info = runner.api.predict.cache.info()
        assert (info.state, info.misses, info.hits + info.verified) == ("on", 1, 9)
        assert info.verified >= 4


def test_while_observed_no_hit_is_answered():
    trial = Trial(hits=1, observe=True)
    with APIRunner(language_on_self(cached_predict)(), trial=trial) as runner:
        expected = ["en: a", "en: a", "fr: a", "en: a"]
        asked_for = requests_of(["en", "en", "fr", "en"], ["a"])
        assert [runner.run(request) for request in asked_for] == expected
        info = runner.api.predict.cache.info()
        assert (info.state, info.verified, info.hits, info.disagreements) == ("trial", 3, 0, 1)


def test_comparing_outputs_never_encodes_for_the_trial():
    with APIRunner(Counting(max_batch_size=4), trial=Trial(hits=2, compare="output")) as runner:
        for _ in range(4):
            runner.run_batch(asked("a"))
        assert runner.api.encoded == ["A"] * 4
        assert runner.api.predict.cache.info().state == "on"


def test_a_trial_begins_again_by_hand():
    with APIRunner(Counting(max_batch_size=4), trial=1) as runner:
        for _ in range(3):
            runner.run_batch(asked("a"))
        cache = runner.api.predict.cache
        assert (cache.info().state, cache.info().hits) == ("on", 1)
        cache.trial()
        assert cache.info().state == "trial"
        runner.run_batch(asked("a"))
        assert (cache.info().state, cache.info().verified) == ("on", 2)


def test_without_a_trial_there_is_none_to_begin_again():
    with APIRunner(Counting(max_batch_size=4)) as runner:
        runner.run_batch(asked("a", "a"))
        assert runner.api.predict.cache.info().verified == 0
        with pytest.raises(LitCacheError, match="no trial"):
            runner.api.predict.cache.trial()


def test_calls_by_the_users_own_hooks_are_not_tried():
    class API(ls.LitAPI):
        def decode_request(self, request):
            return self.predict(request)

        @cached_predict
        def predict(self, x):
            return f"<{x}>"

    with APIRunner(API(), trial=16) as runner:
        runner.run("a")
        assert runner.run("a") == "<<a>>"
        info = runner.api.predict.cache.info()
        assert (info.hits, info.verified) == (1, 1)


def test_decode_request_is_compared_by_its_output():
    class API(ls.LitAPI):
        def setup(self, device):
            self.count = itertools.count()

        @cached_predict
        def decode_request(self, request):
            return [request, next(self.count)]

        def predict(self, x):
            return x

    with APIRunner(API(), trial=16) as runner:
        assert [runner.run("a") for _ in range(3)] == [["a", 0], ["a", 1], ["a", 2]]
        assert runner.api.decode_request.cache.info().state == "off"


@pytest.mark.parametrize("size", [1, 4])
def test_lists_are_tried_row_by_row(size):
    class API(ls.LitAPI):
        def decode_request(self, request):
            self.scale = request["scale"]
            return request["texts"]

        @cached_predict(items="list")
        def predict(self, texts):
            return [len(text) * self.scale for text in texts]

    with APIRunner(API(max_batch_size=size), trial=16) as runner:
        assert runner.run({"texts": ["a", "bb"], "scale": 1}) == [1, 2]
        assert runner.run({"texts": ["bb", "ccc"], "scale": 2}) == [4, 6]
        assert runner.api.predict.cache.info().state == "off"


def test_the_rows_of_a_list_agree():
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, texts):
            return np.array([[len(text)] for text in texts], np.float32)

        def encode_response(self, rows):
            return rows.tolist()

    with APIRunner(API(), trial=4) as runner:
        for _ in range(4):
            assert runner.run(["a", "bb"]) == [[1.0], [2.0]]
        info = runner.api.predict.cache.info()
        assert (info.state, info.verified, info.hits) == ("on", 4, 2)


def test_with_the_default_policy_a_served_api_is_on_trial_and_one_by_hand_is_not():
    api = Counting(max_batch_size=1)
    assert api.predict(["a"]) == api.predict(["a"])
    assert api.predict.cache.info().hits == 1
    with running(Counting(max_batch_size=1), tried=True) as driven:
        driven.get(*asked("a", "a", "a"))


def test_off_means_that_nothing_is_asked_or_stored():
    class Watched(MemoryStore):
        calls = 0

        def get_many(self, scope, keys):
            self.calls += 1
            return super().get_many(scope, keys)

        def set_many(self, scope, entries):
            self.calls += 1
            super().set_many(scope, entries)

    store = Watched()
    with APIRunner(language_on_self(cached_predict)(), store=store, trial=16) as runner:
        for language in ("en", "fr"):
            runner.run({"text": "a", "language": language})
        before = store.calls
        assert runner.run({"text": "a", "language": "en"}) == "en: a"
        assert store.calls == before
        info = runner.api.predict.cache.info()
        assert (info.state, info.bypassed, info.entries) == ("off", 1, 0)


def test_an_output_that_predict_writes_again_is_frozen_before():
    class API(ls.LitAPI):
        def setup(self, device):
            self.buffer = np.zeros(2)

        @cached_predict
        def predict(self, x):
            self.buffer[:] = self.scale = x["n"] * getattr(self, "factor", 1)
            return self.buffer

        def encode_response(self, output):
            return output

    with APIRunner(API(), trial=16) as runner:
        runner.run({"n": 1})
        runner.api.factor = 3
        assert runner.run({"n": 1}).tolist() == [3.0, 3.0]
        assert runner.api.predict.cache.info().state == "off"


def test_an_api_looks_the_same_on_trial():
    class API(ls.LitAPI):
        async def decode_request(self, request):
            return request

        @cached_predict
        async def predict(self, x):
            return x

        async def encode_response(self, output):
            return SimpleNamespace(output=output).output

    api = API(enable_async=True)
    with APIRunner(api, trial=4) as runner:
        assert [runner.run("a") for _ in range(8)] == ["a"] * 8
        assert inspect.iscoroutinefunction(type(api).decode_request.__get__(api, API))
        info = api.predict.cache.info()
        assert (info.state, info.verified) == ("on", 4)


@pytest.mark.parametrize("takes_context", [False, True])
def test_the_plain_hook_of_an_api_on_trial_looks_like_the_users(takes_context):
    class API(ls.LitAPI):
        if takes_context:

            def decode_request(self, request: dict[str, str], context: dict) -> str:
                """Return the text."""
                return context["text"]
        else:

            def decode_request(self, request: dict[str, str], limit: int = 5) -> str:
                """Return the text."""
                return request["text"][:limit]

        @cached_predict
        def predict(self, x):
            return x

    users = vars(API)["decode_request"].__func__
    with APIRunner(API(), trial=4) as runner:
        api = runner.api
        hook = api.decode_request
        assert type(hook) is not MethodType
        plain = MethodType(users, api)
        assert inspect.signature(hook) == inspect.signature(plain)
        assert inspect.signature(hook.__func__) == inspect.signature(users)
        assert inspect.getdoc(hook) == "Return the text."
        assert hook.__func__ == users
        assert (hook.__code__, hook.__self__, hook.__name__) == (
            users.__code__,
            api,
            users.__name__,
        )
        assert hook.__annotations__ == hook.__func__.__annotations__ == users.__annotations__
        assert copy.deepcopy(hook.__func__) == users
        assert inspect.ismethod(hook)
        assert not inspect.iscoroutinefunction(hook)
        given = {"context": {"text": "hello"}} if takes_context else {}
        assert hook({"text": "hello"}, **given) == "hello"


def test_a_rehearsal_that_is_left_over_costs_later_responses_nothing():
    class API(ls.LitAPI):
        fails = False

        @cached_predict
        def predict(self, x):
            return [text.upper() for text in x]

        def encode_response(self, output):
            if output == "A" and self.fails:
                raise ValueError("the rest of the batch is encoded no more")
            return output

    with APIRunner(API(max_batch_size=2), trial=Trial(hits=4, verify=0)) as runner:
        api = runner.api
        runner.run_batch(["a", "b"])
        api.fails = True
        with pytest.raises(ValueError, match="no more"):
            runner.run_batch(["a", "b"])
        api.fails = False
        for _ in range(4):
            assert runner.run_batch(["a", "b"]) == ["A", "B"]
        assert api.predict.cache.info().state == "on"
        assert not state_of(api).expected


def test_a_distance_that_is_zero_but_for_rounding_is_no_disagreement():
    class DuplicateAPI(ls.LitAPI):
        def decode_request(self, request):
            return request["text"]

        @cached_predict
        def predict(self, texts):
            # What float32 sums make of 1 - cosine is not the same in batches of other sizes.
            return np.float32([2.0**-24 if len(texts) > 3 else 0.0 for _ in texts])

        def encode_response(self, output):
            return {"distance": float(output)}

    api = DuplicateAPI(max_batch_size=8)
    with APIRunner(api, trial=Trial(verify=0)) as runner:
        runner.run({"text": "hello"})
        for size in range(1, 8):
            runner.run_batch([{"text": "hello"}, *({"text": f"{size} {at}"} for at in range(size))])
        assert api.predict.cache.info().disagreement == ""
        assert api.predict.cache.info().verified == 7


# ---------------------------------------------------------------------- what encode_response adds

LABEL = " ".join(["a", "label"])  # an object of its own: a hit has an equal one


def refuses_what_is_stored(output, number):
    if output is not LABEL:
        raise ValueError("this is not the label")
    return {"label": output}


def refuses_what_is_stored_beside_a_clock(output, number):
    return f"{number} {refuses_what_is_stored(output, number)}"


def answers_what_is_stored_otherwise(output, number):
    return {"id": number, "label": output, "known": output is LABEL}


def answers_what_is_stored_with_another_class(output, number):
    return f"{number}" if output is LABEL else {"label": output}


def refuses_what_is_computed(output, number):
    if output is LABEL:
        raise ValueError("this is the label")
    return {"label": output}


@pytest.mark.parametrize("way", ["single", "async", "loop"])
@pytest.mark.parametrize(
    "encode",
    [
        refuses_what_is_stored,
        refuses_what_is_stored_beside_a_clock,
        answers_what_is_stored_otherwise,
        answers_what_is_stored_with_another_class,
        refuses_what_is_computed,
    ],
)
def test_an_output_that_is_encoded_otherwise_because_it_is_stored_is_a_disagreement(
    encode, way, tmp_path
):
    assert _of_label(encode, way, tmp_path / "count").state == "off"


def a_new_id(output, number):
    return {"id": number, "label": output}


def a_new_text(output, number):
    return f"{number}: {output}"


def always_refused(output, number):
    raise ValueError(f"{output} is refused")


def refused_by_chance(output, number):
    if number % 2:
        raise ValueError("this time not")
    return {"label": output}


@pytest.mark.parametrize("way", ["single", "async", "loop"])
@pytest.mark.parametrize("encode", [a_new_id, a_new_text, always_refused, refused_by_chance])
def test_what_encode_response_makes_anew_each_time_is_no_disagreement(encode, way, tmp_path):
    info = _of_label(encode, way, tmp_path / "count")
    assert (info.disagreement, info.verified) == ("", 4)


def _number_of(path):
    """The next number of a count outside of the process: another one each time, as a clock's."""
    with open(path, "ab") as file:
        file.write(b".")
        return file.tell() - 1


def _of_label(encode, way, count):
    def make(cached):
        class API(ls.LitAPI):
            @cached()
            def predict(self, x):
                return each(self, x, lambda _: LABEL)

            def encode_response(self, output):
                return encode(output, _number_of(count))

        return API

    api = prepared(make, way, cached_predict)
    if way == "loop":
        with running(api, tried=True) as driven:
            for _ in range(5):
                driven.get("a")
            return api.predict.cache.info()
    with APIRunner(api, trial=Trial(verify=0)) as runner:
        for _ in range(5):
            with contextlib.suppress(ValueError):
                runner.run("a")
        return api.predict.cache.info()


def test_the_label_of_a_close_call_may_be_another_one_with_the_noise_of_the_model():
    def info_of(scores):
        class API(ls.LitAPI):
            @cached_predict
            def predict(self, x):
                return next(self.scores)

            def encode_response(self, output):
                return {"label": max(output, key=output.get)}

        api = API()
        api.scores = itertools.cycle(scores)
        with APIRunner(api, trial=Trial(verify=0)) as runner:
            for _ in range(3):
                runner.run("a")
            return api.predict.cache.info()

    close = [{"cat": 0.501, "dog": 0.499}, {"cat": 0.499, "dog": 0.501}]
    assert info_of(close).disagreement == ""
    assert info_of([{"cat": 0.9, "dog": 0.1}, {"cat": 0.1, "dog": 0.9}]).state == "off"
