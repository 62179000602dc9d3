"""A store that waits for I/O, under an async API: the event loop goes on, and nothing is left."""

import asyncio
import threading

import litserve as ls
import numpy as np
import pytest
from support.stores import HeldStore, entered

from litcache import MemoryStore, TieredStore, cached_predict
from litcache.litapi.state import cache_of

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")


def serve(store, **options):
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(store=store, **options)
        async def predict(self, x):
            self.calls += (x,)
            return [x]

    return API(enable_async=True)


def test_the_event_loop_goes_on_while_a_store_waits():
    async def main():
        store = HeldStore()
        store.held = {"get"}
        api = serve(store)
        task = asyncio.create_task(api.predict("a"))
        await entered(store)  # spins the event loop, so it runs
        assert not task.done()
        store.go.set()
        assert await task == ["a"]
        assert await api.predict("a") == ["a"]
        assert api.calls == ("a",)

    asyncio.run(main())


def test_an_answer_does_not_wait_for_its_write_and_an_equal_request_hits_what_is_queued():
    async def main():
        store = HeldStore()
        store.held = {"set"}
        api = serve(store)
        assert await asyncio.wait_for(api.predict("a"), 20) == ["a"]  # less than a held one waits
        await entered(store)
        assert await asyncio.wait_for(api.predict("a"), 20) == ["a"]
        assert api.calls == ("a",)
        store.go.set()
        info = api.predict.cache.info()
        assert (info.misses, info.hits, info.stored) == (1, 1, 1)
        assert await api.predict("a") == ["a"]
        assert api.predict.cache.info().hits == 2

    asyncio.run(main())


def test_a_task_cancelled_in_the_store_leaves_no_claim_behind():
    async def main():
        store = HeldStore()
        store.held = {"get"}
        api = serve(store)
        task = asyncio.create_task(api.predict("a"))
        await entered(store)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store.held = set()
        later = asyncio.create_task(api.predict("a"))
        store.go.set()
        assert await asyncio.wait_for(later, 30) == ["a"]
        flight = cache_of(api, "predict").flight
        while flight._claims:
            await asyncio.sleep(0)

    asyncio.run(main())


keyed_in = []


def noted(item):
    keyed_in.append(threading.get_ident())
    return item


class ReusingAPI(ls.LitAPI):
    """A model that writes all of its outputs into one buffer."""

    def setup(self, device):
        self.buffer = np.zeros(4)

    @cached_predict(
        store=lambda api: HeldStore(),
        key=noted,
    )
    async def predict(self, number):
        self.buffer[:] = number
        await asyncio.sleep(0)
        self.buffer[:] = number
        return self.buffer


def test_entries_are_made_before_another_task_writes_into_the_buffer_of_a_model():
    async def main():
        keyed_in.clear()
        api = ReusingAPI(enable_async=True)
        api.setup("cpu")
        numbers = list(range(20))
        await asyncio.gather(*[api.predict(number) for number in numbers])
        flight = cache_of(api, "predict").flight
        while flight._claims:
            await asyncio.sleep(0)
        again = [await api.predict(number) for number in numbers]
        assert [list(output) for output in again] == [[number] * 4 for number in numbers]
        assert api.predict.cache.info().hits == len(numbers)
        assert set(keyed_in) == {threading.get_ident()}, "the user's functions are called elsewhere"

    asyncio.run(main())


class ReusedItemAPI(ls.LitAPI):
    """An API that decodes every request into the same buffer."""

    def setup(self, device):
        self.buffer = bytearray(8)

    def decode(self, number):
        self.buffer[:] = number.to_bytes(8, "big")
        return self.buffer

    @cached_predict(store=lambda api: HeldStore())
    async def predict(self, item):
        return int.from_bytes(item, "big")


def test_an_item_is_computed_as_it_was_keyed_though_its_buffer_is_used_again():
    async def main():
        api = ReusedItemAPI(enable_async=True)
        api.setup("cpu")

        async def ask(number):
            return await api.predict(api.decode(number))

        numbers = [*range(20), *range(20)]  # half of them follow the others
        assert await asyncio.gather(*map(ask, numbers)) == numbers
        flight = cache_of(api, "predict").flight
        while flight._claims:
            await asyncio.sleep(0)
        assert [await ask(number) for number in numbers] == numbers
        assert api.predict.cache.info().hits == len(numbers)

    asyncio.run(main())


def test_a_store_that_waits_is_asked_for_many_requests_at_once():
    async def main():
        store = HeldStore()
        store.held = {"get"}
        api = serve(store)
        answers = asyncio.gather(*[api.predict(str(number)) for number in range(32)])

        async def all_entered():
            for _ in range(32):
                await entered(store)

        await asyncio.wait_for(all_entered(), 20)  # less than a held one waits
        store.go.set()
        assert await asyncio.wait_for(answers, 30) == [[str(number)] for number in range(32)]

    asyncio.run(main())


def test_many_followers_leave_the_default_executor_to_others():
    async def main():
        store = HeldStore()
        api = serve(store)
        answers = asyncio.gather(*[api.predict("a") for _ in range(200)])
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 30) == "free"
        assert await asyncio.wait_for(answers, 30) == [["a"]] * 200
        assert api.calls == ("a",)

    asyncio.run(main())


def test_hits_of_a_front_are_answered_in_the_task_itself():
    async def main():
        back = HeldStore()
        api = serve(TieredStore(MemoryStore(), back), namespace="shop", version="1")
        assert await api.predict("a") == ["a"]
        assert cache_of(api, "predict").guarded.flush(30)
        assert await api.predict("a") == ["a"]  # the back answers for its epoch
        back.held = {"get"}
        hit = api.predict("a")
        with pytest.raises(StopIteration) as ended:
            hit.send(None)  # it never waits
        assert ended.value.value == ["a"]
        assert api.calls == ("a",)
        assert api.predict.cache.info().hits == 2

    asyncio.run(main())
