"""The trial of hits that the model refuses: a hit would have answered them all the same."""

import litserve as ls
import pytest
from fastapi import HTTPException
from support.loops import running

from litcache import CachedBatchedLoop, DisagreementError, Trial, cached_predict
from litcache.litapi.state import state_of
from litcache.testing import APIRunner, strict

pytestmark = pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")
MINE, YOURS = {"text": "a", "user": "mine"}, {"text": "a", "user": "yours"}


class Base(ls.LitAPI):
    """A service that keeps on `self` who asks, and refuses one user."""

    error = HTTPException(403, "no")

    def decode_request(self, request):
        self.user = request["user"]
        return request["text"]

    def checked(self, output):
        if self.user == "yours":
            raise self.error
        return output


class InPredict(Base):
    @cached_predict
    def predict(self, x):
        return self.checked(x)


class InEncodeResponse(Base):
    @cached_predict(result="response")
    def predict(self, x, context):
        return x

    def encode_response(self, output):
        return self.checked(output)


class OfLists(Base):
    def decode_request(self, request):
        return [super().decode_request(request)]

    @cached_predict(items="list")
    def predict(self, texts):
        return self.checked(list(texts))


class InHelper(Base):
    @cached_predict
    def helper(self, x):
        return self.checked(x)

    def predict(self, x):
        return self.helper(x[0]) if isinstance(x, list) else self.helper(x)

    def unbatch(self, output):
        return [output]


class InDecodeRequest(Base):
    @cached_predict(key=lambda request: request["text"])
    def decode_request(self, request):
        return self.checked(super().decode_request(request))

    def predict(self, x):
        return x


class OfStreams(Base):
    @cached_predict
    def predict(self, text):
        yield text
        yield self.checked(text)

    def encode_response(self, chunks):
        yield from chunks


class Async(Base):
    @cached_predict
    async def predict(self, text):
        return self.checked(text)


class OfAsyncStreams(Base):
    @cached_predict
    async def predict(self, text):
        yield text
        yield self.checked(text)

    async def encode_response(self, chunks):
        async for chunk in chunks:
            yield chunk


def served(make, way):
    options = {
        "single": {},
        "batched": {"max_batch_size": 4},
        "loop": {"max_batch_size": 4, "loop": CachedBatchedLoop()},
        "overlap": {"max_batch_size": 4, "loop": CachedBatchedLoop(overlap=True)},
        "stream": {"stream": True},
        "async": {"enable_async": True},
        "async stream": {"enable_async": True, "stream": True},
    }
    return make(**options[way])


def answers_of(api, requests, trial=None):
    """The answers to requests; of an `HTTPException` its status."""
    if isinstance(api.loop, CachedBatchedLoop):
        with running(api, tried=True) as driven:
            answers = [driven.get(request)[0] for request in requests]
            return [getattr(answer, "status_code", answer) for answer in answers]
    with APIRunner(api, trial=trial or Trial(verify=0)) as runner:
        return [answer_of(runner, request) for request in requests]


def answer_of(runner, request):
    try:
        return runner.run(request)
    except HTTPException as error:
        return error.status_code


CASES = [
    *((InPredict, way) for way in ("single", "batched", "loop", "overlap")),
    *((OfLists, way) for way in ("single", "batched", "loop", "overlap")),
    *((InEncodeResponse, way) for way in ("single", "batched", "loop")),
    *((InHelper, way) for way in ("single", "batched", "loop", "overlap")),
    *((InDecodeRequest, way) for way in ("single", "batched", "loop")),
    (OfStreams, "stream"), (Async, "async"), (OfAsyncStreams, "async stream"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "way"), CASES)
def test_a_hit_that_the_model_refuses_is_a_disagreement_and_stays_refused(make, way):
    api = served(make, way)
    answers = answers_of(api, [MINE, YOURS, MINE, *[YOURS] * 40])
    assert answers[1:2] + answers[3:] == [403] * 41
    assert answers[0] == answers[2] != 403
    name = {InHelper: "helper", InDecodeRequest: "decode_request"}.get(make, "predict")
    info = getattr(api, name).cache.info()
    assert (info.state, info.disagreements) == ("off", 1)
    assert info.disagreement.startswith("$: ")
    assert info.disagreement.endswith(" from the cache, 403 'no' from the model")


@pytest.mark.parametrize(
    "error",
    [HTTPException(500, "down"), HTTPException(503, "full"), HTTPException(429, "too many"),
     HTTPException(408, "late"), ValueError("a bad day"), MemoryError()],
    ids=repr,
)  # fmt: skip
def test_a_model_that_fails_for_a_moment_does_not_end_caching(error):
    class API(InPredict):
        pass

    API.error = error
    api = API()
    with APIRunner(api, trial=Trial(verify=0)) as runner:
        runner.run(MINE)
        for _ in range(3):
            with pytest.raises(type(error)):
                runner.run(YOURS)
        info = api.predict.cache.info()
    assert (info.state, info.disagreement) == ("trial", "")


def test_while_observed_a_refusal_is_counted_and_observing_goes_on():
    api = InPredict()
    assert answers_of(api, [MINE, YOURS, YOURS], Trial(observe=True)) == ["a", 403, 403]
    info = api.predict.cache.info()
    assert (info.state, info.disagreements) == ("trial", 2)


def test_strict_raises_the_disagreement_of_a_refusal():
    with APIRunner(InPredict(), trial=16) as runner, strict():
        runner.run(MINE)
        with pytest.raises(DisagreementError, match="403 'no' from the model"):
            runner.run(YOURS)


def test_the_refusal_of_a_batch_counts_only_if_all_of_it_would_hit():
    class API(Base):
        @cached_predict
        def predict(self, texts):
            if "bad" in texts:
                raise HTTPException(422, "bad")
            return [self.checked(text) for text in texts]

    api = API(max_batch_size=2)
    with APIRunner(api, trial=Trial(verify=0)) as runner:
        runner.run_batch([MINE, {"text": "b", "user": "mine"}])
        with pytest.raises(HTTPException, match="bad"):
            runner.run_batch([MINE, {"text": "bad", "user": "mine"}])
        assert api.predict.cache.info().state == "trial"
        with pytest.raises(HTTPException, match="no"):
            runner.run_batch([{"text": "b", "user": "mine"}, YOURS])
        assert api.predict.cache.info().state == "off"


def test_an_error_that_the_caller_throws_into_a_stream_is_none_of_the_models():
    class API(OfStreams):
        def encode_response(self, chunks):
            yield next(chunks)
            if self.user == "yours":
                chunks.throw(HTTPException(403, "no"))
            yield from chunks

        def checked(self, output):
            return output

    api = API(stream=True)
    assert answers_of(api, [MINE, YOURS]) == [["a", "a"], 403]
    assert state_of(api).caches["predict"].verdict.is_off is False
