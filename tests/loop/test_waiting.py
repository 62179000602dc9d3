"""Requests that wait in `CachedBatchedLoop`: how long, and beside whom."""

import threading
import time
from contextlib import ExitStack, contextmanager

import litserve as ls
import pytest
from support.batches import undecorated
from support.loops import SECONDS, SENTINEL, Driven, running
from support.words import LONG, WordAPI, both_ways

from litcache import CachedBatchedLoop, MemoryStore, SharedStore, cached_predict
from litcache.loop.schedule import Overlap

# ---------------------------------------------------------------------- for too long


def pass_by(driven, uid, seconds):
    """Wait until a request is older than so many seconds; nothing may answer it."""
    threading.Event().wait(seconds)
    assert uid not in driven.answers


@pytest.mark.parametrize("loop", ["stock", "overlap"])
def test_misses_that_waited_too_long_for_the_model_are_not_computed(loop):
    api = WordAPI(size=8, overlap=True)
    if loop == "stock":
        api.loop = "auto"
    with running(api, timeout=0.3) as driven:
        assert driven.get("hit") == ["HIT"]
        api.hold = True
        [first] = driven.ask("first")
        assert api.entered.acquire(timeout=SECONDS)
        misses = driven.ask("a", "b", "c", "c", "bad")
        hits = driven.ask("hit", "hit") if loop == "overlap" else []
        assert driven.wait(*hits) == ["HIT"] * len(hits)
        pass_by(driven, misses[-1], 0.4)
        api.free.set()
        assert driven.wait(first) == ["FIRST"]
        assert [error.status_code for error in driven.wait(*misses)] == [504] * 5
        assert [error.detail for error in driven.wait(*misses)] == ["Request timed out"] * 5
        api.hold = False
        assert driven.get("new") == ["NEW"]
    assert api.batches == [["hit"], ["first"], ["new"]]


def test_who_waits_for_a_request_that_waited_too_long_goes_on():
    api = WordAPI(size=8, overlap=True)
    with running(api, timeout=30) as driven:
        api.hold = True
        driven.ask("first")
        assert api.entered.acquire(timeout=SECONDS)
        [old] = driven.ask("a", ago=29.8)
        older, young = *driven.ask("a", ago=29.7), *driven.ask("a")
        assert driven.get("undecodable")  # so all before it were looked up
        pass_by(driven, old, 0.4)
        api.free.set()
        *errors, answer = driven.wait(old, older, young)
        assert [error.status_code for error in errors] == [504, 504]
        assert answer == "A"
    assert api.batches == [["first"], ["a"]]


@pytest.mark.parametrize("loop", ["stock", "one thread", "overlap"])
def test_a_request_does_not_time_out_in_the_window_of_its_own_batch(loop):
    api = WordAPI(size=8, window=0.8, overlap=loop == "overlap")
    if loop == "stock":
        api.loop = "auto"
    with running(api, timeout=30) as driven:
        assert driven.wait(*driven.ask("a", ago=29.5)) == ["A"]


@both_ways
def test_requests_beyond_the_batch_time_out_in_one_thread_as_well(overlap):
    class Slow(MemoryStore):
        blocking = True  # so that requests are looked up together

    class API(WordAPI):
        predict = cached_predict(store=Slow())(WordAPI.predict.__wrapped__)

    api = API(size=2, window=0.05, hold=True, overlap=overlap)
    with running(api, timeout=0.3) as driven:
        first, second, third = driven.ask("a", "b", "c")
        assert api.entered.acquire(timeout=SECONDS)
        pass_by(driven, third, 0.4)
        api.free.set()
        assert driven.wait(first, second) == ["A", "B"]
        [error] = driven.wait(third)
        assert error.status_code == 504


# ---------------------------------------------------------------------- for a batch that is full


def test_overlap_answers_hits_while_the_next_batch_is_full():
    api = WordAPI(size=2, overlap=True)
    with running(api, restart=True) as driven:
        driven.get("hit", "hot")
        api.hold = True
        driven.ask("first")
        assert api.entered.acquire(timeout=SECONDS)
        words = driven.ask(*"abcdefgh")
        assert driven.get("hit", "hot", "hit") == ["HIT", "HOT", "HIT"]
        joined = driven.ask("first", "a")
        assert driven.get("hit") == ["HIT"]
        assert not {*words, *joined} & driven.answers.keys()
        api.free.set()
        assert driven.wait(*words, *joined) == [*"ABCDEFGH", "FIRST", "A"]
        assert len(driven.started) == len(set(driven.started)) == len(driven.answers)
    assert api.batches[-4:] == [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]
    info = api.predict.cache.info()
    assert (info.hits, info.misses, info.coalesced) == (4, 2 + 1 + 8, 2)


def test_what_waits_here_for_room_is_answered_by_litserve_if_the_worker_dies():
    api = WordAPI(size=2, overlap=True)
    with running(api, restart=True) as driven:
        driven.get("hit")
        api.hold = True
        driven.ask("first")
        assert api.entered.acquire(timeout=SECONDS)
        words = driven.ask(*"abcdefgh")
        assert driven.get("hit") == ["HIT"]  # so all before it were looked up
        assert driven.requests.empty()
        assert set(words) <= set(driven.started)  # LitServe's monitor answers these
        api.free.set()
        assert driven.wait(*words) == list("ABCDEFGH")
        assert len(driven.started) == len(set(driven.started))


@both_ways
def test_what_a_worker_has_taken_is_started_before_a_hook_that_may_end_it(overlap):
    left = []

    class API(WordAPI):
        def decode_request(self, request):
            left.append(driven.requests.qsize() + len(driven.started))
            return request

    driven = Driven()
    words = driven.ask(*"abcdefgh")  # all are there before the loop
    with running(API(size=8, overlap=overlap), beside=driven, restart=True):
        assert driven.wait(*words) == list("ABCDEFGH")
    assert left == [8] * 8


def test_overlap_takes_nothing_while_a_hook_may_end_the_worker(monkeypatch):
    left, looks = [], threading.Semaphore(0)
    seconds_to_read = Overlap._seconds_to_read

    def looked(overlap):
        looks.release()
        return seconds_to_read(overlap)

    monkeypatch.setattr(Overlap, "_seconds_to_read", looked)

    class API(WordAPI):
        def decode_request(self, request):
            if request == "first":
                words.extend(driven.ask(*"abcdef"))
                while looks.acquire(blocking=False):
                    pass
                for _ in range(3):  # the reader looks, and takes nothing
                    assert looks.acquire(timeout=SECONDS)
                left.append(driven.requests.qsize())
            return request

    driven, words = Driven(), []
    [first] = driven.ask("first")
    with running(API(window=0.05, overlap=True), beside=driven, restart=True):
        assert driven.wait(first) == ["FIRST"]
        assert driven.wait(*words) == list("ABCDEF")
    assert left == [6]


def test_what_is_left_until_there_is_room_is_decoded_from_the_request_as_it_came():
    class API(ls.LitAPI):
        def setup(self, device):
            self.entered, self.free = threading.Semaphore(0), threading.Event()

        def decode_request(self, request):
            return request["words"].pop()

        @cached_predict
        def predict(self, words):
            self.entered.release()
            assert self.free.wait(SECONDS)
            return words

    api = API(max_batch_size=2, loop=CachedBatchedLoop(overlap=True))
    with running(api) as driven:
        driven.ask({"words": ["first"]})
        assert api.entered.acquire(timeout=SECONDS)
        uids = driven.ask(*({"words": ["never", str(number)]} for number in range(9)))
        api.free.set()
        assert driven.wait(*uids) == [str(number) for number in range(9)]


def test_overlap_leaves_requests_in_the_queue_where_predict_is_not_cached():
    class API(WordAPI):
        decode_request = cached_predict(WordAPI.decode_request)
        predict = undecorated(WordAPI.predict.__wrapped__)

    api = API(size=2, hold=True, overlap=True)
    with running(api) as driven:
        driven.ask("first")
        assert api.entered.acquire(timeout=SECONDS)
        words = driven.ask(*"abcdefgh")
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            assert driven.requests.qsize() >= 4  # no hit is to be found there
        api.free.set()
        assert driven.wait(*words) == list("ABCDEFGH")


# ---------------------------------------------------------------------- beside another worker


@contextmanager
def two_workers(policy=None, **options):
    """Two workers of one API, with one queue and one store; the model is held up in both."""
    policy, entered = policy or {"store": MemoryStore()}, threading.Semaphore(0)

    class API(WordAPI):
        decoded = 0

        def setup(self, device):
            super().setup(device)
            self.entered = entered

        def decode_request(self, request):
            self.decoded += 1
            return super().decode_request(request)

        predict = cached_predict(**policy)(WordAPI.predict.__wrapped__)

    driven = Driven(is_shared=True)
    apis = API(size=2, overlap=True, **options), API(size=2, overlap=True, **options)
    with ExitStack() as stack:
        for api in apis:
            stack.enter_context(running(api, beside=driven, restart=True))
        try:
            yield driven, *apis
        finally:
            for api in apis:
                api.free.set()
                driven.requests.put(SENTINEL)  # one may meet two of them


def occupy(driven, first, second):
    """Have one of two workers compute until it is let go; return it and the other."""
    first.hold = second.hold = True
    driven.ask("held")
    assert first.entered.acquire(timeout=SECONDS)
    return (first, second) if ["held"] in first.batches else (second, first)


def test_a_worker_that_computes_leaves_misses_to_one_that_is_free():
    with two_workers() as (driven, first, second):
        busy, free = occupy(driven, first, second)
        free.hold = False
        for number in range(20):
            assert driven.get(f"word{number}") == [f"WORD{number}"]
        words = [f"w{number}" for number in range(20)]
        assert driven.get(*words) == [word.upper() for word in words]
        assert busy.batches == [["held"]]
        busy.free.set()
        assert driven.wait("1:held") == ["HELD"]
        assert len(driven.started) == len(set(driven.started)) == len(driven.answers)
        assert busy.counts[1] + free.counts[1] == 41  # misses are counted where they are computed


def test_a_worker_leases_nothing_that_it_leaves_to_others(tmp_path):
    store = SharedStore(tmp_path, timeout=5)
    policy = {"store": store, "namespace": "words", "version": "1", "trial": 0, "lease": 3_600.0}
    with two_workers(policy) as (driven, first, second):
        busy, free = occupy(driven, first, second)
        free.hold = False
        words = [f"w{number}" for number in range(20)]
        assert driven.get(*words) == [word.upper() for word in words]
        assert busy.batches == [["held"]]
        busy.free.set()
        assert driven.wait("1:held") == ["HELD"]


def test_misses_wait_for_the_worker_that_is_free_first_and_hits_for_none():
    with two_workers() as (driven, first, second):
        assert driven.get("hit", "hot") == ["HIT", "HOT"]
        later, sooner = occupy(driven, first, second)
        driven.ask("too")
        assert sooner.entered.acquire(timeout=SECONDS)
        decoded = first.decoded + second.decoded
        misses = driven.ask(*"abcdef")
        for _ in range(10):
            assert driven.get("hit", "hot") == ["HIT", "HOT"]
        assert not set(misses) & driven.answers.keys()
        sooner.hold = False
        sooner.free.set()
        assert driven.wait(*misses) == list("ABCDEF")
        assert later.batches[-1] == ["held"]
        # Each worker has looked at each miss once, and then the one that computes it.
        assert first.decoded + second.decoded - decoded <= 20 + 3 * len(misses)


def test_a_worker_that_computes_joins_what_it_computes_itself():
    with two_workers() as (driven, first, second):
        busy, free = occupy(driven, first, second)
        driven.ask("too")
        assert free.entered.acquire(timeout=SECONDS)
        joined = driven.ask(*["held"] * 5)  # either worker may meet them
        deadline = time.monotonic() + SECONDS
        while not driven.started[2:] and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        busy.free.set()
        free.free.set()
        assert driven.wait(*joined) == ["HELD"] * 5
        assert busy.counts[2] > 0


def test_two_workers_that_compute_do_not_spin_around_what_waits():
    with two_workers() as (driven, first, second):
        _, free = occupy(driven, first, second)
        driven.ask("too")
        assert free.entered.acquire(timeout=SECONDS)
        puts = []
        put = driven.requests.put
        driven.requests.put = lambda request: (puts.append(request), put(request))
        misses = driven.ask(*"abc")
        seconds = 0.5
        threading.Event().wait(seconds)
        # Each worker puts back each of them at most twice in a round, and pauses then.
        assert 2 * len(misses) <= len(puts) <= 2 * 2 * len(misses) * (seconds / 0.02 + 2)
        assert not set(misses) & driven.answers.keys()
        first.free.set(), second.free.set()
        assert driven.wait(*misses) == list("ABC")


def test_while_a_batch_is_computed_in_parts_one_thread_leaves_misses_to_others():
    class API(WordAPI):
        def batch(self, inputs):
            self.entered.release()
            assert self.turns.acquire(timeout=SECONDS)
            return inputs

    api = API(size=4, window=LONG)
    api.turns = threading.Semaphore(1)
    driven = Driven(is_shared=True)
    with running(api, beside=driven, restart=True):
        words = driven.ask("bad", "a", "b", "c")
        for _ in range(2):
            assert api.entered.acquire(timeout=SECONDS)
        new = driven.ask("new", "newer")
        api.turns.release()
        assert api.entered.acquire(timeout=SECONDS)
        assert driven.requests.qsize() == 2
        assert not set(new) & set(driven.started)
        api.turns.release(50)
        assert driven.wait(*words)[1:] == ["A", "B", "C"]
        assert driven.get("more", "most") == ["MORE", "MOST"]
        assert driven.wait(*new) == ["NEW", "NEWER"]
