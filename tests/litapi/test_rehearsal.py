"""A rehearsal leaves no trace: the clients' answers, and what the service keeps, are its own."""

import asyncio
import collections
import copy
import dataclasses
import io
import itertools
import multiprocessing
import queue
import random
import threading

import litserve as ls
import numpy as np
import pydantic
import pytest
from PIL import Image
from starlette.datastructures import UploadFile
from support.loops import SECONDS, running
from support.ways import WAYS, answers_of, each, prepared, undecorated

from litcache import MemoryStore, Trial, cached_predict
from litcache.testing import APIRunner

# LitServe runs the plain hooks of an async API in threads, and warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")

REQUESTS = ["a", "b", "a", "a", "b", *"a" * 16]


@dataclasses.dataclass
class Job:
    name: str
    steps: list = dataclasses.field(default_factory=list)


class JobModel(pydantic.BaseModel):
    name: str
    steps: list = []


class Trace:
    total = 0

    def __init__(self):
        self.steps = []
        self.lock = threading.Lock()

    def note(self):
        with self.lock:
            self.steps.append("encoded")
        return len(self.steps)

    def note_in_class(self):
        type(self).total += 1
        return type(self).total


class OnlyOne:
    """A class of which there is one object."""

    made = None

    def __new__(cls):
        cls.made = cls.made or super().__new__(cls)
        return cls.made

    def __init__(self):
        self.count = 0


def add_step(thing):
    thing.steps.append("encoded")
    return list(thing.steps)


def darkened(image):
    image.putpixel((0, 0), image.getpixel((0, 0)) // 2)
    return image.getpixel((0, 0))


IN_CONTEXT = {
    "BytesIO": (lambda x: io.BytesIO(x.encode()), lambda v: v.read().decode()),
    "upload": (lambda x: UploadFile(io.BytesIO(x.encode())), lambda v: v.file.read().decode()),
    "iterator": (lambda x: iter([x]), next),
    "generator": (lambda x: (each for each in [x]), next),
    "dataclass": (Job, add_step),
    "model": (lambda x: JobModel(name=x), add_step),
    "object": (lambda x: Trace(), lambda v: v.note()),
    "nested object": (lambda x: {"t": [Job(x)]}, lambda v: add_step(v["t"][0])),
    "image": (lambda x: Image.new("L", (1, 1), 100), darkened),
    "array": (lambda x: np.ones(2), lambda v: v.__imul__(2).tolist()),
    "list": (lambda x: [x], lambda v: v.append(1) or list(v)),
    "deque": (lambda x: collections.deque([x]), lambda v: v.popleft()),
    "set": (lambda x: {x}, lambda v: v.pop()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("put", "use"), IN_CONTEXT.values(), ids=IN_CONTEXT)
def test_what_encode_response_uses_up_of_a_context_is_there_for_the_client(put, use, way):
    def make(cached):
        class API(ls.LitAPI):
            def decode_request(self, request, context):
                context["value"] = put(request)
                return request

            @cached()
            def predict(self, x):
                return each(self, x, str.upper)

            def encode_response(self, output, context):
                return {"text": output, "value": use(context["value"])}

        return API

    expected = answers_of(prepared(make, way, undecorated), REQUESTS, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, REQUESTS, way) == expected
    info = api.predict.cache.info()
    assert (info.state, info.verified, info.disagreement) == ("on", 16, "")


counts = {"n": 0}
number = 0


def count_in_global(api):
    global number
    number += 1
    return number


def count_in_dict_of_module(api):
    counts["n"] += 1
    return counts["n"]


def count_in_class(api):
    type(api).total += 1
    return type(api).total


def count_in_nested(api):
    api.nested["user"]["n"] += 1
    return api.nested["user"]["n"]


def count_words(api):
    api.counter["n"] += 1
    return api.counter["n"]


def count_in_lists(api):
    api.lists["n"].append(1)
    return len(api.lists["n"])


def count_in_queue(api):
    api.queue.put(1)
    return api.queue.qsize()


def count_shared(api):
    api.shared.value += 1
    return api.shared.value


def count_by_method(api):
    api.table["trace"].note()
    return len(api.table["trace"].steps)


def count_by_function(api):
    return api.next_number()


def count_attribute(api):
    api.count += 1
    return api.count


ON_SELF = {
    "attribute": count_attribute,
    "object with a lock": lambda api: api.trace.note(),
    "class of an object": lambda api: api.trace.note_in_class(),
    "object in a dict": count_by_method,
    "the only object of a class": lambda api: count_attribute(api.only),
    "nested dict": count_in_nested,
    "Counter": count_words,
    "defaultdict": count_in_lists,
    "itertools": lambda api: next(api.numbers),
    "class attribute": count_in_class,
    "global": count_in_global,
    "dict of a module": count_in_dict_of_module,
    "large list": lambda api: api.large.append(1) or len(api.large),
    "array": lambda api: api.array.__iadd__(1).tolist(),
    "queue": count_in_queue,
    "shared memory": count_shared,
    "generator of numpy": lambda api: api.numpy_random.random(),
    "random numbers of its own": lambda api: api.random.random(),
    "random numbers of all": lambda api: random.random(),
    "random numbers of numpy": lambda api: np.random.rand(),
    "function": count_by_function,
    "bound method": lambda api: api.note(),
    "own object in two places": lambda api: (api.trace.note(), len(api.again.steps)),
}


def stateful(count):
    def make(cached):
        class API(ls.LitAPI):
            total = 0

            def setup(self, device):
                global number
                number, counts["n"], Trace.total, self.count = 0, 0, 0, 0
                OnlyOne.made = None
                self.trace = self.again = Trace()
                self.table = {"trace": Trace(), "lock": threading.Lock()}
                self.only = OnlyOne()
                self.nested, self.counter = {"user": {"n": 0}}, collections.Counter()
                self.lists, self.numbers = collections.defaultdict(list), itertools.count(1)
                self.large, self.array = [0] * 100_000, np.zeros(2)
                self.queue, self.shared = queue.SimpleQueue(), multiprocessing.Value("i", 0)
                self.random, self.numpy_random = random.Random(1), np.random.default_rng(1)
                random.seed(1)
                np.random.seed(1)
                if count is count_by_function:  # it leaves the API without a twin
                    self.next_number = lambda: count_attribute(self)
                self.note = self.trace.note

            @cached()
            def predict(self, x):
                return each(self, x, len)

            def encode_response(self, output):
                return {"length": output, "count": count(self)}

        return API

    return make


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", ON_SELF.values(), ids=ON_SELF)
def test_what_encode_response_counts_is_counted_once_for_each_answer(count, way):
    requests = ["a", "a", "b", *"abaabab" * 3]
    expected = answers_of(prepared(stateful(count), way, undecorated), requests, way)
    api = prepared(stateful(count), way, cached_predict)
    assert answers_of(api, requests, way) == expected
    info = api.predict.cache.info()
    assert (info.state, info.disagreement) == ("on", "")


def test_what_another_thread_sets_while_a_response_is_rehearsed_stays_set():
    rehearsed, reloaded = threading.Event(), threading.Event()
    calls = itertools.count()

    class API(ls.LitAPI):
        def setup(self, device):
            self.model = "v1"

        @cached_predict
        def predict(self, x):
            return f"{x} by {self.model}"

        def encode_response(self, output):
            if next(calls) == 1:
                rehearsed.set()
                assert reloaded.wait(20)
            return output

    api = API()
    with APIRunner(api, trial=16) as runner:
        runner.run("a")

        def reload():
            assert rehearsed.wait(20)
            api.model = "v2"
            api.predict.cache.renew()
            reloaded.set()

        thread = threading.Thread(target=reload)
        thread.start()
        runner.run("a")
        thread.join()
        assert runner.run("a") == "a by v2"
    assert api.model == "v2"


def pending(cached):
    """Keeps what belongs to a request on self, under the request's own number."""

    class API(ls.LitAPI):
        def setup(self, device):
            self.pending, self.done, self.count = {}, 0, 0

        async def decode_request(self, request, context):
            self.count += 1
            context["n"] = self.count
            self.pending[self.count] = request["user"]
            await asyncio.sleep(0)
            return request["text"]

        @cached
        async def predict(self, text):
            await asyncio.sleep(0)
            return text.upper()

        async def encode_response(self, output, context):
            for _ in range(3):
                await asyncio.sleep(0)
            self.done += 1
            return {"text": output, "user": self.pending.pop(context["n"])}

    return API(enable_async=True)


def test_tasks_that_interleave_with_a_rehearsal_keep_what_they_set():
    api = pending(cached_predict)
    with APIRunner(api, trial=Trial(hits=16, verify=0)) as runner:
        for turn in range(10):
            requests = [{"text": f"t{n % 4}", "user": f"u{turn}-{n}"} for n in range(8)]
            assert runner.run_batch(requests) == [
                {"text": each["text"].upper(), "user": each["user"]} for each in requests
            ]
        assert api.predict.cache.info().state == "on"
    assert (api.pending, api.done) == ({}, 80)


@pytest.mark.parametrize("way", WAYS)
def test_what_stands_in_the_context_and_on_self_is_one_object_in_a_rehearsal(way):
    def make(cached):
        class API(ls.LitAPI):
            def decode_request(self, request, context):
                context["seen"] = self.seen = [request]
                return request

            @cached()
            def predict(self, x):
                return each(self, x, len)

            def encode_response(self, output, context):
                context["seen"].append(output)
                return {"output": output, "seen": list(self.seen)}

        return API

    expected = answers_of(prepared(make, way, undecorated), REQUESTS, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, REQUESTS, way) == expected
    assert api.predict.cache.info().disagreement == ""


def test_a_response_object_that_is_read_later_is_not_changed_by_comparing():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["body"] = {"parts": [request], "at": []}
            return request

        @cached_predict
        def predict(self, x):
            return x.upper()

        def encode_response(self, output, context):
            context["body"]["parts"].append(output)
            context["body"]["at"].append(random.random())  # so that it is encoded once more
            return context["body"]

    with APIRunner(API(), trial=16) as runner:
        answers = [runner.run("a") for _ in range(20)]
        assert runner.api.predict.cache.info().state == "on"
    assert [len(answer["at"]) for answer in answers] == [1] * 20
    assert [answer["parts"] for answer in answers] == [["a", "A"]] * 20


def test_what_is_logged_of_a_rehearsal_does_not_reach_the_loggers_of_litserve():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            return x

        def encode_response(self, output):
            self.log("answers", 1)
            return output

    api = API()
    api.set_logger_queue(queue.Queue())
    with APIRunner(api, trial=4) as runner:
        for _ in range(8):
            runner.run("a")
    assert api._logger_queue.qsize() == 8


def voice_in(place):
    """`predict` leaves its result for `encode_response`, which a hit would find there unchanged."""

    class Result:
        voice = None

    def make(cached):
        class API(ls.LitAPI):
            def setup(self, device):
                self.result, self.results = Result(), {"last": [None]}
                self.locked = Trace()

            @cached()
            def predict(self, x):
                voice = x[0] if self.max_batch_size > 1 else x
                self.voice = self.result.voice = self.results["last"][0] = voice
                self.locked.steps = voice
                return each(self, x, lambda text: 1)

            def encode_response(self, output):
                return {"output": output, "voice": copy.copy(place(self))}

        return API

    return make


LEFT_ON_SELF = {
    "attribute": lambda api: api.voice,
    "object": lambda api: api.result.voice,
    "dict": lambda api: api.results["last"][0],
    "object with a lock": lambda api: api.locked.steps,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", LEFT_ON_SELF.values(), ids=LEFT_ON_SELF)
def test_a_result_that_predict_leaves_on_self_is_still_caught(place, way):
    requests = ["a", "b", "a", "b"]
    expected = answers_of(prepared(voice_in(place), way, undecorated), requests, way)
    api = prepared(voice_in(place), way, cached_predict)
    assert answers_of(api, requests, way) == expected
    info = api.predict.cache.info()
    assert (info.state, info.disagreement) == (
        "off", "$.voice: 'b' from the cache, 'a' from the model",
    )  # fmt: skip


def test_helpers_that_a_rehearsal_calls_ask_no_cache_and_make_none():
    stores = []

    def store_of(api):
        stores.append(MemoryStore("1 MiB"))
        return stores[-1]

    class API(ls.LitAPI):
        @cached_predict(store=store_of)
        def shout(self, text):
            return text.upper()

        @cached_predict
        def predict(self, x):
            return x

        def encode_response(self, output):
            return self.shout(output)

    with APIRunner(API(), trial=2) as runner:
        assert [runner.run("a") for _ in range(4)] == ["A"] * 4
        info = runner.api.shout.cache.info()
        assert (info.hits + info.verified, info.misses) == (3, 1)
    assert len(stores) <= 1


@pytest.mark.parametrize("late", ["first", "second"])
def test_requests_with_one_constant_output_are_each_compared_with_their_own_rehearsal(
    late, monkeypatch
):
    """LitServe's async loop runs a plain `encode_response` in threads, which come in any order."""

    class API(ls.LitAPI):
        async def decode_request(self, request, context):
            context["id"] = request["id"]
            return request["text"]

        @cached_predict
        async def predict(self, text):
            return "positive"  # one object

        def encode_response(self, output, context):
            return {"label": output, "id": context["id"]}

    passed, to_thread = threading.Event(), asyncio.to_thread

    async def held(function, *args, context=None, **kwargs):
        def call(*args, **kwargs):
            if context["id"] == late:
                assert passed.wait(SECONDS)
            answer = function(*args, context=context, **kwargs)
            if context["id"] in {"first", "second"} - {late}:
                passed.set()
            return answer

        return await to_thread(call, *args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", held)
    api = API(enable_async=True)
    with running(api, tried=True) as driven:
        driven.get({"text": "a", "id": "0"})
        driven.get({"text": "b", "id": "0"})
        driven.get({"text": "a", "id": "1"})
        pair = {"text": "a", "id": "first"}, {"text": "b", "id": "second"}
        answers = driven.get(*pair)
    assert [answer["id"] for answer in answers] == ["first", "second"]
    info = api.predict.cache.info()
    assert (info.disagreements, info.verified, info.state) == (0, 3, "trial")
