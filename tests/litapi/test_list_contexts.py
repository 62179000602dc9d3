"""`items="list"` with a `predict` that takes `context`: one context for one call."""

import logging

import litserve as ls
import numpy as np
import pytest
from support.loops import running

from litcache import CachedBatchedLoop, cached_predict, disabled
from litcache.testing import APIRunner


def undecorated(function):
    return function


def translator(decorate, **api):
    """An API that reads a language in the context, and writes into it; notes what predict gets."""

    class API(ls.LitAPI):
        calls = ()

        def decode_request(self, request, context):
            context.update(request["context"])
            return request["texts"]

        @decorate
        def predict(self, texts, context):
            self.calls = (*self.calls, (list(texts), dict(context)))
            context["model"] = f"model of {context.get('lang')}"
            context.pop("draft", None)
            return [f"{text} in {context.get('lang')}" for text in texts]

        def encode_response(self, output, context):
            context["encoded"] = True  # after the change that litcache knows of
            return output, {name: context[name] for name in sorted(context)}

    return API(**api)


def asks(*texts, **context):
    return {"texts": list(texts), "context": context}


REQUESTS = [
    asks("a", "b", lang="de"),
    asks("b", "c", lang="de"),
    asks("a", lang="fr"),
    asks("a", "c", "d", lang="de"),
    asks("a", "b", lang="de", draft=1),
    asks("b", "a", "b", lang="de"),
]
LISTS = cached_predict(items="list")
LOOPS = {
    "single": dict,
    "batched": lambda: {"max_batch_size": 4, "batch_timeout": 0.05},
    "CachedBatchedLoop": lambda: {
        "max_batch_size": 4, "batch_timeout": 0.05, "loop": CachedBatchedLoop(),
    },
    "overlap": lambda: {
        "max_batch_size": 4, "batch_timeout": 0.05, "loop": CachedBatchedLoop(overlap=True),
    },
}  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
def test_every_loop_answers_as_the_undecorated_api_without_batches(loop):
    with running(translator(undecorated)) as driven:
        expected = driven.get(*REQUESTS)
    api = translator(LISTS, **LOOPS[loop]())
    with running(api) as driven:
        for _ in range(2):
            assert driven.get(*REQUESTS) == expected
    assert all(isinstance(context, dict) for _, context in api.calls)
    computed = [(text, *sorted(context.items())) for texts, context in api.calls for text in texts]
    assert len(computed) == len(set(computed)) == 7


@pytest.mark.parametrize("loop", [None, CachedBatchedLoop])
def test_requests_of_one_batch_are_pooled_where_their_contexts_are_equal(loop):
    with APIRunner(translator(LISTS, max_batch_size=8, loop=loop and loop())) as runner:
        runner.run_batch(REQUESTS)
        assert sorted(runner.api.calls, key=str) == [
            (["a", "b", "c", "d"], {"lang": "de"}),
            (["a", "b"], {"lang": "de", "draft": 1}),
            (["a"], {"lang": "fr"}),
        ]
        assert sorted(runner.model_batches) == [1, 2, 4]


def test_while_caches_are_off_each_request_keeps_its_context():
    with APIRunner(translator(LISTS, max_batch_size=8)) as runner, disabled():
        answers = runner.run_batch(REQUESTS)
        assert [len(texts) for texts, _ in runner.api.calls] == [2, 2, 1, 3, 2, 3]
    with running(translator(undecorated)) as driven:
        assert driven.get(*REQUESTS) == answers


@pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
def test_an_async_predict_gets_the_context_too():
    class API(ls.LitAPI):
        calls = 0

        async def decode_request(self, request, context):
            context["user"] = request["user"]
            return request["texts"]

        @cached_predict(items="list")
        async def predict(self, texts, context):
            self.calls += 1
            context["seen"] = context["user"]
            return [text + context["user"] for text in texts]

        async def encode_response(self, output, context):
            return output, context["seen"]

    with APIRunner(API(enable_async=True)) as runner:
        for _ in range(2):
            assert runner.run({"user": "u", "texts": ["a", "b"]}) == (["au", "bu"], "u")
            assert runner.run({"user": "v", "texts": ["a"]}) == (["av"], "v")
        assert runner.api.calls == 2


def test_only_named_entries_are_in_the_key_and_tell_which_requests_are_pooled():
    api = translator(cached_predict(items="list", context=("lang",)), max_batch_size=8)
    with APIRunner(api) as runner:
        answers = runner.run_batch(
            [asks("a", lang="de", trace=1), asks("b", lang="de", trace=2), asks("a", lang="de")]
        )
        assert [output for output, _ in answers] == [["a in de"], ["b in de"], ["a in de"]]
        assert [context.get("trace") for _, context in answers] == [1, 2, None]
        assert api.calls == ((["a", "b"], {"lang": "de", "trace": 1}),)


def test_every_call_of_predict_finds_the_context_as_it_was_at_the_look_up():
    api = translator(cached_predict(items="list", max_items=1))
    with APIRunner(api) as runner:
        runner.run(asks("a", lang="de"))
        # One hit, whose change must not be what the misses find.
        _, context = runner.run(asks("a", "b", "c", lang="de", draft=1))
        assert context == {"lang": "de", "model": "model of de", "encoded": True}
        runner.run(asks("c", "d", lang="de"))
    assert [given for _, given in api.calls[1:4]] == [{"lang": "de", "draft": 1}] * 3
    assert [given for _, given in api.calls[4:]] == [{"lang": "de"}] * 2


def test_what_predict_writes_belongs_to_each_request_alone():
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, texts, context):
            context["notes"] = []
            return texts

        def decode_request(self, request, context):
            return request

        def encode_response(self, output, context):
            context["notes"].append(len(output))
            return context["notes"]

    with APIRunner(API(max_batch_size=4)) as runner:
        for _ in range(2):
            assert runner.run_batch([["a"], ["b", "c"]]) == [[1], [2]]


def test_by_hand_the_context_is_changed_as_by_the_method_itself():
    plain, api = translator(undecorated), translator(LISTS)
    for texts in (["a", "b"], ["b", "c"], ["a"], "a"):
        one, other = {"lang": "de", "draft": 1}, {"lang": "de", "draft": 1}
        assert api.predict(texts, one) == plain.predict(list(texts), other)
        assert one == other == {"lang": "de", "model": "model of de"}
    assert [texts for texts, _ in api.calls] == [["a", "b"], ["c"]]
    cache = api.predict.cache
    assert cache.get("a", {"lang": "de", "draft": 1}) == "a in de"
    with pytest.raises(KeyError):
        cache.get("a", {"lang": "fr"})
    cache.warm(["x"], ["warmed"], [{"lang": "fr"}])
    assert api.predict(["x"], context={"lang": "fr"}) == ["warmed"]


def test_an_output_that_is_no_rows_changes_the_context_once():
    class API(ls.LitAPI):
        calls = 0

        def decode_request(self, request, context):
            context["count"] = 0
            return request

        @cached_predict(items="list")
        def predict(self, texts, context):
            self.calls += 1
            context["count"] += 1
            return " ".join(texts)

        def encode_response(self, output, context):
            return output, context["count"]

    for size, calls in ((1, 1), (4, 2)):
        with APIRunner(API(max_batch_size=size)) as runner:
            assert runner.run(["a", "b"]) == ("a b", 1)
            assert runner.api.calls == calls  # of a batch, each request is computed by itself


def test_a_context_without_a_form_makes_the_items_of_its_request_uncacheable(caplog):
    caplog.set_level(logging.WARNING, "litcache")
    api = translator(LISTS, max_batch_size=4)

    class Tracer:
        pass

    class Traced(type(api)):
        def decode_request(self, request, context):
            texts = super().decode_request(request, context)
            if "trace" in context:
                context["trace"] = Tracer()
            return texts

        def encode_response(self, output, context):
            return output, context.pop("trace", None) is not None, context["model"]

    with APIRunner(Traced(max_batch_size=4)) as runner:
        batch = [asks("a", trace=1), asks("a", trace=1), asks("a")]
        expected = [(["a in None"], traced, "model of None") for traced in (True, True, False)]
        assert runner.run_batch(batch) == expected
        assert len(runner.api.calls) == 3
        info = runner.api.predict.cache.info()
        assert (info.uncacheable, info.misses, info.entries) == (2, 1, 1)
    (record,) = caplog.records
    assert "$context.trace" in record.getMessage()


def test_functions_of_the_policy_get_the_context_of_the_request():
    class API(ls.LitAPI):
        calls = ()

        def decode_request(self, request, context):
            context["user"] = request["user"]
            return request["texts"]

        @cached_predict(
            items="list",
            key=lambda text, context: (text, context["user"]),
            bypass_if=lambda text, context: context["user"] == "guest",
        )
        def predict(self, texts):
            self.calls = (*self.calls, texts)
            return texts

    for loop in (None, CachedBatchedLoop()):
        with APIRunner(API(max_batch_size=4, loop=loop)) as runner:
            batch = [{"user": user, "texts": ["a", "b"]} for user in ("u", "v", "u", "guest")]
            runner.run_batch(batch)
            # The method sees no context, so requests with keys are pooled.
            assert runner.api.calls == (["a", "b"] * 2, ["a", "b"])
            runner.run_batch(batch)
            assert runner.api.calls[2:] == (["a", "b"],)


def test_a_failing_batch_is_computed_again_in_parts_with_the_contexts_as_they_were():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["seen"] = []
            return request

        @cached_predict(items="list")
        def predict(self, texts, context):
            context["seen"].append("x")
            if "bad" in texts:
                raise ValueError("bad")
            return [(text, len(context["seen"])) for text in texts]

        def encode_response(self, output, context):
            return output, context["seen"]

    api = API(max_batch_size=4, batch_timeout=0.2, loop=CachedBatchedLoop())
    with running(api) as driven:
        a, bad, b = driven.get(["a"], ["bad"], ["b"])
        assert (a, b) == (([("a", 1)], ["x"]), ([("b", 1)], ["x"]))
        assert isinstance(bad, Exception)
        assert driven.get(["b", "a"]) == [([("b", 1), ("a", 1)], ["x"])]


class Buffered(ls.LitAPI):
    """An API whose predict writes all outputs into one buffer."""

    def setup(self, device):
        self.buffer = np.zeros(8, np.float32)

    def decode_request(self, request, context):
        context["scale"] = request["scale"]
        return request["numbers"]

    @cached_predict(items="list")
    def predict(self, numbers, context):
        if type(numbers) is not list:
            self.buffer[0] = -1
            return self.buffer[:1]
        for place, number in enumerate(numbers):
            self.buffer[place] = int(number) * context["scale"]
        return self.buffer[: len(numbers)]

    def encode_response(self, output):
        return output.tolist()


@pytest.mark.parametrize("loop", [None, CachedBatchedLoop])
def test_outputs_outlive_the_buffer_when_other_contexts_need_a_second_call(loop):
    with APIRunner(Buffered(max_batch_size=4, loop=loop and loop())) as runner:
        batch = [{"numbers": ["1", "2"], "scale": scale} for scale in (1, 10, 100)]
        assert runner.run_batch(batch) == [[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]
        odd = [{"numbers": ["3"], "scale": 1}, {"numbers": 7, "scale": 1}]
        assert runner.run_batch(odd) == [[3.0], [-1.0]]


def test_list_at_and_context_together():
    class API(ls.LitAPI):
        calls = ()

        def decode_request(self, request, context):
            context["lang"] = request.pop("lang")
            return request

        @cached_predict(items="list", list_at="texts")
        def predict(self, request, context):
            self.calls = (*self.calls, (request, dict(context)))
            return [f"{text} {request['tone']} {context['lang']}" for text in request["texts"]]

    with APIRunner(API(max_batch_size=8)) as runner:
        batch = [
            {"texts": ["a", "b"], "tone": tone, "lang": lang}
            for tone, lang in [("x", "de"), ("x", "fr"), ("y", "de"), ("x", "de")]
        ]
        for _ in range(2):
            assert runner.run_batch(batch) == [
                [f"{text} {ask['tone']} {ask['lang']}" for text in "ab"] for ask in batch
            ]
        assert len(runner.api.calls) == 3


def test_context_entries_that_differ_with_every_list_are_named(caplog):
    caplog.set_level(logging.WARNING, "litcache")
    api = translator(LISTS)
    with APIRunner(api) as runner:
        for number in range(101):
            runner.run(asks(*map(str, range(10)), lang="de", trace=number))
    (record,) = caplog.records
    assert "differed each time: trace;" in record.getMessage()
