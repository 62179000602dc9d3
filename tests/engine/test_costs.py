"""The seconds that the model takes for an item, as stores are told."""

import litserve as ls
import pytest

from litcache import MemoryStore, cached_predict
from litcache.engine import run
from litcache.stores import Scope


class NotingStore(MemoryStore):
    """Notes what the scopes of its writes say."""

    def __init__(self):
        super().__init__()
        self.told = []

    def set_many(self, scope, entries):
        self.told.append(scope.seconds)
        super().set_many(scope, entries)


@pytest.fixture
def clock(monkeypatch):
    """The clock by which calls of the model are timed; a test sets how far each call moves it."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

        def __getattr__(self, name):
            return getattr(run_time, name)

    run_time, made = run.time, Clock()
    monkeypatch.setattr(run, "time", made)
    return made


def serve(clock, store, seconds):
    class TextAPI(ls.LitAPI):
        @cached_predict(store=store)
        def predict(self, texts):
            clock.now += next(takes)
            return [text.upper() for text in texts]

    takes = iter(seconds)
    return TextAPI(max_batch_size=8)


def test_the_first_call_tells_what_an_item_takes_from_the_second_on(clock):
    store = NotingStore()
    api = serve(clock, store, [8.0, 8.0])
    api.predict(["a", "b", "c", "d"])
    api.predict(["e", "f", "g", "h"])
    assert store.told == [0.0, 2.0]


def test_a_call_that_takes_long_once_changes_little(clock):
    store = NotingStore()
    api = serve(clock, store, [1.0] * 20 + [1_000.0] + [1.0] * 20)
    for number in range(41):
        api.predict([str(number)])
    assert store.told[0] == 0.0
    assert all(0.9 < seconds < 1.11 for seconds in store.told[1:])


def test_a_slow_first_call_is_forgotten(clock):
    store = NotingStore()
    api = serve(clock, store, [100.0] + [1.0] * 200)
    for number in range(200):
        api.predict([str(number)])
    assert store.told[1] == 100.0
    assert 0.9 < store.told[-1] < 1.11


def test_the_methods_of_an_api_tell_their_own(clock):
    store = NotingStore()

    class BothAPI(ls.LitAPI):
        @cached_predict(store=store)
        def predict(self, text):
            clock.now += 0.25
            return text.upper()

        @cached_predict(store=store)
        def transcribe(self, clip):
            clock.now += 4.0
            return clip.lower()

    api = BothAPI()
    for number in range(3):
        api.predict(f"{number}")
        api.transcribe(f"{number}")
    assert store.told[2:] == pytest.approx([0.25, 4.0] * 2, rel=0.06)


def test_a_scope_tells_another_call_of_its_seconds():
    scope = Scope("shop")
    scope.seconds = 0.5
    assert scope.renewed().seconds == 0.5
