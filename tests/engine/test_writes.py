"""The queue of writes: what is queued is seen, a clear drops it, and the model never waits."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future

import litserve as ls
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.forks import in_a_fork
from support.stores import GatedStore, HeldStore

from litcache import MemoryStore, SharedStore, TieredStore, cached_predict
from litcache.engine import stops, writes
from litcache.engine.guarded import GuardedStore
from litcache.engine.modes import Batch, One
from litcache.engine.writes import WriteQueue, queue_of
from litcache.errors import StoreError
from litcache.litapi.state import cache_of
from litcache.observe.counters import Counters
from litcache.observe.log import Reporter
from litcache.stores.base import NewEntry, Scope
from litcache.testing import APIRunner, FakeClock, strict

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
KEYS = [bytes([number]) * 16 for number in range(4)]
SECONDS = 30


def guarded(store):
    return GuardedStore(store, Counters(), Reporter("test"))


def entry(text, expires=None):
    return NewEntry(b"layout", text.encode(), expires)


def looked_up(asked, scope=None):
    """Return the scope of a look-up, with the epoch that it saw."""
    scope = scope or Scope("shop")
    asked.get_many(scope, ())
    return scope


def found(asked, keys, namespace="shop"):
    entries = asked.get_many(Scope(namespace), keys)
    return [None if at is None else bytes(at.payload).decode() for at in entries]


# ---------------------------------------------------------------------- a dictionary


class AsADictionary(RuleBasedStateMachine):
    """Whenever the writes happen, look-ups see what a dictionary would hold."""

    @initialize()
    def begin(self):
        self.store = GatedStore()
        self.guarded = guarded(self.store)
        self.expected = {}
        self.scopes = [looked_up(self.guarded)]
        self.number = 0

    @rule()
    def look_up(self):
        self.scopes.append(looked_up(self.guarded))

    @rule(data=st.data())
    def look_up_again(self, data):
        """As a call does whose items others have computed meanwhile; it may have writes queued."""
        looked_up(self.guarded, data.draw(st.sampled_from(self.scopes)))

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1))
    def put(self, keys):
        self._put(looked_up(self.guarded), keys)

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1), data=st.data())
    def put_after_an_older_look_up(self, keys, data):
        self._put(data.draw(st.sampled_from(self.scopes)), keys)

    def _put(self, scope, keys):
        self.number += 1
        texts = {key: str(self.number) for key in keys}
        assert self.guarded.set_each([(scope, {k: entry(v) for k, v in texts.items()})])
        if scope.epoch == looked_up(self.guarded).epoch:  # neither cleared nor deleted since
            self.expected.update(texts)

    @rule(count=st.integers(1, 3))
    def let_write(self, count):
        self.store.permits.release(count)

    @rule()
    def clear(self):
        self.store.clear("shop")
        self.expected = {}

    @rule()
    def clear_all(self):
        self.store.clear()
        self.expected = {}

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1))
    def delete(self, keys):
        self._write_all()
        deleted = self.store.delete_many(Scope("shop"), sorted(keys))
        assert deleted == len([self.expected.pop(k) for k in keys if k in self.expected])

    def _write_all(self):
        self.store.permits.release(1000)
        assert self.guarded.flush(SECONDS)
        while self.store.permits.acquire(blocking=False):
            pass

    @invariant()
    def look_ups_see_what_a_dictionary_holds(self):
        if hasattr(self, "store"):
            assert found(self.guarded, KEYS) == [self.expected.get(key) for key in KEYS]
            assert found(self.guarded, KEYS, "another namespace") == [None] * len(KEYS)

    def teardown(self):
        if hasattr(self, "store"):
            self._write_all()
            assert found(self.store, KEYS) == [self.expected.get(key) for key in KEYS]
            assert queue_of(self.store).is_empty


TestAsADictionary = AsADictionary.TestCase
TestAsADictionary.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# ---------------------------------------------------------------------- a cached method


class API(ls.LitAPI):
    calls = 0

    def compute(self, texts):
        self.calls += len(texts)
        return [f"{text} {self.calls}" for text in texts]


def serve(store):
    class TextAPI(API):
        @cached_predict(store=store, namespace="n", version="1")
        def predict(self, texts):
            return self.compute(texts)

    return TextAPI(max_batch_size=8)


def test_a_call_that_looks_up_again_changes_nothing_for_those_looked_up_with_it():
    cache = cache_of(serve(MemoryStore()), "predict")
    one, other = calls = [Batch(("a",)), Batch(("b",))]
    cache.lookup_each(calls)
    before = one.scope.epoch
    cache.guarded.clear(cache.scope.namespace)
    cache.guarded.get_many(other.scope, other.keys)
    assert one.scope.epoch == before != other.scope.epoch


def test_what_is_queued_is_hit_and_got_before_it_is_written():
    store = GatedStore()
    api = serve(store)
    first = api.predict(["a", "b"])
    assert api.predict(["b", "a"]) == first[::-1]
    assert api.calls == 2
    assert store.info().entries == 0
    store.permits.release()
    info = api.predict.cache.info()
    assert (info.hits, info.misses, info.stored, info.entries) == (2, 2, 2, 2)


def test_get_finds_what_is_queued_and_what_an_expired_entry_was_is_computed():
    store, clock = GatedStore(), FakeClock()
    store.clock = clock

    class ShortAPI(API):
        @cached_predict(store=store, namespace="n", version="1", ttl=5)
        def predict(self, text):
            return self.compute([text])

    api = ShortAPI()
    assert api.predict("a") == ["a 1"]
    assert api.predict.cache.get("a") == ["a 1"]
    clock.advance(5)
    with pytest.raises(KeyError):
        api.predict.cache.get("a")
    assert api.predict("a") == ["a 2"]
    store.permits.release(2)
    assert api.predict.cache.get("a") == ["a 2"]


def test_an_async_look_up_that_the_front_can_answer_sees_what_is_queued():
    store = TieredStore(MemoryStore(), GatedStore())
    asked = guarded(store)
    store.back.permits.release()
    asked.set_each([(looked_up(asked), {KEYS[0]: entry("older")})])
    assert asked.flush(SECONDS)
    assert found(asked, KEYS[:1]) == ["older"]
    store.front.set_many = lambda scope, entries: None  # as if the thread had not come so far
    asked.set_each([(looked_up(asked), {KEYS[0]: entry("newer")})])
    call = One(("item",))
    call.scope, call.keys = Scope("shop"), KEYS[:1]
    assert [at.payload for at in asked.find_at_once(call)] == [b"newer"]
    store.back.permits.release()


def test_what_was_queued_before_a_clear_is_never_seen():
    store = GatedStore()
    api = serve(store)
    api.predict(["a"])
    api.predict.cache.clear()
    assert api.predict(["a"]) == ["a 2"]
    store.permits.release(2)
    assert queue_of(store).flush(SECONDS)
    assert api.predict(["a"]) == ["a 2"]
    assert (store.info().entries, store.info().dropped) == (1, 1)


def test_a_delete_counts_what_is_queued_and_leaves_the_rest():
    store = GatedStore()
    api = serve(store)
    api.predict(["a", "b"])
    store.permits.release()
    # In the mode of the calls: by hand, without a loop, these are rows.
    cache = api.predict.cache._cache
    handle = type(api.predict.cache)(cache, "row", lambda: False)
    assert handle.delete(["a"]) == 1
    assert api.predict(["b", "a"]) == ["b 2", "a 3"]
    store.permits.release()


def test_an_entry_that_is_warmed_is_newer_than_what_was_queued():
    store = GatedStore()

    class OneAPI(API):
        @cached_predict(store=store, namespace="n", version="1")
        def predict(self, text):
            return self.compute([text])

    api = OneAPI()
    api.predict("a")
    store.permits.release(2)
    api.predict.cache.warm(["a"], ["warmed"])
    assert api.predict("a") == "warmed"


def test_warm_raises_while_older_entries_cannot_be_written(monkeypatch):
    store = GatedStore()
    api = serve(store)
    api.predict(["a"])
    monkeypatch.setattr(WriteQueue.flush, "__defaults__", (0.0,))
    with pytest.raises(StoreError, match="still queued"):
        api.predict.cache.warm(["a"], ["warmed"])
    store.permits.release()
    assert queue_of(store).flush(SECONDS)


@pytest.mark.parametrize(("name", "most"), [("MOST_ENTRIES", 2), ("MOST_BYTES", 20)])
def test_a_full_queue_drops_and_counts_and_the_answers_stay_right(monkeypatch, caplog, name, most):
    monkeypatch.setattr(writes, name, most)
    store = GatedStore()
    api = serve(store)
    texts = [f"{letter * 8}" for letter in "abcdef"]
    for start in (0, 2, 4):
        answers = api.predict(texts[start : start + 2])
        assert answers == [f"{text} {start + 2}" for text in texts[start : start + 2]]
    assert "the queue of its writes is full" in caplog.text
    assert api.predict(texts[:2]) == [f"{text} 2" for text in texts[:2]]
    store.permits.release(100)
    info = api.predict.cache.info()
    assert (info.stored, info.overflowed, info.store_errors) == (2, 4, 0)
    assert api.predict(texts[4:]) == [f"{text} 8" for text in texts[4:]]
    assert api.predict.cache.info().stored == 4


def test_writes_of_single_items_go_together_in_order():
    store, sizes = GatedStore(), []
    write = store.set_many
    store.set_many = lambda scope, entries: sizes.append(len(entries)) or write(scope, entries)
    asked = guarded(store)
    scope = looked_up(asked)
    for number in range(10):
        asked.set_each([(scope, {KEYS[0]: entry(str(number)), KEYS[1]: entry(str(number))})])
    store.permits.release(10)
    assert asked.flush(SECONDS)
    assert found(store, KEYS[:2]) == ["9", "9"]
    assert len(sizes) <= 2 + 1  # the first may have been taken alone


def test_a_thread_that_is_idle_ends_and_the_next_write_starts_another(monkeypatch):
    monkeypatch.setattr(writes, "_IDLE_SECONDS", 0.0)
    of_others = set(threading.enumerate())
    store = GatedStore()
    store.permits.release(2)
    asked = guarded(store)
    scope = looked_up(asked)
    for number in range(2):
        asked.set_each([(scope, {KEYS[number]: entry("x")})])
        assert asked.flush(SECONDS)
        for thread in set(threading.enumerate()) - of_others:
            if thread.name == "litcache-writes":
                thread.join(SECONDS)
        assert not queue_of(store)._has_thread
    assert found(store, KEYS[:2]) == ["x", "x"]


def test_a_store_that_exits_in_a_write_loses_that_write_alone(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    store = HeldStore()
    write, store.set_many = store.set_many, lambda scope, entries: exit()
    asked = guarded(store)
    scope = looked_up(asked)
    asked.set_each([(scope, {KEYS[0]: entry("lost")})])
    assert asked.flush(SECONDS)
    store.set_many = write
    asked.set_each([(scope, {KEYS[1]: entry("kept")})])
    assert asked.flush(SECONDS)
    assert found(asked, KEYS[:2]) == [None, "kept"]


def test_who_waits_for_a_write_is_told_though_the_store_exits_when_it_is_asked(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    class Exiting(GatedStore):
        exits = False

        def get_many(self, scope, keys):
            if self.exits:
                raise SystemExit
            return super().get_many(scope, keys)

    store, done = Exiting(), Future()
    asked = guarded(store)
    scope = looked_up(asked)
    assert asked.set_each([(scope, {KEYS[0]: entry("a")})], done)
    store.exits = True
    store.permits.release()
    assert done.result(SECONDS) is False
    store.exits = False
    assert found(asked, KEYS[:1]) == ["a"]


def test_in_strict_mode_a_write_that_fails_raises_where_it_is_made():
    class RefusingStore(HeldStore):
        def set_many(self, scope, entries):
            raise StoreError("refused", "RefusingStore")

    api = serve(RefusingStore())
    with strict(), pytest.raises(StoreError, match="refused"):
        api.predict(["a"])
    assert api.predict(["a"]) == ["a 2"]
    assert api.predict.cache.info().store_errors == 2


def test_one_queue_serves_all_methods_of_a_store_and_none_other():
    store, other = GatedStore(), GatedStore()
    first, second = serve(store), serve(store)
    assert first.predict(["a"]) == second.predict(["a"])
    assert queue_of(store) is not queue_of(other)
    store.permits.release()
    assert first.predict.cache.info().stored == 1


# ---------------------------------------------------------------------- ends


def test_closing_a_store_writes_what_is_queued(tmp_path):
    store = SharedStore(tmp_path, "16 MiB")
    asked = guarded(store)
    scope = looked_up(asked)
    for number in range(500):
        asked.set_each([(scope, {number.to_bytes(16, "big"): entry("x")})])
    store.close()
    assert queue_of(store).is_empty
    assert SharedStore(tmp_path, "16 MiB").info().entries == 500


def test_the_runner_writes_what_is_queued_at_its_end(tmp_path):
    with APIRunner(serve(SharedStore(tmp_path, "16 MiB"))) as runner:
        for number in range(100):
            runner.run_batch([f"{number} a", f"{number} b"])
    assert SharedStore(tmp_path, "16 MiB").info().entries == 200


@needs_fork
def test_a_forked_child_begins_with_an_empty_queue_and_the_parent_writes_its_own():
    store = GatedStore()
    api = serve(store)
    api.predict(["a"])

    def in_child():
        empty = queue_of(store).is_empty
        store.permits.release()
        again = api.predict(["a"]) == ["a 2"]  # a forked MemoryStore is empty, too
        return empty and again and queue_of(store).flush(SECONDS) and store.info().entries == 1

    assert in_a_fork(in_child) is True
    store.permits.release()
    assert api.predict(["a"]) == ["a 1"]
    assert queue_of(store).flush(SECONDS)
    assert store.info().entries == 1


ENTRIES = 3_000
spawning = multiprocessing.get_context("spawn")


def put_many(folder, count):
    asked = guarded(SharedStore(folder, "64 MiB"))
    scope = looked_up(asked)
    for number in range(count):
        row = {number.to_bytes(16, "big"): NewEntry(b"layout", bytes(200))}
        assert asked.set_each([(scope, row)])
    return asked


def put_and_end(folder):
    put_many(folder, ENTRIES)


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_ends_by_itself_writes_what_it_has_queued(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    process = multiprocessing.get_context(method).Process(target=put_and_end, args=(str(tmp_path),))
    process.start()
    process.join(SECONDS)
    assert process.exitcode == 0
    assert SharedStore(tmp_path, "64 MiB").info().entries == ENTRIES


class WaitingStore(SharedStore):
    """A store that writes when another process lets it."""

    go = None

    def set_many(self, scope, entries):
        assert self.go.wait(SECONDS)
        super().set_many(scope, entries)


def serve_until_sigterm(folder, go, pipe):
    stops.write_at_sigterm()
    store = WaitingStore(folder, "16 MiB")
    store.go = go
    asked = guarded(store)
    asked.set_each([(looked_up(asked), {KEYS[0]: entry("queued")})])
    pipe.send("queued")
    nothing = threading.Event()
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        nothing.wait(0.01)  # as a loop waits for requests
    pipe.send("ending")
    nothing.wait(SECONDS)


@needs_fork
def test_a_worker_that_is_terminated_writes_what_it_has_queued_and_ends_by_the_signal(tmp_path):
    go = spawning.Event()
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=serve_until_sigterm, args=(str(tmp_path), go, theirs))
    process.start()
    assert ours.poll(SECONDS)
    assert ours.recv() == "queued"
    process.terminate()
    assert ours.poll(SECONDS)
    assert ours.recv() == "ending"
    assert process.is_alive()
    go.set()
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGTERM
    assert found(SharedStore(tmp_path, "16 MiB"), KEYS[:1]) == ["queued"]


@needs_fork
def test_a_second_signal_ends_a_worker_at_once(tmp_path):
    go = spawning.Event()
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=serve_until_sigterm, args=(str(tmp_path), go, theirs))
    process.start()
    assert ours.poll(SECONDS)
    assert ours.recv() == "queued"
    process.terminate()
    assert ours.poll(SECONDS)
    assert ours.recv() == "ending"
    process.terminate()
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGTERM


def put_until_killed(folder, pipe):
    number = 0
    asked = guarded(SharedStore(folder, "16 MiB"))
    scope = looked_up(asked)
    rng = np.random.default_rng(7)
    while True:
        asked.set_each([(scope, {number.to_bytes(16, "big"): NewEntry(b"l", rng.bytes(3000))})])
        number += 1
        if number == 500:
            pipe.send("many are queued")


@needs_fork
def test_a_killed_worker_loses_what_it_had_queued_and_spoils_nothing(tmp_path, times):
    for _ in range(times(2, soak=50)):
        ours, theirs = spawning.Pipe()
        process = spawning.Process(target=put_until_killed, args=(str(tmp_path), theirs))
        process.start()
        assert ours.recv() == "many are queued"
        process.kill()
        process.join(SECONDS)
        store = SharedStore(tmp_path, "16 MiB")
        assert store.verify()[1] == 0
        asked = guarded(store)
        asked.set_each([(looked_up(asked), {KEYS[1]: entry("after")})])
        store.close()
        assert found(SharedStore(tmp_path, "16 MiB"), KEYS[1:2]) == ["after"]


def test_a_handler_of_the_users_stays_and_the_main_process_gets_none():
    before = signal.getsignal(signal.SIGTERM)
    stops.write_at_sigterm()
    assert signal.getsignal(signal.SIGTERM) is before


def keep_handler(pipe):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stops.write_at_sigterm()
    pipe.send(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)


def test_a_handler_that_a_worker_has_set_stays():
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=keep_handler, args=(theirs,))
    process.start()
    assert ours.recv() is True
    process.join(SECONDS)


def test_without_a_thread_nothing_is_queued_and_it_is_counted(monkeypatch):
    def none_left(*_):
        raise RuntimeError("can't start new thread")

    store, counters = HeldStore(), Counters()
    asked = GuardedStore(store, counters, Reporter("test"))
    scope = looked_up(asked)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        assert not asked.set_each([(scope, {KEYS[0]: entry("a")})])
    assert queue_of(store).is_empty
    assert counters.info(store.info()).overflowed == 1
    assert found(asked, KEYS[:1]) == [None]
    assert asked.set_each([(scope, {KEYS[0]: entry("b")})])
    assert found(asked, KEYS[:1]) == ["b"]
