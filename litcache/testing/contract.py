"""The tests that every store passes; subclass them beside the store's own tests."""

from __future__ import annotations

import os
import pickle
import random
import sys
import threading
import time
import unittest
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import cached_property
from typing import ClassVar

from litcache.errors import StoreError
from litcache.stores.base import Entry, NewEntry, Scope, Store
from litcache.testing.doubles import FakeClock
from litcache.testing.hard_use import (
    SECONDS,
    key,
    mixed_use,
    parts,
    used_by_threads,
    works_in_a_fork,
)
from litcache.testing.lease_contract import LeaseContract

_FILLING_BYTES = 256 << 10


class StoreContract(LeaseContract):
    """What a store promises, as test methods that pytest collects from a subclass.

    Each test makes its own store by `make_store`, with room for at least 16 MiB, and closes it.
    Time stands still unless a test advances the clock. To run the same tests with a full store, set
    `filled_bytes` in another subclass to more than the store's budget.

    Attributes:
        filled_bytes: How many bytes of another namespace the store holds before each test.

    Example:
        >>> from litcache.stores.memory import MemoryStore
        >>> class TestMemoryStore(StoreContract):
        ...     def make_store(self, clock):
        ...         return MemoryStore("64 MiB", clock=clock)
        >>> TestMemoryStore().test_what_was_set_comes_back()
    """

    filled_bytes: ClassVar[int] = 0

    def make_store(self, clock: Callable[[], float]) -> Store:
        """Return a new, empty store whose entries expire by `clock`; override this.

        Args:
            clock: The wall clock to use, in seconds.
        """
        raise NotImplementedError("override make_store(self, clock) to return the store to test")

    @cached_property
    def clock(self) -> FakeClock:
        """The clock that the store was made with."""
        return FakeClock()

    @cached_property
    def store(self) -> Store:
        """The store under test, made at first use."""
        store = self.make_store(self.clock)
        for number in range(-(-self.filled_bytes // _FILLING_BYTES)):
            entry = NewEntry(b"", bytes(_FILLING_BYTES), self.clock() + 1_000)
            store.set_many(Scope("filling"), {key(1_000_000 + number): entry})
        return store

    def teardown_method(self) -> None:
        """Close the store; pytest calls this after each test."""
        # pytest keeps the instance of every test until the session ends, so it must not hold much.
        if store := self.__dict__.pop("store", None):
            store.close()

    # Look-ups

    def test_what_was_set_comes_back(self) -> None:
        entry = NewEntry(b"layout", b"payload", self.clock() + 10)
        self._set({key(1): entry, key(2): NewEntry(b"", b"for ever")})
        (timed, untimed) = self._get(key(1), key(2))
        assert parts(timed) == entry
        assert parts(untimed) == NewEntry(b"", b"for ever", None)

    def test_entries_come_back_in_the_order_of_the_keys_and_none_for_others(self) -> None:
        self._set({key(n): NewEntry(b"", b"%d" % n) for n in range(100)})
        order = random.Random(7).sample([*range(100), 777, 3, 3, 888], 104)
        expected = [b"%d" % n if n < 100 else None for n in order]
        assert self._payloads(*map(key, order)) == expected

    def test_no_keys_are_no_entries(self) -> None:
        self._set({})
        assert self._get() == []
        assert self.store.delete_many(Scope("shop"), []) == 0

    def test_a_payload_may_be_empty_large_or_a_view(self) -> None:
        large = random.Random(7).randbytes(600_000)
        self._set({key(1): NewEntry(b"", b""), key(2): NewEntry(b"", large)})
        self._set({key(3): NewEntry(b"", memoryview(b"before payload after")[7:14])})
        assert self._payloads(key(1), key(2), key(3)) == [b"", large, b"payload"]

    def test_an_entry_cannot_be_changed_from_outside(self) -> None:
        buffer = bytearray(b"payload")
        self._set({key(1): NewEntry(b"layout", memoryview(buffer))})
        buffer[:] = b"changed"
        (found,) = self._get(key(1))
        assert parts(found) == NewEntry(b"layout", b"payload", None)
        assert found is not None
        assert memoryview(found.payload).readonly

    # Writes

    def test_a_later_entry_replaces_an_earlier_one(self) -> None:
        self._set({key(1): NewEntry(b"old layout", b"old", self.clock() + 10)})
        self._set({key(1): NewEntry(b"new layout", b"new one")})
        (found,) = self._get(key(1))
        assert parts(found) == NewEntry(b"new layout", b"new one", None)
        assert self.store.delete_many(Scope("shop"), [key(1)]) == 1
        assert self._payloads(key(1)) == [None]

    def test_delete_says_how_many_there_were(self) -> None:
        self._set({key(n): NewEntry(b"", b"payload") for n in range(3)})
        assert self.store.delete_many(Scope("shop"), [key(0), key(1), key(1), key(9)]) == 2
        assert self.store.delete_many(Scope("shop"), [key(0)]) == 0
        assert self._payloads(key(0), key(1), key(2)) == [None, None, b"payload"]

    def test_info_counts_what_is_there(self) -> None:
        def ever() -> int:
            info = self.store.info()
            return info.entries + info.evicted

        before = ever()
        assert self.filled_bytes or before == 0
        self._set({key(n): NewEntry(b"", bytes(1000)) for n in range(10)})
        assert ever() == before + 10
        assert self.store.info().bytes >= 10_000
        self._set({key(n): NewEntry(b"", bytes(500)) for n in range(10)})
        self.store.delete_many(Scope("shop"), [key(0)])
        assert ever() == before + 9

    # Expiry

    def test_an_entry_is_valid_until_it_expires(self) -> None:
        self._set({key(1): NewEntry(b"", b"payload", self.clock() + 10)})
        self.clock.advance(9)
        assert self._payloads(key(1)) == [b"payload"]
        self.clock.advance(1)
        assert self._payloads(key(1)) == [None]

    def test_an_expired_entry_takes_no_other_with_it(self) -> None:
        now = self.clock()
        self._set({key(1): NewEntry(b"", b"1", now + 5), key(2): NewEntry(b"", b"2", now + 50)})
        self._set({key(3): NewEntry(b"", b"3")})
        self.clock.advance(10)
        assert self._payloads(key(1), key(2), key(1), key(3)) == [None, b"2", None, b"3"]

    def test_an_expired_entry_can_be_set_again(self) -> None:
        self._set({key(1): NewEntry(b"", b"old", self.clock() + 1)})
        self.clock.advance(2)
        self._set({key(1): NewEntry(b"", b"new", self.clock() + 1)})
        assert self._payloads(key(1)) == [b"new"]

    # Clearing, and the epochs that make it hold

    def test_clear_touches_no_other_namespace(self) -> None:
        self._set({key(1): NewEntry(b"", b"1")}, Scope("shop"))
        self._set({key(2): NewEntry(b"", b"2")}, Scope("blog"))
        self.store.clear("shop")
        assert self._payloads(key(1), namespace="shop") == [None]
        assert self._payloads(key(2), namespace="blog") == [b"2"]

    def test_clear_without_a_namespace_drops_everything(self) -> None:
        self._set({key(1): NewEntry(b"", b"1")}, Scope("shop"))
        self._set({key(2): NewEntry(b"", b"2")}, Scope("blog"))
        self.store.clear()
        assert self._payloads(key(1), namespace="shop") == [None]
        assert self._payloads(key(2), namespace="blog") == [None]

    def test_a_look_up_notes_the_epoch_that_clear_renews(self) -> None:
        def epoch() -> bytes | None:
            scope = Scope("shop")
            self.store.get_many(scope, [key(1)])
            return scope.epoch

        first = epoch()
        assert first is not None
        assert epoch() == first
        self.store.clear("shop")
        second = epoch()
        self.store.clear()
        assert len({first, second, epoch()}) == 3

    def test_what_was_looked_up_before_a_clear_and_set_after_is_never_seen(self) -> None:
        for namespace in ("shop", None):
            scope = Scope("shop")
            self.store.get_many(scope, [key(1)])
            self.store.clear(namespace)
            self._set({key(1): NewEntry(b"", b"from before the clear")}, scope)
            assert self._payloads(key(1)) == [None]

    def test_what_was_looked_up_before_a_delete_and_set_after_is_never_seen(self) -> None:
        scope = Scope("shop")
        self.store.get_many(scope, [key(1)])
        self.store.delete_many(Scope("shop"), [key(1)])
        self._set({key(1): NewEntry(b"", b"from before the delete")}, scope)
        assert self._payloads(key(1)) == [None]
        self.store.get_many(scope, [key(1)])
        self._set({key(1): NewEntry(b"", b"from after it")}, scope)
        assert self._payloads(key(1)) == [b"from after it"]

    def test_after_a_failed_look_up_nothing_is_stored(self) -> None:
        scope = Scope("shop", "v1")
        scope.epoch = b""
        with suppress(StoreError):  # a store may say so
            self._set({key(1): NewEntry(b"", b"payload")}, scope)
        assert self._payloads(key(1)) == [None]

    def test_clear_disturbs_no_computation_of_another_namespace(self) -> None:
        scope = Scope("blog")
        self.store.get_many(scope, [key(1)])
        self.store.clear("shop")
        self._set({key(1): NewEntry(b"", b"payload")}, scope)
        assert self._payloads(key(1), namespace="blog") == [b"payload"]

    def test_a_cleared_namespace_fills_again(self) -> None:
        self.store.clear("shop")
        self.store.clear()
        scope = Scope("shop")
        self.store.get_many(scope, [key(1)])
        self._set({key(1): NewEntry(b"", b"1")}, scope)
        self._set({key(2): NewEntry(b"", b"2")}, Scope("shop"))
        assert self._payloads(key(1), key(2)) == [b"1", b"2"]

    # Processes and threads

    def test_it_pickles_as_its_configuration(self) -> None:
        secret = b"what must not leave this process"
        self._set({key(1): NewEntry(b"", secret)})
        pickled = pickle.dumps(self.store)
        assert secret not in pickled
        with closing(pickle.loads(pickled)) as again:
            again.set_many(Scope("shop"), {key(2): NewEntry(b"", b"payload")})
            (found,) = again.get_many(Scope("shop"), [key(2)])
            assert parts(found) == NewEntry(b"", b"payload", None)

    def test_entries_outlive_the_process_if_the_store_is_persistent(self) -> None:
        self._set({key(1): NewEntry(b"", b"payload")})
        with closing(pickle.loads(pickle.dumps(self.store))) as again:
            found = again.get_many(Scope("shop"), [key(1)])
        assert [parts(entry) for entry in found] == (
            [NewEntry(b"", b"payload", None)] if self.store.persistent else [None]
        )

    def test_what_one_process_deletes_is_gone_from_all(self) -> None:
        self._drops_everywhere(lambda: self.store.delete_many(Scope("shop"), [key(1)]))

    def test_what_one_process_clears_is_gone_from_all(self) -> None:
        self._drops_everywhere(lambda: self.store.clear("shop"))
        self._drops_everywhere(self.store.clear)

    def test_it_can_be_used_after_close(self) -> None:
        self._set({key(1): NewEntry(b"", b"1")})
        self.store.close()
        self.store.close()
        self._set({key(2): NewEntry(b"", b"2")})
        assert self._payloads(key(2)) == [b"2"]

    def test_threads_get_only_what_was_set_for_the_key(self) -> None:
        assert used_by_threads(self.store) == []

    def test_a_process_forked_while_it_is_used_can_use_it(self) -> None:
        if not hasattr(os, "fork"):
            raise unittest.SkipTest("no processes are forked on this platform")
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                mixed_use(self.store, random.Random(7), rounds=5)

        thread = threading.Thread(target=work, daemon=True)
        interval = sys.getswitchinterval()
        # Forks at more places of an operation, and no wait of 5 ms each time one needs the GIL.
        sys.setswitchinterval(1e-4)
        thread.start()
        try:
            for _ in range(10):
                assert works_in_a_fork(self.store)
        finally:
            sys.setswitchinterval(interval)
            stop.set()
            thread.join(SECONDS)
        assert mixed_use(self.store, random.Random(7), rounds=5) == []

    def _drops_everywhere(self, drop: Callable[[], object]) -> None:
        self._set({key(1): NewEntry(b"", b"payload")})
        with closing(pickle.loads(pickle.dumps(self.store))) as other:
            if self.store.persistent:
                (found,) = other.get_many(Scope("shop"), [key(1)])
                assert found is not None
            drop()
            assert self._payloads(key(1)) == [None]
            deadline, pause = time.monotonic() + SECONDS, threading.Event()
            while other.get_many(Scope("shop"), [key(1)]) != [None]:
                assert time.monotonic() < deadline, "another process answers it for ever"
                pause.wait(0.01)

    def _get(self, *keys: bytes, namespace: str = "shop") -> list[Entry | None]:
        return self.store.get_many(Scope(namespace), keys)

    def _payloads(self, *keys: bytes, namespace: str = "shop") -> list[bytes | None]:
        found = self._get(*keys, namespace=namespace)
        return [None if entry is None else bytes(entry.payload) for entry in found]

    def _set(self, entries: Mapping[bytes, NewEntry], scope: Scope | None = None) -> None:
        self.store.set_many(Scope("shop") if scope is None else scope, entries)
