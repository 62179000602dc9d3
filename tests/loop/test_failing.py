"""Batches that fail in `CachedBatchedLoop`: only the culprits fail, and nobody else notices."""

import enum
import io
import threading

import litserve as ls
import numpy as np
import pytest
from fastapi import HTTPException
from starlette.datastructures import FormData, UploadFile
from support.batches import undecorated
from support.loops import SECONDS, SENTINEL, Driven, prepare, run, running
from support.words import LONG, WordAPI, both_ways

from litcache import CachedBatchedLoop, cached_predict

# ---------------------------------------------------------------------- errors are isolated


@both_ways
@pytest.mark.parametrize(
    ("culprit", "status"),
    [("bad", None), ("teapot", 418), ("short", 500), ("undecodable", None), ("forbidden", 403),
     ("unencodable", None), ("lock", None)],
)  # fmt: skip
def test_a_request_that_fails_fails_alone(culprit, status, overlap):
    api = WordAPI(window=LONG, size=3, overlap=overlap)
    with running(api) as driven:
        good, wrong, better = driven.ask("good", culprit, "better")
        if culprit in ("undecodable", "forbidden"):
            driven.ask("best")  # the other does not take a place in the batch
        assert driven.wait(good, better) == ["GOOD", "BETTER"]
        [error] = driven.wait(wrong)
        assert isinstance(error, Exception)
        assert getattr(error, "status_code", None) == status
        hits, misses, coalesced = api.counts
        assert (hits, coalesced) == (0, 0)
        assert misses == 3  # each item once, however often it was computed
        assert driven.get("good", "better") == ["GOOD", "BETTER"]
        assert api.counts == (2, 3, 0)


@both_ways
def test_without_isolation_all_of_a_batch_fail_as_in_litserves_loop(overlap):
    api = WordAPI(window=LONG, size=2, isolate_errors=False, overlap=overlap)
    with running(api) as driven:
        errors = driven.get("good", "good", "bad")
        assert [type(error) for error in errors] == [ZeroDivisionError] * 3
        assert api.batches == [["good", "bad"]]
        assert api.predict.cache.info().entries == 0
        assert driven.get("undecodable", "good", "fine")[1:] == ["GOOD", "FINE"]


@both_ways
def test_requests_fail_alone_where_only_decode_request_is_cached(overlap):
    class API(ls.LitAPI):
        @cached_predict
        def decode_request(self, request):
            if request == "undecodable":
                raise ValueError
            return [request]

        def predict(self, items):
            for item in items:
                item.append(len(items))
            if ["bad", len(items)] in items:
                raise ZeroDivisionError
            return items if ["short", len(items)] not in items else items[1:]

    api = API(max_batch_size=4, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        a, bad, _, short, b = driven.get("a", "bad", "undecodable", "short", "b")
        assert (a, b) == (["a", 1], ["b", 1])  # decoded anew, and not changed twice
        assert isinstance(bad, ZeroDivisionError)
        assert (short.status_code, short.detail) == (500, "Batch size mismatch")
        assert driven.get("a", "a", "b", "c") == [["a", 4], ["a", 4], ["b", 4], ["c", 4]]


def test_an_error_that_cannot_be_pickled_is_answered_as_another():
    class Unpicklable(Exception):
        def __reduce__(self):
            raise TypeError("no")

    class API(WordAPI):
        def decode_request(self, request):
            raise Unpicklable(request)

    with running(API()) as driven:
        [error] = driven.get("a")
        assert isinstance(error, RuntimeError)
        assert "Unpicklable" in str(error)


@both_ways
def test_what_a_failing_batch_changed_in_place_is_restored_before_it_runs_again(overlap):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["trail"] = []
            return {"text": request, "seen": []}

        @cached_predict
        def predict(self, inputs, context):
            for item, each in zip(inputs, context, strict=True):
                item["seen"].append(len(inputs))
                each["trail"].append("predict")
                each["runs"] = each.get("runs", 0) + 1
            if any(item["text"] == "bad" for item in inputs):
                raise ZeroDivisionError
            return inputs

        def encode_response(self, output, context):
            return [output, context["trail"], context["runs"]]

    api = API(max_batch_size=3, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        a, bad, b = driven.get("a", "bad", "b")
        assert isinstance(bad, ZeroDivisionError)
        assert a == [{"text": "a", "seen": [1]}, ["predict"], 1]
        assert b == [{"text": "b", "seen": [1]}, ["predict"], 1]
        assert driven.get("a") == [a]
        assert api.predict.cache.info().entries == 2


@pytest.mark.parametrize(
    ("options", "extra"),
    [({"key": lambda item: item["text"]}, None), ({}, object())],
    ids=["key", "keyless"],
)
def test_what_keys_cannot_tell_apart_is_decoded_anew(options, extra):
    class API(ls.LitAPI):
        def decode_request(self, request):
            return {"text": request, "runs": [], "extra": extra}

        @cached_predict(**options)
        def predict(self, inputs):
            for item in inputs:
                item["runs"].append(1)
            if any(item["text"] == "bad" for item in inputs):
                raise ZeroDivisionError
            return [len(item["runs"]) for item in inputs]

    api = API(max_batch_size=2, batch_timeout=LONG, loop=CachedBatchedLoop())
    with running(api) as driven:
        good, bad = driven.get("good", "bad")
        assert good == 1
        assert isinstance(bad, ZeroDivisionError)


class Mood(enum.Enum):
    """An output that cannot be stored."""

    GOOD = 1


RULES = {
    "unstorable": {},
    "sampled": {"bypass_if": lambda item: next(SAMPLE) % 2 == 0},
    "refreshed": {"refresh_if": lambda item: next(SAMPLE) % 3 == 0},
    "keyed": {"key": lambda item: item["text"]},
    "keyless": {"key": lambda item: object()},
    "unasked": {"bypass_if": lambda item: 1 / (next(SAMPLE) % 2)},
}
SAMPLE = iter(range(10**9))


@both_ways
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "texts", ["cat cat bad bad", "bad cat dog bad cat", "cat dog cat bad", "bad bad bad"]
)
def test_good_requests_are_answered_beside_bad_ones_under_every_rule(texts, rule, overlap):
    class API(ls.LitAPI):
        def decode_request(self, request):
            return {"text": request.pop("text"), "seen": []}

        @cached_predict(**RULES[rule])
        def predict(self, items):
            for item in items:
                item["seen"].append(len(items))
            if any(item["text"] == "bad" for item in items):
                raise ZeroDivisionError("a bad word")
            return [Mood.GOOD if rule == "unstorable" else item["text"] for item in items]

        def encode_response(self, output):
            return "GOOD" if output is Mood.GOOD else output

    words = texts.split()
    api = API(max_batch_size=8, batch_timeout=0.05, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        for word, answer in zip(words, driven.get(*({"text": w} for w in words)), strict=True):
            if word == "bad":
                assert isinstance(answer, ZeroDivisionError)
            else:
                assert answer == ("GOOD" if rule == "unstorable" else word)


def test_predicates_are_asked_once_of_each_request():
    asked = []

    class API(WordAPI):
        predict = cached_predict(bypass_if=asked.append)(WordAPI.predict.__wrapped__)

    with running(API(window=LONG, size=4)) as driven:
        driven.get("a", "b", "bad", "c")
    assert asked == ["a", "b", "bad", "c"]


def uploaded(content):
    """What LitServe hands on of a form with a file, as it is after a queue."""
    return FormData([("file", UploadFile(io.BytesIO(content)))])


DESTROYING = {
    "pop": (lambda request: [request.pop("text")], lambda text: {"text": text}),
    "pop with a default": (lambda r: [r.pop("text", "none")], lambda text: {"text": text}),
    "del": (lambda r: [r["text"], r.__delitem__("text")][:1], lambda text: {"text": text}),
    "read": (lambda r: [r["file"].file.read().decode()], lambda text: uploaded(text.encode())),
}


@both_ways
@pytest.mark.parametrize("changes", [False, True], ids=["kept", "changed"])
@pytest.mark.parametrize("rule", ["plain", "key", "keyless", "context", "uncached"])
@pytest.mark.parametrize("how", DESTROYING)
def test_a_request_that_decoding_consumes_is_computed_again_all_the_same(
    how, rule, changes, overlap
):
    decode, request = DESTROYING[how]
    options = {"key": {"key": lambda item: item[0]}, "keyless": {"key": lambda item: object()}}

    class API(ls.LitAPI):
        @(cached_predict if rule == "uncached" else undecorated)
        def decode_request(self, request):
            return decode(request)

        def batch(self, items):
            if changes:
                for item in items:
                    item.append("changed")
            return items

        def predict(self, items):
            if any(item[0] == "bad" for item in items):
                raise ZeroDivisionError
            return [" ".join(item) for item in items]

    if rule == "context":
        predict = API.predict
        API.predict = lambda self, items, context: predict(self, items)
    if rule != "uncached":
        API.predict = cached_predict(**options.get(rule, {}))(API.predict)
        API.predict.__set_name__(API, "predict")
    api = API(max_batch_size=3, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        a, bad, b = driven.get(*map(request, ("a", "bad", "b")))
    suffix = " changed" if changes else ""
    assert (a, b) == ("a" + suffix, "b" + suffix)
    assert isinstance(bad, ZeroDivisionError)


@both_ways
@pytest.mark.parametrize(
    "options",
    [{"bypass_if": lambda image: image.getpixel((0, 0)) < 0},
     {"bypass_if": lambda image: image.getpixel((0, 0)) == 7},
     {"key": lambda image: image.tobytes()}],
    ids=["not bypassed", "bypassed", "key"],
)  # fmt: skip
def test_an_image_that_the_policy_has_read_is_computed_again_all_the_same(options, overlap):
    pillow = pytest.importorskip("PIL.Image")

    class API(ls.LitAPI):
        def decode_request(self, request):
            file = io.BytesIO()
            pillow.new("L", (2, 2), request).save(file, "PNG")
            return pillow.open(file)  # lazy

        @cached_predict(**options)
        def predict(self, images):
            pixels = [image.getpixel((0, 0)) for image in images]
            for image in images:
                image.paste(1, (0, 0, 2, 2))
            if 9 in pixels:
                raise ZeroDivisionError
            return pixels

    api = API(max_batch_size=2, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        good, bad = driven.get(7, 9)
        assert good == 7
        assert isinstance(bad, ZeroDivisionError)


class Once(ls.LitAPI):
    """Its requests can be decoded once, and items can be computed once."""

    def decode_request(self, request):
        return [request["texts"].pop()]

    def compute(self, items):
        for item in items:
            item.append("changed")
        if len(items) > 1:
            raise HTTPException(422, "too many")
        return [" ".join(item) for item in items]


@both_ways
@pytest.mark.parametrize("options", [{}, {"key": str}, {"key": lambda item: object()}, None])
def test_a_request_that_cannot_be_restored_fails_with_its_batch(options, overlap):
    class API(Once):
        if options is None:
            decode_request = cached_predict(Once.decode_request)
            predict = Once.compute
        else:
            predict = cached_predict(**options)(Once.compute)

    api = API(max_batch_size=2, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        answers = driven.get({"texts": ["a"]}, {"texts": ["b"]})
        assert [answer.detail for answer in answers] == ["too many"] * 2
        # Whatever else it makes of it is no answer either.
        answers = driven.get({"texts": ["a", "A"]}, {"texts": ["b", "B"]})
        assert [answer.detail for answer in answers] == ["too many"] * 2
        if options is not None:
            assert api.predict.cache.info().entries == 0


@both_ways
def test_an_item_that_nothing_can_tell_fails_with_its_batch_if_decoding_consumes_the_request(
    overlap,
):
    class API(Once):
        def decode_request(self, request):
            return [request["texts"].pop(), object()]

        @cached_predict
        def predict(self, items):
            return self.compute([item[:1] for item in items])

    api = API(max_batch_size=2, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        answers = driven.get({"texts": ["a", "A"]}, {"texts": ["b", "B"]})
        assert [answer.detail for answer in answers] == ["too many"] * 2


@both_ways
def test_at_the_end_too_whoever_waited_for_a_request_that_fails_is_answered(overlap):
    class API(WordAPI):
        decoded = ()

        def decode_request(self, request):
            self.decoded = (*self.decoded, request)
            if request == "a" and self.decoded.count("a") > 2:
                raise OSError("no more")
            return [request]

        @cached_predict
        def predict(self, items):
            for item in items:
                item.append("changed")
            if len(items) > 1:
                raise ZeroDivisionError
            return [item[0] for item in items]

    driven = Driven()
    driven.ask("b", "a", "a")
    driven.requests.put(SENTINEL)
    api = API(overlap=overlap)
    prepare(api)
    run(api, driven)
    other, first, follower = driven.wait("1:b", "2:a", "3:a")
    assert isinstance(first, ZeroDivisionError)
    assert (follower, other) == ("a", "b")


# ---------------------------------------------------------------------- few calls, and no waiting


@both_ways
def test_equal_requests_that_fail_take_one_call(overlap):
    api = WordAPI(window=0.05, size=8, overlap=overlap)
    with running(api) as driven:
        answers = driven.get(*["bad"] * 24)
    assert [type(answer) for answer in answers] == [ZeroDivisionError] * 24
    assert api.batches == [["bad"]]


@both_ways
def test_a_request_that_fails_alone_answers_those_that_wait_for_it(overlap):
    class API(WordAPI):
        def batch(self, inputs):
            self.tries = getattr(self, "tries", 0) + 1
            if self.tries <= 2:
                raise OSError("not yet")
            return inputs

    api = API(window=LONG, size=2, overlap=overlap)
    with running(api) as driven:
        first, second, third = driven.ask("a", "a", "b")
        answers = driven.wait(first, second, third)
        # The batch fails, then "a" alone; "b" alone succeeds.
        assert [type(answer) for answer in answers] == [OSError, OSError, str]
        assert api.batches == [["b"]]
        assert driven.get("a", "c") == ["A", "C"]


@both_ways
def test_one_culprit_is_found_by_halves(overlap):
    words = [f"word{number}" for number in range(15)]
    api = WordAPI(window=LONG, size=16, overlap=overlap)
    with running(api) as driven:
        *answers, error = driven.get(*words, "bad")
    assert answers == [word.upper() for word in words]
    assert isinstance(error, ZeroDivisionError)
    assert len(api.batches) == 1 + 2 * 4
    assert api.batches[-1] == ["bad"]


@both_ways
def test_lists_fail_with_others_only_if_these_have_all_their_items(overlap):
    class API(ls.LitAPI):
        def setup(self, device):
            self.batches = []

        @cached_predict(items="list")
        def predict(self, items):
            self.batches.append(items)
            if "bad" in items:
                raise ZeroDivisionError
            return [item.upper() for item in items]

    api = API(max_batch_size=4, batch_timeout=0.05, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        answers = driven.get(["a", "bad"], ["a"], ["bad", "a"], ["a", "bad"])
        assert [type(a) for a in answers] == [ZeroDivisionError, list, *[ZeroDivisionError] * 2]
        assert answers[1] == ["A"]
        assert api.batches == [["a", "bad"], ["a"]]


@both_ways
def test_a_list_that_has_waited_for_a_failing_request_is_restored_with_its_new_items(overlap):
    class API(ls.LitAPI):
        def decode_request(self, request):
            return [io.BytesIO(content) for content in request]

        @cached_predict(items="list")
        def predict(self, files):
            contents = [file.read() for file in files]
            if b"bad" in contents:
                raise HTTPException(418)
            return [len(content) for content in contents]

    api = API(max_batch_size=2, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        # After the first batch has failed, the second list waits for the first, then computes
        # "bad" beside the third, which came late for the first batch.
        first, second, third = driven.get([b"bad"], [b"good", b"bad"], [b"four"])
        assert (first.status_code, second.status_code, third) == (418, 418, [4])


@both_ways
@pytest.mark.parametrize("asked", ["hit", "miss"])
def test_other_requests_do_not_wait_until_a_batch_is_computed_in_parts(asked, overlap):
    class API(WordAPI):
        def batch(self, inputs):
            self.entered.release()
            assert self.turns.acquire(timeout=SECONDS)
            return inputs

        def decode_request(self, request):
            if request == "new":
                self.has_arrived.set()
            return super().decode_request(request)

    api = API(size=4, overlap=overlap)
    api.turns, api.has_arrived = threading.Semaphore(1), threading.Event()
    with running(api) as driven:
        assert driven.get("hit") == ["HIT"]
        [first] = driven.ask("first")
        for _ in range(2):
            assert api.entered.acquire(timeout=SECONDS)
        words = driven.ask("bad", "short", "teapot", "fine", "undecodable")
        if overlap:
            driven.wait(words[4])  # all have been read: they make one batch, as in one thread
        api.turns.release()
        assert driven.wait(first) == ["FIRST"]
        api.turns.release()  # the batch fails
        assert api.entered.acquire(timeout=SECONDS)
        driven.wait(words[4])
        [other] = driven.ask("hit" if asked == "hit" else "new")
        if overlap and asked == "miss":
            assert api.has_arrived.wait(SECONDS)
        # A half is computed, maybe another before the loop hears of it; then what has come since.
        api.turns.release(3)
        assert driven.wait(other) == ["HIT" if asked == "hit" else "NEW"]
        assert not driven.answers.keys() >= set(words)
        api.turns.release(50)
        kinds = [type(answer) for answer in driven.wait(*words)]
        assert kinds[0] is ZeroDivisionError
        assert kinds[3] is str


@both_ways
def test_requests_that_cannot_be_cut_outlive_the_buffer_that_a_model_uses_again(overlap):
    class API(ls.LitAPI):
        buffer = np.zeros((1,), np.float32)

        @cached_predict(items="list")
        def predict(self, request):
            self.buffer[:] = len(request["word"])
            return self.buffer

        def decode_request(self, request):
            return {"word": request}

        def encode_response(self, output):
            return float(output[0])

    api = API(max_batch_size=3, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        assert driven.get("a", "short", "two") == [1.0, 5.0, 3.0]


@both_ways
def test_the_size_of_a_batch_stays_the_reason_if_its_parts_cannot_be_computed(overlap):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, items):
            vectors = np.zeros((len(items) - ("short" in items), 1))
            return vectors.squeeze()  # of one item: no batch at all

        def encode_response(self, output):
            return float(output)

    api = API(max_batch_size=3, batch_timeout=LONG, loop=CachedBatchedLoop(overlap=overlap))
    with running(api) as driven:
        errors = driven.get("a", "short", "b")
        assert [(error.status_code, error.detail) for error in errors] == [
            (500, "Batch size mismatch")
        ] * 3


# ---------------------------------------------------------------------- nothing is left behind


@both_ways
@pytest.mark.parametrize("stops", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["decode_request", "batch", "unbatch", "encode_response"])
def test_what_stops_the_loop_leaves_no_claims(where, stops, overlap):
    class API(WordAPI):
        def stop(self, now):
            if now:
                raise stops

        def decode_request(self, request):
            self.stop(where == "decode_request" and request == "last")
            return request

        def batch(self, inputs):
            self.stop(where == "batch")
            return inputs

        def unbatch(self, outputs):
            self.stop(where == "unbatch")
            return outputs

        def encode_response(self, output):
            self.stop(where == "encode_response")
            return output

    api = API(size=2, window=0.05, overlap=overlap)
    api.loop.kill = lambda: None
    driven = Driven()
    driven.ask("a", "a", "b", "c", "b", "a", "last")
    prepare(api)
    before = threading.active_count()
    caught = None
    try:
        run(api, driven)
    except SystemExit as error:
        caught = error  # its traceback holds every frame of the loop
    assert type(caught) is (SystemExit if stops is SystemExit else type(None))
    assert threading.active_count() == before
    assert api.predict.cache._cache.flight._claims == {}
