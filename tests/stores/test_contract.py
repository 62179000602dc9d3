"""The contract itself: it is collected whole, and it catches stores that break it."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice

import pytest

from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore
from litcache.testing.contract import StoreContract


def broken(method, change):
    """Return a contract for a MemoryStore in which one method is replaced."""
    store_class = type("BrokenStore", (MemoryStore,), {method: change})

    class Contract(StoreContract):
        def make_store(self, clock):
            return store_class("64 MiB", clock=clock)

    return Contract()


def in_any_order(self, scope, keys):
    return [*reversed(MemoryStore.get_many(self, scope, keys))]


def without_epoch(self, scope, keys):
    return MemoryStore.get_many(self, Scope(scope.namespace), keys)


def whatever_the_epoch(self, scope, entries):
    MemoryStore.set_many(self, Scope(scope.namespace), entries)


def without_expiry(self, scope, entries):
    untimed = {key: NewEntry(e.layout, e.payload) for key, e in entries.items()}
    MemoryStore.set_many(self, scope, untimed)


def first_only(self, scope, entries):
    MemoryStore.set_many(self, scope, dict(islice(entries.items(), 1)))


def keeping_the_first(self, scope, entries):
    there = MemoryStore.get_many(self, Scope(scope.namespace), list(entries))
    new = {k: e for (k, e), old in zip(entries.items(), there, strict=True) if old is None}
    MemoryStore.set_many(self, scope, new)


def of_every_namespace(self, namespace=None):
    MemoryStore.clear(self)


def of_nothing(self, namespace=None):
    return None


def granting_none(self, scope, keys, lease):
    return MemoryStore.get_many(self, scope, keys), dict.fromkeys(keys, b"another.")


def looking_at_nothing(self, scope, keys, lease):
    return [None] * len(keys), {}


def counting_keys(self, scope, keys):
    MemoryStore.delete_many(self, scope, keys)
    return len(keys)


def mixing_up_keys(self, scope, entries):
    MemoryStore.set_many(self, scope, dict.fromkeys(entries, next(iter(entries.values()))))


@pytest.mark.parametrize(
    ("method", "change", "caught_by"),
    [
        (
            "get_many",
            in_any_order,
            "entries_come_back_in_the_order_of_the_keys_and_none_for_others",
        ),
        ("get_many", without_epoch, "a_look_up_notes_the_epoch_that_clear_renews"),
        (
            "set_many",
            whatever_the_epoch,
            "what_was_looked_up_before_a_clear_and_set_after_is_never_seen",
        ),
        ("set_many", without_expiry, "what_was_set_comes_back"),
        ("set_many", without_expiry, "an_entry_is_valid_until_it_expires"),
        ("set_many", first_only, "delete_says_how_many_there_were"),
        ("set_many", keeping_the_first, "a_later_entry_replaces_an_earlier_one"),
        ("set_many", mixing_up_keys, "threads_get_only_what_was_set_for_the_key"),
        ("clear", of_every_namespace, "clear_touches_no_other_namespace"),
        ("clear", of_every_namespace, "clear_disturbs_no_computation_of_another_namespace"),
        ("clear", of_nothing, "clear_without_a_namespace_drops_everything"),
        ("get_or_lease_many", granting_none, "a_lease_keeps_others_off_until_it_is_released"),
        ("get_or_lease_many", looking_at_nothing, "a_lease_is_not_an_entry_and_keeps_none_out"),
        ("delete_many", counting_keys, "delete_says_how_many_there_were"),
    ],
)
def test_a_store_that_breaks_a_promise_is_caught(method, change, caught_by):
    with pytest.raises(AssertionError):
        getattr(broken(method, change), f"test_{caught_by}")()


def test_a_store_without_make_store_is_told_to_override_it():
    with pytest.raises(NotImplementedError, match="make_store"):
        StoreContract().test_what_was_set_comes_back()


def test_the_contract_needs_no_pytest():
    names = [name for name in dir(StoreContract) if name.startswith("test_")]
    assert len(names) > 20
    assert "pytest" not in vars(sys.modules["litcache.testing.contract"])


GARBAGE = """
import gc, os, threading
from litcache.stores.base import NewEntry
from litcache.stores.memory import MemoryStore
from litcache.testing import hard_use

class Held(MemoryStore):
    def after_fork_in_child(self):
        made = [[] for _ in range(100_000)]  # enough for a collection
        super().after_fork_in_child()

class Cycle:
    parent = os.getpid()

    def __init__(self):
        self.itself = self

    def __del__(self):
        if os.getpid() != self.parent:
            threading.Event().wait()

hard_use.SECONDS = 20
gc.collect()
gc.disable()
store = Held()
Cycle()
gc.enable()
print(hard_use.works_in_a_fork(store), gc.isenabled())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
def test_garbage_that_cannot_be_collected_in_a_child_is_no_fault_of_the_store():
    done = subprocess.run([sys.executable, "-c", GARBAGE], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr
