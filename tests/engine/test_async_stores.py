"""A store that waits for I/O, under an async API: the event loop goes on, and nothing is left."""

import asyncio

import litserve as ls
import pytest
from support.stores import HeldStore, entered

from litcache import cached_predict
from litcache.litapi.state import cache_of

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")


def serve(store):
    class API(ls.LitAPI):
        calls = ()

        @cached_predict(store=store)
        async def predict(self, x):
            self.calls += (x,)
            return [x]

    return API(enable_async=True)


@pytest.mark.parametrize("operation", ["get", "set"])
def test_the_event_loop_goes_on_while_a_store_waits(operation):
    async def main():
        store = HeldStore()
        store.held = {operation}
        api = serve(store)
        task = asyncio.create_task(api.predict("a"))
        await entered(store)  # spins the event loop, so it runs
        assert not task.done()
        store.go.set()
        assert await task == ["a"]
        assert await api.predict("a") == ["a"]
        assert api.calls == ("a",)

    asyncio.run(main())


@pytest.mark.parametrize("operation", ["get", "set"])
def test_a_task_cancelled_in_the_store_leaves_no_claim_behind(operation):
    async def main():
        store = HeldStore()
        store.held = {operation}
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
