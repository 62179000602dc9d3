"""The trial compares what `predict` writes into the context, and what a hit would write there."""

import threading

import litserve as ls
import pytest

from litcache import CachedBatchedLoop, Trial, cached_predict
from litcache.testing import APIRunner


class Base(ls.LitAPI):
    """A service whose `predict` writes a language into the context that the key does not see."""

    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]

    def encode_response(self, output, context):
        return {"output": output, "language": context["language"]}


class InPredict(Base):
    @cached_predict
    def predict(self, x, context):
        if not isinstance(context, list):
            context["language"] = self.language
            return len(x)
        for each in context:
            each["language"] = self.language
        return [len(text) for text in x]


class OfAList(Base):
    @cached_predict(items="list")
    def predict(self, texts, context):
        context["language"] = self.language
        return [len(text) for text in texts]


class OfAStream(Base):
    @cached_predict
    def predict(self, text, context):
        yield "first"
        context["language"] = self.language
        yield "second"

    def encode_response(self, chunks, context):
        for chunk in chunks:
            yield {"chunk": chunk, "language": context.get("language")}


class OfDecode(Base):
    @cached_predict(key=lambda request: request["text"])
    def decode_request(self, request, context):
        context["language"] = request["language"]
        return request["text"]

    def predict(self, text):
        return len(text)


class Async(Base):
    @cached_predict
    async def predict(self, text, context):
        context["language"] = self.language
        return len(text)


def info_of(api, requests, method="predict", trial=None):
    with APIRunner(api, trial=trial or Trial(verify=0)) as runner:
        for request in requests:
            runner.run(request)
        return getattr(api, method).cache.info()


def in_both(text="a"):
    return [{"text": text, "language": language} for language in ("en", "fr")]


@pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")
@pytest.mark.parametrize("trial", [Trial(), Trial(compare="output"), Trial(observe=True)])
@pytest.mark.parametrize(
    ("make", "text", "method"),
    [
        (lambda: InPredict(), "a", "predict"),
        (lambda: InPredict(max_batch_size=4), "a", "predict"),
        (lambda: InPredict(max_batch_size=4, loop=CachedBatchedLoop()), "a", "predict"),
        (lambda: Async(enable_async=True), "a", "predict"),
        (lambda: OfAList(), ["a", "b"], "predict"),
        (lambda: OfAList(max_batch_size=4), ["a", "b"], "predict"),
        (lambda: OfAStream(stream=True), "a", "predict"),
        (lambda: OfDecode(), "a", "decode_request"),
    ],
    ids=["single", "batched", "loop", "async", "list", "lists", "stream", "decode_request"],
)
def test_a_hit_that_would_change_the_context_otherwise_is_a_disagreement(make, text, method, trial):
    info = info_of(make(), in_both(text), method, trial)
    assert info.state == ("trial" if trial.observe else "off")
    assert "language" in info.disagreement
    assert "'en' from the cache, 'fr' from the model" in info.disagreement


def test_a_difference_names_the_place_in_the_context():
    info = info_of(InPredict(), in_both(), trial=Trial(compare="output"))
    expected = "$context.language: 'en' from the cache, 'fr' from the model"
    assert info.disagreement == expected
    info = info_of(OfAStream(stream=True), in_both())
    assert info.disagreement == expected.replace("language", "language[1]")


def test_an_entry_of_the_context_that_a_hit_would_not_remove_is_a_disagreement():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["draft"] = request["keep"]
            self.keep = request["keep"]
            return request["text"]

        @cached_predict(context=())
        def predict(self, text, context):
            if not self.keep:
                del context["draft"]
            return text

        def encode_response(self, output, context):
            return "draft" in context

    requests = [{"text": "a", "keep": keep} for keep in (False, True)]
    info = info_of(API(), requests, trial=Trial(compare="output"))
    assert (
        info.disagreement == "$context.draft: the removal from the cache, bool True from the model"
    )
    info = info_of(API(), requests[::-1], trial=Trial(compare="output"))
    assert (
        info.disagreement == "$context.draft: not there from the cache, the removal from the model"
    )


# ---------------------------------------------------------------------- where it stays quiet


class Clocked(ls.LitAPI):
    """A service that counts the calls of its model in the context."""

    calls = 0

    def decode_request(self, request, context):
        context.update(request.get("context", {}))
        return request["text"]

    @cached_predict(context=())
    def predict(self, text, context):
        self.calls += 1
        context["calls"] = {"of this": 1, "of all": self.calls}
        context["language"] = "en"
        return text


def test_a_place_of_the_context_that_is_left_out_may_differ():
    requests = [{"text": "a"}] * 3
    trial = Trial(verify=0, compare="output")
    assert "$context.calls" in info_of(Clocked(), requests, trial=trial).disagreement
    for place in ("$context.calls", '$context.calls["of all"]', "$context"):
        trial = Trial(verify=0, compare="output", ignore=(place,))
        info = info_of(Clocked(), requests, trial=trial)
        assert (info.state, info.verified) == ("trial", 2)
    trial = Trial(verify=0, compare="output", ignore=("$.calls",))
    assert info_of(Clocked(), requests, trial=trial).state == "off"


def test_what_nobody_reads_of_the_context_does_not_count_beside_equal_responses():
    info = info_of(Clocked(), [{"text": "a"}] * 3)
    assert (info.state, info.verified) == ("trial", 2)


def test_an_entry_that_the_request_has_already_as_a_hit_would_leave_it_is_no_difference():
    trial = Trial(verify=0, compare="output", ignore=("$context.calls",))
    none, english, french = (
        {"text": "a", "context": context}
        for context in ({}, {"language": "en"}, {"language": "fr"})
    )
    for first in (none, french):  # the entry says that the language is changed
        info = info_of(Clocked(), [first, english], trial=trial)
        assert (info.state, info.verified) == ("trial", 1)
    info = info_of(Clocked(), [english, none], trial=trial)  # the entry says nothing
    assert info.disagreement == "$context.language: not there from the cache, 'en' from the model"


class Counted(ls.LitAPI):
    """A service that counts in the context how many items the model has got."""

    def decode_request(self, request):
        return request["texts"]

    @cached_predict(items="list", outcome_in="outcome")
    def predict(self, texts, context):
        context["count"] = len(texts)
        return [len(text) for text in texts]

    def encode_response(self, output, context):
        return {"output": output, "count": context["count"]}


def test_the_context_of_a_list_is_compared_only_if_all_its_items_are_computed():
    whole = {"texts": ["a", "b", "c"]}
    info = info_of(Counted(), [whole] * 30, trial=Trial(hits=0, verify=0.5))
    assert info.verified > 0
    assert info.state == "on"


def test_the_context_of_a_list_that_overlaps_another_is_compared():
    info = info_of(Counted(), [{"texts": ["a", "b"]}, {"texts": ["a", "b", "c"]}])
    assert info.disagreement == "$context.count: 2 from the cache, 3 from the model"


def test_the_context_does_not_count_where_the_response_is_cached():
    class API(ls.LitAPI):
        calls = 0

        def decode_request(self, request):
            return request["text"]

        @cached_predict(result="response")
        def predict(self, text, context):
            self.calls += 1
            context["calls"] = self.calls
            return text

        def encode_response(self, output, context):
            return {"output": output}

    info = info_of(API(), [{"text": "a"}] * 3)
    assert (info.state, info.verified) == ("trial", 2)


def test_the_context_counts_where_nothing_can_be_encoded_twice():
    lock = threading.Condition()

    class API(Base):
        @cached_predict
        def predict(self, text, context):
            context["language"] = self.language
            return [0]

        def encode_response(self, output, context):
            with lock:
                lock.notify()  # who waits would see a second one
            return {"size": len(output), "language": context["language"]}

    info = info_of(API(), in_both())
    assert (info.state, info.verified) == ("off", 1)
    assert info.disagreement == "$context.language: 'en' from the cache, 'fr' from the model"
