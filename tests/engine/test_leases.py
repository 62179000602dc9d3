"""Leases: caches with holders of their own over one store, as processes are, ordered by events."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import litserve as ls
import pytest
from support import followers
from support.forks import in_a_fork
from support.redis_servers import Server, eventually
from support.redis_stores import opened

from litcache import MemoryStore, SharedStore, TieredStore, cached_predict
from litcache.engine import claims
from litcache.engine.guarded import GuardedStore
from litcache.engine.leases import Leases
from litcache.errors import StoreError
from litcache.litapi.state import cache_of
from litcache.stores.base import Lease, Scope
from litcache.testing import APIRunner, strict

SECONDS = 30
LONG = 3_600.0  # a test that waits for the end of such a lease hangs

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with Server("valkey", tmp_path_factory.mktemp("valkey")) as server:
        yield server


def shared(request, tmp_path):
    return SharedStore(tmp_path / "store", "16 MiB", timeout=5)


def redis(request, tmp_path):
    return opened(request.getfixturevalue("valkey").url, str(tmp_path), timeout=5)


STORES = {
    "shared": shared,
    "redis": redis,
    "tiered over shared": lambda *where: TieredStore(MemoryStore("1 MiB"), shared(*where)),
    "tiered over redis": lambda *where: TieredStore(MemoryStore("1 MiB"), redis(*where)),
}


@pytest.fixture(params=STORES)
def any_store(request, tmp_path):
    """Make a store on one folder or server, as each process does."""
    return lambda: STORES[request.param](request, tmp_path)


@pytest.fixture
def make_store(request, tmp_path):
    return lambda: shared(request, tmp_path)


@pytest.fixture
def following():
    """A semaphore that every call releases when it begins to wait for another's claim."""
    with followers.following() as begun:
        yield begun


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Model:
    """A model that says when it is entered, and goes on when it is told to."""

    def __init__(self, *, held=False, error=None):
        self.calls = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.error = error
        if not held:
            self.go.set()

    def __call__(self, item):
        self.calls.append(item)
        self.entered.release()
        assert self.go.wait(SECONDS)
        if self.error is not None:
            raise self.error
        return [item, len(self.calls)]

    def wait_until_entered(self):
        assert self.entered.acquire(timeout=SECONDS)


def process(store, *, lease=LONG, held=False, error=None, **options):
    """Return an API as one more process has it, and its model."""
    model = Model(held=held, error=error)
    options = {"namespace": "shop", "version": "1", "trial": 0, **options}

    class API(ls.LitAPI):
        @cached_predict(store=store, lease=lease, **options)
        def predict(self, item):
            return model(item)

    return API(), model


def waits(following):
    assert following.acquire(timeout=SECONDS)


def test_one_process_computes_and_the_others_get_its_entry(any_store, following, pool):
    first, model = process(any_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    others = [process(any_store()) for _ in range(3)]
    answers = [pool.submit(api.predict, "a") for api, _ in others]
    for _ in others:
        waits(following)
    model.go.set()
    assert leader.result(SECONDS) == ["a", 1]
    for (api, own), answer in zip(others, answers, strict=True):
        assert answer.result(SECONDS) == ["a", 1]
        assert own.calls == []
        info = api.predict.cache.info()
        assert (info.coalesced, info.misses, info.stored) == (1, 0, 0)


def test_many_calls_of_one_process_wait_together(make_store, following, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(make_store())
    answers = [pool.submit(second.predict, "a") for _ in range(4)]
    for _ in answers:
        waits(following)
    model.go.set()
    assert [answer.result(SECONDS) for answer in (leader, *answers)] == [["a", 1]] * 5
    assert own.calls == []


def test_a_failed_computation_lets_the_next_process_compute_at_once(any_store, following, pool):
    first, model = process(any_store(), held=True, error=ZeroDivisionError())
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(any_store())
    answer = pool.submit(second.predict, "a")
    waits(following)
    model.go.set()
    with pytest.raises(ZeroDivisionError):
        leader.result(SECONDS)
    assert answer.result(SECONDS) == ["a", 1]
    assert own.calls == ["a"]


@pytest.mark.parametrize(
    "option", [{"store_if": lambda item, output: False}, {"ttl": lambda item, output: 0}]
)
def test_what_is_not_stored_makes_nobody_wait_longer_than_it_is_computed(
    make_store, following, pool, option
):
    first, model = process(make_store(), held=True, **option)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    others = [process(make_store(), **option) for _ in range(4)]
    answers = [pool.submit(api.predict, "a") for api, _ in others]
    for _ in others:
        waits(following)
    model.go.set()
    assert [answer.result(SECONDS) for answer in (leader, *answers)] == [["a", 1]] * 5
    assert [own.calls for _, own in others] == [["a"]] * 4


class Holder:
    """Another process, which holds leases and computes nothing."""

    def __init__(self, store, api, item):
        self._store, self._scope = store, Scope("shop", "1")
        self._key = cache_of(api, "predict").keyring.keyer("single").key(item)

    def takes_the_lease(self):
        """Ask for the lease of the item; return whether nobody else has it."""
        self._lease = Lease(os.urandom(8), LONG)
        return not self._store.get_or_lease_many(self._scope, [self._key], self._lease)[1]

    def ends_it(self):
        self._store.release_many(self._scope, [self._key], self._lease)


def test_a_call_that_no_longer_waits_for_anybody_leaves_no_lease(
    any_store, following, pool, monkeypatch
):
    monkeypatch.setattr(claims, "LEADERS", 1)  # whoever has waited in vain claims nothing
    second, own = process(any_store(), store_if=lambda item, output: False)
    holder = Holder(any_store(), second, "a")
    assert holder.takes_the_lease()
    answer = pool.submit(second.predict, "a")
    waits(following)
    holder.ends_it()
    assert answer.result(SECONDS) == ["a", 1]
    assert own.calls == ["a"]
    eventually(holder.takes_the_lease, "others get a lease")


def test_a_process_whose_only_waiting_call_is_cancelled_keeps_no_lease(
    any_store, following, monkeypatch
):
    model, has_leased = Model(), threading.Event()
    look_up = GuardedStore.get_or_lease_many

    def and_say_so(*arguments):
        entries, others = look_up(*arguments)
        if threading.current_thread().name == "litcache-leases" and not others:
            has_leased.set()
        return entries, others

    monkeypatch.setattr(GuardedStore, "get_or_lease_many", and_say_so)

    class API(ls.LitAPI):
        @cached_predict(store=any_store(), namespace="shop", version="1", trial=0, lease=LONG)
        async def predict(self, item):
            return model(item)

    api = API(enable_async=True)
    holder = Holder(any_store(), api, "a")
    assert holder.takes_the_lease()

    async def main():
        task = asyncio.create_task(api.predict("a"))
        while not following.acquire(blocking=False):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    holder.ends_it()
    assert has_leased.wait(SECONDS)
    eventually(holder.takes_the_lease, "others get a lease")
    assert model.calls == []


def test_a_process_waits_no_longer_than_the_lease(any_store, pool):
    first, model = process(any_store(), lease="50ms", held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(any_store(), lease=0.05)
    assert second.predict("a") == ["a", 1]
    assert own.calls == ["a"]
    model.go.set()
    assert leader.result(SECONDS) == ["a", 1]


def test_a_short_lease_of_ones_own_bounds_the_wait_for_a_long_one(make_store, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(make_store(), lease=0.05)
    answers = [pool.submit(second.predict, "a") for _ in range(4)]
    assert [answer.result(SECONDS) for answer in answers] == [["a", 1]] * 4
    assert own.calls == ["a"], "calls of one process compute together"
    model.go.set()
    leader.result(SECONDS)


def test_no_call_waits_longer_than_the_request_timeout(make_store, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(make_store())
    second.request_timeout = 0.05
    assert second.predict("a") == ["a", 1]
    assert own.calls == ["a"]
    model.go.set()
    leader.result(SECONDS)


def lists(store, *, held=False):
    """Return an API of lists as one more process has it, and its model."""
    model = Model(held=held)

    class API(ls.LitAPI):
        @cached_predict(
            store=store, namespace="shop", version="1", trial=0, items="list", lease=LONG
        )
        def predict(self, items):
            model(items)
            return [[item] for item in items]

    return API(), model


def test_own_misses_are_computed_and_published_before_a_call_waits(make_store, following, pool):
    first, model = lists(make_store(), held=True)
    leader = pool.submit(first.predict, ["b"])
    model.wait_until_entered()
    second, own = lists(make_store())
    both = pool.submit(second.predict, ["b", "a"])
    waits(following)
    assert own.calls == [["a"]]
    third, others = lists(make_store())
    assert third.predict(["a"]) == [["a"]]
    assert others.calls == []
    model.go.set()
    assert leader.result(SECONDS) == [["b"]]
    assert both.result(SECONDS) == [["b"], ["a"]]
    assert own.calls == [["a"]]


def test_processes_that_each_compute_what_the_other_wants_end(make_store, following, pool):
    (one, first), (two, second) = (lists(make_store(), held=True) for _ in range(2))
    running = [pool.submit(one.predict, ["a"]), pool.submit(two.predict, ["b"])]
    for model in (first, second):
        model.wait_until_entered()
    running += [pool.submit(one.predict, ["a", "b"]), pool.submit(two.predict, ["b", "a"])]
    for _ in range(2):
        waits(following)
    for model in (first, second):
        model.go.set()
    answers = [each.result(SECONDS) for each in running]
    assert answers == [[["a"]], [["b"]], [["a"], ["b"]], [["b"], ["a"]]]
    assert (first.calls, second.calls) == ([["a"]], [["b"]])


def test_bypass_neither_waits_nor_takes_a_lease(make_store, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(make_store(), bypass_if=lambda item: True)
    assert second.predict("a") == ["a", 1]
    own.go.clear()
    passing = pool.submit(second.predict, "b")
    for _ in range(2):
        own.wait_until_entered()
    third, _ = process(make_store())
    assert third.predict("b") == ["b", 1]
    for each in (model, own):
        each.go.set()
    assert leader.result(SECONDS) == ["a", 1]
    assert passing.result(SECONDS) == ["b", 2]


def test_refresh_takes_a_lease_and_never_waits(make_store, following, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(make_store(), refresh_if=lambda item: True)
    assert second.predict("a") == ["a", 1]
    own.go.clear()
    refreshing = pool.submit(second.predict, "b")
    for _ in range(2):
        own.wait_until_entered()
    third, others = process(make_store())
    answer = pool.submit(third.predict, "b")
    waits(following)
    for each in (model, own):
        each.go.set()
    assert refreshing.result(SECONDS) == answer.result(SECONDS) == ["b", 2]
    assert others.calls == []
    leader.result(SECONDS)


@pytest.mark.parametrize("drop", ["clear", "delete"])
def test_who_waits_goes_on_when_the_key_is_dropped(any_store, following, pool, drop):
    first, model = process(any_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(any_store())
    answer = pool.submit(second.predict, "a")
    waits(following)
    third, _ = process(any_store())
    if drop == "clear":
        third.predict.cache.clear()
    else:
        third.predict.cache.delete(["a"])
    assert answer.result(SECONDS) == ["a", 1]
    assert own.calls == ["a"]
    model.go.set()
    leader.result(SECONDS)


class Failing(SharedStore):
    """A store whose look-ups fail when it is told to."""

    fails = False

    def get_or_lease_many(self, scope, keys, lease):
        if self.fails:
            raise StoreError("it fails, as it was told to", "Failing")
        return super().get_or_lease_many(scope, keys, lease)


@pytest.mark.parametrize("is_strict", [False, True])
def test_who_waits_goes_on_when_the_store_fails(make_store, tmp_path, following, pool, is_strict):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    store = Failing(tmp_path / "store", "16 MiB", timeout=5)
    second, own = process(store)
    answer = pool.submit(second.predict, "a")
    waits(following)
    if is_strict:
        with strict():
            store.fails = True
            assert answer.exception(SECONDS) is None or isinstance(answer.exception(), StoreError)
    else:
        store.fails = True
        assert answer.result(SECONDS) == ["a", 1]
        assert own.calls == ["a"]
    model.go.set()
    leader.result(SECONDS)


class Hanging(SharedStore):
    """A store that does not answer a second question."""

    asked = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.go = threading.Event()

    def get_or_lease_many(self, scope, keys, lease):
        self.asked += 1
        assert self.asked != 2 or self.go.wait(SECONDS)
        return super().get_or_lease_many(scope, keys, lease)


def test_who_waits_goes_on_when_the_store_hangs(make_store, tmp_path, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    store = Hanging(tmp_path / "store", "16 MiB", timeout=5)
    second, own = process(store, lease=0.05)
    assert second.predict("a") == ["a", 1]
    assert own.calls == ["a"]
    store.go.set()
    model.go.set()
    leader.result(SECONDS)


def test_where_no_thread_can_start_nobody_waits(make_store, monkeypatch, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()

    def start(thread):
        raise RuntimeError("can't start new thread")

    second, own = process(make_store(), store_if=lambda item, output: False)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert second.predict("a") == ["a", 1]
    assert own.calls == ["a"]
    model.go.set()
    leader.result(SECONDS)


def test_the_thread_that_looks_ends_when_nobody_waits(make_store, monkeypatch, following, pool):
    monkeypatch.setattr("litcache.engine.leases._IDLE_SECONDS", 0.001)
    second, own = process(make_store())
    leases = cache_of(second, "predict").leases
    for item in "ab":
        first, model = process(make_store(), held=True)
        leader = pool.submit(first.predict, item)
        model.wait_until_entered()
        answer = pool.submit(second.predict, item)
        waits(following)
        thread = leases._thread
        model.go.set()
        assert leader.result(SECONDS) == answer.result(SECONDS) == [item, 1]
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert own.calls == []


def test_a_waited_for_entry_is_tried_as_a_coalesced_one_is(make_store, following, pool):
    class API(ls.LitAPI):
        def setup(self, device):
            self.model = Model()

        def decode_request(self, request):
            return request["item"]

        @cached_predict(store=lambda api: make_store(), namespace="shop", version="1", lease=LONG)
        def predict(self, item):
            return self.model(item)

    with APIRunner(API()) as first, APIRunner(API(), trial=1) as second:
        first.api.model.go.clear()
        leader = pool.submit(first.run, {"item": "a"})
        first.api.model.wait_until_entered()
        answer = pool.submit(second.run, {"item": "a"})
        waits(following)
        first.api.model.go.set()
        assert leader.result(SECONDS) == answer.result(SECONDS) == ["a", 1]
        info = second.api.predict.cache.info()
        assert (info.verified, info.coalesced) == (1, 0)
        assert second.api.model.calls == ["a"]


def test_a_stream_of_another_process_is_given_when_it_is_whole(any_store, following, pool):
    def streams(store, *, held=False):
        model = Model(held=held)

        class API(ls.LitAPI):
            @cached_predict(store=store, namespace="shop", version="1", trial=0, lease=LONG)
            def predict(self, item):
                for number in range(3):
                    yield model(f"{item}{number}")

        return API(), model

    first, model = streams(any_store(), held=True)
    leader = pool.submit(lambda: list(first.predict("a")))
    model.wait_until_entered()
    second, own = streams(any_store())
    answer = pool.submit(lambda: list(second.predict("a")))
    waits(following)
    model.go.set()
    assert answer.result(SECONDS) == leader.result(SECONDS)
    assert len(leader.result()) == 3
    assert own.calls == []


def test_a_task_that_waits_for_another_process_lets_other_tasks_run(make_store, pool):
    first, model = process(make_store(), held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    calls = []

    class API(ls.LitAPI):
        @cached_predict(store=make_store(), namespace="shop", version="1", trial=0, lease=LONG)
        async def predict(self, item):
            calls.append(item)
            return [item, 1]

    async def serve():
        api = API(enable_async=True)
        waiting = asyncio.create_task(api.predict("a"))
        for item in "bcd":
            assert await api.predict(item) == [item, 1]
        assert not waiting.done()
        model.go.set()
        return await asyncio.wait_for(waiting, SECONDS)

    assert asyncio.run(serve()) == ["a", 1]
    assert calls == ["b", "c", "d"]
    leader.result(SECONDS)


def test_a_forked_process_is_another_holder(make_store):
    api, _ = process(make_store())
    leases = cache_of(api, "predict").leases
    assert isinstance(leases, Leases)
    ours = leases.lease.holder
    assert in_a_fork(lambda: leases.lease.holder != ours) is True
    assert leases.lease.holder == ours


def test_without_a_lease_no_process_waits_for_another(make_store, pool):
    first, model = process(make_store(), lease=None, held=True)
    leader = pool.submit(first.predict, "a")
    model.wait_until_entered()
    second, own = process(make_store(), lease=None)
    assert second.predict("a") == ["a", 1]
    assert own.calls == ["a"]
    model.go.set()
    leader.result(SECONDS)


def test_a_runner_with_a_store_of_its_own_leases_nothing(make_store):
    api, model = process(make_store())
    with APIRunner(api, store=MemoryStore("1 MiB")) as runner:
        assert runner.run("a") == runner.run("a")
    assert model.calls == ["a"]
