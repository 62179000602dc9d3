"""OpenAI-compatible embeddings: lists and batching together, through the real client."""

import base64
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import litserve as ls
import numpy as np
import pytest
from support.servers import serve

from litcache import cached_predict
from litcache.openai import EmbeddingRequest, EmbeddingSpec
from litcache.testing import APIRunner

openai = pytest.importorskip("openai")
LITSERVE = tuple(int(part) for part in version("litserve").split(".")[:3])
SERVER = str(Path(__file__).parent / "support" / "openai_server.py")


# ------------------------------------------------------------------- without a server


@pytest.mark.parametrize("bad", [0, -1, True, 2.0, "8", None])
def test_a_bound_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="max_inputs="):
        EmbeddingSpec(max_inputs=bad)


class TextAPI(ls.LitAPI):
    @cached_predict(items="list", version="1")
    def predict(self, items):
        return [[float(len(item))] for item in items]


class PlainAPI(ls.LitAPI):
    def predict(self, items):
        return [[float(len(item))] for item in items]


@pytest.mark.parametrize(
    ("api", "batched"),
    [(TextAPI, True), (type("Sub", (TextAPI,), {}), True), (PlainAPI, False),
     (type("Override", (TextAPI,), {"predict": PlainAPI.predict}), False)],
)  # fmt: skip
def test_lists_are_batched_only_where_predict_takes_items_of_many_requests(api, batched):
    spec = EmbeddingSpec()
    ls.LitServer(api(max_batch_size=8, batch_timeout=0.01, spec=spec), accelerator="cpu")
    assert (spec._max_batch_size == 1) is batched


def test_a_batch_of_requests_of_every_shape_is_pooled():
    api = TextAPI(max_batch_size=8, spec=EmbeddingSpec())
    shapes = ["one", ["one", "three"], [1, 2, 3], [[1, 2, 3], [7], [1, 2, 3, 4]], ["three"]]
    with APIRunner(api) as runner:
        requests = [EmbeddingRequest(model="m", input=given) for given in shapes]
        answers = [answer["embeddings"] for answer in runner.run_batch(requests)]
        assert runner.model_batches == [5]
    assert answers == [[[3.0]], [[3.0], [5.0]], [[3.0]], [[3.0], [1.0], [4.0]], [[5.0]]]


# ------------------------------------------------------------------- the real client


@contextmanager
def client_of(*arguments):
    with (
        serve(SERVER, *arguments) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield server, client


def plain(answer):
    """Return an answer as a dict; the client's types know no base64 that was asked for."""
    return answer.model_dump(warnings=False)


@pytest.fixture(scope="module")
def stock():
    with client_of("stock") as pair:
        yield pair


@pytest.fixture(scope="module")
def ours():
    with client_of("ours", "0.005") as pair:
        yield pair


RIGHT = {
    "a text": "hello",
    "an empty text": "",
    "a text in a list": ["hello"],
    "texts": ["hello", "a longer text", "hello", ""],
    "many texts": [f"text {n % 40}" for n in range(64)],
    "one token": [7],
    "one input of one token": [[7]],
}


@pytest.mark.e2e
@pytest.mark.parametrize("encoding", ["float", "base64", None])
@pytest.mark.parametrize("given", RIGHT.values(), ids=RIGHT)
def test_what_litserve_answers_right_is_answered_equally(stock, ours, given, encoding):
    more = {"encoding_format": encoding} if encoding else {}
    expected, *got = (
        client.embeddings.create(model="m", input=given, dimensions=8, user="u", **more)
        for _, client in (stock, ours, ours)  # the second answer of ours is from the cache
    )
    assert [plain(answer) for answer in got] == [plain(expected)] * 2
    assert len(expected.data) == (len(given) if given and isinstance(given, list) else 1)


WRONG = {
    "another type": {"input": 5},
    "none": {"input": None},
    "no input": {},
    "a mixed list": {"input": ["a", 1]},
    "lists of texts": {"input": [["a"]]},
    "no model": {"input": "a", "model": None},
    "an unknown encoding": {"input": "a", "encoding_format": "int8"},
    "dimensions of no number": {"input": "a", "dimensions": "many"},
    "dimensions that the model has not": {"input": ["a", "b"], "dimensions": 3},
    "what the model refuses": {"input": ["a", "refused"]},
    "what the model fails at": {"input": "broken"},
}


@pytest.mark.e2e
@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_what_litserve_refuses_is_refused_equally(stock, ours, body):
    answers = [
        server.client.post("/v1/embeddings", json={"model": "m", **body})
        for server, _ in (stock, ours)
    ]
    expected, got = ((answer.status_code, answer.json()) for answer in answers)
    assert got == expected
    assert got[0] >= 400


@pytest.mark.e2e
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b'{"input": "\xff", "model": "m"}'])
def test_bodies_that_are_no_request_are_refused_equally(stock, ours, body):
    answers = [
        server.client.post(
            "/v1/embeddings", content=body, headers={"content-type": "application/json"}
        )
        for server, _ in (stock, ours)
    ]
    assert answers[1].status_code == answers[0].status_code >= 400
    assert answers[1].text == answers[0].text


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("given", "reason"),
    [([], "empty list"), ([[]], "empty list"), ([[1], []], "empty list"),
     ([""] * 65, "65 inputs, at most 64"), ([[1]] * 65, "65 inputs, at most 64")],
    ids=["no inputs", "an input of no tokens", "one of two", "too many", "too many of tokens"],
)  # fmt: skip
def test_inputs_that_are_none_or_too_many_are_bad_requests(ours, given, reason):
    with pytest.raises(openai.BadRequestError, match=reason):
        ours[1].embeddings.create(model="m", input=given)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("ids", "texts"),
    [([1, 2, 3], ["1 2 3"]), ([[1, 2], [3]], ["1 2", "3"]), ([[5, 6, 7]], ["5 6 7"]),
     (list(range(100)), [" ".join(map(str, range(100)))])],
    ids=["one input", "two inputs", "one in a list", "more tokens than inputs are allowed"],
)  # fmt: skip
def test_inputs_of_token_ids_are_counted_right(ours, ids, texts):
    client = ours[1]
    for encoding in ("float", "base64"):
        answer = client.embeddings.create(model="m", input=ids, encoding_format=encoding)
        same = client.embeddings.create(model="m", input=texts, encoding_format=encoding)
        assert plain(answer) == plain(same)
        assert [item.index for item in answer.data] == list(range(len(texts)))
        assert answer.usage.total_tokens == sum(len(text.split()) for text in texts)


@pytest.mark.e2e
def test_base64_and_floats_are_of_one_entry(ours):
    floats, packed = (
        ours[1].embeddings.create(model="m", input=["x y", "z"], encoding_format=encoding)
        for encoding in ("float", "base64")
    )
    if LITSERVE < (0, 2, 19):
        assert packed.data == floats.data  # LitServe's answer to base64 was floats, then
        return
    for left, right in zip(floats.data, packed.data, strict=True):
        assert left.embedding == np.frombuffer(base64.b64decode(right.embedding), "<f4").tolist()
    assert floats.usage == packed.usage


@pytest.mark.e2e
def test_texts_of_concurrent_requests_reach_the_model_in_one_call_each_once():
    lists = [["a", "b c", "a"], "b c", ["d", "a", "e"], [[1, 2], [3]]]
    with client_of("ours", "20") as (server, client), ThreadPoolExecutor(4) as clients:
        ask = lambda given: client.embeddings.create(model="m", input=given)  # noqa: E731
        # A batch is complete with the fourth request, long before its window ends.
        answers = list(clients.map(ask, lists))
        assert [len(answer.data) for answer in answers] == [3, 1, 3, 2]
        assert [answer.usage.total_tokens for answer in answers] == [4, 2, 3, 3]
        vector = {
            tuple(item.embedding): text
            for answer, given in zip(answers, lists, strict=True)
            for item, text in zip(
                answer.data, given if type(given) is list else [given], strict=True
            )
        }
        assert sorted(map(str, vector.values())) == ["[1, 2]", "[3]", "a", "b c", "d", "e"]
        assert answers[0].data[0].embedding == answers[0].data[2].embedding
        assert answers[0].data[1].embedding == answers[1].data[0].embedding
        again = list(clients.map(ask, lists))
        assert [plain(answer) for answer in again] == [plain(a) for a in answers]
        scrape = server.client.get("/metrics").text
        labels = 'api="/v1/embeddings",method="predict",tier="decorator"'
        assert f"litcache_model_batch_items_count{{{labels}}} 1.0" in scrape
        assert f"litcache_model_batch_items_sum{{{labels}}} 6.0" in scrape


@pytest.mark.e2e
def test_with_the_caches_off_the_server_answers_the_same(stock):
    environment = {"LITCACHE_DISABLED": "1"}
    lists = [["hello", "x", "hello"], "x", ["y"], ["hello"]]
    with (
        serve(SERVER, "ours", "20", environment=environment) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client,
        ThreadPoolExecutor(4) as clients,
    ):
        got = clients.map(lambda given: client.embeddings.create(model="m", input=given), lists)
        expected = [stock[1].embeddings.create(model="m", input=given) for given in lists]
        assert [plain(a) for a in got] == [plain(e) for e in expected]
