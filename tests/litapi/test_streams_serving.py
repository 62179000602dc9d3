"""Streamed chat through a real server and the real `openai` client."""

from pathlib import Path

import pytest
from support.servers import serve, wait_until

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.e2e
SERVER = str(Path(__file__).parents[1] / "support" / "chat_server.py")


def client_of(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def streamed(client, text):
    """The deltas of a streamed answer, and the usage of its last chunk."""
    chunks = list(
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": text}], stream=True
        )
    )
    deltas = [(c.delta.role, c.delta.content, c.finish_reason) for k in chunks for c in k.choices]
    return deltas, chunks[-1].usage


def whole(client, text):
    """The message and the usage of an answer that is not streamed."""
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content, answer.usage


def outcome(client, text):
    """What a client gets, be it an answer or an error."""
    try:
        return streamed(client, text)
    except openai.APIError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_client_sees_a_hit_as_it_sees_the_stock_server(kind):
    with serve(SERVER, "stock", kind) as stock, serve(SERVER, "ours", kind) as ours:
        expected, client = client_of(stock), client_of(ours)
        deltas, usage = streamed(expected, "one two three")
        assert len(deltas) == 4
        assert usage.completion_tokens == 3
        for _ in range(3):
            assert streamed(client, "one two three") == (deltas, usage)
            assert whole(client, "one two three") == whole(expected, "one two three")
        assert ours.counters(f"Cached{'Async' * (kind == 'async')}Chat.predict")["hits"] >= 4

        first = streamed(client, "a sample")
        assert streamed(client, "a sample") == first  # the model would have said something else
        assert streamed(expected, "a sample") != streamed(expected, "a sample")


def test_an_answer_that_breaks_off_is_not_stored_and_breaks_off_again():
    with serve(SERVER, "stock", "sync") as stock, serve(SERVER, "ours", "sync") as ours:
        expected = outcome(client_of(stock), "broken")
        for _ in range(2):
            assert outcome(client_of(ours), "broken") == expected
        client = client_of(ours)
        assert streamed(client, "well") == streamed(client, "well")
        wait_until(lambda: ours.counters("CachedChat.predict")["hits"] == 1, "a hit", 30)
