"""What a cached method leaves for later hooks, where a trial compares its outputs alone."""

import logging
import queue
import sqlite3
import threading
import time
from contextvars import ContextVar

import litserve as ls
import pytest
from support.ways import WAYS, answers_of, each, prepared, undecorated

from litcache import Trial, cached_predict
from litcache.testing import APIRunner

pytestmark = pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")
COUNT = {"answers": 0}
LOCAL = threading.local()
TOKENS = ContextVar("tokens", default=0)
REQUESTS = [{"text": text} for text in ("a", "bb", "ccc", "a", "ccc", "bb") * 12]


class Base(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    def first(self, x):
        return x[0] if isinstance(x, list) else x


# ---------------------------------------------------------------------- beside encode_response


def a_global_that_is_counted(cached):
    class API(Base):
        @cached()
        def predict(self, x):
            self.tokens = len(self.first(x))
            return each(self, x, str.upper)

        def encode_response(self, output):
            COUNT["answers"] += 1
            return {"output": output, "usage": self.tokens}

    return API


def an_attribute_of_the_class_that_is_counted(cached):
    class API(Base):
        served = 0

        @cached()
        def predict(self, x):
            self.tokens = len(self.first(x))
            return each(self, x, str.upper)

        def encode_response(self, output):
            type(self).served += 1
            return {"output": output, "usage": self.tokens}

    return API


def a_row_that_is_committed(cached):
    class API(Base):
        def setup(self, device):
            self.db = sqlite3.connect(":memory:", check_same_thread=False)
            self.db.execute("create table audit (output)")

        @cached()
        def predict(self, x):
            self.tokens = len(self.first(x))
            return each(self, x, str.upper)

        def encode_response(self, output):
            self.db.execute("insert into audit values (?)", (output,))
            self.db.commit()
            return {"output": output, "usage": self.tokens}

    return API


def a_pause(cached):
    class API(Base):
        def setup(self, device):
            self.pause = threading.Event()

        @cached()
        def predict(self, x):
            self.tokens = len(self.first(x))
            return each(self, x, str.upper)

        def encode_response(self, output):
            self.pause.wait(0)
            return {"output": output, "usage": self.tokens}

    return API


def a_function_of_self(cached):
    class API(Base):
        def setup(self, device):
            self.usage = lambda: self.tokens

        @cached()
        def predict(self, x):
            self.tokens = len(self.first(x))
            return each(self, x, str.upper)

        def encode_response(self, output):
            return {"output": output, "usage": self.usage(), "again": self.tokens}

    return API


def a_lock_in_the_context(cached):
    class API(Base):
        def decode_request(self, request, context):
            context["lock"] = threading.Lock()
            return request["text"]

        @cached()
        def predict(self, x):
            self.tokens = len(self.first(x))
            return each(self, x, str.upper)

        def encode_response(self, output, context):
            with context["lock"]:
                return {"output": output, "usage": self.tokens}

    return API


def in_a_thread_local(cached):
    class API(Base):
        @cached()
        def predict(self, x):
            LOCAL.tokens = len(self.first(x))
            return each(self, x, str.upper)

        def encode_response(self, output):
            return {"output": output, "usage": getattr(LOCAL, "tokens", 0)}

    return API


def in_a_context_variable(cached):
    class API(Base):
        @cached()
        def predict(self, x):
            TOKENS.set(len(self.first(x)))
            return each(self, x, str.upper)

        def encode_response(self, output):
            return {"output": output, "usage": TOKENS.get()}

    return API


def in_a_queue(cached):
    class API(Base):
        def setup(self, device):
            self.waiting = queue.Queue()

        @cached()
        def predict(self, x):
            self.waiting.put(len(self.first(x)))
            return each(self, x, str.upper)

        def encode_response(self, output):
            return {"output": output, "usage": self.waiting.get()}

    return API


UNREHEARSED = [
    a_global_that_is_counted, an_attribute_of_the_class_that_is_counted, a_row_that_is_committed,
    a_pause, a_function_of_self, a_lock_in_the_context,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", UNREHEARSED)
def test_what_predict_leaves_beside_a_response_that_is_not_rehearsed_is_never_answered(make, way):
    expected = answers_of(prepared(make, way, undecorated), REQUESTS, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, REQUESTS, way) == expected
    info = api.predict.cache.info()
    assert (info.state, info.hits, info.entries, info.disagreements) == ("off", 0, 0, 0)
    assert "hits agree by what predict returns alone" in info.disagreement
    assert "self.tokens: predict sets it" in info.disagreement


LEFT = "predict sets it, which a hit does not run, and encode_response"
BESIDE_SELF = {in_a_thread_local: "$.usage: ", in_a_context_variable: LEFT, in_a_queue: LEFT}


@pytest.mark.parametrize("way", ["single", "batched", "loop"])
@pytest.mark.parametrize("make", BESIDE_SELF)
def test_what_predict_leaves_beside_self_is_never_answered(make, way):
    expected = answers_of(prepared(make, way, undecorated), REQUESTS, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, REQUESTS, way) == expected
    info = api.predict.cache.info()
    assert (info.state, info.hits) == ("off", 0)
    assert BESIDE_SELF[make] in info.disagreement


# ---------------------------------------------------------------------- what is never rehearsed


class Streams(Base):
    @cached_predict
    def predict(self, text):
        self.tokens = len(text)
        yield text.upper()

    def encode_response(self, chunks):
        yield from chunks
        yield str(self.tokens)


class AsyncStreams(Base):
    @cached_predict
    async def predict(self, text):
        self.tokens = len(text)
        yield text.upper()

    async def encode_response(self, chunks):
        async for chunk in chunks:
            yield chunk
        yield str(self.tokens)


class Helper(Base):
    @cached_predict
    def embed(self, text):
        self.tokens = len(text)
        return [1.0]

    def predict(self, text):
        return {"output": self.embed(text), "usage": self.tokens}


class HelperOfEncode(Base):
    @cached_predict
    def embed(self, text):
        self.tokens = len(text)
        return [1.0]

    def predict(self, text):
        return self.embed(text)

    def encode_response(self, output):
        return {"output": output, "usage": self.tokens}


class HelperBesidePredict(Helper):
    @cached_predict
    def predict(self, text):
        return super().predict(text)


class Decode(Base):
    @cached_predict
    def decode_request(self, request):
        self.tokens = len(request["text"])
        return 1.0

    def predict(self, x):
        return x

    def encode_response(self, output):
        return {"output": output, "usage": self.tokens}


def played(api, trial):
    with APIRunner(api, trial=trial) as runner:
        return [runner.run(request) for request in REQUESTS]


@pytest.mark.parametrize(
    ("make", "options", "method"),
    [(Streams, {"stream": True}, "predict"),
     (AsyncStreams, {"stream": True, "enable_async": True}, "predict"),
     (Helper, {}, "embed"), (HelperOfEncode, {}, "embed"), (HelperBesidePredict, {}, "embed"),
     (Decode, {}, "decode_request")],
)  # fmt: skip
def test_what_a_stream_a_helper_or_decode_request_leaves_is_never_answered(make, options, method):
    api = make(**options)
    answers = played(api, Trial(verify=0))
    usages = [int(answer[-1]) if api.stream else answer["usage"] for answer in answers]
    assert usages == [len(request["text"]) for request in REQUESTS]
    info = getattr(api, method).cache.info()
    assert (info.state, info.hits) == ("off", 0)
    assert f"hits agree by what {method} returns alone" in info.disagreement
    assert f"self.tokens: {method} sets it" in info.disagreement


# ---------------------------------------------------------------------- what it says, and when not


def lines_of(api, trial, caplog):
    with caplog.at_level(logging.INFO, "litcache"):
        played(api, trial)
    return [record.message.split(": ", 1)[1] for record in caplog.records]


def test_the_log_says_what_could_not_be_compared_and_where_it_is_left(caplog):
    lines = lines_of(Streams(stream=True), 16, caplog)
    (line,) = [line for line in lines if line.startswith("off")]
    assert "hits agree by what predict returns alone" in line
    assert "test_trial_left.py:" in line
    assert "self.tokens: predict sets it, which a hit does not run, and encode_response" in line
    assert 'If no answer depends on it, trial=Trial(compare="output") says so' in line
    assert not any("agreed: answering" in line for line in lines)


class Plain(Base):
    @cached_predict
    def embed(self, text):
        return [len(text)]

    def predict(self, text):
        return self.embed(text)


class Rehearsed(Base):
    @cached_predict
    def predict(self, text):
        return text.upper()

    def encode_response(self, output):
        return {"output": output}


@pytest.mark.parametrize(
    ("make", "trial", "rest"),
    [(Plain, Trial(verify=0), ". 16 of them were compared by what embed returns alone"),
     (Rehearsed, Trial(verify=0), ""),
     (Rehearsed, Trial(verify=0, compare="output"),
      ". 16 of them were compared by what predict returns alone")],
)  # fmt: skip
def test_the_last_line_of_the_trial_says_how_much_was_compared_by_outputs(
    make, trial, rest, caplog
):
    lines = lines_of(make(), trial, caplog)
    assert f"trial: 16 of 16 agreed: answering from the cache{rest}" in lines


def test_who_asks_for_outputs_alone_knows_what_is_left():
    api = a_global_that_is_counted(cached_predict)()
    played(api, Trial(verify=0, compare="output"))
    info = api.predict.cache.info()
    assert (info.state, info.disagreement, info.verified) == ("on", "", 16)


@pytest.mark.parametrize("clock", [int, time.perf_counter_ns])
def test_what_is_left_and_is_the_same_each_time_agrees_where_responses_are_rehearsed(clock):
    class API(Base):
        @cached_predict
        def predict(self, text):
            self.model = "small"
            return text.upper()

        def encode_response(self, output):
            return {"output": output, "model": self.model, "at": clock()}

    api = API()
    played(api, Trial(verify=0))
    info = api.predict.cache.info()
    assert (info.state, info.disagreement, info.verified) == ("on", "", 16)


def test_while_observed_what_is_left_is_told_and_observing_goes_on(caplog):
    api = Streams(stream=True)
    lines = lines_of(api, Trial(hits=2, observe=True), caplog)
    (line,) = [line for line in lines if "alone" in line]
    assert line.startswith("observing goes on")
    info = api.predict.cache.info()
    assert (info.state, info.hits) == ("trial", 0)


def test_a_trial_of_no_first_hits_ends_at_the_first_one_of_which_nothing_is_proven():
    api = Streams(stream=True)
    played(api, Trial(hits=0, verify=1.0))
    assert (api.predict.cache.info().state, api.predict.cache.info().verified) == ("off", 1)


def test_an_answer_that_differs_by_noise_is_no_proof_of_what_is_left():
    class API(Base):
        @cached_predict
        def predict(self, text):
            self.tokens = len(text)
            return text.upper()

        def encode_response(self, output):
            return f"{self.tokens} {output} {time.perf_counter_ns()}"

    api = API()
    answers = played(api, Trial(verify=0))
    assert [int(answer.split()[0]) for answer in answers] == [len(r["text"]) for r in REQUESTS]
    assert api.predict.cache.info().hits == 0
