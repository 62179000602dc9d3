"""The front of a store that HTTP processes share: hits without a thread, and what ends them."""

import asyncio
import logging
import threading

import pytest
from support.admission import until_refusing
from support.asgi import Service
from support.forks import in_a_fork
from support.stores import FullStore, HeldStore, entered

from litcache import MemoryStore, SharedStore, TieredStore
from litcache.engine.guarded import GuardedStore
from litcache.http.front import FRONT_BYTES, with_front
from litcache.stores.base import Scope
from litcache.testing import FailingStore, FakeClock

OPTIONS = {"namespace": "http", "version": "1"}


def run(main):
    return asyncio.run(main())


def key_of(store):
    """The key of the only entry of a front."""
    (key,) = store.front._spaces[Scope("http").tag].nodes
    return key


class Threads(MemoryStore):
    """Notes in which threads it is asked."""

    blocking = True

    def __init__(self, **options):
        super().__init__(**options)
        self.asked_in = []

    def get_many(self, scope, keys):
        self.asked_in.append(threading.get_ident())
        return super().get_many(scope, keys)


def test_a_hit_of_the_front_asks_no_store_in_a_thread():
    async def main():
        store = Threads()
        service = Service(store=store)
        await service.ask()
        asked = len(store.asked_in)
        for _ in range(5):
            assert (await service.ask()).is_hit
        assert len(store.asked_in) == asked
        assert threading.get_ident() not in store.asked_in
        assert (service.calls, service.cache.info().hits) == (1, 5)

    run(main)


def test_a_miss_that_the_store_knows_at_once_is_looked_up_in_no_thread(tmp_path, monkeypatch):
    async def main():
        store = SharedStore(tmp_path, monotonic=FakeClock())  # which looks at its files once
        service = Service(store=store, **OPTIONS)
        await service.ask(b'{"x": 1}')
        looked_in = []
        find = GuardedStore.find

        def noted(*args):
            looked_in.append(threading.get_ident())
            return find(*args)

        monkeypatch.setattr(GuardedStore, "find", noted)
        for body in (b'{"x": 2}', b'{"x": 3}'):
            assert not (await service.ask(body)).is_hit
            assert (await service.ask(body)).is_hit
        assert looked_in == []
        assert service.calls == 3

    run(main)


def test_an_answer_that_another_process_stored_is_in_the_front_from_the_second_hit_on(tmp_path):
    async def main():
        first = Service(store=SharedStore(tmp_path), **OPTIONS)
        back = FailingStore(SharedStore(tmp_path), fail=("get",))
        back.failing = False
        store = TieredStore(MemoryStore(), back, monotonic=FakeClock())
        second = Service(store=store, **OPTIONS)
        await first.ask()
        assert (await second.ask()).is_hit
        back.failing = True  # it would miss, if it were asked
        assert (await second.ask()).is_hit
        assert second.calls == 0

    run(main)


@pytest.mark.parametrize("end", ["clear", "clear all", "delete"])
def test_what_another_process_ends_is_answered_anew_within_a_second(tmp_path, end):
    async def main():
        clock, shared = FakeClock(), SharedStore(tmp_path)
        store = TieredStore(MemoryStore(), shared, monotonic=clock)
        service, other = Service(store=store, **OPTIONS), SharedStore(tmp_path)
        await service.ask()
        assert (await service.ask()).is_hit
        if end == "delete":
            assert other.delete_many(Scope("http"), [key_of(store)]) == 1
        else:
            other.clear("http" if end == "clear" else None)
        clock.advance(0.5)
        assert not (await service.ask()).is_hit
        assert service.calls == 2

    run(main)


def test_an_answer_in_the_front_expires_with_the_one_behind_it(tmp_path):
    async def main():
        clock = FakeClock()
        service = Service(store=SharedStore(tmp_path, clock=clock), ttl=60, **OPTIONS)
        await service.ask()
        clock.advance(20)
        assert (await service.ask()).cache_status == "litcache; hit; ttl=40"
        clock.advance(39.5)
        assert (await service.ask()).header("age") == ["59"]
        clock.advance(0.5)
        assert (await service.ask()).cache_status == "litcache; fwd=miss; stored"

    run(main)


def test_an_answer_that_a_client_asks_for_anew_is_seen_by_all_processes_at_once(tmp_path):
    async def main():
        options = {**OPTIONS, "client_control": True}
        one, two = (Service(store=SharedStore(tmp_path), **options) for _ in range(2))
        await one.ask()
        assert (await two.ask()).is_hit
        renewed = await one.ask(b'{"x": 1}', (b"cache-control", b"no-cache"))
        assert renewed.cache_status == "litcache; fwd=request; stored"
        assert (await two.ask()).body == renewed.body

    run(main)


def test_the_event_loop_goes_on_while_the_store_is_asked_for_what_the_front_misses():
    async def main():
        store = HeldStore()
        store.held = {"get"}
        service = Service(store=store)
        task = asyncio.create_task(service.ask())
        await entered(store)  # spins the event loop, so it runs
        assert not task.done()
        store.go.set()
        assert (await task).status == 200

    run(main)


def test_a_broken_store_costs_no_hit_of_the_front_and_is_counted():
    async def main():
        back = FailingStore(Threads())
        back.failing = False
        store = TieredStore(MemoryStore(), back, monotonic=FakeClock())
        service = Service(store=store, **OPTIONS)
        await service.ask()
        back.failing = True
        assert (await service.ask()).is_hit
        assert (await service.ask(b"2")).status == 200
        assert service.cache.info().store_errors == 1

    run(main)


def test_the_store_of_the_user_is_named_in_the_log_and_the_metrics(tmp_path, caplog):
    async def main():
        store = SharedStore(tmp_path, "16 MiB")
        service = Service(store=store, **OPTIONS)
        await service.ask()
        tier = service.cache._tier
        with caplog.at_level(logging.INFO, "litcache"):
            tier.started("")
        assert "in SharedStore (16 MiB)" in caplog.text
        sample = tier.sample()
        assert (sample.about["store"], sample.store_id) == ("SharedStore", id(store))
        assert sample.shared
        assert sample.store.entries == 1

    run(main)


def test_a_front_is_put_where_a_store_may_wait_and_has_none(tmp_path):
    shared = SharedStore(tmp_path, clock=FakeClock(5))
    fronted = with_front(shared)
    assert isinstance(fronted, TieredStore)
    assert (fronted.back, fronted.front.max_bytes) == (shared, FRONT_BYTES)
    assert fronted.front.clock is shared.clock
    memory = MemoryStore()
    assert with_front(memory) is memory
    assert with_front(fronted) is fronted


def test_a_forked_process_begins_with_an_empty_front_and_the_shared_entries(tmp_path):
    store = SharedStore(tmp_path)
    service = Service(store=store, **OPTIONS)
    run(service.ask)

    def child():
        front = service.cache._tier.store.front
        assert front.info().entries == 0
        assert run(service.ask).is_hit
        return front.info().entries == 1

    assert in_a_fork(child) is True


def test_an_answer_that_is_not_admitted_is_not_said_to_be_stored():
    async def main():
        service = Service(store=FullStore())
        await service.ask()
        until_refusing(service.cache._tier.admission)
        bodies = [b'{"x": %d}' % number for number in range(100, 116)]
        first = [(await service.ask(body)).cache_status for body in bodies]
        second = [(await service.ask(body)).cache_status for body in bodies]
        refused = first.count("litcache; fwd=miss")
        assert refused > 8
        assert first.count("litcache; fwd=miss; stored") == 16 - refused
        assert second.count("litcache; fwd=miss; stored") == refused
        assert service.cache.info().not_admitted == refused
        assert all([(await service.ask(body)).is_hit for body in bodies])

    run(main)
