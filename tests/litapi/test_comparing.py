"""Clocks and own counters of `encode_response` agree; what `predict` has left for it does not."""

import asyncio
import collections
import itertools
import threading
import time
import uuid

import litserve as ls
import pytest
from support.loops import running
from support.ways import WAYS, answers_of, each, prepared, undecorated

from litcache import CachedBatchedLoop, Trial, cached_predict
from litcache.litapi.comparing import _is_within
from litcache.testing import APIRunner

# LitServe runs the plain hooks of an async API in threads, and warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")

TEXTS = ["a", "bb", "ccc", "dddd"]
REPEATING = [TEXTS[(n * n + n // 3) % 4] for n in range(40)]
LEFT = {}
STATS = {"calls": 0}
BIG = {"labels": {n: [f"label {n}"] for n in range(5_000)}, "last": {"counts": [0] * 9}}


class Result:
    extra = None


def service(leave, encode, *, answer=str.upper, warm_up=(), stamp=False):
    """A service whose `predict` leaves something that `encode_response` reads."""

    def make(cached):
        class API(ls.LitAPI):
            def setup(self, device):
                LEFT.clear()
                STATS["calls"] = 0
                self.extra, self.result, self.total, self.count = None, Result(), 0, 0
                self.queue, self.by_name = [], {}
                self.deque, self.boxes = collections.deque(), None
                for text in warm_up:
                    leave(self, text, answer(text))

            @cached()
            def predict(self, x):
                def compute(text):
                    output = answer(text)
                    leave(self, text, output)
                    return output

                return each(self, x, compute)

            def encode_response(self, output):
                made = {"output": output, "left": encode(self, output)}
                return {**made, "id": uuid.uuid4().hex} if stamp else made

        return API

    return make


def plain(answers):
    """Answers without what is new each time."""
    return [{name: part for name, part in answer.items() if name != "id"} for answer in answers]


# ---------------------------------------------------------------------- what predict has left


def set_extra(api, text, output):
    api.extra = {"n": len(text)}


def take_extra(api, output):
    made, api.extra = dict(api.extra), None
    return made


def take_extra_or_none(api, output):
    made, api.extra = api.extra, None
    return made


def delete_extra(api, output):
    made = api.extra
    del api.extra
    return made


def set_in_object(api, text, output):
    api.result.extra = len(text)


def take_from_object(api, output):
    made, api.result.extra = api.result.extra, None
    return made


def add_to_queue(api, text, output):
    api.queue.append(len(text))


def reset_queue(api, output):
    made, api.queue = api.queue, []
    return made


def set_by_name(api, text, output):
    api.by_name[output] = len(text)


def add_to_deque(api, text, output):
    api.deque.append(len(text))


def set_boxes(api, text, output):
    # Of so many parts there is no twin; of those of the first request there is one.
    api.boxes = [[len(text)] for _ in range(6_000 if len(text) > 1 else 1)]


def take_boxes(api, output):
    made, api.boxes = api.boxes, None
    return None if made is None else made[0][0]


USED_UP = {
    "set to None": (set_extra, take_extra),
    "set to None, and read as such": (set_extra, take_extra_or_none),
    "deleted": (set_extra, delete_extra),
    "of an object": (set_in_object, take_from_object),
    "last of a list": (add_to_queue, lambda api, _: api.queue.pop()),
    "first of a list": (add_to_queue, lambda api, _: api.queue.pop(0)),
    "list that is reset": (add_to_queue, reset_queue),
    "entry of a dict": (set_by_name, lambda api, output: api.by_name.pop(output, None)),
    "required entry of a dict": (set_by_name, lambda api, output: api.by_name.pop(output)),
    "first of a deque": (add_to_deque, lambda api, _: api.deque.popleft()),
    "without a copy": (set_boxes, take_boxes),
}


@pytest.mark.parametrize("stamp", [False, True], ids=["", "with an id"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("leave", "encode"), USED_UP.values(), ids=USED_UP)
def test_what_encode_response_uses_up_of_what_predict_left_is_a_disagreement(
    leave, encode, way, stamp
):
    make = service(leave, encode, stamp=stamp)
    expected = answers_of(prepared(make, way, undecorated), REPEATING, way)
    api = prepared(make, way, cached_predict)
    assert plain(answers_of(api, REPEATING, way)) == plain(expected)
    info = api.predict.cache.info()
    assert (info.state, info.hits) == ("off", 0)


def sum_up(api, output):
    api.total += api.extra["n"]
    return api.total


def count_call(api, text, output):
    api.count += 1


def count_response(api, output):
    api.count += 1
    return api.count


COUNTED = {
    "sum of what predict left": (set_extra, sum_up, {"warm_up": ["a"]}),
    "number that predict counts, too": (count_call, count_response, {}),
    "left over from a warm-up": (
        add_to_queue,
        lambda api, _: api.queue.pop(),
        {"warm_up": ["a", "bb"]},
    ),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "async"])
@pytest.mark.parametrize(("leave", "encode", "options"), COUNTED.values(), ids=COUNTED)
def test_what_predict_left_is_no_counter_of_encode_response(leave, encode, options, way):
    make = service(leave, encode, **options)
    expected = answers_of(prepared(make, way, undecorated), REPEATING, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, REPEATING, way) == expected
    assert api.predict.cache.info().state == "off"


def leave_by_id(api, text, output):
    api.by_name[id(output)] = output, len(text)  # kept, so that the id is its own


def leave_by_id_in_global(api, text, output):
    LEFT[id(output)] = output, len(text)


BY_ID = {
    "on self": (leave_by_id, lambda api, output: api.by_name.get(id(output), (0, 0))[1]),
    "in a global": (leave_by_id_in_global, lambda api, output: LEFT.get(id(output), (0, 0))[1]),
}


noise = itertools.cycle([0.0, 1e-3])


@pytest.mark.parametrize(
    "answer",
    [lambda text: {"label": len(text) % 2}, lambda text: {"score": 1 + next(noise)}],
    ids=["equal outputs", "noise of the model"],
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("leave", "encode"), BY_ID.values(), ids=BY_ID)
def test_what_belongs_to_the_output_as_an_object_is_a_disagreement(leave, encode, answer, way):
    api = prepared(service(leave, encode, answer=answer), way, cached_predict)
    answers = answers_of(api, REPEATING, way)
    assert [one["left"] for one in answers] == list(map(len, REPEATING))
    assert api.predict.cache.info().state == "off"


@pytest.mark.parametrize("way", WAYS)
def test_responses_to_outputs_without_a_copy_are_compared(way):
    def many_parts(text):
        return [[0] for _ in range(60_000)]

    def encode(api, output):
        output.clear()
        return dict(api.extra)

    api = prepared(service(set_extra, encode, answer=many_parts), way, cached_predict)
    answers = answers_of(api, REPEATING[:8], way)
    assert [one["left"]["n"] for one in answers] == list(map(len, REPEATING[:8]))
    assert api.predict.cache.info().state == "off"


# ---------------------------------------------------------------------- globals


OF_THREAD = threading.local()


def leave_in_thread(api, text, output):
    OF_THREAD.tokens = len(text)


def leave_in_global(api, text, output):
    LEFT["tokens"] = len(text)
    LEFT["calls"] = LEFT.get("calls", 0) + 1


def leave_behind_many(api, text, output):
    BIG["last"]["tokens"] = len(text)


IN_GLOBALS = {
    "small": (leave_in_global, lambda api, _: LEFT["tokens"]),
    "large": (leave_behind_many, lambda api, _: BIG["last"]["tokens"]),
}


@pytest.mark.parametrize("stamp", [False, True], ids=["", "with an id"])
@pytest.mark.parametrize("first", [["a", "a"], ["a", "bb"]], ids=["repeated at once", "not"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("leave", "encode"), IN_GLOBALS.values(), ids=IN_GLOBALS)
def test_a_global_that_predict_changes_ends_no_rehearsals(leave, encode, way, first, stamp):
    make = service(leave, encode, stamp=stamp)
    api = prepared(make, way, cached_predict)
    answers = answers_of(api, [*first, *REPEATING], way)
    assert [one["left"] for one in answers] == list(map(len, [*first, *REPEATING]))
    assert api.predict.cache.info().state == "off"


@pytest.mark.parametrize("way", ["single", "batched", "loop"])  # those of one thread
def test_what_predict_leaves_for_its_thread_is_no_clock(way):
    make = service(leave_in_thread, lambda api, _: OF_THREAD.tokens)
    api = prepared(make, way, cached_predict)
    answers = answers_of(api, REPEATING, way)
    assert [one["left"] for one in answers] == list(map(len, REPEATING))
    assert api.predict.cache.info().state == "off"


def whole_seconds():
    return int(time.time())


def stamp_of_seconds():
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time()))


def seconds_beside_stats():
    return int(time.time()), STATS["calls"] * 0


def milliseconds_beside_stats():
    return int(time.time()) * 1000, STATS["calls"] * 0


def stamp_beside_stats():
    return stamp_of_seconds(), STATS["calls"] * 0


CLOCKS = [
    whole_seconds, stamp_of_seconds, seconds_beside_stats, milliseconds_beside_stats,
    stamp_beside_stats,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("clock", CLOCKS)
def test_a_clock_of_whole_seconds_agrees_though_predict_changes_a_global(clock, way, monkeypatch):
    passed, real = [0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + passed[0])

    def leave(api, text, output):
        passed[0] += 1  # the model takes a second
        STATS["calls"] += 1

    api = prepared(service(leave, lambda api, _: {"at": clock()}), way, cached_predict)
    answers_of(api, REPEATING, way)
    info = api.predict.cache.info()
    assert (info.state, info.disagreement) == ("on", "")


@pytest.mark.parametrize("way", WAYS)
def test_a_global_that_predict_changes_is_no_clock(way):
    make = service(leave_in_global, lambda api, _: LEFT["calls"], stamp=True)
    expected = answers_of(prepared(make, way, undecorated), REPEATING, way)
    api = prepared(make, way, cached_predict)
    assert plain(answers_of(api, REPEATING, way)) == plain(expected)
    assert api.predict.cache.info().state == "off"


# ---------------------------------------------------------------------- where it stays quiet


class Metrics:
    def __init__(self):
        self.counts, self.lock = collections.Counter(), threading.Lock()

    def count(self, name):
        with self.lock:
            self.counts[name] += 1


def numbered(take):
    """A service that keeps the name of each request until its response, and counts responses."""

    def make(cached):
        class API(ls.LitAPI):
            def setup(self, device):
                self.names, self.done, self.metrics = [], 0, Metrics()

            def decode_request(self, request):
                self.names.append(request["name"])
                return request["text"]

            @cached()
            def predict(self, x):
                self.metrics.count("predicted")
                return each(self, x, str.upper)

            def encode_response(self, output):
                self.done += 1
                self.metrics.count("encoded")
                return {
                    "text": output,
                    "name": self.names.pop(0) if take else "",
                    "done": self.done,
                    "id": uuid.uuid4().hex,
                }

        return API

    return make


def batches():
    names = itertools.count()
    for texts in ("abc", "bxa", "ab", "cyzb", "abca", "wb", "aa", "bcva", "c", "abcb"):
        yield [{"text": text, "name": next(names)} for text in texts]


@pytest.mark.parametrize("take", [False, True], ids=["counted", "in order"])
def test_what_encode_response_keeps_agrees_in_batches_of_hits_and_misses(take):
    expected = []
    with APIRunner(numbered(take)(undecorated)(max_batch_size=4)) as runner:
        for batch in batches():
            expected += runner.run_batch(batch)
    with APIRunner(numbered(take)(cached_predict)(max_batch_size=4), trial=16) as runner:
        answers = [one for batch in batches() for one in runner.run_batch(batch)]
        info = runner.api.predict.cache.info()
    assert (info.state, info.disagreement) == ("on", "")
    assert plain(answers) == plain(expected)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("take", [False, True], ids=["counted", "in order"])
def test_what_encode_response_keeps_agrees_in_the_batches_of_a_loop(take, overlap):
    loop = CachedBatchedLoop(overlap=overlap)
    api = numbered(take)(cached_predict)(max_batch_size=4, batch_timeout=0.001, loop=loop)
    with running(api, tried=True) as driven:
        answers = [one for batch in batches() for one in driven.get(*batch)]
    info = api.predict.cache.info()
    assert (info.state, info.disagreement) == ("on", "")
    assert sorted(one["done"] for one in answers) == list(range(1, len(answers) + 1))


def test_what_tasks_count_while_others_are_rehearsed_agrees():
    class API(ls.LitAPI):
        def setup(self, device):
            self.pending, self.done, self.count = {}, 0, 0

        async def decode_request(self, request, context):
            self.count += 1
            context["n"] = self.count
            self.pending[self.count] = request["user"]
            await asyncio.sleep(0)
            return request["text"]

        @cached_predict
        async def predict(self, text):
            await asyncio.sleep(0)
            return text.upper()

        async def encode_response(self, output, context):
            await asyncio.sleep(0)
            self.done += 1
            user = self.pending.pop(context["n"])
            return {"user": user, "done": self.done, "id": uuid.uuid4().hex}

    with APIRunner(API(enable_async=True), trial=Trial(hits=16, verify=0)) as runner:
        for turn in range(10):
            requests = [{"text": f"t{n % 4}", "user": f"u{turn}-{n}"} for n in range(8)]
            answers = runner.run_batch(requests)
            assert [one["user"] for one in answers] == [one["user"] for one in requests]
        info = runner.api.predict.cache.info()
    assert (info.state, info.disagreement) == ("on", "")


@pytest.mark.parametrize("way", WAYS)
def test_what_stands_in_the_context_and_on_self_is_one_object_beside_an_id(way):
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
                return {"seen": list(self.seen), "id": uuid.uuid4().hex}

        return API

    api = prepared(make, way, cached_predict)
    answers = answers_of(api, REPEATING, way)
    assert [one["seen"] for one in answers] == [[text, len(text)] for text in REPEATING]
    info = api.predict.cache.info()
    assert (info.state, info.disagreement) == ("on", "")


# ---------------------------------------------------------------------- what is counted once


@pytest.mark.parametrize("way", WAYS)
def test_a_counter_behind_a_large_global_counts_each_response_once(way):
    def count(api, output):
        BIG["last"]["counts"][output] += 1
        return BIG["labels"][output][0], BIG["last"]["counts"][output]

    BIG["last"]["counts"] = [0] * 9
    api = prepared(service(lambda *_: None, count, answer=len), way, cached_predict)
    answers = answers_of(api, REPEATING, way)
    met = collections.Counter()
    for text, one in zip(REPEATING, answers, strict=True):
        met[text] += 1
        assert tuple(one["left"]) == (f"label {len(text)}", met[text])


@pytest.mark.parametrize("loop", [None, CachedBatchedLoop()], ids=["single", "loop"])
def test_predict_may_call_encode_response_itself(loop):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            assert self.encode_response("positive")["label"] == "positive"
            return each(self, x, lambda _: "positive")

        def encode_response(self, output):
            return {"label": output, "id": uuid.uuid4().hex}

    api = API() if loop is None else API(max_batch_size=4, batch_timeout=0.001, loop=loop)
    with running(api, tried=True) as driven:
        for _ in range(20):
            assert driven.get("a")[0]["label"] == "positive"
    assert api.predict.cache.info().state == "on"


@pytest.mark.parametrize(
    ("one", "other", "is_within"),
    [("$", "$.a", True), ("$.a[0]", "$.a", True), ("$.a", "$.a", True), ("$.n", "$.name", False)],
)
def test_a_place_is_within_another_part_by_part(one, other, is_within):
    assert _is_within(one, other) == is_within
