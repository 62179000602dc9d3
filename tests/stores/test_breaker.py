"""The circuit breaker: when it opens, whom it lets through, when it closes."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.stores.breaker import Breaker


class Clock:
    """A clock that a test turns."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(limit=3, delay=1.0, longest=4.0, clock=clock)


def fail(breaker: Breaker, times: int) -> list[bool]:
    return [breaker.failed(breaker.admit()) for _ in range(times)]


def test_it_opens_at_the_third_failure_in_a_row(breaker):
    assert fail(breaker, 3) == [False, False, True]
    assert breaker.admit() is None


def test_a_success_between_failures_keeps_it_closed(breaker):
    fail(breaker, 2)
    assert breaker.succeeded(breaker.admit()) is False
    assert fail(breaker, 2) == [False, False]
    assert breaker.admit() is not None


def test_after_the_delay_one_probe_is_admitted_and_no_other_call(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.99
    assert breaker.admit() is None
    clock.now += 0.01
    assert breaker.admit() is not None
    assert [breaker.admit() for _ in range(5)] == [None] * 5
    clock.now += 59
    assert breaker.admit() is None


@pytest.mark.parametrize("end", [Breaker.succeeded, Breaker.failed])
def test_a_probe_that_never_ends_is_followed_by_another_one(breaker, clock, end):
    fail(breaker, 3)
    clock.now += 1
    lost = breaker.admit()
    clock.now += 59.9
    assert breaker.admit() is None
    clock.now += 0.1
    probe = breaker.admit()
    assert probe is not None
    assert breaker.admit() is None
    assert end(breaker, lost) is False  # it says nothing about the present
    assert breaker.admit() is None
    clock.now += 1
    assert breaker.succeeded(probe) is True


def test_a_probe_that_succeeds_closes_it(breaker, clock):
    fail(breaker, 3)
    clock.now += 1
    assert breaker.succeeded(breaker.admit()) is True
    assert fail(breaker, 2) == [False, False]
    assert breaker.admit() is not None


def test_each_probe_that_fails_doubles_the_delay_up_to_the_longest(breaker, clock):
    fail(breaker, 3)
    for delay in (1, 2, 4, 4, 4):
        clock.now += delay - 0.5
        assert breaker.admit() is None
        clock.now += 0.5
        assert breaker.failed(breaker.admit()) is False


def test_the_delay_is_the_first_again_after_it_closed(breaker, clock):
    fail(breaker, 3)
    for delay in (1, 2):
        clock.now += delay
        breaker.failed(breaker.admit())
    clock.now += 4
    breaker.succeeded(breaker.admit())
    fail(breaker, 3)
    clock.now += 1
    assert breaker.admit() is not None


def test_calls_that_hung_together_open_it_once_and_add_no_delay(breaker, clock):
    turns = [breaker.admit() for _ in range(20)]
    assert [breaker.failed(turn) for turn in turns].count(True) == 1
    clock.now += 1
    assert breaker.admit() is not None


@pytest.mark.parametrize("end", [Breaker.succeeded, Breaker.failed])
def test_a_call_from_before_it_opened_neither_closes_it_nor_ends_the_probe(breaker, clock, end):
    late = breaker.admit()
    fail(breaker, 3)
    assert end(breaker, late) is False
    assert breaker.admit() is None
    clock.now += 1
    probe = breaker.admit()
    assert end(breaker, late) is False
    assert breaker.admit() is None
    assert breaker.succeeded(probe) is True


def test_a_call_from_before_an_outage_does_not_count_after_it(breaker, clock):
    late = [breaker.admit() for _ in range(3)]
    fail(breaker, 3)
    clock.now += 1
    breaker.succeeded(breaker.admit())
    assert [breaker.failed(turn) for turn in late] == [False] * 3
    assert breaker.admit() is not None


def test_of_many_threads_one_becomes_the_probe(breaker, clock):
    fail(breaker, 3)
    clock.now += 1
    barrier, turns = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(10)
        turns.append(breaker.admit())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(turns) == 8
    assert sum(turn is not None for turn in turns) == 1


@given(st.lists(st.tuples(st.sampled_from(["ask", "fail", "succeed"]), st.floats(0, 3))))
def test_while_nothing_succeeds_after_it_opened_no_two_calls_are_out(steps):
    clock = Clock()
    breaker = Breaker(limit=1, delay=1.0, longest=4.0, lost=1e9, clock=clock)
    breaker.failed(breaker.admit())
    out: list[int] = []
    for what, seconds in steps:
        clock.now += seconds
        if what == "ask":
            turn = breaker.admit()
            out += [] if turn is None else [turn]
        elif what == "fail" and out:
            assert breaker.failed(out.pop()) is False
        elif what == "succeed" and out:
            assert breaker.succeeded(out.pop()) is True
            return
        assert len(out) <= 1
