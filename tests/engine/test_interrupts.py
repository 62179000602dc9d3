"""Ctrl-C and cancellation at any place leave no claim behind, which others would wait for."""

import asyncio

import litserve as ls
import pytest
from support.interrupts import interrupted

from litcache import cached_predict
from litcache.litapi.state import cache_of

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")


class One(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        return [text]

    def ask(self):
        return self.predict("a")


class Many(ls.LitAPI):
    @cached_predict(items="list", max_items=2)
    def predict(self, texts):
        return [[text] for text in texts]

    def ask(self):
        return self.predict(["a", "b", "c", "a"])


class Predicates(ls.LitAPI):
    @cached_predict(refresh_if=lambda item: True, store_if=lambda item, output: True)
    def predict(self, text, context):
        context["seen"] = True
        return [text]

    def ask(self):
        return self.predict("a", context={})


@pytest.mark.parametrize("make", [One, Many, Predicates])
def test_an_interrupt_at_any_place_leaves_no_claim(make):
    api = make()
    reference = api.ask()
    cache = cache_of(api, "predict")
    place, met = 0, True
    while met:
        place += 1
        cache.store.clear()
        met = interrupted(api.ask, place, "engine")
        assert cache.flight._claims == {}, f"a claim is left behind by an interrupt at {place}"
        assert api.ask() == reference
    assert place > 50


class Tasks(ls.LitAPI):
    @cached_predict
    async def predict(self, text):
        await asyncio.sleep(0)
        return [text]

    def ask(self):
        return asyncio.run(self.predict("a"))


def test_an_interrupt_of_a_task_at_any_place_leaves_no_claim():
    api = Tasks(enable_async=True)
    assert api.ask() == ["a"]
    cache = cache_of(api, "predict")
    place, met = 0, True
    while met:
        place += 1
        cache.store.clear()
        met = interrupted(api.ask, place, "engine")
        assert cache.flight._claims == {}, f"a claim is left behind by an interrupt at {place}"
    assert api.ask() == ["a"]
    assert place > 50
