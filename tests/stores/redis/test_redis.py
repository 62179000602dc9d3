"""RedisStore on real servers: the contract, round trips, epochs, wrong types, credentials."""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
from support.redis_servers import Relay, Server, ServerCluster, free_port, redis
from support.redis_stores import opened, opened_from, writes_and_is_killed

from litcache.errors import StoreError
from litcache.stores.base import FORMAT, NewEntry, Scope
from litcache.stores.frame import frame
from litcache.stores.redis.store import RedisStore
from litcache.stores.redis.url import stripped
from litcache.testing import StoreContract

KEYS = [number.to_bytes(16, "big") for number in range(64)]
SECRETS = ("S3cret!", "s3cretuser")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with Server("valkey", tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def debian_redis(tmp_path_factory):
    with Server("redis", tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with ServerCluster("valkey", tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request):
    return request.getfixturevalue("valkey" if request.param == "valkey" else "debian_redis")


def make(url: str, **options) -> RedisStore:
    options = {"prefix": uuid.uuid4().hex, "timeout": 10, **options}
    return opened(url, **options)


@pytest.fixture
def store(server):
    server.flush()
    store = make(server.url)
    yield store
    store.close()


def entry(payload: bytes = b"payload", expires: float | None = None) -> NewEntry:
    return NewEntry(b"layout", payload, expires)


def payloads(store, keys=KEYS[:1], scope=None) -> list[bytes | None]:
    found = store.get_many(Scope("shop") if scope is None else scope, keys)
    return [None if each is None else bytes(each.payload) for each in found]


def name_of(store, key: bytes, namespace: str = "shop") -> bytes:
    return f"{store.prefix}:e{FORMAT}:".encode() + Scope(namespace).tag + key


def epochs_of(store) -> bytes:
    return store.prefix.encode() + b":epochs"


class TestOnValkey(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, valkey):
        valkey.flush()
        self.url = valkey.url

    def make_store(self, clock):
        return make(self.url, clock=clock)


class TestOnRedis(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, debian_redis):
        debian_redis.flush()
        self.url = debian_redis.url

    def make_store(self, clock):
        return make(self.url, clock=clock)


class TestFilled(TestOnValkey):
    filled_bytes = 4 << 20


@pytest.mark.e2e
class TestOnACluster(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, cluster):
        cluster.flush()
        self.url = cluster.url

    def make_store(self, clock):
        return make(self.url, clock=clock, cluster=True)


# Round trips


@pytest.fixture
def relay(server):
    with Relay(server.port) as relay:
        yield relay


def test_no_node_is_sent_anything_before_all_of_them_are_connected(valkey):
    """Else a write could be sent long after its epoch was answered, with a delete in between."""
    nodes = pytest.importorskip("litcache.stores.redis.nodes")
    options = nodes.Options(valkey.url, 10)
    there = nodes.Node(options, options.address)
    gone = nodes.Node(options, ("127.0.0.1", free_port()))
    name = uuid.uuid4().hex
    with pytest.raises(redis.ConnectionError):
        nodes.exchange({there: [("SET", name, "1")], gone: [("SET", name, "1")]})
    assert there.send([("EXISTS", name)]) == [0]
    there.close()


def test_a_batch_is_read_in_one_round_trip_and_written_in_one(relay):
    store, scope = make(relay.url), Scope("shop")
    store.get_many(scope, KEYS)
    before = relay.round_trips
    store.get_many(scope, KEYS)
    assert relay.round_trips == before + 1
    store.set_many(scope, {key: entry(key, 4e9) for key in KEYS})
    assert relay.round_trips == before + 2
    assert payloads(store, KEYS) == KEYS
    assert relay.round_trips == before + 3


def test_clear_takes_one_round_trip_whatever_there_is(relay):
    store = make(relay.url)
    keys = [n.to_bytes(16, "big") for n in range(3200)]
    store.set_many(Scope("shop"), dict.fromkeys(keys, entry()))
    before = relay.round_trips
    store.clear("shop")
    store.clear()
    assert relay.round_trips == before + 2


def test_nothing_is_sent_before_the_first_use(relay):
    make(relay.url)
    assert relay.round_trips == 0


# Epochs, and what other processes see; another store stands for another process


def test_a_clear_is_seen_by_another_process_at_its_next_look_up(store, server):
    other = make(server.url, prefix=store.prefix)
    store.set_many(Scope("shop"), {KEYS[0]: entry()})
    assert payloads(other) == [b"payload"]
    store.clear("shop")
    assert payloads(other) == [None]


def test_what_another_process_computed_during_a_clear_is_dropped_and_counted(store, server):
    other, scope = make(server.url, prefix=store.prefix), Scope("shop")
    other.get_many(scope, KEYS[:2])
    store.clear("shop")
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"after the clear")})
    other.set_many(scope, {KEYS[1]: entry(b"before the clear")})
    assert payloads(store, KEYS[:2]) == [b"after the clear", None]
    assert other.info().dropped == 1


def test_what_another_process_computed_during_a_delete_is_dropped_and_counted(store, server):
    other, scope = make(server.url, prefix=store.prefix), Scope("shop")
    store.set_many(Scope("shop"), {key: entry() for key in KEYS[:2]})
    other.get_many(scope, KEYS[:1])
    assert store.delete_many(Scope("shop"), KEYS[:1]) == 1
    other.set_many(scope, {KEYS[0]: entry(b"computed before the delete")})
    assert payloads(store, KEYS[:2]) == [None, b"payload"]
    assert other.info().dropped == 1


def test_a_delete_renews_what_a_look_up_notes_so_that_fronts_can_tell(store):
    before, after, other = Scope("shop"), Scope("shop"), Scope("blog")
    store.get_many(before, ())
    store.get_many(other, ())
    noted = other.epoch
    store.delete_many(Scope("shop"), KEYS[:1])
    store.get_many(after, ())
    store.get_many(other, ())
    assert after.epoch != before.epoch
    assert other.epoch == noted


def test_a_look_up_that_failed_lets_nothing_be_stored(store):
    scope = Scope("shop")
    dead = RedisStore("redis://127.0.0.1:1/0", prefix=store.prefix)
    with pytest.raises(StoreError):
        dead.get_many(scope, KEYS[:1])
    store.set_many(scope, {KEYS[0]: entry(b"maybe from before a clear")})
    assert payloads(store) == [None]
    assert store.info().dropped == 1


@pytest.mark.parametrize("lost", ["all", "e"])
def test_a_lost_epoch_revives_nothing(store, server, lost):
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"first")})
    store.clear("shop")
    store.set_many(Scope("shop"), {KEYS[1]: entry(b"second")})
    with server.client() as client:
        if lost == "all":
            assert client.delete(epochs_of(store)) == 1
        else:
            assert client.hdel(epochs_of(store), b"eshop") == 1
    assert payloads(store, KEYS[:2]) == [None, None]
    assert payloads(store, KEYS[:2]) == [None, None]


def test_other_keys_of_the_server_are_untouched(store, server):
    foreign = [b"litcache", store.prefix.encode(), store.prefix.encode() + b":x", b"shop", b"*"]
    with server.client() as client:
        for key in foreign:
            client.set(key, b"foreign")
        store.set_many(Scope("shop"), {key: entry() for key in KEYS})
        store.delete_many(Scope("shop"), KEYS)
        store.clear("shop")
        store.clear()
        assert [client.get(key) for key in foreign] == [b"foreign"] * len(foreign)
        ours = [key for key in client.scan_iter() if key not in foreign]
        # What deletes left keeps out late writers, and goes by itself.
        assert {client.type(key) for key in ours} == {b"list", b"stream"}
        assert all(key.startswith(store.prefix.encode()) and client.ttl(key) > 0 for key in ours)
        client.delete(*foreign)


def test_two_prefixes_share_nothing(store, server):
    other = make(server.url)
    other.set_many(Scope("shop"), {KEYS[0]: entry()})
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"of this prefix")})
    store.clear()
    assert payloads(other) == [b"payload"]
    assert other.info().entries == 1


@pytest.mark.parametrize("newer_first", [True, False])
def test_two_formats_neither_see_nor_remove_each_others_entries(
    store, server, monkeypatch, newer_first
):
    with monkeypatch.context() as patch:
        patch.setattr("litcache.stores.base.FORMAT", FORMAT + 1)
        newer = make(server.url, prefix=store.prefix)
        newer.get_many(Scope("shop"), KEYS)
        newer.set_many(Scope("shop"), {KEYS[0]: entry(b"newer")})
    store.get_many(Scope("shop"), KEYS)
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"older"), KEYS[1]: entry(b"older")})
    assert payloads(store, KEYS[:2]) == [b"older", b"older"]
    with monkeypatch.context() as patch:
        patch.setattr("litcache.stores.base.FORMAT", FORMAT + 1)
        assert payloads(newer, KEYS[:2]) == [b"newer", None]
        assert newer.info().corrupt == store.info().corrupt == 0
        assert (newer.info().entries, store.info().entries) == (1, 2)
    # A clear is of both.
    (newer if newer_first else store).clear("shop")
    assert payloads(store, KEYS[:2]) == payloads(newer, KEYS[:2]) == [None, None]


# Expiry


@pytest.mark.parametrize(("seconds", "left"), [(None, {-1}), (1e12, {-1}), (100, range(101))])
def test_redis_is_told_when_an_entry_expires(store, server, seconds, left):
    expires = None if seconds is None else store.clock() + seconds
    store.set_many(Scope("shop"), {KEYS[0]: entry(expires=expires)})
    with server.client() as client:
        assert client.ttl(name_of(store, KEYS[0])) in left
    assert payloads(store) == [b"payload"]


def test_an_entry_that_has_expired_is_not_sent(store, server):
    store.set_many(Scope("shop"), {KEYS[0]: entry(expires=store.clock() - 1), KEYS[1]: entry()})
    with server.client() as client:
        assert client.exists(name_of(store, KEYS[0])) == 0
    assert payloads(store, KEYS[:2]) == [None, b"payload"]


# What does not belong under its keys

WRONG_TYPES = {
    "list": lambda client, key: client.lpush(key, "x"),
    "hash": lambda client, key: client.hset(key, "field", "x"),
    "set": lambda client, key: client.sadd(key, "x"),
    "stream": lambda client, key: client.xadd(key, {"field": "x"}),
    "sorted set": lambda client, key: client.zadd(key, {"x": 1}),
}


@pytest.mark.parametrize("kind", WRONG_TYPES)
def test_a_key_of_another_type_is_a_miss_and_is_overwritten(store, server, kind):
    store.set_many(Scope("shop"), {KEYS[1]: entry()})
    with server.client() as client:
        WRONG_TYPES[kind](client, name_of(store, KEYS[0]))
    scope = Scope("shop")
    assert payloads(store, KEYS[:2], scope) == [None, b"payload"]
    store.set_many(scope, {KEYS[0]: entry(b"new")})
    assert payloads(store, KEYS[:2]) == [b"new", b"payload"]


@pytest.mark.parametrize("kind", ["string", "list", "set", "stream", "sorted set"])
@pytest.mark.parametrize("use", ["look up", "set", "delete", "clear"])
def test_epochs_of_another_type_clear_and_are_replaced(store, server, kind, use):
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"old")})
    with server.client() as client:
        client.delete(epochs_of(store))
        put = WRONG_TYPES.get(kind) or (lambda client, key: client.set(key, "x"))
        put(client, epochs_of(store))
    if use == "set":
        store.set_many(Scope("shop"), {KEYS[1]: entry()})
    elif use == "delete":
        assert store.delete_many(Scope("shop"), KEYS[:2]) == 0
    elif use == "clear":
        store.clear("shop")
    assert payloads(store, KEYS[:1]) == [None]
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"new")})
    assert payloads(store, KEYS[:1]) == [b"new"]


@pytest.mark.parametrize("epoch", [b"", b"short", b"x" * 9, b"x" * 1000])
def test_an_epoch_of_another_length_is_replaced(store, server, epoch):
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"old")})
    with server.client() as client:
        client.hset(epochs_of(store), b"eshop", epoch)
    assert payloads(store) == [None]
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"new")})
    assert payloads(store) == [b"new"]


def test_every_flipped_byte_and_every_cut_is_a_miss_deleted_and_counted(store, server):
    store.set_many(Scope("shop"), {KEYS[0]: entry()})
    name = name_of(store, KEYS[0])
    with server.client() as client:
        good = client.get(name)
        spoiled = [good[:n] + bytes([good[n] ^ 0x40]) + good[n + 1 :] for n in range(len(good))]
        spoiled += [good[:n] for n in range(len(good))] + [good + b"\0"]
        for data in spoiled:
            client.set(name, data)
            assert payloads(store) == [None]
            assert client.exists(name) == 0
        assert store.info().corrupt == len(spoiled)
        client.set(name, good)
    assert payloads(store) == [b"payload"]


def test_an_entry_that_came_under_another_key_is_not_answered(store, server):
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"of another input")})
    with server.client() as client:
        client.rename(name_of(store, KEYS[0]), name_of(store, KEYS[1]))
    assert payloads(store, KEYS[:2]) == [None, None]
    assert store.info().corrupt == 1


def test_an_entry_of_another_epoch_is_a_miss_but_not_corrupt(store, server):
    payloads(store)
    with server.client() as client:
        client.set(name_of(store, KEYS[0]), frame(entry(), b"12345678", KEYS[0]))
    assert payloads(store) == [None]
    assert store.info().corrupt == 0


# Counting


def test_info_estimates_a_large_store_from_a_sample(valkey):
    store, scope = make(valkey.url), Scope("shop")
    valkey.flush()
    with valkey.client() as client:
        client.mset({f"foreign {number}": b"x" for number in range(6000)})
    keys = [n.to_bytes(16, "big") for n in range(6000)]
    store.set_many(scope, {key: entry(bytes(1000)) for key in keys})
    info = store.info()
    assert 4500 <= info.entries <= 7500
    assert 1000 <= info.bytes / info.entries <= 1300
    with valkey.client() as client:
        real = client.memory_usage(name_of(store, keys[0]), samples=0)
    assert info.bytes / info.entries == pytest.approx(real, rel=0.15)


@pytest.mark.parametrize("prefix", ["lit*[cache]?", "a\\b", "{slot}", ""])
def test_namespaces_and_verify_read_all_that_is_under_the_prefix(valkey, prefix):
    valkey.flush()
    store = make(valkey.url, prefix=prefix)
    make(valkey.url, prefix="lit cache ").set_many(Scope("shop"), dict.fromkeys(KEYS, entry()))
    many = [number.to_bytes(16, "big") for number in range(500)]
    store.set_many(Scope("shop", "v1"), dict.fromkeys(many, entry(bytes(100))))
    store.set_many(Scope("shop", "v2"), dict.fromkeys(many[:1], entry(bytes(100))))
    store.set_many(Scope("blog\ud800", "\ud800"), dict.fromkeys(KEYS[:2], entry(bytes(100))))
    size = len(frame(entry(bytes(100)), b"12345678"))
    blog = ("blog\ud800", ("\ud800",), 2, 2 * size)
    assert store.namespaces() == [blog, ("shop", ("v1", "v2"), 500, 500 * size)]
    assert store.verify() == (502, 0)
    with valkey.client() as client:
        for key in many[:6]:
            client.setrange(name_of(store, key), 50, b"\xff")
        client.delete(name_of(store, many[6]))
        client.lpush(name_of(store, many[6]), "x")
    assert store.verify() == (502, 7)
    store.clear("shop")
    assert store.namespaces() == [blog]
    store.get_many(Scope("shop"), many[10:11])
    assert store.namespaces()[1] == ("shop", (), 0, 0)  # what was told before is gone
    with valkey.client() as client:
        assert client.hlen(f"{prefix}:notes") == 1  # the version of the blog
    assert store.info().corrupt == 0


@pytest.mark.e2e
def test_namespaces_and_verify_read_all_nodes(cluster):
    cluster.flush()
    store = make(cluster.url, cluster=True)
    store.set_many(Scope("shop"), dict.fromkeys(KEYS, entry()))
    assert [(found.name, found.entries) for found in store.namespaces()] == [("shop", 64)]
    assert store.verify() == (64, 0)


# Connections


def test_it_talks_to_a_unix_socket(tmp_path):
    path = tmp_path / "socket"
    with Server("valkey", tmp_path, "--unixsocket", str(path)):
        store = make(f"unix://{path}?db=3")
        store.set_many(Scope("shop"), {KEYS[0]: entry()})
        assert payloads(store) == [b"payload"]
        assert payloads(opened_from(pickle.dumps(store))) == [b"payload"]
        assert repr(store) == f"RedisStore('unix://{path}', prefix='{store.prefix}')"


def test_it_talks_tls_and_refuses_a_server_that_it_cannot_verify(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    made += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(made, check=True, capture_output=True)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(cert))
    with Server("redis", tmp_path, *tls, "--tls-cert-file", str(cert), "--tls-key-file", str(key)):
        store = make(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}")
        store.set_many(Scope("shop"), {KEYS[0]: entry()})
        assert payloads(store) == [b"payload"]
        with pytest.raises(StoreError, match="certificate"):
            payloads(make(f"rediss://127.0.0.1:{port}/0"))


def test_a_timeout_must_be_a_positive_number_of_seconds():
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            RedisStore("redis://127.0.0.1/0", timeout=timeout)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"url": None}, TypeError, "url=None must be text, such as"),
        ({"url": b"redis://:S3cret!@host"}, TypeError, "url=<bytes> must be text, such as"),
        ({"prefix": 1}, TypeError, "prefix=1 must be text"),
        ({"prefix": None}, TypeError, "prefix=None must be text"),
        ({"prefix": "\ud800"}, ValueError, r"prefix='\\ud800' must be text that UTF-8 can write"),
        ({"timeout": "1s"}, TypeError, "timeout='1s' must be a positive number of seconds"),
        ({"timeout": None}, TypeError, "timeout=None must be a positive number of seconds"),
        ({"timeout": True}, TypeError, "timeout=True must be a positive number of seconds"),
        ({"timeout": 1e10}, ValueError, "timeout=1.* must be .* at most 31,536,000"),
        ({"timeout": 10**400}, ValueError, "timeout=1.* must be .* at most 31,536,000"),
        ({"cluster": "false"}, TypeError, "cluster='false' must be True or False"),
        ({"cluster": None}, TypeError, "cluster=None must be True or False"),
        ({"clock": 5.0}, TypeError, r"clock=5.0 must be a function clock\(\)"),
        ({"monotonic": None}, TypeError, r"monotonic=None must be a function monotonic\(\)"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(options, error, told):
    with pytest.raises(error, match=f"^{told}") as caught:
        RedisStore(**{"url": "redis://127.0.0.1/0", **options})
    assert not leaks(str(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "redis://host/abc", "redis://host/-1", "redis://host/1/2", "redis://host/+1",
        "redis://host/1_0", "redis://host/1.0", "rediss://host/\u0663", "redis://host?db=-1",
        "redis://host/abc?db=2", "unix:///run/valkey.sock?db=-1",
    ],
)  # fmt: skip
def test_a_url_with_a_database_that_is_no_number_is_refused(url):
    with pytest.raises(ValueError, match=r"^url: .* the number of a database, such as /0"):
        RedisStore(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host", "redis://host/", "redis://host/2", "redis://host/2/", "redis://host/%32",
        "redis://host/?db=2", "redis://host/1?db=2", "unix:///run/valkey.sock?db=2",
    ],
)  # fmt: skip
def test_a_url_with_a_database_or_none_is_taken(url):
    assert repr(RedisStore(url)).startswith("RedisStore(")


@pytest.mark.parametrize("url", ["redis://host:0", "unix://", "redis://h\ud800st"])
def test_a_url_that_names_no_server_is_refused(url):
    with pytest.raises(ValueError, match=r"^url: .* redis://, rediss:// or unix://"):
        RedisStore(url)


@pytest.mark.parametrize("url", ["redis://host/1", "redis://host?db=1"])
def test_a_cluster_has_no_other_database(url):
    with pytest.raises(ValueError, match=r"^url: with cluster=True .* database 0"):
        RedisStore(url, cluster=True)


def test_without_a_prefix_it_leaves_all_other_keys_alone(server):
    foreign = {"foreign": b"1", "epochs": b"2", "e3:abc": b"3", ":other": b"4", ":e2:old": b"5"}
    store, other = make(server.url, prefix=""), make(server.url)
    with server.client() as client:
        client.mset(foreign)
        for each in (store, other):
            payloads(each, KEYS)
            each.set_many(Scope("shop"), dict.fromkeys(KEYS, entry()))
        assert payloads(store, KEYS) == [b"payload"] * 64
        assert (store.info().entries, store.names(), store.verify()) == (64, ["shop"], (64, 0))
        assert store.delete_many(Scope("shop"), KEYS[:1]) == 1
        store.clear("shop")
        store.clear()
        assert payloads(store, KEYS) == [None] * 64
        assert payloads(other, KEYS) == [b"payload"] * 64
        assert {name: client.get(name) for name in foreign} == foreign
        client.delete(*foreign)


def test_without_redis_py_it_says_what_to_install():
    program = """
import sys
sys.modules["redis"] = None
from litcache.stores.redis.store import RedisStore
from litcache.stores.redis.url import stripped
try:
    RedisStore("redis://127.0.0.1/0")
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "RedisStore needs redis-py, the extra litcache[redis]: pip install redis\n"


def test_redis_py_is_not_loaded_before_a_store_is_made():
    program = "import sys, litcache.stores.redis.store; print('redis' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "False\n"


# Credentials


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that asks for a password with every sign that URLs know."""
    password = "p@ss/wörd:#?%${}"
    config = ("--requirepass", password)
    with Server("valkey", tmp_path_factory.mktemp("guarded"), *config) as server:
        yield server, password


WITH_SECRETS = {
    "token as user name": "redis://S3cret!@127.0.0.1:{port}/0",
    "token as user name with a colon": "redis://S3cret!:@127.0.0.1:{port}/0",
    "token in the query": "redis://127.0.0.1:{port}/0?username=S3cret!",
    "account": "redis://s3cretuser:S3cret!@127.0.0.1:{port}/0",
    "password": "redis://:S3cret!@127.0.0.1:{port}/0",
    "query": "redis://127.0.0.1:{port}/0?password=S3cret!&username=default",
    "tls": "rediss://s3cretuser:S3cret!@127.0.0.1:{port}/0?ssl_password=S3cret!",
    "encoded": "redis://s3cretuser:S3cret%21@127.0.0.1:{port}/0",
}


def leaks(text: object) -> list[str]:
    return [secret for secret in (*SECRETS, "S3cret%21") if secret in str(text)]


@pytest.mark.parametrize("kind", WITH_SECRETS)
def test_credentials_are_in_no_repr_error_log_or_pickle(guarded, kind, caplog):
    caplog.set_level(logging.DEBUG)
    store = make(WITH_SECRETS[kind].format(port=guarded[0].port), timeout=0.2)
    said = [repr(store), str(vars(store)["_remote"]), pickle.dumps(store).decode("latin-1")]
    for _ in range(4):
        with pytest.raises(StoreError) as caught:
            payloads(store)
        error = caught.value
        while error is not None:
            said += [repr(error), str(error), repr(error.args)]
            error = error.__cause__ or error.__context__
    assert caplog.messages
    assert not leaks("\n".join(said + caplog.messages))


def test_a_server_that_repeats_what_it_was_sent_does_not_bring_it_into_errors(caplog):
    """Old servers and proxies quote the arguments of commands that they do not know."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    while data := client.recv(1 << 16):
                        quoted = data.replace(b"\r\n", b" ")
                        client.sendall(b"-ERR unknown command, with args: " + quoted + b"\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        store = make(f"redis://s3cretuser:S3cret!@127.0.0.1:{listener.getsockname()[1]}/0")
        for _ in range(3):
            with pytest.raises(StoreError) as caught:
                payloads(store)
            error = caught.value
            while error is not None:
                assert not leaks(repr(error))
                error = error.__cause__ or error.__context__
        assert not leaks(caplog.text)


def test_the_account_of_the_docs_may_do_all_that_the_store_does(server):
    page = (Path(__file__).parents[3] / "docs" / "stores.md").read_text()
    (rule,) = re.findall(r"^ACL SETUSER (.*)$", page, re.MULTILINE)
    server.flush()
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", *rule.split())
        admin.set("foreign", "value")
    user, password = rule.split()[0], re.search(r">(\S+)", rule)[1]
    store = make(server.url.replace("//", f"//{user}:{password}@"), prefix="litcache")
    scope = Scope("shop", "v1")
    assert payloads(store, KEYS, scope) == [None] * 64
    store.set_many(scope, dict.fromkeys(KEYS, entry(expires=time.time() + 60)))
    assert payloads(store, KEYS) == [b"payload"] * 64
    assert store.delete_many(Scope("shop"), KEYS[:1]) == 1
    assert store.info().entries == 63
    assert store.namespaces()[0].entries == 63
    assert store.verify() == (63, 0)
    store.clear("shop")
    store.clear()
    store.close()
    limited = server.client(username=user, password=password)
    with limited as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.get("foreign")


@pytest.mark.parametrize(
    "url",
    [
        "http://s3cretuser:S3cret!@127.0.0.1:6379",
        "redis://s3cretuser:S3cret!/x@127.0.0.1:6379/0",
        "redis://s3cretuser:12/S3cret!@127.0.0.1:6379/0",
        "redis://s3cretuser:S3cret!#x@127.0.0.1:6379/0",
        "redis://s3cretuser:S3cret!@127.0.0.1:S3cret!/0",
        "redis://s3cretuser:S3cret!@127.0.0.1:6379/0?socket_timeout=S3cret!",
        "redis://127.0.0.1:6379/0?no_such_option=S3cret!",
        "rediss://127.0.0.1:6379/0?ssl_cert_reqs=S3cret!",
        "S3cret!",
        "",
    ],
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="URL") as caught:
        RedisStore(url)
    error = caught.value
    while error is not None:
        assert not leaks(repr(error))
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("redis://host/0", True),
        ("redis://host:6379/0?db=3", True),
        ("redis://service:${NAME}@host/0", True),
        ("redis://${TOKEN}@host/0", True),
        ("redis://host/0?username=service&password=${NAME}", True),
        ("redis://service@host/0?password=${NAME}", True),
        ("redis://:${NAME}@host/0?username=service", True),
        ("unix:///run/redis.sock?password=${NAME}", True),
        ("redis://service:literal@host/0", False),
        ("redis://service:@host/0", False),
        ("redis://token@host/0", False),
        ("redis://host/0?username=token", False),
        ("redis://service:${NAME}@host/0?ssl_password=literal", False),
    ],
)
def test_what_is_pickled_of_a_url_has_no_secret(url, kept):
    left = stripped(url)
    assert (left == url) is kept
    assert "token" not in left
    assert "literal" not in left
    assert ("service" in left) is (
        (kept and "service" in url) or ("${NAME}" in url and "service" in url)
    )


@pytest.mark.parametrize("form", ["password", "account", "whole", "query"])
def test_a_password_named_by_a_variable_works_and_survives_pickling(guarded, monkeypatch, form):
    server, password = guarded
    place = f"127.0.0.1:{server.port}/0"
    url = {
        "password": "redis://:${LITCACHE_TEST_PASSWORD}@" + place,
        "account": "redis://${LITCACHE_TEST_USER}:${LITCACHE_TEST_PASSWORD}@" + place,
        "whole": "${LITCACHE_TEST_URL}",
        "query": f"redis://{place}?password=${{LITCACHE_TEST_PASSWORD}}",
    }[form]
    monkeypatch.setenv("LITCACHE_TEST_USER", "default")
    monkeypatch.setenv("LITCACHE_TEST_PASSWORD", password)
    monkeypatch.setenv("LITCACHE_TEST_URL", f"redis://:{quote(password, safe='')}@{place}")
    store = make(url)
    store.set_many(Scope("shop"), {KEYS[0]: entry()})
    pickled = pickle.dumps(store)
    assert password.encode() not in pickled
    assert quote(password, safe="").encode() not in pickled
    assert payloads(opened_from(pickled)) == [b"payload"]


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("LITCACHE_TEST_PASSWORD", raising=False)
    with pytest.raises(ValueError, match="LITCACHE_TEST_PASSWORD is not set"):
        RedisStore("redis://:${LITCACHE_TEST_PASSWORD}@127.0.0.1/0")


def test_a_pickled_copy_without_its_password_says_what_to_do(guarded):
    server, password = guarded
    store = make(f"redis://:{quote(password, safe='')}@127.0.0.1:{server.port}/0")
    store.set_many(Scope("shop"), {KEYS[0]: entry()})
    copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(store))))
    with pytest.raises(StoreError, match="environment variable"):
        payloads(copy)


# Cluster


@pytest.mark.e2e
def test_a_batch_is_spread_over_the_cluster_and_cleared_everywhere(cluster):
    cluster.flush()
    store, scope = make(cluster.url, cluster=True), Scope("shop")
    other = make(cluster.servers[2].url, prefix=store.prefix, cluster=True)
    assert payloads(store, KEYS, scope) == [None] * 64
    store.set_many(scope, {key: entry(key) for key in KEYS})
    assert payloads(other, KEYS) == KEYS
    for server in cluster.servers:
        with server.client() as client:
            assert client.dbsize() > 5
    assert store.info().entries == 64
    store.clear("shop")
    assert payloads(other, KEYS) == [None] * 64


@pytest.mark.e2e
def test_a_slot_that_moves_costs_no_entry(cluster):
    store, scope = make(cluster.url, cluster=True), Scope("shop")
    store.set_many(scope, {key: entry(key) for key in KEYS})
    assert payloads(store, KEYS) == KEYS
    cluster.move_slot_of(name_of(store, KEYS[0]))
    cluster.move_slot_of(epochs_of(store))
    assert payloads(store, KEYS) == KEYS
    cluster.move_slot_of(name_of(store, KEYS[1]))
    store.set_many(Scope("shop"), {key: entry(b"new") for key in KEYS})
    assert payloads(store, KEYS) == [b"new"] * 64
    cluster.move_slot_of(epochs_of(store))
    store.clear("shop")
    assert payloads(store, KEYS) == [None] * 64


@pytest.mark.e2e
def test_a_single_server_store_says_that_it_met_a_cluster(cluster):
    store = make(cluster.url)
    with pytest.raises(StoreError, match="cluster=True"):
        store.set_many(Scope("shop"), dict.fromkeys(KEYS, entry()))


# Two processes, one of which is paused in the middle of a call


def after(call, what, *, number=1):
    """Return `call` that does something else before its call of this number."""
    calls = iter(range(1, 1000))

    def paused(*arguments):
        if next(calls) == number:
            what()
        return call(*arguments)

    return paused


@pytest.mark.parametrize("kind", ["single", pytest.param("cluster", marks=pytest.mark.e2e)])
@pytest.mark.parametrize("stored", ["between", "after"])
def test_two_deletes_that_overtake_each_other_bar_nobody_from_storing(request, kind, stored):
    servers = request.getfixturevalue("cluster" if kind == "cluster" else "debian_redis")
    prefix, options = uuid.uuid4().hex, {"cluster": kind == "cluster"}
    first, second, writer = (make(servers.url, prefix=prefix, **options) for _ in range(3))

    def store(payload):
        scope = Scope("shop")
        writer.get_many(scope, KEYS[1:2])
        writer.set_many(scope, {KEYS[1]: entry(payload)})

    def overtake():
        second.delete_many(Scope("shop"), KEYS[1:2])
        if stored == "between":
            store(b"between")

    writer.get_many(Scope("shop"), ())
    first._remote.confirm = after(first._remote.confirm, overtake)
    first.delete_many(Scope("shop"), KEYS[:1])
    store(b"new")
    assert payloads(writer, KEYS[1:2]) == [b"new"]
    assert writer.info().dropped == 0


@pytest.mark.parametrize("noted", [b"", b"no place", b"7-x", b"99999999999999-", b"1-0"])
def test_a_delete_takes_the_place_of_whatever_was_noted_of_an_earlier_one(store, server, noted):
    payloads(store)
    with server.client() as client:
        client.hset(epochs_of(store), b"dshop", b"token..." + noted)
        store.delete_many(Scope("shop"), KEYS[:1])
        ((place, _),) = client.xrange(store.prefix.encode() + b":deleted:shop")
        noted = client.hget(epochs_of(store), b"dshop")
    assert noted[8:] == place
    assert noted[:8] != b"token..."


def test_a_delete_never_takes_a_place_back_but_is_noticed(store, server):
    """The clock of a server that took over may be behind."""
    scope = Scope("shop")
    with server.client() as client:
        client.hset(epochs_of(store), b"dshop", b"token...99999999999999-10")
        payloads(store, scope=scope)
        store.delete_many(Scope("shop"), KEYS[:1])
        noted = client.hget(epochs_of(store), b"dshop")
    assert noted[8:] == b"99999999999999-10"
    store.set_many(scope, {KEYS[0]: entry(b"from before the delete")})
    assert payloads(store) == [None]


def test_who_finds_an_entry_of_an_older_epoch_writes_over_no_newer_one(store, server):
    late, scope = make(server.url, prefix=store.prefix), Scope("shop")
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"epoch 0")})
    store.clear("shop")
    late.get_many(scope, KEYS[:1])

    def clear_and_store():
        store.clear("shop")
        store.set_many(Scope("shop"), {KEYS[0]: entry(b"epoch 2")})

    late._remote.send = after(late._remote.send, clear_and_store, number=2)
    late.set_many(scope, {KEYS[0]: entry(b"epoch 1")})
    assert payloads(store) == [b"epoch 2"]
    assert late.info().dropped == 1


@pytest.mark.parametrize("spoilt", [b"", b"x", b"x" * 23])
def test_what_is_too_short_to_have_an_epoch_is_written_over(store, server, spoilt):
    scope = Scope("shop")
    payloads(store, scope=scope)
    with server.client() as client:
        client.set(name_of(store, KEYS[0]), spoilt)
    store.set_many(scope, {KEYS[0]: entry(b"new")})
    assert payloads(store) == [b"new"]


def test_what_expires_soon_after_a_delete_keeps_out_writers_from_before_it(server, monkeypatch):
    now = [time.time()]
    store = make(server.url, clock=lambda: now[0])
    late, before = make(server.url, prefix=store.prefix), Scope("shop")
    payloads(late, scope=before)
    store.delete_many(Scope("shop"), KEYS[:1])
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"right", now[0] + 1)})
    assert payloads(store) == [b"right"]
    with server.client() as client:
        assert client.pttl(name_of(store, KEYS[0])) > 500_000
    now[0] += 2
    writes_and_is_killed(late, before, {KEYS[0]: entry(b"wrong")}, monkeypatch)
    assert payloads(store) == [None]
    assert store.info().expired == 1
    store.set_many(Scope("shop"), {KEYS[0]: entry(b"new")})
    assert payloads(store) == [b"new"]
    assert store.delete_many(Scope("shop"), KEYS[:1]) == 1


@pytest.mark.parametrize(
    ("since", "stays"), [(700, range(1, 1001)), (300, range(300_000, 400_000)), (-9e9, {600_000})]
)
def test_what_is_stored_long_after_a_delete_goes_when_it_expires(server, since, stays):
    begun = time.time()
    store, told, scope = make(server.url, clock=lambda: begun + since), [], Scope("shop")
    store.delete_many(Scope("shop"), KEYS[1:2])
    payloads(store, scope=scope)
    send = store._remote.send
    store._remote.send = lambda commands: (told.append(commands), send(commands))[1]
    store.set_many(scope, {KEYS[0]: entry(b"new", begun + since + 1)})
    (milliseconds,) = (int(each[8]) for each in told[0] if name_of(store, KEYS[0]) in each[:4])
    assert milliseconds in stays
    assert payloads(store) == [b"new"]
