"""A body is read once for its key, and the app gets it as if nobody had read it."""

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.http import body as bodies
from litcache.http.body import Body

LEFT = {"type": "http.disconnect"}


class Client:
    """Sends parts, and then leaves."""

    def __init__(self, parts, *, whole=True, error=None):
        self.messages = [
            {"type": "http.request", "body": part, "more_body": not whole or n < len(parts)}
            for n, part in enumerate(parts, start=1)
        ]
        self.error = error

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        if self.error is not None:
            raise self.error
        return LEFT


async def rest(body):
    """What an app gets until the body ends or the client leaves, and how it ended."""
    parts = []
    while True:
        message = await body.receive()
        if message["type"] != "http.request":
            return b"".join(parts), "left"
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts), "whole"


PARTS = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


@given(PARTS, st.integers(0, 9), st.booleans(), st.integers(0, 150))
def test_whatever_was_read_before_the_app_gets_all_of_it_in_order(parts, taken, whole, largest):
    sent = b"".join(parts)

    async def main():
        body, got, ended = Body(Client(parts, whole=whole).receive), b"", False
        for _ in range(min(taken, len(parts))):
            message = await body.receive()
            got, ended = got + message["body"], not message["more_body"]
        read = await body.read()
        assert read == (sent if whole and len(sent) <= largest else None)
        end = "whole" if ended else ""
        if not ended:
            more, end = await rest(body)
            got += more
        assert (got, end) == (sent, "whole" if whole else "left")
        assert await body.receive() == LEFT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LARGEST_BODY", largest)
        asyncio.run(main())


@pytest.mark.parametrize("parts", [[], [b"1"], [b"1", b"2"]])
def test_an_exception_is_met_where_it_arose(parts):
    async def main():
        body = Body(Client(parts, whole=False, error=OSError("lost")).receive)
        assert await body.read() is None
        if parts:
            message = await body.receive()
            assert (message["body"], message["more_body"]) == (b"".join(parts), True)
        with pytest.raises(OSError, match="lost"):
            await body.receive()

    asyncio.run(main())


def test_a_body_in_one_message_is_not_copied():
    async def main():
        part = bytes(100_000)
        body = Body(Client([part]).receive)
        assert await body.read() is part
        assert (await body.receive())["body"] is part

    asyncio.run(main())


@pytest.mark.parametrize("largest", [2_000, 1 << 20])
def test_what_the_app_reads_by_itself_is_kept_no_longer_than_it_may_be_stored(monkeypatch, largest):
    monkeypatch.setattr(bodies, "LARGEST_BODY", largest)

    async def main():
        body = Body(Client([bytes(1_000)] * 300).receive)
        tracemalloc.start()
        try:
            await rest(body)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (held > 250_000) == (largest > 300_000)
        assert await body.read() == (bytes(300_000) if largest > 300_000 else None)

    asyncio.run(main())


def test_a_body_that_is_no_single_message_goes_on_from_the_first():
    async def main():
        parts = [b"one", b"two", b"three"]
        client = Client(parts)
        body = Body(client.receive, await client.receive())
        assert await body.read() == b"onetwothree"
        assert (await body.receive())["body"] == b"onetwothree"
        assert await body.receive() == LEFT

    asyncio.run(main())


@pytest.mark.parametrize("first", [OSError("lost"), LEFT])
def test_what_came_in_place_of_a_body_is_met_by_the_app(first):
    async def main():
        body = Body(Client([b"later"]).receive, first)
        assert await body.read() is None
        if first is LEFT:
            assert await body.receive() == LEFT
        else:
            with pytest.raises(OSError, match="lost"):
                await body.receive()
        assert (await body.receive())["body"] == b"later"

    asyncio.run(main())


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": bytearray(b"a")},
        {"type": "http.request", "body": b"a" * 11},
    ],
)
def test_only_a_small_body_that_cannot_change_is_whole(monkeypatch, message):
    monkeypatch.setattr(bodies, "LARGEST_BODY", 10)
    assert bodies.whole(message) is None
    assert bodies.whole({"type": "http.request"}) == b""
