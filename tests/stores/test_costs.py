"""A `MemoryStore` of several namespaces: what saves more model seconds for a byte stays longer."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gdsf import ReferenceGdsf

from litcache import MemoryStore, TieredStore
from litcache.stores import NewEntry, Scope, memory

ENTRY = NewEntry(b"layout", b"payload")


def key(number):
    return number.to_bytes(16, "big")


def scope(name, seconds=0.0):
    made = Scope(name)
    made.seconds = seconds
    return made


def room_for(count, entry=ENTRY):
    probe = MemoryStore()
    probe.set_many(Scope("probe"), {key(0): entry})
    return count * probe.info().bytes


def fill(store, name, numbers, seconds=0.0, entry=ENTRY):
    for number in numbers:
        store.set_many(scope(name, seconds), {key(number): entry})


def held(store, name, numbers):
    found = store.get_many(Scope(name), [key(number) for number in numbers])
    return sum(entry is not None for entry in found)


def weights(store):
    return {name: store._spaces[Scope(name).tag].weight for name in ("dear", "cheap")}


def full(dear, cheap, *, entry=ENTRY, entries=40):
    """Return a full store of two namespaces whose items take so many seconds."""
    store = MemoryStore(room_for(entries))
    fill(store, "dear", range(10), dear, entry)
    fill(store, "cheap", range(200, 200 + 2 * memory.FIT_EVICTIONS + entries), cheap)
    fill(store, "dear", range(10), dear, entry)
    fill(store, "cheap", range(2_000, 2_000 + memory.FIT_EVICTIONS), cheap)
    return store


def weighed(dear, cheap):
    return weights(full(dear, cheap))


@pytest.mark.parametrize(("dear", "kept"), [(1.0, range(15, 21)), (0.01, range(6))])
def test_a_flood_of_what_is_cheap_leaves_what_is_dear(dear, kept):
    store = full(dear, 0.01)
    fill(store, "dear", range(50, 70), dear)
    fill(store, "cheap", range(5_000, 5_400), 0.01)
    assert held(store, "dear", range(50, 70)) in kept


@pytest.mark.parametrize(
    ("dear", "cheap", "weight"),
    [(0.01, 0.01, 1), (0.013, 0.01, 1), (0.02, 0.01, 2), (0.04, 0.01, 4), (9.0, 0.01, 16)],
)
def test_weights_are_powers_of_two_of_the_seconds_and_end_at_16(dear, cheap, weight):
    assert weighed(dear, cheap) == {"dear": weight, "cheap": 1}


def test_larger_entries_weigh_less():
    larger = NewEntry(b"layout", bytes(len(ENTRY.payload) + 3 * room_for(1)))
    store = full(0.08, 0.01, entry=larger, entries=100)
    assert weights(store) == {"dear": 2, "cheap": 1}


@pytest.mark.parametrize(("dear", "cheap"), [(0.0, 0.01), (1.0, 0.0), (0.0, 0.0)])
def test_a_namespace_whose_seconds_are_not_known_weighs_nothing_more(dear, cheap):
    assert weighed(dear, cheap) == {"dear": 1, "cheap": 1}


@given(st.lists(st.floats(0, 1e9) | st.just(float("inf")), min_size=2, max_size=2))
@settings(deadline=None, max_examples=25)
def test_whatever_the_clock_says_weights_are_from_1_to_16(seconds):
    assert set(weighed(*seconds).values()) <= {1, 2, 4, 8, 16}


def test_a_namespace_alone_is_evicted_as_without_seconds():
    generator, numbers = random.Random(7), []
    stores = [MemoryStore(room_for(30)) for _ in range(2)]
    for _ in range(3_000):
        number = int(300 * generator.random() ** 3)
        numbers.append(number)
        for store, seconds in zip(stores, (0.0, generator.random()), strict=True):
            if not held(store, "shop", [number]):
                fill(store, "shop", [number], seconds)
    first, second = ([held(store, "shop", [n]) for n in range(300)] for store in stores)
    assert first == second


@given(
    st.integers(1, 40),
    st.sampled_from([1, 2, 4, 16]),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=400),
)
@settings(deadline=None)
def test_it_hits_and_evicts_as_a_plain_gdsf_with_weights(capacity, weight, requests):
    def name(item):
        return "dear" if item % 2 else "cheap"

    store = MemoryStore(room_for(capacity))
    model = ReferenceGdsf(capacity, lambda item: weight if item % 2 else 1)
    store._space(Scope("dear").tag).weight = weight
    for item, choice in requests:
        if choice == 0 and item in model.held:
            model.delete(item)
            assert store.delete_many(Scope(name(item)), [key(item)]) == 1
        elif choice == 1:  # stored without a question, as by a refresh
            fill(store, name(item), [item])
            model.put(item, key(item))
        elif held(store, name(item), [item]):
            assert model.ask(item)
        else:
            assert not model.ask(item)
            fill(store, name(item), [item])
            model.put(item, key(item))
    assert {item for item in range(41) if held(store, name(item), [item])} == set(model.held)


def test_the_front_of_a_tiered_store_knows_the_seconds():
    front = MemoryStore()
    store = TieredStore(front, MemoryStore())
    store.set_many(scope("shop", 0.5), {key(0): ENTRY})
    assert front._spaces[Scope("shop").tag].seconds == 0.5
    asked = scope("blog", 0.25)
    store.back.set_many(Scope("blog"), {key(0): ENTRY})
    store.get_many(asked, [key(0)])
    assert front._spaces[Scope("blog").tag].seconds == 0.25


def test_a_write_that_tells_no_seconds_leaves_what_is_known():
    store = MemoryStore()
    fill(store, "shop", [0], 0.5)
    fill(store, "shop", [1])
    assert store._spaces[Scope("shop").tag].seconds == 0.5
