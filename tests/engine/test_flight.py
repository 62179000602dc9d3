"""Single-flight: by real threads and tasks, ordered by events."""

import asyncio
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import litserve as ls
import pytest
from support import followers

from litcache import cached_predict
from litcache.engine.flight import Claim, Flight
from litcache.litapi.state import cache_of

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")


def run_threads(*functions):
    """Run functions in threads of their own; return their results or what they raised."""
    results = [None] * len(functions)

    def call(index, function):
        try:
            results[index] = function()
        except BaseException as error:
            results[index] = error

    threads = [
        threading.Thread(target=call, args=pair, daemon=True) for pair in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    return results, lambda: [thread.join(60) for thread in threads]


class Gate:
    """A model that says when it is entered and goes on when it is told to."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.calls = []
        self.lock = threading.Lock()

    def __call__(self, x):
        with self.lock:
            self.calls.append(x)
        self.entered.release()
        assert self.go.wait(30)


def gated(fail_first=False, **options):
    gate = Gate()

    class API(ls.LitAPI):
        @cached_predict(**options)
        def predict(self, x):
            gate(x)
            if fail_first and len(gate.calls) == 1:
                raise ZeroDivisionError
            return [x]

    return API(), gate


@pytest.fixture
def following():
    """A semaphore that every call releases when it begins to wait for another's claim."""
    with followers.following() as begun:
        yield begun


def acquire(semaphore, count):
    for _ in range(count):
        assert semaphore.acquire(timeout=30)


def test_concurrent_equal_items_are_computed_once_and_each_gets_its_own_copy(following):
    api, gate = gated()
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    more, join_more = run_threads(*[lambda: api.predict("a")] * 7)
    acquire(following, 7)
    gate.go.set()
    join(), join_more()
    answers = results + more
    assert answers == [["a"]] * 8
    assert len({id(answer) for answer in answers}) == 8
    assert gate.calls == ["a"]
    info = api.predict.cache.info()
    assert (info.misses, info.coalesced, info.hits) == (1, 7, 0)


def test_a_follower_takes_over_from_a_leader_that_fails(following):
    api, gate = gated(fail_first=True)
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    more, join_more = run_threads(*[lambda: api.predict("a")] * 5)
    acquire(following, 5)
    gate.go.set()
    join(), join_more()
    assert isinstance(results[0], ZeroDivisionError)
    assert more == [["a"]] * 5
    assert gate.calls == ["a", "a"]


def test_followers_of_an_output_that_cannot_be_stored_compute_it_themselves(following, caplog):
    gate = Gate()

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            gate(x)
            return object

    api = API()
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    more, join_more = run_threads(*[lambda: api.predict("a")] * 3)
    acquire(following, 3)
    gate.go.set()
    join(), join_more()
    assert results + more == [object] * 4
    assert api.predict.cache.info().uncacheable == 4


def test_what_store_if_refuses_is_still_shared_by_those_who_wait(following):
    api, gate = gated(store_if=lambda item, output: False)
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    more, join_more = run_threads(lambda: api.predict("a"))
    acquire(following, 1)
    gate.go.set()
    join(), join_more()
    assert (results, more, gate.calls) == ([["a"]], [["a"]], ["a"])
    assert api.predict.cache.info().entries == 0


def test_a_call_waits_for_a_leader_no_longer_than_the_request_timeout():
    api, gate = gated()
    api.request_timeout = 0.05
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    late, join_late = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)  # it computes for itself while the leader still hangs
    gate.go.set()
    join(), join_late()
    assert (results, late, gate.calls) == ([["a"]], [["a"]], ["a", "a"])


class Lists(ls.LitAPI):
    """A model of lists that holds every call until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.gate = Gate()

    @cached_predict(items="list")
    def predict(self, items):
        self.gate(tuple(items))
        return [[item] for item in items]


def test_own_misses_are_computed_while_another_call_holds_the_rest(following):
    api = Lists()
    first, join_first = run_threads(lambda: api.predict(["a", "b"]))
    acquire(api.gate.entered, 1)
    second, join_second = run_threads(lambda: api.predict(["b", "c"]))
    acquire(api.gate.entered, 1)  # c is being computed, though b is not there yet
    third, join_third = run_threads(lambda: api.predict(["c", "a"]))
    acquire(following, 1)
    api.gate.go.set()
    join_first(), join_second(), join_third()
    assert [first[0], second[0], third[0]] == [
        [["a"], ["b"]],
        [["b"], ["c"]],
        [["c"], ["a"]],
    ]
    assert api.gate.calls == [("a", "b"), ("c",)]


def test_what_is_computed_while_clear_runs_is_not_seen_afterwards(following):
    api, gate = gated()
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    api.predict.cache.clear()
    later, join_later = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)  # it does not join the computation from before
    gate.go.set()
    join(), join_later()
    assert (results, later, gate.calls) == ([["a"]], [["a"]], ["a", "a"])
    assert api.predict.cache.info().entries == 1


def test_a_refresh_is_not_overwritten_by_a_slower_leader_from_before():
    fresh = threading.Event()
    gate = Gate()

    class API(ls.LitAPI):
        @cached_predict(refresh_if=lambda item: fresh.is_set())
        def predict(self, x):
            if fresh.is_set():
                return "new"
            gate(x)
            return "old"

    api = API()
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    fresh.set()
    assert api.predict("a") == "new"
    fresh.clear()
    gate.go.set()
    join()
    assert results == ["old"]
    assert api.predict("a") == "new"


class Tasks(ls.LitAPI):
    """An async model that is held by an event of the running loop."""

    def __init__(self):
        super().__init__(enable_async=True)
        self.calls = []
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    @cached_predict
    async def predict(self, x):
        self.calls.append(x)
        self.entered.set()
        await self.go.wait()
        return [x]


async def _lead_and_follow(api, count, following):
    leader = asyncio.create_task(api.predict("a"))
    await api.entered.wait()
    tasks = [asyncio.create_task(api.predict("a")) for _ in range(count)]
    await followers.all_begun(following, count)
    return leader, tasks


def test_a_cancelled_leader_hands_over(following):
    async def main():
        api = Tasks()
        leader, tasks = await _lead_and_follow(api, 5, following)
        leader.cancel()
        api.go.set()
        answers = await asyncio.gather(leader, *tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == [["a"]] * 5
        assert api.calls == ["a", "a"]

    asyncio.run(main())


def test_a_cancelled_follower_disturbs_nobody(following):
    async def main():
        api = Tasks()
        leader, tasks = await _lead_and_follow(api, 5, following)
        tasks[0].cancel()
        api.go.set()
        answers = await asyncio.gather(leader, *tasks, return_exceptions=True)
        assert isinstance(answers[1], asyncio.CancelledError)
        assert [answers[0], *answers[2:]] == [["a"]] * 5
        assert api.calls == ["a"]

    asyncio.run(main())


def test_200_threads_of_overlapping_batches_compute_each_item_once():
    computed = []
    lock = threading.Lock()
    barrier = threading.Barrier(200)

    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, items):
            with lock:
                computed.extend(items)
            return [[item] for item in items]

    api = API()

    def hammer(seed):
        chance = random.Random(seed)
        barrier.wait(60)
        for _ in range(20):
            items = [chance.randrange(500) for _ in range(chance.randrange(1, 30))]
            texts = [str(item) for item in items]
            assert api.predict(texts) == [[text] for text in texts]
        return "done"

    results, join = run_threads(*[lambda seed=seed: hammer(seed) for seed in range(200)])
    join()
    assert results == ["done"] * 200
    assert len(computed) == len(set(computed))


def test_2000_tasks_of_overlapping_lists_compute_each_item_once():
    computed = []

    class API(ls.LitAPI):
        @cached_predict(items="list")
        async def predict(self, items):
            computed.extend(items)
            await asyncio.sleep(0)
            return [[item] for item in items]

    api = API(enable_async=True)

    async def one(seed):
        chance = random.Random(seed)
        texts = [str(chance.randrange(1_000)) for _ in range(chance.randrange(1, 20))]
        assert await api.predict(texts) == [[text] for text in texts]

    async def main():
        await asyncio.wait_for(asyncio.gather(*map(one, range(2_000))), 60)

    asyncio.run(main())
    assert len(computed) == len(set(computed))
    info = api.predict.cache.info()
    assert info.misses == len(computed)
    assert info.hits + info.coalesced > 0


def test_a_claim_of_another_epoch_is_not_followed():
    flight = Flight()
    old, new = Claim(b"old"), Claim(b"new")
    assert flight.claim(old, [b"k"]) == {}
    assert flight.claim(new, [b"k"]) == {}
    assert flight.claim(Claim(b"new"), [b"k"]) == {b"k": new}
    assert old.superseded == {b"k"}  # it may look up again, and store under the new epoch


def test_a_follower_that_has_waited_long_enough_is_forgotten():
    claim = Claim(b"epoch")
    assert not claim.wait(0)
    assert not asyncio.run(claim.wait_async(0))
    assert claim._waiting == []
    claim.publish({b"key": None})
    assert claim.wait(None)
    assert asyncio.run(claim.wait_async(None))
    assert claim._waiting == []


def test_a_claim_given_up_is_not_followed():
    flight = Flight()
    failed = Claim(b"e")
    flight.claim(failed, [b"k"])
    failed.publish({})
    assert flight.claim(Claim(b"e"), [b"k"]) == {}


def test_a_call_by_hand_waits_for_a_leader_that_hangs_no_longer_than_a_bound(monkeypatch):
    monkeypatch.setattr("litcache.engine.cache.BY_HAND_SECONDS", 0.05)
    api, gate = gated()
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    late, join_late = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)
    gate.go.set()
    join(), join_late()
    assert (results, late, gate.calls) == ([["a"]], [["a"]], ["a", "a"])


class Pair(ls.LitAPI):
    """An API whose model calls another API, once the other one's model runs too."""

    depth = threading.local()

    def __init__(self):
        super().__init__()
        self.other = None
        self.barrier = None

    @cached_predict
    def predict(self, text):
        depth = getattr(self.depth, "value", 0)
        self.depth.value = depth + 1
        try:
            if depth == 0 and self.barrier is not None:
                self.barrier.wait(30)
                return [text, self.other.predict(text)]
            return [text]
        finally:
            self.depth.value = depth


def test_two_apis_that_call_each_other_do_not_wait_for_each_other():
    one, two = Pair(), Pair()
    one.other, two.other = two, one
    one.barrier = two.barrier = threading.Barrier(2)
    results, join = run_threads(lambda: one.predict("a"), lambda: two.predict("a"))
    join()
    assert sorted(map(len, results)) == [2, 2]
    assert one.predict.cache._cache.flight._claims == {}
    assert two.predict.cache._cache.flight._claims == {}


class Recursive(ls.LitAPI):
    """A model that asks for its own item in a thread, and waits for that."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.depth = 0

    @cached_predict
    def predict(self, text):
        self.depth += 1
        if self.depth > 1:
            return [text]
        if self.how == "executor":
            with ThreadPoolExecutor(1) as pool:
                return [text, pool.submit(self.predict, text).result(60)]
        results, join = run_threads(lambda: self.predict(text))
        join()
        return [text, results[0]]


@pytest.mark.parametrize("how", ["executor", "thread"])
def test_a_model_that_asks_for_its_own_item_in_a_thread_does_not_wait_for_itself(how, monkeypatch):
    monkeypatch.setattr("litcache.engine.cache.BY_HAND_SECONDS", 50.0)
    api = Recursive(how)
    started = time.monotonic()
    assert api.predict("a") == ["a", ["a"]]
    assert time.monotonic() - started < 25  # far less than it would wait for the leader


class Versioned(ls.LitAPI):
    """A model that may be set up again while it computes."""

    def __init__(self):
        super().__init__()
        self.gate = Gate()
        self.setups = 0

    def setup(self, device):
        self.setups += 1
        self.model = f"model {self.setups}"

    @cached_predict(version=lambda api: api.model)
    def predict(self, text):
        self.gate(text)
        return [text, self.model]


def test_what_is_computed_while_setup_runs_again_is_not_stored_for_either_version():
    api = Versioned()
    api.setup("cpu")
    results, join = run_threads(lambda: api.predict("a"))
    acquire(api.gate.entered, 1)
    api.setup("cpu")
    api.gate.go.set()
    join()
    assert results == [["a", "model 2"]]
    assert api.predict.cache.info().entries == 0
    assert api.predict("a") == ["a", "model 2"]
    assert api.predict.cache.info().entries == 1


def test_what_is_computed_within_setup_is_not_stored():
    class API(Versioned):
        def setup(self, device):
            super().setup(device)
            if self.setups == 2:
                entered.release()
                assert done.wait(30)

    entered, done = threading.Semaphore(0), threading.Event()
    api = API()
    api.gate.go.set()
    api.setup("cpu")
    api.predict("a")
    _, join = run_threads(lambda: api.setup("cpu"))
    acquire(entered, 1)
    assert api.predict("b")[0] == "b"
    done.set()
    join()
    assert api.predict.cache.info().entries == 1  # that of "a" and the first model


def test_a_refresh_does_not_follow_a_call_that_may_yet_find_an_older_entry():
    flight = Flight()
    looking, refresh = Claim(b"e"), Claim(b"e")
    assert flight.claim(looking, [b"k"]) == {}
    assert not flight.is_computing([b"k"], b"e", refreshed={b"k"})
    assert flight.claim(refresh, [b"k"], refreshed={b"k"}) == {}
    assert looking.superseded == {b"k"}


def test_equal_refreshes_that_have_not_started_are_computed_once():
    flight = Flight()
    waiting, second = Claim(b"e"), Claim(b"e")
    assert flight.claim(waiting, [b"k"], refreshed={b"k"}) == {}
    assert flight.claim(second, [b"k"], refreshed={b"k"}) == {b"k": waiting}
    waiting.thread = 1
    third = Claim(b"e")
    assert flight.claim(third, [b"k"], refreshed={b"k"}) == {}
    assert waiting.superseded == {b"k"}


# ---------------------------------------------------------------------- threads that are paused


class Interrupted(dict):
    """The claims of a flight: at the first pop another thread does something."""

    def meanwhile(self, function):
        self.function = function
        return self

    def pop(self, *arguments):
        function, self.function = self.function, lambda: None
        function()
        return super().pop(*arguments)


def test_a_claim_that_comes_while_another_is_released_stays():
    flight, old, new = Flight(), Claim(b"before a clear"), Claim(b"after it")
    flight.claim(old, [b"key"])
    old.publish({b"key": None})
    claims = Interrupted(flight._claims).meanwhile(lambda: flight.claim(new, [b"key"]))
    flight._claims = claims
    flight.release(old)
    assert flight.holder(b"key") is new
    refresh = Claim(b"after it")
    assert flight.claim(refresh, [b"key"], refreshed={b"key"}) == {}
    assert new.superseded == {b"key"}


def test_who_claims_a_key_while_it_is_released_knows_that_it_has_to_look_again():
    flight, leader = Flight(), Claim(b"epoch")
    before = flight.released
    flight.claim(leader, [b"key"])
    seen = []
    flight._claims = Interrupted(flight._claims).meanwhile(lambda: seen.append(flight.released))
    flight.release(leader)
    assert before not in seen


def test_a_follower_that_was_paused_past_its_time_takes_what_the_leader_has_published(monkeypatch):
    api, gate = gated()
    cache, asked = cache_of(api, "predict"), []
    results, join = run_threads(lambda: api.predict("a"))
    acquire(gate.entered, 1)

    def paused(misses):
        asked.append(misses)
        if len(asked) < 2:
            return 0.01
        gate.go.set()
        join()
        return 0.0  # it was paused for longer than it may wait

    monkeypatch.setattr(cache, "remaining", paused)
    assert api.predict("a") == ["a"] == results[0]
    assert gate.calls == ["a"]
    assert (cache.info().coalesced, cache.info().stored) == (1, 1)
