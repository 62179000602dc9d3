"""A lease of the middleware: of equal requests to several HTTP processes, one goes on."""

import asyncio

import pytest
from fastapi import FastAPI
from support import followers
from support.asgi import Service

from litcache import CacheMiddleware, SharedStore

OPTIONS = {"namespace": "http", "version": "1"}
LONG = 3_600.0  # a test that waits for the end of such a lease hangs
SECONDS = 30


def services(path, count, *, lease=LONG):
    """Return the apps of HTTP processes that share a store, as each has its own middleware."""
    return [
        Service(store=SharedStore(path, timeout=5), lease=lease, **OPTIONS) for _ in range(count)
    ]


async def begin(service):
    """Send a request on; it is answered when the service is told to go."""
    service.go.clear()
    asked = asyncio.create_task(service.ask())
    await asyncio.wait_for(service.entered.acquire(), SECONDS)
    return asked


@pytest.fixture
def following():
    with followers.following() as begun:
        yield begun


def test_one_process_sends_a_request_on_and_the_others_give_its_answer(tmp_path, following):
    async def main():
        first, *others = services(tmp_path, 3)
        leader = await begin(first)
        asked = [asyncio.create_task(service.ask()) for service in others]
        await asyncio.wait_for(followers.all_begun(following, len(others)), SECONDS)
        first.go.set()
        sent_on = await leader
        for answer in await asyncio.wait_for(asyncio.gather(*asked), SECONDS):
            assert answer.cache_status == "litcache; fwd=miss; collapsed"
            assert answer.body == sent_on.body
        assert [service.calls for service in (first, *others)] == [1, 0, 0]
        assert [service.cache.info().coalesced for service in others] == [1, 1]

    asyncio.run(main())


@pytest.mark.parametrize("status", [500, 200])
def test_an_answer_that_is_not_stored_lets_the_next_process_go_on(tmp_path, following, status):
    async def main():
        first, second = services(tmp_path, 2)
        respond = first.respond

        def refused(payload):
            response = respond(payload)
            response.status_code = status
            response.headers["cache-control"] = "no-store"
            return response

        first.respond = refused
        leader = await begin(first)
        asked = asyncio.create_task(second.ask())
        await asyncio.wait_for(followers.all_begun(following, 1), SECONDS)
        first.go.set()
        assert (await leader).status == status
        answer = await asyncio.wait_for(asked, SECONDS)
        assert (answer.status, first.calls, second.calls) == (200, 1, 1)

    asyncio.run(main())


def test_a_request_waits_no_longer_than_the_lease(tmp_path):
    async def main():
        first, second = services(tmp_path, 2, lease="50ms")
        leader = await begin(first)
        answer = await asyncio.wait_for(second.ask(), SECONDS)
        assert (answer.status, first.calls, second.calls) == (200, 1, 1)
        first.go.set()
        assert (await leader).status == 200

    asyncio.run(main())


def test_without_a_lease_no_process_waits_for_another(tmp_path):
    async def main():
        first, second = services(tmp_path, 2, lease=None)
        leader = await begin(first)
        assert (await asyncio.wait_for(second.ask(), SECONDS)).status == 200
        first.go.set()
        await leader
        assert (first.calls, second.calls) == (1, 1)

    asyncio.run(main())


def test_a_store_without_leases_is_refused():
    with pytest.raises(ValueError, match="grants no leases"):
        CacheMiddleware(FastAPI(), paths=["/predict"], lease=2.0)
