"""Leases of a SharedStore: clocks, locks, what was written meanwhile, what is left behind."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from litcache.stores.base import FORMAT, Lease, NewEntry, Scope
from litcache.stores.shared.store import SharedStore
from litcache.testing import FakeClock

KEYS = [number.to_bytes(16, "big") for number in range(200)]
OURS, THEIRS = Lease(b"ours....", 5.0), Lease(b"theirs..", 5.0)


@pytest.fixture
def monotonic():
    return FakeClock()


@pytest.fixture
def open_store(tmp_path, monotonic):
    """Open a store on one folder, as each process of a host would."""
    with contextlib.ExitStack() as stack:

        def open_store():
            store = SharedStore(tmp_path / "store", "8 MiB", monotonic=monotonic)
            return stack.enter_context(contextlib.closing(store))

        yield open_store


@pytest.fixture
def index(tmp_path, open_store):
    open_store().info()  # makes the files
    path = tmp_path / "store" / f"litcache-v{FORMAT}-2.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as db:
        yield db


def holders(store, lease, keys=KEYS[:1]):
    return store.get_or_lease_many(Scope("shop"), keys, lease)[1]


def test_a_lease_ends_after_its_seconds(open_store, monotonic):
    ours, theirs = open_store(), open_store()
    holders(ours, OURS)
    monotonic.advance(4.9)
    assert holders(theirs, THEIRS) == {KEYS[0]: OURS.holder}
    monotonic.advance(0.1)
    assert holders(theirs, THEIRS) == {}
    assert holders(ours, OURS) == {KEYS[0]: THEIRS.holder}


def test_who_asks_again_has_the_lease_from_then_on(open_store, monotonic):
    ours, theirs = open_store(), open_store()
    holders(ours, OURS)
    monotonic.advance(4)
    assert holders(ours, OURS) == {}
    monotonic.advance(4)
    assert holders(theirs, THEIRS) == {KEYS[0]: OURS.holder}


@pytest.mark.parametrize("step", [-1e6, -0.001, 5.0, 1e6])
def test_a_step_of_the_clock_ends_a_lease_and_never_prolongs_it(open_store, monotonic, step):
    ours, theirs = open_store(), open_store()
    holders(ours, OURS)
    monotonic.advance(step)
    assert holders(theirs, THEIRS) == {}
    monotonic.advance(5)
    assert holders(ours, OURS) == {}


def test_many_keys_are_leased_together(open_store):
    ours, theirs = open_store(), open_store()
    assert holders(ours, OURS, KEYS[::2]) == {}
    assert holders(theirs, THEIRS, KEYS) == dict.fromkeys(KEYS[::2], OURS.holder)
    assert holders(ours, OURS, KEYS) == dict.fromkeys(KEYS[1::2], THEIRS.holder)


def test_while_others_hold_all_that_is_missing_nothing_is_written(open_store, index):
    ours, theirs = open_store(), open_store()
    holders(ours, OURS)
    index.execute("BEGIN IMMEDIATE")  # any write would have to wait
    assert holders(theirs, THEIRS) == {KEYS[0]: OURS.holder}


def test_without_the_lock_every_lease_counts_as_granted(open_store, index):
    ours, theirs = open_store(), open_store()
    holders(ours, OURS)
    index.execute("BEGIN IMMEDIATE")
    assert holders(theirs, THEIRS, KEYS[:3]) == {KEYS[0]: OURS.holder}
    theirs.release_many(Scope("shop"), KEYS[:3], THEIRS)  # raises nothing
    index.execute("ROLLBACK")
    assert holders(ours, OURS, KEYS[:3]) == {}


def test_an_entry_that_came_between_look_up_and_lease_is_found(open_store, monkeypatch):
    ours, theirs = open_store(), open_store()
    take = ours._leasing.take

    def after_others_have_written(*arguments):
        theirs.set_many(Scope("shop"), {KEYS[0]: NewEntry(b"", b"payload")})
        return take(*arguments)

    ours.get_many(Scope("shop"), KEYS)  # makes the epoch
    monkeypatch.setattr(ours._leasing, "take", after_others_have_written)
    entries, others = ours.get_or_lease_many(Scope("shop"), KEYS[:2], OURS)
    assert [entry and entry.payload for entry in entries] == [b"payload", None]
    assert others == {}
    assert holders(theirs, THEIRS, KEYS[1:2]) == {KEYS[1]: OURS.holder}


def test_a_lease_that_another_took_while_one_waited_for_the_lock_is_seen(
    open_store, monotonic, monkeypatch
):
    ours, theirs = open_store(), open_store()
    ours.get_many(Scope("shop"), KEYS)  # makes the epoch
    held = theirs._leasing._held

    def before_ours_was_faster(*arguments):
        found = held(*arguments)
        monotonic.advance(0.001)
        assert holders(ours, OURS) == {}
        return found

    monkeypatch.setattr(theirs._leasing, "_held", before_ours_was_faster)
    assert holders(theirs, THEIRS) == {KEYS[0]: OURS.holder}
    assert holders(ours, OURS) == {}


def test_what_a_clear_makes_void_ends_the_lease_of_its_writer(open_store):
    ours, theirs = open_store(), open_store()
    scope = Scope("shop")
    ours.get_or_lease_many(scope, KEYS[:2], OURS)
    scope.lease = OURS
    theirs.delete_many(Scope("shop"), KEYS[5:6])  # what is computed now is not stored
    assert holders(theirs, THEIRS) == {KEYS[0]: OURS.holder}
    ours.set_many(scope, {KEYS[0]: NewEntry(b"", b"from before the delete")})
    assert holders(theirs, THEIRS, KEYS[:2]) == {KEYS[1]: OURS.holder}


def test_an_entry_above_the_budget_ends_the_lease_of_its_writer(open_store):
    ours, theirs = open_store(), open_store()
    scope = Scope("shop")
    ours.get_or_lease_many(scope, KEYS[:1], OURS)
    scope.lease = OURS
    ours.set_many(scope, {KEYS[0]: NewEntry(b"", bytes(1 << 20))})
    assert ours.info().rejected == 1
    assert holders(theirs, THEIRS) == {}


def test_leases_that_are_over_do_not_stay_in_the_index(open_store, monotonic, index):
    store = open_store()
    for start in range(0, 200, 50):
        holders(store, OURS, KEYS[start : start + 50])
        monotonic.advance(6)
    holders(store, OURS, KEYS[:1])
    assert index.execute("SELECT count(*) FROM leases").fetchall() == [(1,)]


def test_who_leases_nothing_has_no_table_of_leases(open_store, index):
    store = open_store()
    scope = Scope("shop")
    store.get_many(scope, KEYS)
    store.set_many(scope, {KEYS[0]: NewEntry(b"", b"payload")})
    store.delete_many(scope, KEYS[:1])
    store.clear()
    tables = "SELECT count(*) FROM sqlite_master WHERE name = 'leases'"
    assert index.execute(tables).fetchall() == [(0,)]
    holders(store, OURS)
    assert index.execute(tables).fetchall() == [(1,)]
