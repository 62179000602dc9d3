"""The trial of a helper: its hits are told apart by the requests for which a hook calls it."""

import contextvars

import litserve as ls
import pytest
from support.loops import running

from litcache import CachedBatchedLoop, Trial, cached_predict
from litcache.litapi.digests import hashes_of
from litcache.litapi.in_hand import held, together
from litcache.testing import APIRunner

TRIAL = Trial(hits=4, verify=0)
MANY = 24


class Base(ls.LitAPI):
    """A service that keeps a language on `self`, which its helper reads."""

    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]

    @cached_predict
    def translate(self, text):
        return f"{text} in {self.language}"


class InPredict(Base):
    def predict(self, x):
        return list(map(self.translate, x)) if isinstance(x, list) else self.translate(x)


class InEncode(Base):
    def predict(self, x):
        return x

    def encode_response(self, output):
        return self.translate(output)


class InDecode(Base):
    def decode_request(self, request):
        self.language = request["language"]
        return self.translate(request["text"])

    def predict(self, x):
        return x


class BesideCachedPredict(Base):
    def decode_request(self, request):
        return super().decode_request(request), request["id"]

    @cached_predict
    def predict(self, x):
        many = x if isinstance(x, list) else [x]
        outputs = [self.translate(text) for text, _ in many]
        return outputs if isinstance(x, list) else outputs[0]


class OfLists(Base):
    @cached_predict(items="list")
    def translate(self, texts):
        return [f"{text} in {self.language}" for text in texts]

    def predict(self, x):
        return self.translate(x) if isinstance(x, list) else self.translate([x])[0]


class Async(Base):
    @cached_predict
    async def translate(self, text):
        return f"{text} in {self.language}"

    async def predict(self, x):
        return await self.translate(x)


class AsyncAll(Async):
    async def decode_request(self, request):
        return super().decode_request(request)


KINDS = [InPredict, InEncode, InDecode, BesideCachedPredict, OfLists]


def asked(language, numbers):
    return [{"id": number, "text": "a", "language": language} for number in numbers]


def answers_of(api, requests):
    if isinstance(api.loop, CachedBatchedLoop):
        with running(api, tried=True) as driven:
            return [driven.get(request)[0] for request in requests]
    with APIRunner(api, trial=TRIAL) as runner:
        return [runner.run(request) for request in requests]


def served(way, make):
    if way == "single":
        return make()
    if way == "batched":
        return make(max_batch_size=4)
    return make(max_batch_size=4, loop=CachedBatchedLoop(overlap=way == "overlap"))


@pytest.mark.parametrize("way", ["single", "batched", "loop", "overlap"])
@pytest.mark.parametrize("make", KINDS)
def test_a_helper_that_reads_what_a_request_left_on_self_is_off_at_the_first_other_request(
    make, way
):
    api = served(way, make)
    # Ids differ each time: they are proven before the other language comes.
    requests = asked("en", range(80)) + asked("fr", range(80, 90))
    assert answers_of(api, requests) == ["a in en"] * 80 + ["a in fr"] * 10
    assert api.translate.cache.info().state == "off"


@pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")
@pytest.mark.parametrize("make", [Async, AsyncAll])
def test_an_async_helper_knows_the_request_of_its_own_task(make):
    api = make(enable_async=True)
    requests = asked("en", range(80)) + asked("fr", range(80, 90))
    # In a context where no test before has had a request in hand.
    answers = contextvars.Context().run(answers_of, api, requests)
    assert answers == ["a in en"] * 80 + ["a in fr"] * 10


def test_batches_of_one_language_are_told_from_those_of_another():
    api = InPredict(max_batch_size=4)
    with APIRunner(api, trial=TRIAL) as runner:
        for size in (1, 2, 3, 4) * 15:
            assert runner.run_batch(asked("en", range(size))) == ["a in en"] * size
        assert api.translate.cache.info().state == "on"
        assert runner.run_batch(asked("fr", range(4))) == ["a in fr"] * 4


def test_a_helper_that_answers_by_its_item_alone_is_cached_in_spite_of_ids_and_languages():
    class API(Base):
        @cached_predict
        def translate(self, text):
            return text.upper()

        def predict(self, x):
            return self.translate(x)

    api = API()
    with APIRunner(api, trial=TRIAL) as runner:
        for number in range(120):
            runner.run({"id": number, "text": "a", "language": f"language {number % 3}"})
        info = api.translate.cache.info()
    assert (info.state, info.disagreement) == ("on", "")
    assert info.hits > 50


def test_a_helper_with_a_key_is_told_apart_by_its_item_as_well():
    class API(ls.LitAPI):
        def decode_request(self, request):
            return "en" if next(self.numbers) < MANY else "fr"  # past the request, too

        def setup(self, device):
            self.numbers = iter(range(MANY + 2))

        @cached_predict(key=lambda item: item["text"])
        def translate(self, item):
            return f"{item['text']} in {item['language']}"

        def predict(self, language):
            return self.translate({"text": "a", "language": language})

    assert answers_of(API(), [{"text": "a"}] * (MANY + 2)) == ["a in en"] * MANY + ["a in fr"] * 2


def test_the_order_of_the_requests_of_a_batch_counts_and_their_number_does_not():
    one, other = {"to": 1}, {"to": 2}
    assert together([one, one, one]) == together([one])
    assert together([one, other]) == together([one, other, other]) != together([other, one])
    assert together([one, None]) is together([]) is None


@pytest.mark.parametrize("way", ["single", "batched", "loop", "overlap"])
def test_a_hook_has_the_requests_in_hand_that_it_works_for(way):
    seen = {"decode": [], "predict": [], "encode": []}

    def note(hook, what):
        seen[hook].append((what, held()))

    class API(ls.LitAPI):
        def decode_request(self, request):
            note("decode", request["id"])
            return request["id"]

        def predict(self, x):
            note("predict", list(x) if isinstance(x, list) else [x])
            return x

        def encode_response(self, output):
            note("encode", output)
            return output

        @cached_predict
        def helper(self, item):
            return item

    api, numbers = served(way, API), range(12)
    requests = asked("en", numbers)
    with running(api, tried=True) as driven:
        assert driven.wait(*driven.ask(*requests)) == list(numbers)
    of = dict(enumerate(map(hashes_of, requests)))
    assert len(seen["encode"]) == len(seen["decode"]) == len(numbers)
    for number, in_hand in seen["decode"]:
        assert in_hand[-1] == of[number]
    for batch, in_hand in seen["predict"]:
        assert list(in_hand) == [of[number] for number in batch]
    batches = [
        batch if way == "batched" else [number] for batch, _ in seen["predict"] for number in batch
    ]
    for (number, in_hand), batch in zip(sorted(seen["encode"]), batches, strict=True):
        assert number in batch
        assert list(in_hand) == [of[each] for each in batch]


def test_the_requests_of_a_batch_that_failed_are_not_in_hand_any_more():
    seen = []

    class API(InPredict):
        def predict(self, x):
            seen.append(held())
            if x[0] == "bad":
                raise ValueError("bad")
            return super().predict(x)

    requests = [{"id": 0, "text": "bad", "language": "en"}, *asked("en", range(1, 3))]
    with running(API(max_batch_size=4), tried=True) as driven:
        for request in requests:
            driven.wait(*driven.ask(request))
    assert seen == [(hashes_of(request),) for request in requests]
