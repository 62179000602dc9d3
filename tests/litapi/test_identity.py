"""Values that belong to objects on their way through a loop."""

import threading

from litcache.litapi.identity import ByIdentity


def test_a_value_is_found_once_and_by_the_very_object():
    waiting, thing = ByIdentity(8), [1]
    waiting.put(thing, 5)
    assert waiting.take([1]) is None
    assert (waiting.take(thing), waiting.take(thing)) == (5, None)
    assert not waiting


def test_values_of_equal_constants_come_in_order():
    waiting, other = ByIdentity(8), object()
    for thing, value in (("a", 1), (other, 2), ("a", 3), ("a", 4)):
        waiting.put(thing, value)
    assert waiting.take("a") == 1
    assert waiting.take_each(["a", other, "a"]) == [3, 2, 4]
    assert not waiting


def test_of_objects_one_of_which_has_no_value_none_is_told():
    waiting = ByIdentity(8)
    waiting.put("a", 1)
    assert waiting.take_each(["a", "b"]) is None


def test_what_never_comes_back_is_forgotten_and_the_rest_is_found():
    waiting = ByIdentity(2)
    things = [object() for _ in range(5)]
    assert [waiting.put(thing, at) for at, thing in enumerate(things)] == [True] * 2 + [False] * 3
    assert [waiting.take(thing) for thing in things] == [None, None, None, 3, 4]
    assert not waiting
    for at in range(5):
        waiting.put("a", at)
    assert [waiting.take("a") for _ in range(3)][2] is None


def test_nothing_is_forgotten_if_others_take_everything_first(monkeypatch):
    waiting, things = ByIdentity(2), [object() for _ in range(3)]
    for thing in things[:2]:
        waiting.put(thing, 0)
    forget = waiting._forget_one

    def forget_late():
        for thing in things:
            waiting.take(thing)  # as other threads do
        forget()

    monkeypatch.setattr(waiting, "_forget_one", forget_late)
    assert not waiting.put(things[2], 0)
    assert not waiting


def test_threads_that_share_a_constant_lose_no_value():
    waiting, count, threads = ByIdentity(10_000), 500, 4
    barrier = threading.Barrier(threads)
    taken = [[] for _ in range(threads)]

    def run(number):
        barrier.wait()
        for at in range(count):
            own = object()
            waiting.put(own, (number, at))
            waiting.put("shared", (number, at))
            assert waiting.take(own) == (number, at)
            taken[number].append(waiting.take("shared"))

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = sorted(value for values in taken for value in values)
    assert found == [(number, at) for number in range(threads) for at in range(count)]
    assert not waiting


def test_what_is_not_wanted_any_more_is_forgotten():
    waiting, things = ByIdentity(9), ["a", [1], "a", "a"]
    for number, thing in enumerate(things):
        waiting.put(thing, number)
    waiting.forget(lambda number: number in (0, 2))
    assert [waiting.take(thing) for thing in things] == [3, 1, None, None]
