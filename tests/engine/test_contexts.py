"""What a method puts in the places of contexts is what the hooks after it find."""

import litserve as ls
import pytest
from support.batches import undecorated

from litcache import CachedBatchedLoop, cached_predict
from litcache.testing import APIRunner

LOOPS = {
    "LitServe's loop": lambda: None,
    "the loop": CachedBatchedLoop,
    "overlap": lambda: CachedBatchedLoop(overlap=True),
}


class Tokens(dict):
    """A context of another type."""


def puts_a_new_dict(contexts, texts):
    for at, text in enumerate(texts):
        contexts[at] = {**contexts[at], "tokens": len(text)}


def puts_less(contexts, texts):
    contexts[:] = [{"tokens": len(text)} for text in texts]


def changes_some(contexts, texts):
    contexts[0] = {"first": texts[0]}


def reverses(contexts, texts):
    contexts.reverse()


def puts_another_type(contexts, texts):
    contexts[:] = [Tokens(tokens=len(text)) for text in texts]


def puts_none(contexts, texts):
    contexts[:] = [None] * len(contexts)


# `reverses` and `changes_some` depend on the neighbours in the batch, as no cached method may.
ALONE = [puts_a_new_dict, puts_less, puts_another_type, puts_none]


def api_of(decorate, way, loop, *, hook="predict"):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["lang"] = "en"
            return request

        @decorate
        def predict(self, texts, context):
            if hook == "predict":
                way(context, texts)
            return [text.upper() for text in texts]

        def unbatch(self, output, context):
            if hook == "unbatch":
                way(context, output)
            return output

        def encode_response(self, output, context):
            return [output, type(context).__name__, context]

    return API(max_batch_size=4, **({} if loop is None else {"loop": loop}))


BATCHES = [["a", "bb"], ["bb", "ccc", "a"], ["a", "bb", "ccc"], ["dddd"]]


def answers(api, batches=BATCHES, **options):
    with APIRunner(api, **options) as runner:
        return [runner.run_batch(batch) for batch in batches]


@pytest.mark.parametrize("trial", [0, 2])
@pytest.mark.parametrize("hook", ["predict", "unbatch"])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ALONE)
def test_encode_response_finds_what_a_hook_put_in_the_places_of_contexts(way, loop, hook, trial):
    plain = answers(api_of(undecorated, way, None, hook=hook))
    api = api_of(cached_predict, way, LOOPS[loop](), hook=hook)
    assert answers(api, trial=trial) == plain
    info = api.predict.cache.info()
    if way in (puts_a_new_dict, puts_less):
        assert (info.state, info.stored, info.hits + info.verified) == ("on", 4, 5)
    else:  # a hit can change a dict, and not put another object in its place
        assert (info.stored, info.uncacheable) == (0, 9)


UNCACHED = {
    "bypassed": {"bypass_if": lambda text: True},
    "without a key": {"key": lambda text: object()},
    "of the item alone": {"context": False},
    "told its outcome": {"outcome_in": "outcome", "bypass_if": lambda text: True},
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("options", UNCACHED)
@pytest.mark.parametrize("way", [*ALONE, reverses, changes_some])
def test_so_it_does_if_nothing_hits(way, options, loop):
    plain = answers(api_of(undecorated, way, None), BATCHES[:1])
    api = api_of(cached_predict(**UNCACHED[options]), way, LOOPS[loop]())
    found = answers(api, BATCHES[:1])
    for answer in found[0]:
        if isinstance(answer[2], dict):
            answer[2].pop("outcome", None)
    assert found == plain


@pytest.mark.parametrize("way", [*ALONE, reverses, changes_some])
def test_so_it_does_in_the_loop_without_a_cached_method(way):
    plain = answers(api_of(undecorated, way, None), BATCHES[:1])
    assert answers(api_of(undecorated, way, CachedBatchedLoop()), BATCHES[:1]) == plain


@pytest.mark.parametrize("way", [puts_a_new_dict, puts_less])
def test_by_hand_the_callers_list_holds_it(way):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, texts, context):
            way(context, texts)
            return list(texts)

    api = API(max_batch_size=4)
    for texts in BATCHES:
        contexts = [{"lang": "en"} for _ in texts]
        expected = [dict(context) for context in contexts]
        way(expected, texts)
        assert api.predict(texts, context=contexts) == texts
        assert contexts == expected
    assert api.predict.cache.info().hits == 5
