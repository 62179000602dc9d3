"""Leases of a RedisStore: round trips, epochs, deletes, full servers, clusters."""

from __future__ import annotations

import contextlib
import time
import uuid

import pytest
from support.redis_servers import Relay, Server, ServerCluster, eventually
from support.redis_stores import opened

from litcache.errors import StoreError
from litcache.stores.base import FORMAT, Lease, NewEntry, Scope
from litcache.stores.redis import store as redis_store

KEYS = [number.to_bytes(16, "big") for number in range(64)]
OURS, THEIRS = Lease(b"ours....", 3600.0), Lease(b"theirs..", 3600.0)


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request, tmp_path_factory):
    with Server(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


def make(server, prefix=None, **options):
    return opened(server.url, prefix=prefix or uuid.uuid4().hex, timeout=10, **options)


def holders(store, lease, keys=KEYS[:1], namespace="shop"):
    return store.get_or_lease_many(Scope(namespace), keys, lease)[1]


def entries(keys=KEYS):
    return {key: NewEntry(b"layout", b"payload of " + key) for key in keys}


def test_a_lease_takes_the_round_trip_of_the_look_up(server):
    with Relay(server.port) as relay:
        ours, theirs = make(relay, "one"), make(relay, "one")
        for store, lease, held in ((ours, OURS, 0), (theirs, THEIRS, 64)):
            holders(store, lease)  # sees the epoch
            before = relay.round_trips
            assert len(holders(store, lease, KEYS)) == held
            assert relay.round_trips - before == 1
        scope = Scope("shop")
        ours.get_or_lease_many(scope, KEYS, OURS)
        before = relay.round_trips
        scope.lease = OURS
        ours.set_many(scope, entries())
        assert relay.round_trips - before == 1
        found, others = ours.get_or_lease_many(Scope("shop"), KEYS, OURS)
        assert relay.round_trips - before == 2
        assert None not in found
        assert others == {}


def test_entries_of_another_epoch_give_way_to_leases(server):
    ours, theirs = make(server, "epochs"), make(server, "epochs")
    for store in (ours, theirs):
        store.get_or_lease_many(Scope("shop"), KEYS[:1], OURS)
    ours.set_many(Scope("shop"), entries())
    theirs.clear("shop")
    assert holders(ours, OURS, KEYS) == {}
    assert holders(theirs, THEIRS, KEYS) == dict.fromkeys(KEYS, OURS.holder)
    ours.clear("shop")  # leases of another epoch give way, too
    assert holders(theirs, THEIRS, KEYS) == {}


def test_who_has_not_seen_a_clear_removes_no_newer_entry(server):
    ours, theirs = make(server, "newer"), make(server, "newer")
    assert holders(ours, OURS) == {}
    theirs.clear("shop")
    theirs.set_many(Scope("shop"), entries())
    found, others = ours.get_or_lease_many(Scope("shop"), KEYS, OURS)
    assert None not in found
    assert others == {}
    assert None not in theirs.get_many(Scope("shop"), KEYS)


def test_the_mark_of_a_delete_stays_under_a_lease(server):
    store = make(server)
    before = Scope("shop")
    store.get_many(before, KEYS)
    store.delete_many(Scope("shop"), KEYS[:1])
    for lease in (OURS, THEIRS):  # nobody waits for a key that was just deleted
        assert holders(store, lease) == {}
    store.release_many(before, KEYS[:1], OURS)
    store.set_many(before, entries(KEYS[:1]))
    assert store.get_many(Scope("shop"), KEYS[:1]) == [None]


def test_a_lease_ends_by_the_clock_of_the_server(server):
    store = make(server)
    holders(store, OURS._replace(seconds=0.02))
    with server.client() as client:
        name = f"{store.prefix}:e{FORMAT}:".encode() + Scope("shop").tag + KEYS[0]
        eventually(lambda: not client.exists(name), "the server ends the lease")
    assert holders(store, THEIRS) == {}


def test_leases_are_no_entries_for_those_who_look_through_the_store(server):
    store = make(server)
    holders(store, OURS, KEYS)
    assert store.verify() == (0, 0)
    assert store.info().entries == 0
    assert [space.entries for space in store.namespaces()] == [0]


def test_a_full_server_grants_every_lease(server):
    store = make(server)
    holders(store, OURS)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        try:
            assert holders(store, THEIRS, KEYS[1:]) == {}
        finally:
            client.config_set("maxmemory", 0)
    assert holders(store, OURS, KEYS[1:]) == {}


def test_an_entry_that_came_with_the_look_up_is_found(server):
    """Between the two commands of one look-up, another client may store."""
    store, names = make(server), []
    holders(store, OURS)  # sees the epoch
    look_up = store._remote.ask

    def ask(question):
        answer, values, told = look_up(question)
        names.append(told)
        return answer, [None] * len(values), told  # as it was before

    store.set_many(Scope("shop"), entries(KEYS[:1]))
    store._remote.ask = lambda question: (setattr(store._remote, "ask", look_up), ask(question))[1]
    found, others = store.get_or_lease_many(Scope("shop"), KEYS[:1], THEIRS)
    assert names == [[b"+"]]
    assert found[0].payload == b"payload of " + KEYS[0]
    assert others == {}


@pytest.mark.parametrize("end", ["store", "release"])
def test_what_expired_soon_after_a_delete_gives_way_to_a_lease_that_keeps_out_the_same(server, end):
    now = [time.time()]
    ours, theirs = (make(server, f"soon {end}", clock=lambda: now[0]) for _ in range(2))
    before, scope = Scope("shop"), Scope("shop")
    theirs.get_many(before, KEYS[:1])
    ours.delete_many(Scope("shop"), KEYS[:1])
    ours.set_many(Scope("shop"), {KEYS[0]: NewEntry(b"layout", b"short", now[0] + 1)})
    now[0] += 2
    assert ours.get_or_lease_many(scope, KEYS[:1], OURS) == ([None], {})
    assert holders(theirs, THEIRS) == {KEYS[0]: OURS.holder}
    assert holders(ours, OURS) == {}
    theirs.set_many(before.copy(), entries(KEYS[:1]))
    assert holders(theirs, THEIRS) == {KEYS[0]: OURS.holder}
    if end == "store":
        scope.lease = OURS
        ours.set_many(scope, entries(KEYS[:1]))
        assert ours.get_many(Scope("shop"), KEYS[:1]) != [None]
    else:
        ours.release_many(scope, KEYS[:1], OURS)
        assert holders(theirs, THEIRS) == {}
        theirs.set_many(before, entries(KEYS[:1]))
        assert ours.get_many(Scope("shop"), KEYS[:1]) == [None]
    assert theirs.info().dropped == (1 if end == "store" else 2)


@pytest.mark.parametrize("why", ["expired", "too large", "full", "deleted meanwhile", "refused"])
def test_who_cannot_store_what_it_leased_lets_the_others_go_on(server, monkeypatch, why):
    now = [1000.0]
    ours, theirs = (make(server, f"let go {why}", clock=lambda: now[0]) for _ in range(2))
    scope = Scope("shop")
    ours.get_many(scope, KEYS[:2])
    assert ours.get_or_lease_many(scope, KEYS[:2], OURS)[1] == {}
    assert holders(theirs, THEIRS, KEYS[:2]) == dict.fromkeys(KEYS[:2], OURS.holder)
    scope.lease = OURS
    answer = {KEYS[0]: NewEntry(b"layout", b"payload", now[0] + 1)}
    stored = set()
    with contextlib.ExitStack() as undo:
        if why == "expired":
            now[0] += 2
            answer |= entries(KEYS[1:2])
            stored.add(KEYS[1])
        elif why == "too large":
            undo.enter_context(monkeypatch.context()).setattr(redis_store, "_LARGEST", 10)
        elif why == "deleted meanwhile":
            theirs.delete_many(Scope("shop"), KEYS[2:3])
        elif why == "full":
            client = undo.enter_context(server.client())
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            undo.callback(client.config_set, "maxmemory", 0)
        else:
            broken = ("EVAL", "return redis.error_reply('ERR no')", 0)
            undo.enter_context(monkeypatch.context()).setattr(
                redis_store, "stored", lambda *_: broken
            )
            undo.enter_context(pytest.raises(StoreError, match="refuses"))
        ours.set_many(scope, answer)
    found, others = theirs.get_or_lease_many(Scope("shop"), list(answer), THEIRS)
    assert others == {}
    assert {key for key, entry in zip(answer, found, strict=True) if entry} == stored
    if why == "expired":
        assert holders(ours, OURS) == {KEYS[0]: THEIRS.holder}


@pytest.mark.e2e
def test_in_a_cluster_every_shard_leases_its_keys(tmp_path):
    with ServerCluster("valkey", tmp_path) as cluster:
        ours, theirs = (make(cluster, "shards", cluster=True) for _ in range(2))
        assert holders(ours, OURS, KEYS[::2]) == {}
        assert holders(theirs, THEIRS, KEYS) == dict.fromkeys(KEYS[::2], OURS.holder)
        scope = Scope("shop")
        ours.get_or_lease_many(scope, KEYS[::2], OURS)
        ours.release_many(scope, KEYS[:2], OURS)
        assert holders(theirs, THEIRS, KEYS) == dict.fromkeys(KEYS[2::2], OURS.holder)
