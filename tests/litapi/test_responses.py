"""`result="response"`: what `encode_response` returns is cached, and a hit does not run it."""

import asyncio
import dataclasses
import io
from collections import UserDict
from http import HTTPStatus
from pathlib import Path

import litserve as ls
import numpy as np
import pytest
from starlette.background import BackgroundTask
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)  # fmt: skip
from support.loops import prepare, running
from support.pictures import gradient, image_bytes
from support.servers import serve

from litcache import (
    CachedBatchedLoop,
    SharedStore,
    UnsupportedMethodError,
    cached_predict,
    disabled,
)  # fmt: skip
from litcache.openai import EmbeddingRequest, EmbeddingSpec
from litcache.testing import APIRunner, strict

SERVER = Path(__file__).parents[1] / "support" / "response_server.py"


@dataclasses.dataclass
class Box:
    x: int
    label: str


class Results:
    """As detection libraries return them: no dataclass, lazy, with methods, and an array inside."""

    def __init__(self, size):
        self.boxes = np.full((2, 4), size, np.float32)
        self.names = {0: "cat"}

    def tojson(self):
        return {"boxes": self.boxes.tolist(), "names": list(self.names.values())}


SHAPES = {
    "an image": (
        lambda size: gradient(size=(size, size)),
        lambda image: Response(image_bytes(image, "PNG"), media_type="image/png"),
    ),
    "an image as text": (
        lambda size: gradient(size=(size, size)),
        lambda image: {"png": image_bytes(image, "PNG").hex(), "size": image.size},
    ),
    "results": (Results, lambda results: results.tojson()),
    "a dataclass": (lambda size: Box(size, "cat"), dataclasses.asdict),
    "a mapping of its own": (lambda size: UserDict(n=size), dict),
    "a generator": (lambda size: (n * n for n in range(size)), list),
    "a file in memory": (lambda size: io.BytesIO(bytes(size)), lambda f: f.read()),
    "html": (lambda size: Box(size, "cat"), lambda box: HTMLResponse(f"<p>{box.x}</p>")),
}


RESPONSE = cached_predict(result="response")


def made(shape, *, decorate=RESPONSE, **options):
    """An API whose predict makes an output that is not stored, with counters of its hooks."""
    make, encode = SHAPES[shape]

    class API(ls.LitAPI):
        models = encodes = 0

        def decode_request(self, request):
            return request["size"]

        @decorate
        def predict(self, x):
            self.models += 1
            return [make(size) for size in x] if isinstance(x, list) else make(x)

        def encode_response(self, output):
            self.encodes += 1
            return encode(output)

    return API(**options)


def made_async(shape, *, decorate=RESPONSE, is_async=True):
    """The same, with an async predict; `is_async`: encode_response, too."""
    make, encode = SHAPES[shape]

    class API(ls.LitAPI):
        models = encodes = 0

        async def decode_request(self, request):
            return request["size"]

        @decorate
        async def predict(self, x):
            self.models += 1
            await asyncio.sleep(0)
            return make(x)

        if is_async:

            async def encode_response(self, output):
                self.encodes += 1
                await asyncio.sleep(0)
                return encode(output)

        else:

            def encode_response(self, output):
                self.encodes += 1
                return encode(output)

    return API(enable_async=True)


LOOPS = {
    "single": made,
    "batched": lambda shape, **o: made(shape, max_batch_size=4, **o),
    "CachedBatchedLoop": lambda shape, **o: made(
        shape, max_batch_size=4, loop=CachedBatchedLoop(), **o
    ),
    "CachedBatchedLoop, overlap": lambda shape, **o: made(
        shape, max_batch_size=4, loop=CachedBatchedLoop(overlap=True), **o
    ),
    "CachedBatchedLoop, single": lambda shape, **o: made(shape, loop=CachedBatchedLoop(), **o),
    "async": made_async,
    "async, sync encode": lambda shape, **o: made_async(shape, is_async=False, **o),
}
asyncified = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
REQUESTS = [{"size": size} for size in (3, 4, 3, 3, 4)]


def facts(answer):
    """All that a client or LitServe can see of an answer."""
    if isinstance(answer, Response):
        return (
            type(answer),
            answer.status_code,
            answer.media_type,
            answer.raw_headers,
            answer.body,
        )
    return (type(answer), answer)


@asyncified
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_hit_runs_neither_the_model_nor_the_encoding(loop, shape):
    with running(LOOPS[loop](shape, decorate=lambda function: function)) as driven:
        expected = list(map(facts, (driven.get(request)[0] for request in REQUESTS)))
    api = LOOPS[loop](shape, decorate=cached_predict(result="response", trial=0))
    with running(api) as driven:
        assert [facts(driven.get(request)[0]) for request in REQUESTS] == expected
    assert (api.models, api.encodes) == (2, 2)
    info = api.predict.cache.info()
    assert (info.misses, info.hits, info.uncacheable) == (2, 3, 0)


@asyncified
@pytest.mark.parametrize("loop", LOOPS)
def test_requests_that_arrive_together_are_encoded_once_each(loop):
    with APIRunner(LOOPS[loop]("results")) as runner:
        answers = runner.run_batch(REQUESTS)
        assert answers == [Results(each["size"]).tojson() for each in REQUESTS]
        assert runner.outputs == answers
        assert runner.run_batch(REQUESTS) == answers
        assert runner.api.encodes == 2


@asyncified
@pytest.mark.parametrize("loop", LOOPS)
def test_the_trial_compares_the_responses_themselves(loop):
    with APIRunner(LOOPS[loop]("an image"), trial=3) as runner:
        for request in REQUESTS:
            runner.run(request)
        info = runner.api.predict.cache.info()
        assert (info.state, info.verified, info.hits) == ("on", 3, 0)
        runner.run(REQUESTS[0])
        assert runner.api.models == runner.api.encodes == 5


def test_the_trial_sees_a_response_that_depends_on_more_than_the_item():
    class API(ls.LitAPI):
        def decode_request(self, request):
            self.quality = request["quality"]
            return request["size"]

        @cached_predict(result="response")
        def predict(self, size):
            return gradient(size=(size, size))

        def encode_response(self, image):
            return {"size": image.size, "quality": self.quality}

    with APIRunner(API(), trial=16) as runner:
        assert runner.run({"size": 2, "quality": 1})["quality"] == 1
        assert runner.run({"size": 2, "quality": 9})["quality"] == 9
        assert "quality" in runner.api.predict.cache.info().disagreement


# Context, errors, buffers


@pytest.mark.parametrize("options", [{}, {"max_batch_size": 4}])
@pytest.mark.parametrize("loop", [None, CachedBatchedLoop])
def test_what_encode_response_reads_of_the_context_is_in_the_key_and_what_it_writes_comes_back(
    options, loop
):
    class API(ls.LitAPI):
        encodes = 0

        def decode_request(self, request, context):
            context["unit"] = request["unit"]
            return request["size"]

        @cached_predict(result="response")
        def predict(self, x):
            return list(map(Results, x)) if isinstance(x, list) else Results(x)

        def encode_response(self, results, context):
            self.encodes += 1
            context["count"] = len(results.boxes)
            return [context["unit"], float(results.boxes[0, 0])]

    with APIRunner(API(loop=loop and loop(), **options)) as runner:
        for unit in ("cm", "in", "cm"):
            assert runner.run({"size": 3, "unit": unit}) == [unit, 3.0]
            assert runner.contexts == [{"unit": unit, "count": 2}]
        assert runner.api.encodes == 2


def failing(**options):
    class API(ls.LitAPI):
        models = 0

        @cached_predict(result="response", trial=0)
        def predict(self, x):
            self.models += 1
            return list(map(Results, x)) if isinstance(x, list) else Results(x)

        def encode_response(self, results):
            if results.boxes[0, 0] == 13:
                raise ValueError("thirteen")
            return results.tojson()

    return API(**options)


@pytest.mark.parametrize("options", [{}, {"max_batch_size": 4}])
def test_an_error_of_encode_response_leaves_as_in_litserves_loops_and_stores_nothing(options):
    with APIRunner(failing(**options)) as runner:
        for _ in range(2):
            with pytest.raises(ValueError, match="thirteen"):
                runner.run_batch([13])
        assert runner.api.models == 2
        assert runner.run(1) == Results(1).tojson()
        assert runner.api.predict.cache.info().entries == 1


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("isolate", [False, True])
def test_in_the_cached_loop_an_error_of_encode_response_fails_alone(overlap, isolate, caplog):
    loop = CachedBatchedLoop(overlap=overlap, isolate_errors=isolate)
    with running(failing(max_batch_size=3, batch_timeout=5, loop=loop)) as driven:
        good, bad, other = driven.wait(*driven.ask(1, 13, 2))
        assert (good, other) == (Results(1).tojson(), Results(2).tojson())
        assert type(bad) is ValueError
    assert "stored" not in caplog.text  # the client gets the error, and the cache has lost nothing


def test_an_output_buffer_that_is_used_again_changes_no_response():
    class API(ls.LitAPI):
        def setup(self, device):
            self.buffer = np.zeros(2, np.float32)

        @cached_predict(result="response")
        def predict(self, x):
            self.buffer[:] = x
            return self.buffer

        def encode_response(self, output):
            return {"vector": output}

    with APIRunner(API()) as runner:
        assert runner.run(1)["vector"].tolist() == [1, 1]
        assert runner.run(2)["vector"].tolist() == [2, 2]
        first = runner.run(1)["vector"]
        assert first.tolist() == [1, 1]
        assert first.flags.writeable
        assert runner.api.predict.cache.info().hits == 1


def test_store_if_and_ttl_get_the_response():
    seen = []

    def ttl(item, response):
        seen.append(response)
        return 60 if response["names"] else 0

    decorate = cached_predict(
        result="response", ttl=ttl, store_if=lambda _, r: len(r["boxes"]) == 2
    )
    with APIRunner(made("results", decorate=decorate)) as runner:
        assert [runner.run({"size": 5})] == seen
        assert runner.run({"size": 5}) == seen[0]
        assert runner.api.models == 1


# Who gets a response, and who a prediction


@pytest.mark.parametrize("options", [{}, {"max_batch_size": 4}])
def test_by_hand_predict_returns_the_prediction_and_caches_nothing(options):
    api = made("a dataclass", **options)
    items = [3, 3] if options else 3
    for _ in range(2):
        assert api.predict(items) == ([Box(3, "cat")] * 2 if options else Box(3, "cat"))
        assert api.encode_response(Box(3, "cat")) == {"x": 3, "label": "cat"}
    assert api.models == 2
    assert api.predict.cache.info().misses == 0


@pytest.mark.parametrize("size", [1, 4])
def test_the_users_own_calls_get_the_prediction(size):
    class API(ls.LitAPI):
        def setup(self, device):
            assert self.predict([2] if size > 1 else 2)

        def decode_request(self, request):
            box = self.predict([request])[0] if size > 1 else self.predict(request)
            assert isinstance(box, Box)
            return request

        @cached_predict(result="response")
        def predict(self, x):
            return [Box(n, "cat") for n in x] if isinstance(x, list) else Box(x, "cat")

        def encode_response(self, box):
            other = self.predict([box.x])[0] if size > 1 else self.predict(box.x)
            return dataclasses.asdict(other)

    with APIRunner(API(max_batch_size=size)) as runner:
        for _ in range(2):
            assert runner.run(1) == {"x": 1, "label": "cat"}
        assert runner.api.predict.cache.info().hits == 1
        assert (runner.api.predict([5]) if size > 1 else runner.api.predict(5)) != {}


def test_a_predict_that_takes_the_context_and_is_called_by_decode_request_gives_a_prediction():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            assert isinstance(self.predict(request, context), Box)
            return request

        @cached_predict(result="response")
        def predict(self, x, context):
            return Box(x, "cat")

        def encode_response(self, box):
            return box.x

    with APIRunner(API()) as runner:
        assert (runner.run(1), runner.run(1)) == (1, 1)
        assert runner.api.predict.cache.info().hits == 1


def test_so_it_is_in_an_async_api():
    class API(ls.LitAPI):
        async def decode_request(self, request, context):
            assert isinstance(await self.predict(request, context), Box)
            return request

        @cached_predict(result="response")
        async def predict(self, x, context):
            await asyncio.sleep(0)
            return Box(x, "cat")

        async def encode_response(self, box, context):
            assert isinstance(await self.predict(box.x, context), Box)
            return box.x

    with APIRunner(API(enable_async=True)) as runner:
        assert runner.run_batch([1, 2]) == runner.run_batch([1, 2]) == [1, 2]
        assert runner.api.predict.cache.info().hits == 2


def test_a_subclass_encodes_in_its_own_way():
    class Base(ls.LitAPI):
        @cached_predict(result="response")
        def predict(self, x):
            return Box(x, "cat")

        def encode_response(self, box):
            return {"x": box.x}

    class Sub(Base):
        encodes = 0

        def encode_response(self, box):
            self.encodes += 1
            return super().encode_response(box) | {"label": box.label}

    with APIRunner(Sub()) as runner:
        assert runner.run(1) == runner.run(1) == {"x": 1, "label": "cat"}
        assert runner.api.encodes == 1


@pytest.mark.parametrize("options", [way for way in LOOPS if "async" not in way])
def test_an_encode_response_on_the_object_is_used_uncached_and_said_so(options, caplog):
    api = LOOPS[options]("a dataclass", decorate=cached_predict(result="response", trial=0))
    api.encode_response = lambda box: box.label * box.x
    with running(api) as driven:
        assert driven.get({"size": 2}) == driven.get({"size": 2}) == ["catcat"]
    assert api.models == 2
    assert caplog.text.count("self.encode_response") == 1


def test_a_loop_that_passes_no_context_gets_predictions_and_is_told_so_once(caplog):
    with APIRunner(made("a dataclass")) as runner:
        for _ in range(2):
            assert runner.api.predict(2) == Box(2, "cat")
        assert runner.run({"size": 2}) == {"x": 2, "label": "cat"}
    assert caplog.text.count("passes no context") == 1


@pytest.mark.parametrize("size", [1, 4])
def test_what_a_spec_encodes_is_cached(size):
    class API(ls.LitAPI):
        @cached_predict(result="response")
        def predict(self, x):
            return [[float(len(text))] for text in x] if size > 1 else [float(len(x))]

    api = API(max_batch_size=size, spec=EmbeddingSpec())
    request = EmbeddingRequest(model="m", input="text")
    with APIRunner(api) as runner:
        expected = {"embeddings": [4.0], "prompt_tokens": 0, "total_tokens": 0}
        assert runner.run(request) == runner.run(request) == expected
        assert runner.model_batches == [1]


@pytest.mark.e2e
@pytest.mark.parametrize("loop", ["LitServe's", "CachedBatchedLoop"])
def test_clients_of_a_server_get_stored_images_as_they_were(loop):
    with serve(str(SERVER), loop) as server:
        answers = [server.post("/predict", {"size": size}) for size in (8, 9, 8, 8)]
        assert [answer.headers["content-type"] for answer in answers] == ["image/png"] * 4
        assert len({answer.content for answer in answers}) == 2
        assert [answer.headers["x-encoded"] for answer in answers] == ["1", "2", "1", "1"]


def test_while_caches_are_off_everything_runs():
    with APIRunner(made("an image")) as runner, disabled():
        for _ in range(2):
            assert isinstance(runner.run({"size": 2}), Response)
        assert (runner.api.models, runner.api.encodes) == (2, 2)


# What is refused, and what is not stored


def test_it_is_refused_where_it_has_no_meaning():
    with pytest.raises(ValueError, match='items="list"'):
        cached_predict(items="list", result="response")(lambda self, x: x)
    with pytest.raises(UnsupportedMethodError, match="predict alone"):

        class Decodes(ls.LitAPI):
            @cached_predict(result="response")
            def decode_request(self, request):
                return request

    class Helper(ls.LitAPI):
        @cached_predict(result="response")
        def encode_image(self, image):
            return image

        def predict(self, x):
            return self.encode_image(x)

    with pytest.raises(UnsupportedMethodError, match="predict alone"):
        Helper().encode_image(1)


UNSTORED = {
    "streamed": (lambda: StreamingResponse(iter([b"a"])), "Response of the whole body"),
    "a file": (lambda: FileResponse(__file__), "Response of its bytes"),
    "with a task": (lambda: Response("a", background=BackgroundTask(print)), "background task"),
    "a dataclass": (lambda: Box(1, "a"), "dataclasses.asdict"),
    "an enum": (lambda: HTTPStatus.OK, "value.value"),
}


@pytest.mark.parametrize("kind", UNSTORED)
def test_a_response_that_is_not_stored_is_answered_and_warned_of_with_what_to_return(kind, caplog):
    make, words = UNSTORED[kind]

    class API(ls.LitAPI):
        calls = 0

        @cached_predict(result="response")
        def predict(self, x):
            self.calls += 1
            return x

        def encode_response(self, output):
            return make()

    api = API()
    prepare(api)  # and called as a loop does: some of these answers cannot be pickled
    answers = [api.encode_response(api.predict(1, context={})) for _ in range(2)]
    assert type(answers[0]) is type(answers[1]) is type(make())
    assert api.calls == 2
    assert api.predict.cache.info().uncacheable == 2
    assert caplog.text.count(words) == 1


@pytest.mark.parametrize(
    "response",
    [
        Response(b"\x00\xff", media_type="image/png"),
        JSONResponse({"a": [1, 2.5, None]}, status_code=201, headers={"X-Model": "1"}),
        PlainTextResponse("ä"),
        HTMLResponse("<p>"),
        RedirectResponse("/elsewhere"),
        Response(status_code=HTTPStatus.NO_CONTENT),
        Response("a", headers={"set-cookie": "a=1"}),
    ],
    ids=lambda response: type(response).__name__,
)
def test_a_stored_response_is_a_fresh_one_of_the_same_class(response):
    class API(ls.LitAPI):
        @cached_predict(result="response")
        def predict(self, x):
            return x

        def encode_response(self, x):
            return response

    with APIRunner(API()) as runner, strict():
        before = facts(response)
        for _ in range(3):
            answer = runner.run(1)
            assert facts(answer) == before
            assert type(answer.status_code) is type(response.status_code)
            answer.headers["x-seen"] = "yes"  # what a client of one answer changes stays there
        assert runner.api.predict.cache.info().hits == 2


def test_a_shared_store_keeps_responses_and_predictions_apart(tmp_path):
    def api(**options):
        store = SharedStore(tmp_path)

        class API(ls.LitAPI):
            @cached_predict(store=store, namespace="n", version="1", **options)
            def predict(self, x):
                return {"x": x}

            def encode_response(self, output):
                return [output["x"]]

        return API()

    for options in ({}, {"result": "response"}, {}, {"result": "response"}):
        with APIRunner(api(**options)) as runner:
            assert runner.run(1) == [1]
            hits = runner.api.predict.cache.info().hits
    assert hits == 1


def test_the_handle_gives_takes_and_forgets_responses():
    with APIRunner(made("results")) as runner:
        answer = runner.run({"size": 2})
        cache = runner.api.predict.cache
        assert cache.get(2) == answer
        assert cache.delete([2]) == 1
        cache.warm([2], [{"warmed": True}])
        assert runner.run({"size": 2}) == {"warmed": True}
