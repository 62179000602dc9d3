"""FakeClock and FailingStore."""

from __future__ import annotations

import math
import pickle

import pytest

from litcache.errors import StoreError
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore
from litcache.testing.contract import StoreContract
from litcache.testing.doubles import FailingStore, FakeClock

KEY = b"k" * 16
CALLS = {
    "get": lambda store: store.get_many(Scope("shop"), [KEY]),
    "set": lambda store: store.set_many(Scope("shop"), {KEY: NewEntry(b"", b"payload")}),
    "delete": lambda store: store.delete_many(Scope("shop"), [KEY]),
    "clear": lambda store: store.clear("shop"),
    "info": lambda store: store.info(),
}


class TestFailingStoreThatWorks(StoreContract):
    def make_store(self, clock):
        store = FailingStore(MemoryStore("64 MiB", clock=clock))
        store.failing = False
        return store


@pytest.mark.parametrize("failing", CALLS)
def test_only_the_operations_named_fail(failing):
    store = FailingStore(fail=(failing,))
    for operation, call in CALLS.items():
        if operation == failing:
            with pytest.raises(StoreError, match=f"{failing} failed") as caught:
                call(store)
            assert caught.value.store == "FailingStore"
        else:
            call(store)


def test_it_fails_while_it_is_told_to_and_keeps_what_it_holds():
    store = FailingStore()
    store.failing = False
    CALLS["set"](store)
    store.failing = True
    for call in CALLS.values():
        with pytest.raises(StoreError):
            call(store)
    store.failing = False
    assert CALLS["get"](store)[0].payload == b"payload"


def test_operations_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="remove"):
        FailingStore(fail=("get", "remove"))


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"store": "redis://"}, TypeError, "store='redis://' must be a Store or None"),
        ({"store": MemoryStore}, TypeError, "store=<class .* must be a Store or None"),
        ({"fail": "get"}, TypeError, "fail='get' must be a tuple or list of some of 'get', 'set'"),
        ({"fail": None}, TypeError, "fail=None must be a tuple or list of some of 'get', 'set'"),
        ({"fail": [1]}, ValueError, r"fail=\[1\] must be a tuple or list of some of 'get', 'set'"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(options, error, told):
    with pytest.raises(error, match=f"^{told}"):
        FailingStore(**options)


@pytest.mark.parametrize("seconds", [None, "1s", True, math.nan, math.inf, -math.inf, 10**400])
def test_a_clock_shows_and_passes_numbers_of_seconds(seconds):
    error = ValueError if isinstance(seconds, float) or type(seconds) is int else TypeError
    with pytest.raises(error, match=r"^start=.* must be a number of seconds"):
        FakeClock(start=seconds)
    with pytest.raises(error, match=r"^seconds=.* must be a number of seconds"):
        FakeClock().advance(seconds)


def test_a_clock_stands_still_until_it_is_advanced():
    clock = FakeClock()
    assert clock() == clock() == 1_000_000.0
    clock.advance(0.5)
    assert clock() == 1_000_000.5


def test_a_clock_pickles_with_its_time():
    clock = FakeClock(5.0)
    clock.advance(2)
    assert pickle.loads(pickle.dumps(clock))() == 7.0
