"""RedisStore on a server that dies, hangs, is full or is another: misses, never more."""

from __future__ import annotations

import contextlib
import logging
import random
import re
import select
import socket
import ssl
import threading
import time
import uuid

import pytest
from support.redis_servers import Dripping, Relay, Server, ServerCluster, eventually
from support.redis_stores import opened, writes_and_is_killed

from litcache.errors import StoreError
from litcache.stores.base import FORMAT, NewEntry, Scope
from litcache.stores.frame import epoch_of, unframe
from litcache.stores.redis.store import RedisStore
from litcache.stores.redis.wire import Deadline, Wire, packed

pytestmark = pytest.mark.e2e

TIMEOUT = 0.05
# Where a second timeout, after the server goes on, would fail the test: no usual pause is as long.
LONGER = 0.5
# What a call may take on top of its timeout while the machine is busy with other things.
SLACK = 0.5
KEYS = [number.to_bytes(16, "big") for number in range(64)]


class Clock:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server(tmp_path):
    with Server("valkey", tmp_path) as server:
        yield server


def make(server, **options) -> RedisStore:
    """Return a store that no pause of a busy machine ends, unless a test gives it `TIMEOUT`."""
    return opened(server.url, prefix=uuid.uuid4().hex, **{"timeout": 10, **options})


def entries(keys=KEYS, size: int = 100) -> dict[bytes, NewEntry]:
    return {key: NewEntry(b"layout", key * size) for key in keys}


def works(store) -> bool:
    """Return whether an entry can be set and got."""
    scope = Scope("probe")
    try:
        store.get_many(scope, KEYS[:1])
        store.set_many(scope, entries(KEYS[:1]))
        return store.get_many(Scope("probe"), KEYS[:1]) != [None]
    except StoreError:
        return False


def seconds_of_failure(call, *args) -> float:
    start = time.monotonic()
    with pytest.raises(StoreError):
        call(*args)
    return time.monotonic() - start


class Traffic:
    """Threads that look up and store as a service does, and check whatever they get."""

    def __init__(self, store, threads: int = 4) -> None:
        self.store = store
        self.hits = self.failures = self.calls = 0
        self.wrong: list[object] = []
        self.slowest = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(seed,), daemon=True) for seed in range(threads)
        ]

    def _run(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._stop.is_set():
            keys = rng.sample(KEYS, 8)
            start = time.monotonic()
            hits, failed = 0, False
            try:
                scope = Scope("shop")
                found = self.store.get_many(scope, keys)
                hits = sum(entry is not None for entry in found)
                wrong = [
                    entry
                    for key, entry in zip(keys, found, strict=True)
                    if entry is not None and bytes(entry.payload) != key * 100
                ]
                missing = [key for key, entry in zip(keys, found, strict=True) if entry is None]
                self.store.set_many(scope, entries(missing))
            except StoreError:
                failed, wrong = True, []
            except BaseException as error:
                wrong = [error]
            took = time.monotonic() - start
            with self._lock:
                self.calls += 1
                self.hits += hits
                self.failures += failed
                self.wrong += wrong
                self.slowest = max(self.slowest, took)
            # As little as a model takes; lets the test, and the server, have the processor.
            self._stop.wait(0.001)

    def more(self, what: str) -> None:
        """Wait until a counter has grown."""
        before = getattr(self, what)
        eventually(lambda: getattr(self, what) > before + 20, f"more {what}")

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"


def test_a_server_killed_in_traffic_costs_misses_and_is_used_again_when_it_is_back(server, caplog):
    store = make(server, timeout=TIMEOUT)
    with Traffic(store) as traffic:
        traffic.more("hits")
        server.kill()
        traffic.more("failures")
        back = time.monotonic() + 5
        eventually(lambda: time.monotonic() > back, "5 s have passed")
        hits = traffic.hits
        server.start()
        traffic.more("hits")
        assert traffic.hits > hits
    assert traffic.wrong == []
    # A look-up and a write, one of which may fail.
    assert traffic.slowest < TIMEOUT + SLACK
    lines = [line for line in caplog.messages if "RedisStore" in line]
    assert len(lines) == 2
    assert re.search(r"does not answer \((Connection|BrokenPipe)", lines[0])
    assert "answers again" in lines[1]


def test_a_server_that_hangs_in_traffic_costs_a_timeout_and_then_nothing(server, caplog):
    store = make(server, timeout=LONGER)
    with Traffic(store) as traffic:
        traffic.more("hits")
        server.pause()
        try:
            traffic.more("failures")
            traffic.more("failures")
        finally:
            server.resume()
        traffic.more("hits")
    assert traffic.wrong == []
    assert traffic.slowest < LONGER + SLACK
    assert ["TimeoutError" in line for line in caplog.messages] == [True, False]


@pytest.mark.parametrize("opened", [True, False], ids=["open connections", "new connections"])
def test_while_the_server_hangs_three_calls_take_a_timeout_and_no_other(server, opened):
    clock = Clock()
    store = make(server, timeout=TIMEOUT, monotonic=clock)
    if opened:
        eventually(lambda: works(store), "it works")
    server.pause()
    try:
        waits = [seconds_of_failure(store.get_many, Scope("shop"), KEYS) for _ in range(3)]
        assert all(TIMEOUT * 0.9 < wait < TIMEOUT + SLACK for wait in waits)
        refusals = [
            seconds_of_failure(call, *args)
            for call, *args in [
                (store.get_many, Scope("shop"), KEYS),
                (store.set_many, Scope("shop"), entries()),
                (store.delete_many, Scope("shop"), KEYS),
                (store.clear, "shop"),
                (store.info,),
            ]
            for _ in range(20)
        ]
        assert sorted(refusals)[len(refusals) // 2] < TIMEOUT / 10
        clock.now += 1
        assert seconds_of_failure(store.get_many, Scope("shop"), KEYS) > TIMEOUT * 0.9
        assert seconds_of_failure(store.get_many, Scope("shop"), KEYS) < TIMEOUT * 0.9
    finally:
        server.resume()

    def works_again() -> bool:
        clock.now += 10
        return works(store)

    eventually(works_again, "it works again")


def test_of_a_batch_whose_look_up_hangs_the_write_waits_for_nothing(server):
    store, scope = make(server, timeout=TIMEOUT), Scope("shop")
    server.pause()
    try:
        seconds_of_failure(store.get_many, scope, KEYS)
        start = time.monotonic()
        store.set_many(scope, entries())
        assert time.monotonic() - start < TIMEOUT * 0.9
    finally:
        server.resume()
    assert store.info().dropped == 64


def test_while_a_probe_is_out_other_threads_wait_for_nothing(server):
    clock = Clock()
    store = make(server, timeout=TIMEOUT, monotonic=clock)
    server.pause()
    try:
        for _ in range(3):
            seconds_of_failure(store.get_many, Scope("shop"), KEYS)
        clock.now += 1
        barrier, waits = threading.Barrier(8), []

        def look_up() -> None:
            barrier.wait(10)
            waits.append(seconds_of_failure(store.get_many, Scope("shop"), KEYS))

        threads = [threading.Thread(target=look_up) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(waits) == 8
        assert sum(wait > TIMEOUT * 0.9 for wait in waits) == 1
    finally:
        server.resume()


def test_a_restarted_server_is_used_at_once_over_new_connections(server):
    store = make(server)
    assert works(store)
    server.kill()
    server.start()
    assert works(store)


def test_connections_that_a_router_lost_cost_one_timeout_and_not_one_each(server):
    with Relay(server.port) as relay:
        store = opened(relay.url, timeout=0.2)
        node = store._remote._process().nodes._node
        connections = [node.take(Deadline(10)) for _ in range(4)]
        for connection in connections:
            connection.send(packed([("PING",)]), Deadline(10))
            assert connection.answers(1, Deadline(10)) == [b"PONG"]
            node.give(connection)
        relay.lose()
        seconds_of_failure(store.get_many, Scope("shop"), KEYS[:1])
        assert works(store)


def test_a_connection_whose_answer_did_not_come_in_time_is_not_used_again(server):
    """An answer that comes late would be taken for that to the next question."""
    held: list[socket.socket] = []
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                held.append(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        store = opened(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", timeout=TIMEOUT)
        try:
            for count in (1, 2, 3):
                seconds_of_failure(store.clear, "shop")
                eventually(lambda count=count: len(held) == count, "a connection of its own")
        finally:
            stop.set()
            thread.join(20)
            for connection in held:
                connection.close()


def test_a_full_server_drops_writes_and_goes_on_answering(server, caplog):
    store, scope = make(server), Scope("shop")
    store.get_many(scope, KEYS)
    store.set_many(scope, entries())
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + (1 << 20))
    more = [number.to_bytes(16, "big") for number in range(1000, 3000)]
    for start in range(0, len(more), 64):
        store.set_many(scope, entries(more[start : start + 64]))
    dropped = store.info().dropped
    assert 0 < dropped < len(more)
    found = store.get_many(Scope("shop"), KEYS + more)
    assert sum(entry is None for entry in found) == dropped
    for key, entry in zip(KEYS + more, found, strict=True):
        assert entry is None or entry.payload == key * 100
    assert [line for line in caplog.messages if "full" in line] == caplog.messages
    assert len(caplog.messages) == 1
    with server.client() as client:
        client.config_set("maxmemory", 0)
    store.set_many(Scope("shop"), entries(more))
    assert None not in store.get_many(Scope("shop"), more)
    assert "has room again" in caplog.messages[1]


@pytest.mark.parametrize("how", ["clear", "clear all", "delete"])
def test_a_full_server_can_be_cleared_and_deleted_from(server, how):
    store, scope = make(server), Scope("shop")
    store.set_many(Scope("shop"), entries())
    store.get_many(scope, KEYS)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
    if how == "delete":
        assert store.delete_many(Scope("shop"), KEYS[:1]) == 1
    else:
        store.clear(None if how == "clear all" else "shop")
    with pytest.raises(StoreError):
        store.get_many(Scope("shop"), KEYS)  # there is no room for an epoch
    store.set_many(scope, entries())
    with server.client() as client:
        client.config_set("maxmemory", 0)
    assert store.get_many(Scope("shop"), KEYS) == [None] * 64
    assert works(store)


def test_keys_that_change_type_in_traffic_are_misses_and_nothing_else(server):
    store = make(server)
    rng = random.Random(7)
    names = [f"{store.prefix}:e{FORMAT}:".encode() + Scope("shop").tag + key for key in KEYS]
    with Traffic(store) as traffic, server.client() as client:
        traffic.more("hits")
        for _ in range(300):
            name = rng.choice([*names, store.prefix.encode() + b":epochs"])
            with client.pipeline() as pipeline:
                pipeline.delete(name)
                rng.choice(
                    [
                        lambda p, n: p.lpush(n, "x"),
                        lambda p, n: p.hset(n, "eshop", "x"),
                        lambda p, n: p.set(n, rng.randbytes(40)),
                        lambda p, n: p.xadd(n, {"field": "x"}),
                    ]
                )(pipeline, name)
                pipeline.execute()
        traffic.more("hits")
    assert traffic.wrong == []
    assert store.info().corrupt > 0


ANSWERS = {
    "nothing": b"",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no number": b"*x\r\n",
    "no list": b"+OK\r\n" * 99,
    "numbers": b":7\r\n" * 99,
    "lists": b"*1\r\n$1\r\nx\r\n" * 99,
    "nulls": b"*-1\r\n" * 99,
    "empty lists": b"*0\r\n" * 99,
    "refusals": b"-NOPERM no permissions\r\n" * 99,
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n" * 99,
    "no password given": b"-NOAUTH Authentication required.\r\n" * 99,
    "a replica": b"-READONLY You can't write against a read only replica.\r\n" * 99,
    "half": b"*2\r\n$8\r\n1234",
    "lists in lists": b"*1\r\n" * 100_000,
    "a string without end": b"$99999999999\r\n",
    "a string of negative length": b"$-7\r\n" * 99,
    "a line without end": b"+" + b"x" * 1_000_000,
    "a list of very many": b"*2000000000\r\n",
    "places that are none": b"-MOVED 7\r\n-ASK\r\n-ASK 7 x:y\r\n" * 99,
    "noise": random.Random(7).randbytes(1000),
}


@pytest.mark.parametrize("cluster", [False, True])
@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_a_server_answers_it_is_an_entry_a_miss_or_a_store_error(answer, cluster):
    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(ConnectionError):
                while client.recv(1 << 16):
                    client.sendall(ANSWERS[answer])
                    if answer in ("nothing", "another protocol"):
                        break

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        store = opened(url, timeout=TIMEOUT, cluster=cluster)
        calls = [
            (store.get_many, Scope("shop"), KEYS),
            (store.get_many, Scope("shop"), ()),
            (store.set_many, Scope("shop"), entries()),
            (store.delete_many, Scope("shop"), KEYS),
            (store.clear, "shop"),
            (store.clear,),
            (store.info,),
        ]
        for call, *args in calls:
            try:
                result = call(*args)
            except StoreError:
                continue
            assert call not in (store.get_many, store.set_many, store.delete_many, store.info)
            assert result is None
        store.close()


def test_a_cluster_with_a_node_that_hangs_costs_a_timeout_and_is_used_again(tmp_path):
    with ServerCluster("valkey", tmp_path) as cluster:
        store = opened(cluster.url, timeout=TIMEOUT, cluster=True)
        eventually(lambda: works(store), "the cluster works")
        store.set_many(Scope("shop"), entries())
        cluster.servers[1].pause()
        try:
            waits = [seconds_of_failure(store.get_many, Scope("shop"), KEYS) for _ in range(3)]
            assert all(wait < 2 * TIMEOUT + SLACK for wait in waits)
            refusals = [seconds_of_failure(store.get_many, Scope("shop"), KEYS) for _ in range(9)]
            assert sorted(refusals)[4] < TIMEOUT / 10
        finally:
            cluster.servers[1].resume()

        def all_back() -> bool:
            try:
                found = store.get_many(Scope("shop"), KEYS)
            except StoreError:
                return False
            return [entry and entry.payload for entry in found] == [key * 100 for key in KEYS]

        eventually(all_back, "the entries are answered again")


def test_a_cluster_whose_slots_went_to_another_server_is_used_again(tmp_path):
    with ServerCluster("valkey", tmp_path) as cluster:
        clock = Clock()
        store = opened(cluster.url, timeout=TIMEOUT, cluster=True, monotonic=clock)
        eventually(lambda: works(store), "the cluster works")
        cluster.lose_server(2)

        def written() -> bool:
            clock.now += 10
            try:
                scope = Scope("shop")
                store.get_many(scope, KEYS)
                store.set_many(scope, entries())
                found = store.get_many(Scope("shop"), KEYS)
            except StoreError:
                return False
            return [entry and entry.payload for entry in found] == [key * 100 for key in KEYS]

        eventually(written, "entries are stored on the servers that are left")


def test_the_log_is_quiet_while_the_server_stays_dead(server, caplog):
    caplog.set_level(logging.DEBUG, "litcache")
    clock = Clock()
    store = make(server, timeout=TIMEOUT, monotonic=clock)
    server.kill()
    for _ in range(50):
        seconds_of_failure(store.get_many, Scope("shop"), KEYS)
        clock.now += 1
    assert len(caplog.messages) == 1


# One deadline an exchange


@pytest.mark.parametrize("size", [10, 100, 10_000])
def test_an_answer_that_drips_is_given_up_in_time_and_opens_the_breaker(server, size):
    clock = Clock()
    store = make(server, monotonic=clock)
    store.set_many(Scope("shop"), entries(size=size))
    with Dripping(server.port, back=20_000) as dripping:
        slow = opened(dripping.url, store.prefix, TIMEOUT, monotonic=clock)
        for _ in range(3):
            assert seconds_of_failure(slow.get_many, Scope("shop"), KEYS) < TIMEOUT + SLACK
        assert slow.breaker_open
        assert seconds_of_failure(slow.get_many, Scope("shop"), KEYS) < TIMEOUT


class Connection:
    """What redis-py would give a wire."""

    def __init__(self, sock) -> None:
        self._sock = sock


def passed() -> Deadline:
    deadline = Deadline(10)
    deadline._until = float("-inf")
    return deadline


def test_an_answer_that_is_there_is_taken_however_long_the_client_was_paused(server, monkeypatch):
    store = make(server)
    store.set_many(Scope("shop"), entries())
    send = Wire.send

    def pause(wire, data, deadline):
        send(wire, data, deadline)
        assert select.select([wire._socket], [], [], 20)[0]
        deadline._until = float("-inf")

    with monkeypatch.context() as patch:
        patch.setattr(Wire, "send", pause)
        found = store.get_many(Scope("shop"), KEYS[:1])
    assert found[0].payload == KEYS[0] * 100
    assert not store.breaker_open


def nulls(number):
    return b"*%d\r\n" % number + b"$-1\r\n" * number


READINGS = (
    (nulls(3), [None] * 3),
    (b"*2\r\n" + nulls(2) + nulls(1), [[None] * 2, [None]]),
    (b"*3\r\n$-1\r\n$-1\r\n$1\r\na\r\n", [None, None, b"a"]),
    (b"*2\r\n$-1\r\n*-1\r\n", [None, None]),
    (b"*0\r\n", []),
    (b"$4\r\n$-1\n\r\n", b"$-1\n"),
    (b":3\r\n", 3),
)


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 20])
def test_answers_are_read_in_whatever_pieces_they_come(piece):
    class Pieces:
        left = b"".join(sent for sent, _ in READINGS)

        def settimeout(self, seconds):
            pass

        def recv(self, most):
            now, self.left = self.left[:piece], self.left[piece:]
            return now

    wire = Wire(Connection(Pieces()))
    assert wire.answers(len(READINGS), Deadline(10)) == [meant for _, meant in READINGS]


def test_a_list_of_more_nulls_than_came_takes_no_memory_before_they_come():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"*99999999999\r\n$-1\r\n")
        with pytest.raises(TimeoutError):
            Wire(Connection(ours)).answers(1, passed())


def test_commands_are_sent_part_by_part_whatever_their_lengths():
    commands = [("GET", b"name"), ("MGET", b"ab", b"cd", b"e", b"fg", b""), ("WAIT", 1, 20), ("é",)]
    parts = [
        [part if isinstance(part, bytes) else str(part).encode() for part in c] for c in commands
    ]
    assert packed(commands) == b"".join(
        b"*%d\r\n" % len(some) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in some)
        for some in parts
    )


@pytest.mark.parametrize("sent", [b"", b"$7\r\nhal"])
def test_an_answer_that_is_not_there_when_the_time_is_up_is_given_up(sent):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        with pytest.raises(TimeoutError):
            Wire(Connection(ours)).answers(1, passed())


@pytest.mark.parametrize("error", [BlockingIOError, ssl.SSLWantReadError])
def test_an_answer_that_drips_for_ever_is_given_up_though_something_is_always_there(error):
    class Drip:
        read = 0

        def settimeout(self, seconds):
            assert seconds == 0

        def recv(self, most):
            self.read += 1
            return b"0"

    class Dry(Drip):
        def recv(self, most):
            raise error

    drip = Drip()
    with pytest.raises(TimeoutError):
        Wire(Connection(drip)).answers(1, passed())
    assert 0 < drip.read < 100
    with pytest.raises(TimeoutError):
        Wire(Connection(Dry())).answers(1, passed())


@pytest.mark.parametrize("rate", [None, 40 << 20], ids=["this host", "a network"])
def test_a_large_value_fits_the_default_timeout(server, rate):
    large = NewEntry(b"layout", random.Random(7).randbytes(20 << 20))
    with Dripping(server.port, there=rate, back=rate) as network:
        store = opened(network.url, prefix=uuid.uuid4().hex)

        def written_and_read() -> list[bytes | None] | None:
            """Nothing moves while the machine runs other things: a busy one needs more tries."""
            try:
                scope = Scope("shop")
                store.get_many(scope, KEYS[:1])
                store.set_many(scope, {KEYS[0]: large, KEYS[1]: NewEntry(b"", b"small")})
                found = store.get_many(Scope("shop"), KEYS[:3])
            except StoreError:
                return None
            return [entry and entry.payload for entry in found]

        answered = eventually(written_and_read, "20 MiB were written and read")
        assert answered == [large.payload, b"small", None]


def test_many_small_values_come_in_order_whatever_pieces_they_come_in(server):
    store = make(server, timeout=5.0)
    many = {n.to_bytes(16, "big"): NewEntry(b"", b"%d" % n * (n % 500)) for n in range(3000)}
    store.set_many(Scope("shop"), many)
    found = store.get_many(Scope("shop"), list(many))
    assert [entry.payload for entry in found] == [entry.payload for entry in many.values()]


# Deleted is deleted


@pytest.mark.parametrize("kind", ["single", "cluster"])
@pytest.mark.parametrize("there", [True, False], ids=["stored", "being computed"])
def test_a_deleted_entry_does_not_come_back_with_a_writer_that_is_killed(
    request, monkeypatch, kind, there
):
    server = request.getfixturevalue("server" if kind == "single" else "cluster")
    prefix = uuid.uuid4().hex
    options = {"prefix": prefix, "timeout": 5, "cluster": kind == "cluster"}
    store, other = opened(server.url, **options), opened(server.url, **options)
    eventually(lambda: works(store), "it works")
    if there:
        store.set_many(Scope("shop"), entries(KEYS[:2]))
    scope = Scope("shop")
    other.get_many(scope, KEYS[:2])
    assert store.delete_many(Scope("shop"), KEYS[:1]) == there
    writes_and_is_killed(other, scope, entries(KEYS[:2]), monkeypatch)
    assert store.get_many(Scope("shop"), KEYS[:1]) == [None]
    # Who looks up after the delete may store it again, and again after another.
    for _ in range(2):
        scope = Scope("shop")
        store.get_many(scope, KEYS[:1])
        store.set_many(scope, entries(KEYS[:1]))
        assert store.get_many(Scope("shop"), KEYS[:1]) != [None]
        store.delete_many(Scope("shop"), KEYS[:1])
        assert store.get_many(Scope("shop"), KEYS[:1]) == [None]
    assert store.verify()[1] == 0


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("drop", ["delete", "clear"])
@pytest.mark.parametrize("kind", ["single", "cluster"])
def test_what_was_stored_after_a_drop_outlives_a_writer_from_before_it(
    request, monkeypatch, kind, drop, killed
):
    server = request.getfixturevalue("server" if kind == "single" else "cluster")
    options = {"prefix": uuid.uuid4().hex, "timeout": 5, "cluster": kind == "cluster"}
    store, late = opened(server.url, **options), opened(server.url, **options)
    eventually(lambda: works(store), "it works")
    old = Scope("shop")
    late.get_many(old, KEYS)
    if drop == "delete":
        store.delete_many(Scope("shop"), KEYS)
    else:
        store.clear("shop")
    new = Scope("shop")
    store.get_many(new, KEYS)
    store.set_many(new, entries())
    older = entries(size=7)
    if killed:
        writes_and_is_killed(late, old, older, monkeypatch)
    else:
        late.set_many(old, older)
        assert late.info().dropped == len(KEYS)
    found = store.get_many(Scope("shop"), KEYS)
    assert [entry and entry.payload for entry in found] == [key * 100 for key in KEYS]
    assert store.verify() == (len(KEYS) + 1, 0)  # and that of `works`
    # Who looks up now may write over them.
    store.get_many(new, KEYS)
    store.set_many(new, older)
    found = store.get_many(Scope("shop"), KEYS)
    assert [entry and entry.payload for entry in found] == [key * 7 for key in KEYS]


def test_an_entry_that_was_written_after_a_delete_is_found_by_every_way_through_the_store(server):
    store, scope = make(server), Scope("shop")
    store.set_many(Scope("shop"), entries())
    store.delete_many(Scope("shop"), KEYS[:32])
    store.get_many(scope, KEYS)
    store.set_many(scope, entries(KEYS[:48], size=200))
    survey = store.survey()
    pages = [page for page in survey.pages() if page.entries]
    read = {key: unframe(data, epoch_of(data), key) for page in pages for key, data in page.entries}
    assert {key: entry.payload for key, entry in read.items()} == {
        key: key * (200 if key in KEYS[:48] else 100) for key in KEYS
    }
    (space,) = store.namespaces()
    assert (space.name, space.entries) == ("shop", 64)
    assert store.verify() == (64, 0)
    assert store.delete_many(Scope("shop"), KEYS) == 64


@pytest.mark.parametrize("drop", ["another delete", "a clear"])
def test_a_deleted_entry_can_be_stored_again_whatever_is_dropped_next(server, drop):
    store = make(server)
    store.set_many(Scope("shop"), entries(KEYS[:2]))
    store.delete_many(Scope("shop"), KEYS[:1])
    if drop == "a clear":
        store.clear("shop")
    else:
        store.delete_many(Scope("shop"), KEYS[1:2])
    scope = Scope("shop")
    store.get_many(scope, KEYS[:2])
    store.set_many(scope, entries(KEYS[:2]))
    assert None not in store.get_many(Scope("shop"), KEYS[:2])
    assert store.info().dropped == 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with ServerCluster("valkey", tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


# Replicas


@pytest.fixture
def replica(server, tmp_path):
    (tmp_path / "replica").mkdir()
    config = ("--replicaof", f"127.0.0.1 {server.port}", "--repl-diskless-sync-delay", "0")
    with Server("valkey", tmp_path / "replica", *config) as replica:
        with replica.client() as client:
            eventually(
                lambda: client.info("replication")["master_link_status"] == "up", "it follows"
            )
        yield replica


@pytest.mark.parametrize("how", ["clear", "clear all", "delete"])
def test_what_was_dropped_stays_so_after_a_failover(server, replica, how):
    store = opened(server.url, prefix=uuid.uuid4().hex, timeout=2)
    scope = Scope("shop")
    store.get_many(scope, KEYS)
    store.set_many(scope, entries())

    def drop():
        if how == "delete":
            assert store.delete_many(Scope("shop"), KEYS) in (0, 64)
        else:
            store.clear(None if how == "clear all" else "shop")

    replica.pause()
    with pytest.raises(StoreError, match="no replica has confirmed"):
        drop()
    replica.resume()
    drop()
    server.kill()
    with replica.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    after = opened(replica.url, prefix=store.prefix, timeout=2)
    assert after.get_many(Scope("shop"), KEYS) == [None] * 64


# Slots that are on their way


@pytest.mark.parametrize("moving", ["epochs", "entry", "both"])
def test_while_slots_move_everything_works(cluster, moving):
    prefix = uuid.uuid4().hex
    store = opened(cluster.url, prefix=prefix, timeout=5, cluster=True)
    eventually(lambda: works(store), "it works")
    store.set_many(Scope("shop"), entries())
    name = f"{prefix}:e{FORMAT}:".encode() + Scope("shop").tag + KEYS[0]
    finish = []
    if moving != "entry":
        finish.append(cluster.begin_to_move_slot_of(f"{prefix}:epochs".encode()))
    if moving != "epochs":
        finish.append(cluster.begin_to_move_slot_of(name))
    try:
        found = store.get_many(Scope("shop"), KEYS)
        assert [entry and entry.payload for entry in found] == [key * 100 for key in KEYS]
        store.set_many(Scope("shop"), entries(size=50))
        found = store.get_many(Scope("shop"), KEYS)
        assert [entry and entry.payload for entry in found] == [key * 50 for key in KEYS]
        assert store.delete_many(Scope("shop"), KEYS[:1]) == 1
        store.clear("shop")
        assert store.get_many(Scope("shop"), KEYS) == [None] * 64
        assert works(store)
    finally:
        for end in finish:
            end()
    store.set_many(Scope("shop"), entries())
    assert None not in store.get_many(Scope("shop"), KEYS)
