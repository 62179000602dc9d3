"""MemoryStore: the contract, what is evicted, the budget, expiry, epochs, threads and forks."""

from __future__ import annotations

import copy
import gc
import math
import os
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forks import in_a_fork
from support.gdsf import ReferenceGdsf
from support.interrupts import interrupted

from litcache.stores import gdsf, memory, nodes
from litcache.stores.base import NewEntry, Scope
from litcache.stores.ghosts import Ghosts
from litcache.stores.memory import MemoryStore
from litcache.testing.contract import StoreContract
from litcache.testing.doubles import FakeClock

SCOPE = Scope("shop")
ENTRY = NewEntry(b"layout", b"payload")


def key(number):
    return number.to_bytes(16, "big")


def room_for(count, entry=ENTRY):
    probe = MemoryStore()
    probe.set_many(SCOPE, {key(0): entry})
    return count * probe.info().bytes


def queue_of(store):
    """Return the nodes of a store in the order of the queue."""
    first = node = store._queue._marks[0]
    queue, marks = [], 0
    while True:
        assert node.newer.older is node
        if node.space is gdsf.NOWHERE:
            marks += 1
        else:
            queue.append(node)
        node = node.newer
        if node is first:
            break
    assert marks == gdsf.BUCKETS
    young, node = [], store._queue._first_young
    while node is not store._queue._entrance:
        young.append(node)
        node = node.newer
    assert young == [node for node in queue if node.worth == nodes.YOUNG]
    assert len(young) == store._queue._young <= store._queue._most_young <= gdsf.MOST_YOUNG
    return queue


def fill(store, *numbers, entry=ENTRY):
    for number in numbers:
        store.set_many(SCOPE.renewed(), {key(number): entry})


def held(store, *numbers):
    found = store.get_many(SCOPE.renewed(), [key(n) for n in numbers])
    return [n for n, entry in zip(numbers, found, strict=True) if entry is not None]


class TestMemoryStore(StoreContract):
    def make_store(self, clock):
        return MemoryStore("64 MiB", clock=clock)


class TestFullMemoryStore(TestMemoryStore):
    filled_bytes = 65 << 20


class WatchedStore(MemoryStore):
    """A store that notes the most it ever accounted, at every moment."""

    most = 0

    @property
    def _bytes(self):
        return self.__dict__["bytes"]

    @_bytes.setter
    def _bytes(self, value):
        self.__dict__["bytes"] = value
        self.most = max(self.most, value)


# Eviction


@settings(deadline=None)
@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=400),
)
def test_it_hits_and_evicts_as_a_plain_gdsf(capacity, requests):
    store, model = MemoryStore(room_for(capacity)), ReferenceGdsf(capacity)
    for item, choice in requests:
        if choice == 0 and item in model.held:
            model.delete(item)
            assert store.delete_many(SCOPE, [key(item)]) == 1
            continue
        if choice == 1:  # stored without a question, as by a refresh
            model.put(item, key(item))
            fill(store, item)
            continue
        hit = held(store, item) == [item]
        assert hit == model.ask(item)
        if not hit:
            fill(store, item)
            model.put(item, key(item))
    assert held(store, *range(41)) == sorted(model.held)
    assert {n.key: max(n.worth, nodes.NEW) for n in queue_of(store)} == {
        entry["key"]: entry["worth"] for entry in model.held.values()
    }


def test_a_long_trace_is_evicted_as_by_a_plain_gdsf():
    rng = random.Random(3)
    weights = [1 / (rank + 1) for rank in range(500)]
    store, model = MemoryStore(room_for(60)), ReferenceGdsf(60)
    hits = 0
    for item in rng.choices(range(500), weights, k=6_000):
        hit = held(store, item) == [item]
        assert hit == model.ask(item)
        hits += hit
        if not hit:
            fill(store, item)
            model.put(item, key(item))
    assert hits > 3_000
    assert max(node.worth for node in queue_of(store)) > 60


@settings(deadline=None)
@given(
    st.integers(1, 4_000),
    st.lists(
        st.tuples(
            st.sampled_from(["set", "get", "delete", "clear", "wait"]),
            st.integers(0, 15),
            st.integers(0, 300),
            st.none() | st.integers(1, 20),
        ),
        max_size=60,
    ),
)
def test_a_hit_is_what_was_stored_last_and_the_budget_holds(budget, steps):
    clock = FakeClock()
    store, last = WatchedStore(budget, clock=clock), {}
    for number, (step, item, size, ttl) in enumerate(steps):
        if step == "set":
            payload = number.to_bytes(4, "big") + bytes(size)
            last[item] = (payload, None if ttl is None else clock() + ttl)
            fill(store, item, entry=NewEntry(b"", *last[item]))
        elif step == "delete":
            store.delete_many(SCOPE.renewed(), [key(item)])
            last.pop(item, None)
        elif step == "clear":
            store.clear("shop")
            last = {}
        elif step == "wait":
            clock.advance(size / 20)
        for asked in range(16):
            [entry] = store.get_many(SCOPE.renewed(), [key(asked)])
            assert entry is None or (entry.payload, entry.expires) == last[asked]
            assert entry is None or entry.expires is None or entry.expires > clock()
    assert store.most <= budget


def test_one_that_returns_takes_up_what_it_was_worth():
    store, number = MemoryStore(room_for(3)), 10
    fill(store, 1, 2, 3)
    held(store, 1, 1)
    while key(1) in {node.key for node in queue_of(store)}:
        number += 1
        fill(store, number)
        held(store, number)
    assert number > 12  # it outlived what came next
    fill(store, 1)
    worths = {node.key: node.worth for node in queue_of(store)}
    assert worths[key(1)] == nodes.NEW + 2 * gdsf.HIT + gdsf.RETURNED


def test_ghosts_are_about_as_many_as_entries_while_these_become_fewer_and_more():
    ghosts = Ghosts()
    for entries in (10, 3_000, 500_000, 40_000, 1, 600):
        ghosts.fit(entries)
        assert ghosts.sets * 2 <= max(128, entries * 2.5)
        assert ghosts.sets * 2 >= entries * 0.6
        ghosts.note(key(entries), 9)
        ghosts.fit(entries * 2)
        assert ghosts.take(key(entries)) == 9
        assert ghosts.take(key(entries)) == 0


def test_one_that_returns_is_worth_a_quarter_of_the_buckets_at_most():
    store = MemoryStore(room_for(1))
    for turn in range(20):
        fill(store, 1)
        [node] = queue_of(store)
        assert node.worth <= gdsf.MOST_RETURNED == gdsf.BUCKETS // 4
        assert turn < 2 or node.worth == gdsf.MOST_RETURNED
        assert held(store, 1, 1, 1, 1) == [1, 1, 1, 1]
        fill(store, 2)
        assert held(store, 1, 2) == [2]
    assert node.worth == gdsf.MOST_RETURNED + nodes.MOST_HITS * gdsf.HIT


def test_one_that_is_as_popular_as_can_be_is_evicted_when_there_is_no_other():
    store = MemoryStore(room_for(2))
    fill(store, 0)
    [node] = queue_of(store)
    for number in range(1, 200):
        fill(store, number)
        assert held(store, 0, 0, 0, number) == [0, 0, 0, number]
    assert node.worth == gdsf.BUCKETS
    fill(store, 200, entry=ENTRY._replace(payload=bytes(room_for(1))))
    assert held(store, 0, 200) == [200]


# No two keys here end in the same byte: none is taken for another that returns.


def test_a_flood_of_what_is_asked_for_once_evicts_itself():
    store = MemoryStore(room_for(60))
    fill(store, *range(60))
    held(store, *range(40))
    fill(store, *range(60, 250))
    assert held(store, *range(60)) == [*range(40)]


def test_the_newest_are_not_evicted_though_all_others_are_popular():
    store = MemoryStore(room_for(60))
    fill(store, *range(61))
    for number in range(61, 250):
        held(store, *range(60))
        fill(store, number)
        newest = [*range(max(61, number - 6), number + 1)]
        assert held(store, *newest) == newest


def test_the_young_are_evicted_if_there_are_no_others():
    store = MemoryStore(room_for(100))
    fill(store, *range(120))
    old = [node.key for node in queue_of(store) if node.worth != nodes.YOUNG]
    assert store.delete_many(SCOPE, old) == len(old) == 88
    fill(store, 200, entry=NewEntry(b"", bytes(room_for(95))))
    assert len(queue_of(store)) < 6
    assert held(store, 200) == [200]


def test_what_was_hit_outlives_what_was_not():
    store = MemoryStore(room_for(3))
    fill(store, 1, 2, 3)
    held(store, 1)
    fill(store, 4, 5)
    assert held(store, 1, 2, 3, 4, 5) == [1, 4, 5]
    assert store.info().evicted == 2


def test_one_eviction_moves_no_more_entries_than_the_bound():
    count = gdsf.SCAN_STEPS * 3
    store = MemoryStore(room_for(count))
    fill(store, *range(count))
    assert len(held(store, *range(count))) == count
    fill(store, count)
    assert sum(node.worth > gdsf.NEW for node in queue_of(store)) == gdsf.SCAN_STEPS
    assert store.info().evicted == 1


def test_a_replaced_entry_keeps_that_it_was_hit():
    store = MemoryStore(room_for(2))
    fill(store, 1, 2)
    held(store, 1)
    fill(store, 1, 2)
    fill(store, 3)
    assert held(store, 1, 2, 3) == [1, 3]


def test_an_evicted_entry_stays_whole_for_who_holds_it_and_keeps_no_other_alive():
    store = MemoryStore(room_for(2))
    fill(store, 1, 2)
    entry, _ = store.get_many(SCOPE.renewed(), [key(1), key(2)])
    fill(store, 3)
    assert held(store, 1, 2, 3) == [2, 3]
    assert (entry.layout, entry.payload, entry.expires, entry.request) == ENTRY
    assert not any(isinstance(thing, type(entry)) for thing in gc.get_referents(entry))


# The budget


sizes = st.integers(0, 400)
writes = st.tuples(st.integers(0, 15), sizes, sizes, st.booleans(), st.sampled_from([0, 7]))


@settings(deadline=None)
@given(st.integers(1, 40_000), st.lists(st.lists(writes, max_size=5), max_size=40))
def test_what_is_accounted_never_exceeds_the_budget_and_is_exact(budget, batches):
    store = WatchedStore(budget)
    for batch in batches:
        entries = {
            key(number): NewEntry(bytes(layout), bytes(payload), 2e9 if timed else None, request)
            for number, layout, payload, timed, request in batch
        }
        store.set_many(SCOPE.renewed(), entries)
    there = [e for e in store.get_many(SCOPE.renewed(), [key(n) for n in range(16)]) if e]
    assert store.most <= budget
    assert store.info().entries == len(there)
    assert store.info().bytes == sum(
        nodes.ENTRY_BYTES
        + 16
        + len(e.layout)
        + len(e.payload)
        + (nodes.EXPIRY_BYTES if e.expires else 0)
        + (nodes.REQUEST_BYTES if e.request else 0)
        for e in there
    )
    store.delete_many(SCOPE, [key(n) for n in range(16)])
    assert (store.info().entries, store.info().bytes) == (0, 0)


def test_an_entry_as_large_as_the_budget_is_stored_and_a_larger_one_rejected():
    payload = bytes(1000)
    store = MemoryStore(room_for(1, NewEntry(b"", payload)))
    fill(store, 1, entry=NewEntry(b"", payload))
    assert held(store, 1) == [1]
    fill(store, 2, entry=NewEntry(b"", payload + b"!"))
    assert held(store, 1, 2) == [1]
    assert store.info().rejected == 1
    assert store.info().evicted == 0


def test_a_rejected_entry_leaves_no_older_one_under_its_key():
    store = MemoryStore(room_for(2))
    fill(store, 1, 2)
    fill(store, 1, entry=NewEntry(b"", bytes(10_000)))
    assert held(store, 1, 2) == [2]
    assert store.info().bytes == room_for(1)


def test_equal_layouts_are_one_object():
    store = MemoryStore()
    entries = {key(n): NewEntry(bytes([1, 2, n % 2]), b"payload") for n in range(4)}
    for number, entry in entries.items():
        store.set_many(SCOPE.renewed(), {number: entry})
    a, b, c, d = store.get_many(SCOPE.renewed(), list(entries))
    assert a.layout is c.layout
    assert b.layout is d.layout
    assert a.layout != b.layout


def test_layouts_of_no_two_entries_alike_are_not_collected_for_ever():
    store = MemoryStore(room_for(10))
    for number in range(nodes.SHARED_LAYOUTS * 3):
        fill(store, number, entry=NewEntry(b"%06d" % number, b"payload"))
    assert len(store._layouts._known) <= nodes.SHARED_LAYOUTS


MEASURE = """
import random
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore

def resident():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * 4096

rng, scope, store = random.Random(7), Scope("shop"), MemoryStore("32 MiB")
before = resident()
for _ in range(4000):
    store.set_many(scope, {rng.randbytes(16): NewEntry(b"", rng.randbytes(100)) for _ in range(64)})
assert store.info().evicted > 100_000
print((resident() - before) / store.info().bytes)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_the_process_grows_by_no_more_than_a_tenth_beyond_what_is_accounted():
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=60
    )
    assert 0.5 < float(done.stdout) <= 1.1


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"max_bytes": 0}, ValueError, "max_bytes=0: .*256 MiB"),
        ({"max_bytes": "lots"}, ValueError, "max_bytes='lots': .*256 MiB"),
        ({"max_bytes": None}, TypeError, "max_bytes=None: .*256 MiB"),
        ({"max_bytes": True}, TypeError, "max_bytes=True: .*256 MiB"),
        ({"max_bytes": math.nan}, TypeError, "max_bytes=nan: .*256 MiB"),
        ({"clock": 5.0}, TypeError, r"clock=5.0 must be a function clock\(\)"),
        ({"clock": None}, TypeError, r"clock=None must be a function clock\(\)"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(options, error, told):
    with pytest.raises(error, match=f"^{told}"):
        MemoryStore(**options)


@pytest.mark.parametrize("size", ["lots", "-1 MiB", 0, -5])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="size"):
        MemoryStore(size)


# Expiry and epochs


def test_expired_entries_are_removed_and_counted_when_they_are_met():
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    fill(store, 1, 2, 3, entry=NewEntry(b"", b"payload", clock() + 10))
    fill(store, 4)
    clock.advance(10)
    assert held(store, 1, 1, 4) == [4]
    assert (store.info().expired, store.info().entries) == (1, 3)
    assert store.delete_many(SCOPE, [key(2), key(4)]) == 1
    assert (store.info().expired, store.info().entries) == (2, 1)


def test_a_batch_asks_the_clock_once():
    asked = []
    store = MemoryStore(clock=lambda: asked.append(None) or 5.0)
    fill(store, 1, 2, 3, entry=NewEntry(b"", b"payload", 10.0))
    asked.clear()
    assert held(store, 1, 2, 3) == [1, 2, 3]
    assert len(asked) == 1


def test_what_a_clear_overtook_is_counted_as_dropped():
    store, scope = MemoryStore(), Scope("shop")
    store.get_many(scope, [key(1)])
    store.clear("shop")
    store.set_many(scope, {key(1): ENTRY, key(2): ENTRY})
    assert (store.info().dropped, store.info().entries) == (2, 0)


def test_what_a_clear_overtook_removes_no_entry_set_since():
    store, scope = MemoryStore(), Scope("shop")
    store.get_many(scope, [key(1)])
    store.clear("shop")
    fill(store, 1)
    store.set_many(scope, {key(1): NewEntry(b"", b"older")})
    assert held(store, 1) == [1]


@pytest.mark.parametrize("valid_first", [True, False])
@pytest.mark.parametrize("hit", [True, False])
def test_expired_entries_that_nobody_reads_go_before_valid_ones(valid_first, hit):
    clock = FakeClock()
    store = MemoryStore(room_for(4_000), clock=clock)
    short = NewEntry(b"layout", b"payload", clock() + 10)
    valid, expiring = range(300), range(1_000, 4_000)
    for part in (valid, expiring) if valid_first else (expiring, valid):
        fill(store, *part, entry=short if part is expiring else ENTRY)
    if hit:
        assert held(store, *expiring) == [*expiring]
    clock.advance(10_000)
    fill(store, *range(10_000, 13_000))
    assert held(store, *valid) == [*valid]
    assert held(store, *range(10_000, 13_000)) == [*range(10_000, 13_000)]
    assert store.info().evicted == 0


def test_expired_entries_are_swept_though_there_is_room():
    clock = FakeClock()
    store = MemoryStore("64 MiB", clock=clock)
    fill(store, *range(2_000), entry=NewEntry(b"", b"payload", clock() + 10))
    clock.advance(10)
    fill(store, *range(5_000, 5_400))
    assert (store.info().entries, store.info().expired) == (400, 2_000)


def test_a_round_of_the_sweep_that_found_none_is_the_last_until_one_expires():
    clock = FakeClock()
    store = MemoryStore("64 MiB", clock=clock)
    fill(store, 1, entry=NewEntry(b"", b"payload", clock() + 10))
    fill(store, 2, entry=NewEntry(b"", b"payload", clock() + 1_000))
    clock.advance(10)
    fill(store, 3)
    assert (store.info().entries, store.info().expired) == (2, 1)
    assert store._queue.expired(clock(), 1_000) == []
    clock.advance(990)
    fill(store, 4)
    assert (store.info().entries, store.info().expired) == (2, 2)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.none() | st.integers(1, 20), st.integers(0, 10)),
        max_size=200,
    )
)
def test_no_valid_entry_is_swept(writes):
    clock, expected = FakeClock(), {}
    store = MemoryStore("64 MiB", clock=clock)
    for number, ttl, passes in writes:
        expires = None if ttl is None else clock() + ttl
        fill(store, number, entry=NewEntry(b"", b"payload", expires))
        expected[number] = expires
        clock.advance(passes)
        valid = [n for n in sorted(expected) if expected[n] is None or expected[n] > clock()]
        assert held(store, *sorted(expected)) == valid


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 80), st.none() | st.integers(1, 40), st.integers(0, 2)),
        min_size=60,
        max_size=120,
    )
)
def test_no_expired_entry_stays_whatever_was_hit_and_evicted_meanwhile(requests):
    clock = FakeClock()
    store = MemoryStore(room_for(30), clock=clock)
    for number, ttl, passes in requests:
        if not held(store, number):
            fill(
                store,
                number,
                entry=NewEntry(b"layout", b"", None if ttl is None else clock() + ttl),
            )
        clock.advance(passes)
        soonest = store._queue._soonest
        assert all(node.expires is None or node.expires >= soonest for node in queue_of(store))
    clock.advance(100)
    for number in range(100, 120):
        fill(store, number, entry=NewEntry(b"", b""))
    assert [node for node in queue_of(store) if node.expires is not None] == []


@pytest.mark.parametrize(
    ("hand", "seen", "ends"), [(0, 1, (60.0, 50.0)), (gdsf.BUCKETS - 1, 2, (50.0, 60.0))]
)
def test_a_round_of_the_sweep_misses_none_when_the_young_move_meanwhile(hand, seen, ends):
    def node(number, expires=None):
        entries = {key(number): NewEntry(b"", b"", expires)}
        return nodes.nodes_of(entries, nodes.Layouts())[0][key(number)]

    queue = gdsf.Gdsf()
    queue.fit(100)
    for _ in range(hand):
        queue._advance()
    first, young, next_, timed = node(1, 1.0), node(2, ends[0]), node(3), node(4, ends[1])
    space = nodes.Space(b"")
    next_.space = timed.space = space
    queue.add_all(space, [first])
    queue.add_all(space, [young])
    queue._place(next_, 2)
    queue._place(timed, 2)
    queue.expired(1.0, seen)  # the round begins
    assert queue.evict(0.0) is next_  # the young go to the next bucket
    queue.expired(1.0, 10)  # the round ends
    due = [entry for entry in (first, young, timed) if entry.expires != 60.0]
    assert {id(entry) for entry in queue.expired(50.0, 10)} == {id(entry) for entry in due}


def test_an_entry_of_a_call_is_kept_as_it_is_by_one_store_alone():
    (made,) = nodes.new_nodes([(b"layout", b"payload")], None, [7])
    first, second = MemoryStore(), MemoryStore()
    for store, number in ((first, 1), (second, 2), (first, 3)):
        store.set_many(Scope("shop"), {key(number): made})
    found = [*first.get_many(Scope("shop"), [key(1), key(3)])]
    found += second.get_many(Scope("shop"), [key(2)])
    assert found[0] is made
    assert len({id(entry) for entry in found}) == 3
    assert {(e.layout, e.payload, e.expires, e.request) for e in found} == {
        (b"layout", b"payload", None, 7)
    }
    assert [len(queue_of(store)) for store in (first, second)] == [2, 1]


def test_an_entry_of_a_call_that_was_not_stored_in_time_can_be_stored_later():
    store, late = MemoryStore(), Scope("shop")
    (made,) = nodes.new_nodes([(b"layout", b"payload")], None, [0])
    store.get_many(late, [key(1)])
    store.clear("shop")
    store.set_many(late, {key(1): made})
    assert store.get_many(Scope("shop"), [key(1)]) == [None]
    store.set_many(Scope("shop"), {key(1): made})
    assert store.get_many(Scope("shop"), [key(1)])[0].payload == b"payload"


def test_a_clear_of_many_entries_takes_no_longer_than_one_of_few(monkeypatch):
    removed, remove = [], gdsf.Gdsf.remove
    monkeypatch.setattr(
        gdsf.Gdsf, "remove", lambda self, node: (removed.append(node), remove(self, node))
    )
    store = MemoryStore("64 MiB")
    store.set_many(SCOPE.renewed(), {key(n): ENTRY for n in range(20_000)})
    store.set_many(Scope("blog"), {key(50_000): ENTRY})
    store.clear("shop")
    assert len(removed) <= memory.FREED_STEPS
    assert held(store, *range(20_000)) == []
    assert (store.info().entries, store.info().bytes) == (1, room_for(1))
    for number in range(100):
        del removed[:]
        fill(store, number)
        assert len(removed) <= memory.FREED_STEPS
    assert store._bytes == store.info().bytes == room_for(101)
    assert held(store, *range(101)) == [*range(100)]


def test_what_was_cleared_is_freed_before_anything_is_evicted():
    store = MemoryStore(room_for(2_000))
    fill(store, *range(1_000))
    store.set_many(Scope("blog"), {key(n): ENTRY for n in range(5_000, 6_000)})
    store.clear("shop")
    store.set_many(SCOPE.renewed(), {key(n): ENTRY for n in range(10_000, 11_000)})
    blog = store.get_many(Scope("blog"), [key(n) for n in range(5_000, 6_000)])
    assert None not in blog
    assert held(store, *range(10_000, 11_000)) == [*range(10_000, 11_000)]
    assert store.info().evicted == 0


def test_what_is_accounted_holds_what_was_cleared_until_it_is_freed():
    store = MemoryStore(room_for(2_000))
    for turn in range(20):
        store.set_many(
            SCOPE.renewed(), {key(n): ENTRY for n in range(turn * 9_999, turn * 9_999 + 1_500)}
        )
        store.clear()
        assert store._bytes == room_for(len(queue_of(store))) <= store.max_bytes


def test_clearing_counts_as_no_eviction_and_gives_all_bytes_back():
    store = MemoryStore()
    fill(store, 1, 2, 3)
    store.clear()
    assert store.info() == MemoryStore().info()


# Copies, threads, forks


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_a_copy_is_its_configuration_without_entries(copied):
    store = MemoryStore("1 MiB", clock=FakeClock(5.0))
    fill(store, 1)
    again = copied(store)
    assert (again.max_bytes, again.clock()) == (2**20, 5.0)
    assert held(again, 1) == []
    fill(again, 2)
    assert held(store, 1, 2) == [1]


def test_a_hit_waits_for_no_writer():
    store = MemoryStore()
    fill(store, 1)
    found = []
    with store._lock:
        thread = threading.Thread(target=lambda: found.extend(held(store, 1)), daemon=True)
        thread.start()
        thread.join(10)
    assert found == [1]


def test_an_expired_entry_met_by_many_threads_is_counted_once():
    clock, barrier, found = FakeClock(), threading.Barrier(8), []
    store = MemoryStore(clock=clock)
    fill(store, 1, entry=NewEntry(b"", b"payload", clock() + 1))
    clock.advance(1)

    def work():
        barrier.wait(10)
        found.append(held(store, 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [[]] * 8
    assert (store.info().expired, store.info().bytes) == (1, 0)


def test_threads_leave_the_queue_the_dict_and_the_account_in_agreement():
    store, barrier = MemoryStore(room_for(20)), threading.Barrier(8)

    def work(offset):
        barrier.wait(10)
        for round_ in range(200):
            numbers = [(offset * 7 + round_ * 3 + n) % 60 for n in range(8)]
            held(store, *numbers)
            store.set_many(SCOPE.renewed(), dict.fromkeys(map(key, numbers), ENTRY))
            store.delete_many(SCOPE, [key(numbers[0])])
            if round_ % 50 == 0:
                store.clear("shop")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    queue = sorted(node.key for node in queue_of(store))
    assert queue == sorted(key for space in store._spaces.values() for key in space.nodes)
    assert store.info().bytes == room_for(len(queue)) <= store.max_bytes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_process_forked_while_a_thread_holds_the_lock_starts_empty_and_works():
    store = MemoryStore(room_for(3))
    fill(store, 1)
    locked, done = threading.Event(), threading.Event()

    def hold():
        with store._lock:
            locked.set()
            done.wait(30)

    def check():
        empty = store.info() == MemoryStore().info() and held(store, 1) == []
        fill(store, 2, 3, 4, 5)
        return empty and held(store, 3, 4, 5) == [3, 4, 5]

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        assert locked.wait(10)
        assert in_a_fork(check) is True
    finally:
        done.set()
        thread.join(10)
    assert held(store, 1) == [1]


def written(store, *numbers, life=None):
    store.set_many(
        SCOPE.renewed(),
        {key(n): ENTRY._replace(expires=life and store.clock() + life) for n in numbers},
    )


CHANGES = {
    "a write that evicts": lambda store: written(store, *range(100, 112)),
    "a write over others": lambda store: written(store, *range(48, 60)),
    "a write of what expires": lambda store: written(store, *range(100, 112), life=5),
    "a delete": lambda store: store.delete_many(SCOPE.renewed(), [key(n) for n in range(30, 60)]),
    "a clear": lambda store: store.clear("shop"),
    "a clear of all": lambda store: store.clear(),
    "a hit that has expired": lambda store: held(store, *range(60, 70)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_is_interrupted_anywhere_leaves_a_store_that_works(change):
    place, met = 0, True
    while met:
        place += 1
        clock = FakeClock()
        store = MemoryStore(room_for(50), clock=clock)
        written(store, *range(60))
        written(store, *range(60, 70), life=3)
        clock.advance(4)
        met = interrupted(lambda store=store: CHANGES[change](store), place, "stores")
        found = store.get_many(SCOPE.renewed(), [key(n) for n in range(112)])
        assert all(entry is None or entry.payload == b"payload" for entry in found)
        written(store, *range(200, 330), life=7)
        written(store, *range(400, 530))
        assert held(store, *range(500, 530)) == list(range(500, 530))
        assert store.info().bytes <= store._bytes <= store.max_bytes
        queue = queue_of(store)
        assert sum(node.size() for node in queue) == store._bytes
        assert {node.key for node in queue} >= store._spaces[SCOPE.tag].nodes.keys()
    assert place > 15
