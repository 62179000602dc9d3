"""TieredStore: what fills the front, what reaches the back, how fast a front forgets."""

from __future__ import annotations

import pickle
import random
import threading
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forks import in_a_fork
from support.redis_servers import Server
from support.redis_stores import opened

from litcache.errors import StoreError
from litcache.stores.base import NewEntry, Scope, Store
from litcache.stores.memory import MemoryStore
from litcache.stores.redis.store import RedisStore
from litcache.stores.shared.store import SharedStore
from litcache.stores.tiered import TieredStore
from litcache.testing import FailingStore, FakeClock, StoreContract

KEYS = [number.to_bytes(16, "big") for number in range(8)]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with Server("valkey", tmp_path_factory.mktemp("valkey")) as server:
        yield server


class Counting(Store):
    """Passes calls on to a store, and counts them."""

    persistent = blocking = True

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = store.clock
        self.asked: list[tuple[bytes, ...]] = []

    def get_many(self, scope, keys):
        self.asked.append(tuple(keys))
        return self.store.get_many(scope, keys)

    def set_many(self, scope, entries):
        self.store.set_many(scope, entries)

    def delete_many(self, scope, keys):
        return self.store.delete_many(scope, keys)

    def clear(self, namespace=None):
        self.store.clear(namespace)

    def info(self):
        return self.store.info()


class TestOverRedis(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, valkey):
        valkey.flush()
        self.url = valkey.url

    def make_store(self, clock):
        back = opened(self.url, prefix=uuid.uuid4().hex, timeout=10, clock=clock)
        return TieredStore(MemoryStore("16 MiB", clock=clock), back)


class TestOverRedisLookingEachTime(StoreContract):
    """The same with a clock that makes each look-up ask the back."""

    @pytest.fixture(autouse=True)
    def _server(self, valkey):
        valkey.flush()
        self.url = valkey.url

    def make_store(self, clock):
        back = opened(self.url, prefix=uuid.uuid4().hex, timeout=10, clock=clock)
        return TieredStore(MemoryStore("16 MiB", clock=clock), back, monotonic=_Hurrying())


class _Hurrying:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class TestOverShared(StoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def make_store(self, clock):
        back = SharedStore(self.folder / "shared", "64 MiB", timeout=10, clock=clock)
        return TieredStore(MemoryStore("16 MiB", clock=clock), back)


class TestFullOverShared(TestOverShared):
    filled_bytes = 65 << 20


# Two processes, each with a front, share a back


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["redis", "shared"])
def back(request, tmp_path):
    if request.param == "shared":
        back = SharedStore(tmp_path / "shared", "32 MiB", timeout=10)
    else:
        url = request.getfixturevalue("valkey").url
        back = RedisStore(url, prefix=uuid.uuid4().hex, timeout=10)
    yield back
    back.close()


def tier(back, clock) -> TieredStore:
    return TieredStore(MemoryStore("16 MiB"), back, monotonic=clock)


def fill(store, keys=KEYS, payload: bytes = b"payload") -> None:
    scope = Scope("shop")
    store.get_many(scope, keys)
    store.set_many(scope, {key: NewEntry(b"layout", payload) for key in keys})


def payloads(store, keys=KEYS[:1], namespace: str = "shop") -> list[bytes | None]:
    found = store.get_many(Scope(namespace), keys)
    return [None if entry is None else bytes(entry.payload) for entry in found]


def test_a_write_reaches_both_and_a_read_fills_the_front(back, clock):
    first, second = tier(back, clock), tier(back, clock)
    fill(first)
    assert payloads(first.front) == payloads(first.back) == [b"payload"]
    assert payloads(second.front) == [None]
    assert payloads(second) == [b"payload"]
    assert payloads(second.front) == [b"payload"]


def test_the_front_gets_the_expiry_that_is_left(back, clock):
    wall = FakeClock()
    back.clock = wall
    expires = wall() + 10
    back.set_many(Scope("shop"), {KEYS[0]: NewEntry(b"", b"payload", expires)})
    store = TieredStore(MemoryStore(clock=wall), back, monotonic=clock)
    wall.advance(7)
    (found,) = store.get_many(Scope("shop"), KEYS[:1])
    assert found.expires == expires
    (found,) = store.front.get_many(Scope("shop"), KEYS[:1])
    assert found.expires == expires
    wall.advance(3)
    assert payloads(store.front) == [None]
    assert payloads(store) == [None]


def test_the_back_is_asked_for_what_the_front_lacks_alone(clock):
    back = Counting(MemoryStore())
    store = tier(back, clock)
    fill(store, KEYS[:3])
    back.asked.clear()
    assert payloads(store, KEYS[:5]) == [b"payload"] * 3 + [None] * 2
    assert back.asked == [tuple(KEYS[3:5])]


def test_hits_of_the_front_ask_the_back_twice_a_second_and_no_more(clock):
    back = Counting(MemoryStore())
    store = tier(back, clock)
    fill(store)
    back.asked.clear()
    for _ in range(1000):
        assert payloads(store, KEYS) == [b"payload"] * 8
        clock.advance(0.01)
    assert back.asked == [()] * len(back.asked)
    assert 18 <= len(back.asked) <= 20


def test_the_front_answers_at_once_what_it_holds_and_nothing_else(clock):
    back = Counting(MemoryStore())
    store = TieredStore(MemoryStore(), back, monotonic=clock)
    store.set_many(Scope("shop"), {KEYS[0]: NewEntry(b"", b"0")})
    back.set_many(Scope("shop"), {KEYS[1]: NewEntry(b"", b"1")})
    assert store.get_at_once(Scope("shop"), KEYS[:1]) is None  # the back was never asked
    store.get_many(Scope("shop"), KEYS[:1])
    asked = len(back.asked)
    scope = Scope("shop")
    (found,) = store.get_at_once(scope, KEYS[:1])
    assert found.payload == b"0"
    assert store.get_at_once(Scope("shop"), KEYS[:2]) is None
    assert store.get_at_once(Scope("shop"), ()) is None
    clock.advance(0.5)
    assert store.get_at_once(Scope("shop"), KEYS[:1]) is None
    assert len(back.asked) == asked
    store.set_many(scope, {KEYS[2]: NewEntry(b"", b"2")})  # under the epoch that it noted
    assert store.get_many(Scope("shop"), KEYS[2:3])[0].payload == b"2"


def test_what_both_lack_is_answered_at_once_and_keeps_hits_of_the_front_going(clock, tmp_path):
    back = SharedStore(tmp_path, monotonic=FakeClock())  # which looks at its files once
    store = TieredStore(MemoryStore(), back, monotonic=clock)
    fill(store)
    held, lacking = KEYS[:1], [b"?" * 16]
    assert payloads(store, held) == [b"payload"]
    clock.advance(0.6)
    # The back says at once that it lacks a key, and that nothing was cleared or deleted.
    scope = Scope("shop")
    assert store.get_at_once(scope, [*lacking, *held])[0] is None
    assert [entry.payload for entry in store.get_at_once(Scope("shop"), held)] == [b"payload"]
    store.set_many(scope, {lacking[0]: NewEntry(b"", b"new")})
    assert payloads(store, lacking) == [b"new"]
    back.set_many(Scope("shop"), {b"!" * 16: NewEntry(b"", b"of another process")})
    assert store.get_at_once(Scope("shop"), [b"!" * 16]) is None
    SharedStore(tmp_path).delete_many(Scope("shop"), held)
    # What was deleted is still in the front, which takes longer to end.
    assert store.get_at_once(Scope("shop"), [b"0" * 16]) is None
    clock.advance(0.6)
    assert store.get_at_once(Scope("shop"), held) is None
    assert payloads(store, held) == [None]
    assert store.get_at_once(Scope("shop"), [b"0" * 16]) == [None]


STORE, KEY = st.integers(0, 1), st.integers(0, 1)
OPERATIONS = st.one_of(
    st.tuples(st.just("set"), STORE, KEY),
    st.tuples(st.sampled_from(["get", "at once"]), STORE, KEY),
    st.tuples(st.just("at once"), STORE, KEY),
    st.tuples(st.sampled_from(["delete", "clear"]), STORE, KEY),
    st.tuples(st.just("wait"), STORE, st.sampled_from([0.1, 0.6, 5.0])),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(OPERATIONS, min_size=20, max_size=40))
def test_an_answer_was_true_less_than_half_a_second_ago(operations):
    """Two processes, each with a front, against the dictionary that their back is meant to be.

    No key is set twice without a delete between: an older output of a key stays in other fronts.
    """
    clock, wall = FakeClock(), FakeClock()
    back = MemoryStore(clock=wall)
    stores = [TieredStore(MemoryStore(clock=wall), back, monotonic=clock) for _ in range(2)]
    held: dict[bytes, tuple[bytes, float]] = {}
    ended: dict[bytes, float] = {}  # by payload: when it was deleted or cleared
    ttl, number = 4.0, 0
    for what, which, how in operations:
        now = clock()
        if what == "wait":
            clock.advance(how)
            wall.advance(how)
            continue
        store = stores[which]
        key = KEYS[how]
        valid = held.get(key) is not None and held[key][1] > wall()
        if what == "set" and not valid:
            number += 1
            held[key] = b"%d" % number, wall() + ttl
            store.set_many(Scope("shop"), {key: NewEntry(b"", *held[key])})
        elif what in ("delete", "clear"):
            if what == "delete":
                store.delete_many(Scope("shop"), [key])
            else:
                store.clear("shop")
            gone = [key] if what == "delete" else list(held)
            ended |= {held.pop(k)[0]: now for k in gone if k in held}
        elif what in ("get", "at once"):
            ask = store.get_many if what == "get" else store.get_at_once
            found = ask(Scope("shop"), [key])
            if found is None:
                continue
            (entry,) = found
            if entry is None:
                assert not valid
            elif not valid or entry.payload != held[key][0]:
                assert now - ended[entry.payload] < 0.5
                assert entry.expires > wall()


def test_a_mixed_order_with_repeats_comes_back_in_order(back, clock):
    fill(tier(back, clock), KEYS[:4], b"old")
    store = tier(back, clock)
    payloads(store, KEYS[1:2])
    order = [KEYS[3], KEYS[1], KEYS[7], KEYS[1], KEYS[0], KEYS[7], KEYS[3]]
    assert payloads(store, order) == [b"old", b"old", None, b"old", b"old", None, b"old"]


@pytest.mark.parametrize("namespace", ["shop", None])
@pytest.mark.parametrize("wait", [0.5, 0.9, 100.0])
def test_a_clear_reaches_the_fronts_of_other_processes_within_a_second(
    back, clock, namespace, wait
):
    first, second = tier(back, clock), tier(back, clock)
    fill(first)
    assert payloads(second, KEYS) == [b"payload"] * 8
    clock.advance(0.4)
    assert payloads(second, KEYS) == [b"payload"] * 8
    first.clear(namespace)
    assert payloads(first, KEYS) == [None] * 8
    clock.advance(wait)
    assert payloads(second, KEYS) == [None] * 8
    fill(first, payload=b"new")
    assert payloads(second, KEYS) == [b"new"] * 8


def test_a_delete_reaches_the_fronts_of_other_processes_within_a_second(back, clock):
    first, second = tier(back, clock), tier(back, clock)
    fill(first)
    assert payloads(second, KEYS) == [b"payload"] * 8
    clock.advance(0.4)
    assert first.delete_many(Scope("shop"), KEYS[:1]) == 1
    assert payloads(first, KEYS[:2]) == [None, b"payload"]
    clock.advance(0.5)
    assert payloads(second, KEYS) == [None, *[b"payload"] * 7]


def test_a_clear_leaves_the_front_of_another_namespace(back, clock):
    first, second = tier(back, clock), tier(back, clock)
    second.get_many(Scope("blog"), ())
    second.set_many(Scope("blog"), {KEYS[0]: NewEntry(b"", b"of the blog")})
    assert payloads(second, KEYS[:1], "blog") == [b"of the blog"]
    payloads(second)
    first.clear("shop")
    clock.advance(1)
    payloads(second)
    assert payloads(second.front, KEYS[:1], "blog") == [b"of the blog"]


def test_a_miss_that_hears_of_a_new_epoch_takes_the_hits_beside_it_back(back, clock):
    first, second = tier(back, clock), tier(back, clock)
    fill(first, KEYS[:1])
    assert payloads(second) == [b"payload"]
    first.clear("shop")
    assert payloads(second, KEYS[:2]) == [None, None]


@pytest.mark.parametrize("seen", [False, True], ids=["unheard of", "heard of"])
def test_what_was_computed_during_a_clear_is_never_seen(back, clock, seen):
    first, second = tier(back, clock), tier(back, clock)
    payloads(second)
    scope = Scope("shop")
    second.get_many(scope, KEYS[:1])
    first.clear("shop")
    if seen:
        clock.advance(1)
        payloads(second)
    second.set_many(scope, {KEYS[0]: NewEntry(b"", b"from before the clear")})
    clock.advance(0.5)
    assert payloads(first) == payloads(second) == [None]


def test_what_was_read_before_a_delete_does_not_fill_the_front_after_it(back, clock):
    """The reader is held between the back's answer and its write to the front."""
    held, go_on = threading.Event(), threading.Event()

    class Holding(Counting):
        def get_many(self, scope, keys):
            found = super().get_many(scope, keys)
            if threading.current_thread().name == "reader":
                held.set()
                assert go_on.wait(20)
            return found

    back = Holding(back)
    store = tier(back, clock)
    back.set_many(Scope("shop"), {KEYS[0]: NewEntry(b"", b"payload")})
    payloads(store, KEYS[1:2])
    reader = threading.Thread(target=payloads, args=(store,), name="reader")
    reader.start()
    assert held.wait(20)
    tier(back, clock).delete_many(Scope("shop"), KEYS[:1])
    clock.advance(0.5)
    assert payloads(store) == [None]
    go_on.set()
    reader.join(20)
    clock.advance(0.5)
    assert payloads(store) == [None]
    assert payloads(store.front) == [None]


def test_what_was_read_before_a_clear_does_not_fill_a_front_that_heard_of_it(back, clock):
    """The reader is held before its write to the front."""
    held, go_on = threading.Event(), threading.Event()

    class Holding(MemoryStore):
        def set_many(self, scope, entries):
            if threading.current_thread().name == "reader":
                held.set()
                assert go_on.wait(20)
            super().set_many(scope, entries)

    store = TieredStore(Holding("16 MiB"), back, monotonic=clock)
    back.set_many(Scope("shop"), {KEYS[0]: NewEntry(b"", b"payload")})
    payloads(store, KEYS[1:2])
    reader = threading.Thread(target=payloads, args=(store,), name="reader")
    reader.start()
    assert held.wait(20)
    tier(back, clock).clear("shop")
    clock.advance(0.5)
    assert payloads(store) == [None]
    go_on.set()
    reader.join(20)
    assert payloads(store) == [None]


def test_a_front_hit_notes_an_epoch_that_a_refresh_can_be_stored_under(back, clock):
    store = tier(back, clock)
    fill(store)
    scope = Scope("shop")
    store.get_many(scope, KEYS)
    store.set_many(scope, {KEYS[0]: NewEntry(b"", b"refreshed")})
    assert payloads(store) == payloads(store.back) == [b"refreshed"]


# A back that fails


@pytest.fixture
def failing():
    back = FailingStore(MemoryStore())
    back.failing = False
    return back


def test_while_the_back_fails_the_front_answers_and_takes_entries(failing, clock):
    store = tier(failing, clock)
    fill(store, KEYS[:2])
    failing.failing = True
    clock.advance(1)
    assert payloads(store, KEYS[:3]) == [b"payload", b"payload", None]
    scope = Scope("shop")
    store.get_many(scope, KEYS[2:3])
    with pytest.raises(StoreError):
        store.set_many(scope, {KEYS[2]: NewEntry(b"", b"computed meanwhile")})
    assert payloads(store, KEYS[:3]) == [b"payload", b"payload", b"computed meanwhile"]


def test_a_back_that_has_failed_all_along_leaves_a_working_front(failing, clock):
    failing.failing = True
    store = tier(failing, clock)
    with pytest.raises(StoreError):
        fill(store)
    assert payloads(store, KEYS) == [b"payload"] * 8
    assert store.info().entries == 8


def test_a_back_that_fails_is_asked_twice_a_second_by_front_hits(failing, clock):
    store = tier(counted := Counting(failing), clock)
    fill(store)
    failing.failing = True
    counted.asked.clear()
    for _ in range(1000):
        assert payloads(store, KEYS) == [b"payload"] * 8
        clock.advance(0.01)
    assert 18 <= len(counted.asked) <= 20


def test_a_clear_while_the_back_could_not_be_reached_holds_once_it_can(failing, clock):
    store = tier(failing, clock)
    fill(store)
    failing.failing = True
    failing._store.clear("shop")
    clock.advance(1)
    assert payloads(store, KEYS) == [b"payload"] * 8
    failing.failing = False
    clock.advance(0.5)
    assert payloads(store, KEYS) == [None] * 8


def test_what_was_stored_before_the_back_was_ever_reached_does_not_outlive_a_clear(failing, clock):
    failing.failing = True
    store = tier(failing, clock)
    with pytest.raises(StoreError):
        store.set_many(Scope("shop"), {KEYS[0]: NewEntry(b"", b"early")})
    failing._store.clear("shop")
    failing.failing = False
    clock.advance(0.5)
    assert payloads(store) == [None]


def test_what_the_back_could_not_be_asked_for_is_not_stored_there(failing, clock):
    store, scope = tier(failing, clock), Scope("shop")
    failing.failing = True
    store.get_many(scope, KEYS[:1])
    failing.failing = False
    with pytest.raises(StoreError, match="front alone"):
        store.set_many(scope, {KEYS[0]: NewEntry(b"", b"maybe from before a clear")})
    assert payloads(failing) == [None]


@pytest.mark.parametrize(
    "call",
    [lambda store: store.clear("shop"), lambda store: store.delete_many(Scope("shop"), KEYS[:1])],
    ids=["clear", "delete"],
)
def test_what_the_back_refuses_to_drop_is_gone_from_this_front_and_raised(failing, clock, call):
    store = tier(failing, clock)
    fill(store)
    failing.failing = True
    with pytest.raises(StoreError):
        call(store)
    assert payloads(store) == [None]


def test_info_adds_what_both_did_and_counts_what_the_back_holds(clock):
    wall = FakeClock()
    store = TieredStore(MemoryStore("4 KiB", clock=wall), MemoryStore(clock=wall), monotonic=clock)
    keys = [number.to_bytes(16, "big") for number in range(20)]
    fill(store, keys)
    info = store.info()
    assert info.entries == 20
    assert info.evicted == store.front.info().evicted > 0
    assert info.bytes == store.back.info().bytes


def test_a_copy_has_the_same_stores_and_an_empty_front(back, clock):
    store = tier(back, clock)
    fill(store)
    copy = pickle.loads(pickle.dumps(store))
    assert payloads(copy.front, KEYS) == [None] * 8
    assert payloads(copy, KEYS) == [b"payload"] * 8
    copy.close()


def test_of_threads_that_look_up_after_a_clear_none_sees_what_was_before(back):
    """Two fronts with two threads each; each turn ends with a clear by one of them."""
    clock = FakeClock()
    tiers = [tier(back, clock) for _ in range(2)]
    barrier, wrong = threading.Barrier(4), []

    def work(seed: int) -> None:
        store, rng = tiers[seed % 2], random.Random(seed)
        for turn in range(20):
            for _ in range(10):
                scope, keys = Scope("shop"), rng.sample(KEYS, 4)
                found = dict(zip(keys, store.get_many(scope, keys), strict=True))
                wrong.extend(key for key, entry in found.items() if entry and entry.payload != key)
                missing = [key for key, entry in found.items() if entry is None]
                store.set_many(scope, {key: NewEntry(b"%d" % turn, key) for key in missing})
            if barrier.wait(20) == 0:
                store.clear("shop")
                clock.advance(0.5)
            barrier.wait(20)
            found = store.get_many(Scope("shop"), KEYS)
            wrong.extend(entry.layout for entry in found if entry and int(entry.layout) <= turn)
            barrier.wait(20)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    assert wrong == []


# Threads that begin together


@pytest.mark.parametrize("threads", [2, 8])
def test_of_threads_that_find_the_back_for_the_first_time_none_drops_what_another_stored(
    back, clock, threads
):
    """Each is held between the back's answer and what it makes of it."""
    barrier = threading.Barrier(threads)

    class Meeting(Counting):
        met = threading.local()

        def get_many(self, scope, keys):
            found = super().get_many(scope, keys)
            if not hasattr(self.met, "once"):
                self.met.once = True
                barrier.wait(20)
            return found

    store = tier(Meeting(back), clock)
    lost = []

    def work(number):
        scope, key = Scope("shop"), number.to_bytes(16, "big")
        store.get_many(scope, [key])
        store.set_many(scope, {key: NewEntry(b"", b"payload")})
        if payloads(store.front, [key]) == [None]:
            lost.append(number)

    workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)
    assert lost == []
    assert payloads(store.front, [n.to_bytes(16, "big") for n in range(threads)]) == (
        [b"payload"] * threads
    )


def test_a_late_failure_of_the_back_costs_the_front_nothing_that_was_stored_meanwhile(clock):
    held, go_on = threading.Event(), threading.Event()

    class Late(Counting):
        def get_many(self, scope, keys):
            if threading.current_thread().name == "late":
                held.set()
                assert go_on.wait(20)
                raise StoreError("too late", "Late")
            return super().get_many(scope, keys)

    store = tier(Late(MemoryStore()), clock)
    late = threading.Thread(target=payloads, args=(store,), name="late")
    late.start()
    assert held.wait(20)
    fill(store)
    go_on.set()
    late.join(20)
    clock.advance(1)
    payloads(store, KEYS)
    assert payloads(store.front, KEYS) == [b"payload"] * 8


# Deletes cost a front what was deleted, and no more


@pytest.mark.parametrize("deletes", [1, 5])
def test_a_delete_elsewhere_costs_a_front_that_entry_alone(back, clock, deletes):
    first, second = tier(back, clock), tier(back, clock)
    fill(first)
    assert payloads(second, KEYS) == [b"payload"] * 8
    first.delete_many(Scope("shop"), KEYS[-1:])
    fill(first, KEYS[-1:])
    clock.advance(0.5)
    assert payloads(second, KEYS) == [b"payload"] * 8  # heard of a first delete
    for number in range(deletes):
        assert first.delete_many(Scope("shop"), KEYS[number : number + 1]) == 1
    clock.advance(0.5)
    payloads(second, KEYS[:1])
    gone = [None] * deletes + [b"payload"] * (8 - deletes)
    assert payloads(second.front, KEYS) == gone
    assert payloads(second, KEYS) == gone


def test_steady_deletes_keep_no_front_cold(clock, tmp_path):
    shared = SharedStore(tmp_path / "shared", "32 MiB", timeout=10)
    counting = Counting(shared)
    counting.deleted_since = shared.deleted_since
    first, second = tier(shared, clock), tier(counting, clock)
    fill(first)
    assert payloads(second, KEYS[:4]) == [b"payload"] * 4
    for turn in range(20):
        key = (1000 + turn).to_bytes(16, "big")
        fill(first, [key])
        first.delete_many(Scope("shop"), [key])
        clock.advance(0.5)
        counting.asked.clear()
        assert payloads(second, KEYS[:4]) == [b"payload"] * 4
        if turn:
            assert counting.asked == [(), ()]
    shared.close()


def test_a_clear_among_deletes_drops_the_whole_front(back, clock):
    first, second = tier(back, clock), tier(back, clock)
    fill(first)
    payloads(second, KEYS)
    first.delete_many(Scope("shop"), KEYS[:1])
    first.clear("shop")
    first.delete_many(Scope("shop"), KEYS[1:2])
    clock.advance(0.5)
    assert payloads(second, KEYS) == [None] * 8


# A back that is anybody's


@pytest.mark.parametrize("error", [OSError("gone"), KeyError("?"), RuntimeError(), TypeError("no")])
def test_whatever_a_back_raises_the_front_answers(clock, error):
    class Broken(Counting):
        failing = False

        def get_many(self, scope, keys):
            if self.failing:
                raise error
            return super().get_many(scope, keys)

        def info(self):
            if self.failing:
                raise error
            return super().info()

    back = Broken(MemoryStore())
    store = tier(back, clock)
    fill(store, KEYS[:2])
    back.failing = True
    clock.advance(1)
    assert payloads(store, KEYS[:3]) == [b"payload", b"payload", None]
    assert store.info().entries == 2
    back.failing = False
    clock.advance(0.5)
    assert payloads(store, KEYS[:3]) == [b"payload", b"payload", None]


def test_stores_in_the_wrong_order_are_refused(tmp_path):
    shared = SharedStore(tmp_path / "shared", "4 MiB")
    with pytest.raises(ValueError, match=r"front=.*TieredStore\(front, back\)"):
        TieredStore(shared, MemoryStore())


def test_a_process_forked_while_a_thread_drops_a_front_can_use_it(back, clock):
    store = tier(back, clock)
    fill(store)
    with store._lock:
        child = in_a_fork(lambda: payloads(store, KEYS) == [b"payload"] * 8)
    assert child is True


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"front": None}, "front=None must be a Store of each process"),
        ({"front": "a", "back": "b"}, "front='a' must be a Store of each process"),
        ({"front": MemoryStore}, "front=<class .* must be a Store of each process"),
        ({"back": None}, "back=None must be the Store that processes share"),
        ({"back": "redis://host"}, "back='redis://host' must be the Store that processes share"),
        ({"monotonic": 5.0}, r"monotonic=5.0 must be a function monotonic\(\)"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(options, told):
    with pytest.raises(TypeError, match=f"^{told}"):
        TieredStore(**{"front": MemoryStore(), "back": MemoryStore(), **options})
