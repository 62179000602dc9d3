"""What a store promises of leases: a part of `StoreContract`."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Protocol

from litcache.stores.base import Lease, NewEntry, Scope, Store
from litcache.testing.doubles import FakeClock
from litcache.testing.hard_use import SECONDS, key

_OURS, _THEIRS = Lease(b"ours....", 3_600.0), Lease(b"theirs..", 3_600.0)


class _Contract(Protocol):
    """What these tests need of the contract."""

    @property
    def store(self) -> Store:
        """The store under test."""

    @property
    def clock(self) -> FakeClock:
        """The clock that the store was made with."""


class LeaseContract:
    """What a store promises of leases, as test methods; a store that grants all grants them all."""

    def test_a_lease_keeps_others_off_until_it_is_released(self: _Contract) -> None:
        store = self.store
        assert _asked(store, _OURS) == {}
        assert _asked(store, _OURS) == {}, "who asks again has the lease still"
        held = _asked(store, _THEIRS, key(2), key(1))
        assert held == ({key(1): _OURS.holder} if store.grants_leases else {})
        _release(store, _THEIRS)  # it is not theirs
        assert bool(_asked(store, _THEIRS)) is store.grants_leases
        _release(store, _OURS)
        assert _asked(store, _THEIRS) == {}

    def test_a_lease_is_not_an_entry_and_keeps_none_out(self: _Contract) -> None:
        store, scope = self.store, Scope("shop")
        _asked(store, _OURS)
        before = store.info().entries
        assert store.get_many(scope, [key(1)]) == [None]
        store.set_many(scope, {key(1): NewEntry(b"", b"of one who has no lease")})
        entries, holders = store.get_or_lease_many(Scope("shop"), [key(1), key(2)], _THEIRS)
        assert [entry and bytes(entry.payload) for entry in entries] == [
            b"of one who has no lease",
            None,
        ]
        assert holders == {}
        assert store.info().entries == before + 1

    def test_an_entry_that_its_holder_stores_ends_a_lease(self: _Contract) -> None:
        store, scope = self.store, Scope("shop")
        scope.lease = _OURS
        store.get_or_lease_many(scope, [key(1), key(2)], _OURS)
        store.set_many(scope, {key(1): NewEntry(b"", b"payload", self.clock() + 10)})
        self.clock.advance(10)
        held = _asked(store, _THEIRS, key(1), key(2))
        assert held == ({key(2): _OURS.holder} if store.grants_leases else {})

    def test_a_clear_ends_the_leases_of_its_namespace(self: _Contract) -> None:
        store = self.store
        _asked(store, _OURS)
        _asked(store, _OURS, key(2), namespace="blog")
        store.clear("shop")
        assert _asked(store, _THEIRS) == {}
        held = _asked(store, _THEIRS, key(2), namespace="blog")
        assert bool(held) is store.grants_leases
        store.clear()
        assert _asked(store, _OURS) == {}
        assert _asked(store, _THEIRS, key(2), namespace="blog") == {}

    def test_a_delete_ends_the_leases_of_its_keys(self: _Contract) -> None:
        _asked(self.store, _OURS)
        self.store.delete_many(Scope("shop"), [key(1)])
        assert _asked(self.store, _THEIRS) == {}

    def test_a_lease_ends_with_its_time(self: _Contract) -> None:
        _asked(self.store, _OURS._replace(seconds=0.05))
        deadline, pause = time.monotonic() + SECONDS, threading.Event()
        while _asked(self.store, _THEIRS):
            assert time.monotonic() < deadline, "a lease of 50 ms lasts for ever"
            pause.wait(0.01)

    def test_all_processes_see_a_lease(self: _Contract) -> None:
        grants = self.store.grants_leases
        with closing(pickle.loads(pickle.dumps(self.store))) as other:
            assert _asked(self.store, _OURS) == {}
            assert _asked(other, _THEIRS) == ({key(1): _OURS.holder} if grants else {})
            _release(self.store, _OURS)
            assert _asked(other, _THEIRS) == {}
            assert _asked(self.store, _OURS) == ({key(1): _THEIRS.holder} if grants else {})

    def test_after_many_have_asked_at_once_one_of_them_has_the_lease(self: _Contract) -> None:
        store, start = self.store, threading.Barrier(8)
        leases = [Lease(b"%08d" % number, 3_600.0) for number in range(8)]
        won: list[Lease] = []

        def ask(lease: Lease) -> None:
            start.wait(SECONDS)
            if not _asked(store, lease):
                won.append(lease)

        threads = [threading.Thread(target=ask, args=(lease,)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        # A store that was busy has granted some of them in doubt.
        assert len(won) >= (1 if store.grants_leases else 8)
        kept = [lease for lease in leases if not _asked(store, lease)]
        assert len(kept) == (1 if store.grants_leases else 8)


def _asked(
    store: Store, lease: Lease, *keys: bytes, namespace: str = "shop"
) -> Mapping[bytes, bytes]:
    """Return who else holds the keys that a holder asks for."""
    asked: Sequence[bytes] = keys or (key(1),)
    scope = Scope(namespace)
    entries, holders = store.get_or_lease_many(scope, asked, lease)
    assert entries == [None] * len(asked)
    return holders


def _release(store: Store, lease: Lease) -> None:
    scope = Scope("shop")
    store.get_many(scope, ())  # the epoch of now
    store.release_many(scope, [key(1)], lease)
