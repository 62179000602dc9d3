"""Admission: what is asked for once is not written, where that costs no hits."""

import random
import threading
from collections import OrderedDict
from itertools import pairwise

import litserve as ls
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import followers
from support.admission import BATCH, ENTRY, flood, keys, missed, until_refusing
from support.stores import FullStore

from litcache import MemoryStore, SharedStore, TieredStore, cached_predict
from litcache.engine.admission import LONGEST_PAUSE, ROUND, Admission
from litcache.stores import NewEntry, Scope, StoreInfo
from litcache.testing import APIRunner, FailingStore, strict


def refusing(store=None):
    admission = Admission(store or FullStore())
    return admission, until_refusing(admission)


class Held:
    """A store of so many entries, the least recently used evicted first."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.entries = OrderedDict()
        self.evicted = 0

    def info(self):
        return StoreInfo(entries=len(self.entries), evicted=self.evicted)

    def hits(self, key):
        if key not in self.entries:
            return False
        self.entries.move_to_end(key)
        return True

    def put(self, key):
        self.entries[key] = None
        if len(self.entries) > self.capacity:
            self.entries.popitem(last=False)
            self.evicted += 1


def replay(trace, capacity, *, adaptive):
    """Return the hits and the writes of a trace of keys."""
    store = Held(capacity)
    admission, hits, writes = Admission(store), 0, 0
    for key in trace:
        if store.hits(key):
            hits += 1
        elif not adaptive or missed(admission, [key]):
            writes += 1
            store.put(key)
    return hits, writes


# ---------------------------------------------------------------------- when it refuses


@given(seed=st.integers(), sizes=st.lists(st.integers(1, 500), max_size=30))
@settings(deadline=None)
def test_a_store_that_has_room_gets_everything(seed, sizes):
    store = FullStore()
    store.is_full = False
    admission, generator = Admission(store), random.Random(seed)
    for size in [*sizes, 2 * ROUND]:
        wanted = keys(generator, size)
        assert list(missed(admission, wanted)) == wanted


def test_a_full_store_gets_everything_before_the_first_round_is_over():
    admission = Admission(FullStore())
    assert flood(admission, random.Random(7), ROUND) == ROUND


def test_of_what_is_asked_for_once_a_full_store_gets_a_sixteenth():
    admission, generator = refusing()
    stored = flood(admission, generator, 160 * BATCH)
    assert 9 * BATCH < stored < 11 * BATCH
    assert admission.is_refusing


def test_most_of_a_flood_is_stored_until_enough_of_it_is_proven():
    admission, stored, misses = Admission(FullStore()), 0, 0
    generator = random.Random(7)
    while not admission.is_refusing:
        stored += flood(admission, generator, BATCH)
        misses += BATCH
    assert misses > 16_000
    assert stored > 0.94 * misses


def test_what_misses_again_is_stored():
    admission, generator = refusing()
    wanted = keys(generator)
    first = missed(admission, wanted)
    assert len(first) < BATCH / 2
    assert list(missed(admission, wanted)) == wanted


def test_what_misses_again_and_again_is_stored_each_time_and_counts_once():
    """An item that expires soon misses often: that is not the cost of a refusal."""
    admission, generator = refusing()
    wanted = keys(generator, 4)
    missed(admission, wanted)
    for _ in range(1_000):
        assert list(missed(admission, wanted)) == wanted
    assert admission.is_refusing


def test_wanted_keys_are_stored_at_their_first_miss():
    admission, generator = refusing()
    wanted = keys(generator)
    assert list(missed(admission, wanted, wanted=set(wanted))) == wanted


def test_it_stores_everything_once_the_store_has_room_again():
    store = FullStore()
    admission, generator = refusing(store)
    store.is_full = False
    flood(admission, generator, 2 * ROUND)
    assert not admission.is_refusing
    assert flood(admission, generator, BATCH) == BATCH


def test_a_try_that_loses_hits_ends_at_once_and_the_next_one_waits_longer():
    admission, generator, ends = Admission(FullStore()), random.Random(7), []
    misses = 0
    while len(ends) < 10:
        # A key that is tried misses twice; one that is stored at once does not.
        wanted = keys(generator)
        kept = missed(admission, wanted)
        again = [key for key in wanted if key not in kept]
        missed(admission, again)
        misses += BATCH + len(again)
        assert not admission.is_refusing
        if again and len(missed(admission, keys(generator))) == BATCH:
            ends.append(misses)
    pauses = [after - before for before, after in pairwise(ends)]
    assert all(before < after for before, after in pairwise(pauses[:5]))
    assert max(pauses) < 1.1 * LONGEST_PAUSE


def test_hits_that_only_other_processes_and_the_forgotten_past_would_show_end_it():
    """The leaders hit what the doorkeeper does not know: they miss less than their share."""
    admission, generator = refusing()
    for _ in range(1_000):
        missed(admission, [key for key in keys(generator) if key[-1] < 128])
        if not admission.is_refusing:
            break
    assert not admission.is_refusing


def test_a_store_that_does_not_answer_changes_nothing():
    store = FullStore()
    admission, generator = refusing(store)
    store.info = FailingStore().info
    flood(admission, generator, 3 * ROUND)
    assert admission.is_refusing


def test_a_front_that_evicts_is_not_a_full_store():
    back = FullStore()
    back.is_full = False
    store = TieredStore(MemoryStore("20 KiB"), back)
    admission, generator = Admission(store), random.Random(7)
    for _ in range(3 * ROUND // BATCH):
        wanted = keys(generator)
        assert list(missed(admission, wanted)) == wanted
        store.front.set_many(Scope("shop"), dict.fromkeys(wanted, ENTRY))
    assert store.info().evicted > ROUND


def test_threads_that_refuse_while_others_begin_and_end_tries_break_nothing():
    store = FullStore()
    admission, failures = Admission(store), []
    ready = threading.Barrier(4)

    def ask(seed):
        generator = random.Random(seed)
        ready.wait()
        try:
            for number in range(400):
                store.is_full = number % 100 < 80
                flood(admission, generator, 2 * BATCH)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


# ---------------------------------------------------------------------- what it costs and saves


@given(
    seed=st.integers(0, 1 << 32),
    few=st.integers(10, 3_000),
    share=st.floats(0.02, 0.9),
    capacity=st.integers(50, 4_000),
    is_skewed=st.booleans(),
)
@settings(deadline=None, max_examples=20)
def test_no_traffic_loses_a_point_of_its_hit_rate(seed, few, share, capacity, is_skewed):
    generator = random.Random(seed)
    known = keys(generator, few)
    trace = [
        known[int(few * generator.random() ** (3 if is_skewed else 1))]
        if generator.random() < share
        else generator.randbytes(16)
        for _ in range(40_000)
    ]
    always, _ = replay(trace, capacity, adaptive=False)
    adaptive, _ = replay(trace, capacity, adaptive=True)
    assert adaptive > always - 0.01 * len(trace)


def test_traffic_of_which_90_percent_comes_once_writes_little_and_hits_as_before():
    generator = random.Random(7)
    known = keys(generator, 100)
    trace = [
        generator.randbytes(16) if number % 10 else generator.choice(known)
        for number in range(150_000)
    ]
    hits, _ = replay(trace, 3_000, adaptive=False)
    adaptive, writes = replay(trace, 3_000, adaptive=True)
    assert adaptive > hits - 0.001 * len(trace)
    assert writes < 0.3 * len(trace)


def test_a_corpus_that_is_read_every_night_hits_from_the_second_night_on():
    """It is asked for once a night; the store is full of it before the night is over."""
    corpus = keys(random.Random(7), 50_000)
    hits, writes = replay(corpus * 3, 50_000, adaptive=True)
    assert (hits, writes) == (2 * len(corpus), len(corpus))


# ---------------------------------------------------------------------- in the engine


def serve(store, compute=lambda texts: None, **options):
    class TextAPI(ls.LitAPI):
        @cached_predict(store=store, **options)
        def predict(self, texts):
            self.computed += texts
            compute(texts)
            return [text.upper() for text in texts]

        def encode_response(self, output):
            return output

    api = TextAPI(max_batch_size=BATCH)
    api.computed = []
    return api


def cache_of(api):
    return api.predict.cache._cache


def served(api):
    """Make the cache of an API, refuse what is asked for once, and return the cache."""
    api.predict(["first"])
    until_refusing(cache_of(api).admission)
    api.computed.clear()
    return api.predict.cache


def test_the_second_request_of_a_fresh_service_hits_although_its_store_is_full(tmp_path):
    store = SharedStore(tmp_path, "4 MiB")
    for number in range(80):  # until it evicts
        filler = {bytes([number]) * 16: NewEntry(b"", bytes(100_000))}
        store.set_many(Scope("other"), filler)
    assert store.info().evicted
    api = serve(store, namespace="shop", version="1")
    with APIRunner(api, trial=2) as runner:
        for text in ("a", "b", "c", "d"):
            assert runner.run(text) == runner.run(text) == text.upper()
    info = api.predict.cache.info()
    assert (info.verified, info.hits, info.misses, info.not_admitted) == (2, 2, 4, 0)
    store.close()


def test_what_is_refused_is_answered_computed_once_more_and_then_hits():
    api = serve(FullStore())
    cache = served(api)
    texts = [f"text {number}" for number in range(16)]
    with strict():
        for _ in range(3):
            assert api.predict(texts) == [text.upper() for text in texts]
    info = cache.info()
    assert 8 < info.not_admitted <= 16
    assert len(api.computed) == 16 + info.not_admitted
    assert info.stored == 1 + 16
    assert info.misses == 1 + 16 + info.not_admitted
    assert info.hits == 32 - info.not_admitted


def test_what_is_refreshed_replaces_its_entry():
    api = serve(FullStore(), refresh_if=lambda text: text.startswith("again"))
    texts = [f"again {number}" for number in range(BATCH)]
    with APIRunner(api) as runner:
        cache = served(api)
        cache.warm(texts, ["old"] * BATCH)
        runner.run_batch(texts)
        assert [cache.get(text) for text in texts] == [text.upper() for text in texts]
    assert cache.info().not_admitted == 0


def test_what_is_warmed_is_stored():
    api = serve(FullStore())
    texts = [f"text {number}" for number in range(BATCH)]
    with APIRunner(api) as runner:
        served(api).warm(texts, [text.upper() for text in texts])
        runner.run_batch(texts)
    assert api.computed == []


def test_equal_items_of_a_batch_are_stored():
    api = serve(FullStore())
    cache = served(api)
    texts = [f"text {number}" for number in range(BATCH // 2)]
    with strict():
        api.predict(texts + texts)
    assert (cache.info().not_admitted, cache.info().coalesced) == (0, BATCH // 2)


def test_what_another_call_waits_for_is_stored():
    entered, go = threading.Event(), threading.Event()

    def compute(texts):
        entered.set()
        assert go.wait(30)

    go.set()
    api = serve(FullStore(), compute)
    cache = served(api)
    entered.clear()
    go.clear()
    texts = [f"text {number}" for number in range(BATCH)]
    with followers.following() as begun:
        calls = [threading.Thread(target=api.predict, args=(texts,)) for _ in range(2)]
        calls[0].start()
        assert entered.wait(30)
        calls[1].start()
        assert begun.acquire(timeout=30)
        go.set()
        for call in calls:
            call.join(30)
    info = cache.info()
    assert (len(api.computed), info.coalesced, info.not_admitted) == (BATCH, BATCH, 0)
    assert info.stored == 1 + BATCH


class LeasedStore(FullStore):
    """A store that grants every lease."""

    grants_leases = True


@pytest.mark.parametrize(
    ("store", "options"),
    [(MemoryStore, {}), (LeasedStore, {"lease": 2.0})],
    ids=["memory", "leased"],
)
def test_a_store_in_memory_and_a_lease_leave_nothing_out(store, options):
    api = serve(store(), **options)
    api.predict(["first"])
    assert cache_of(api).admission is None


def test_whoever_writes_asks_whether_the_store_is_full():
    store = FullStore()
    api = serve(store)
    for start in range(0, ROUND, BATCH):
        api.predict([str(number) for number in range(start, start + BATCH)])
        cache_of(api).guarded.flush()
    assert store.evicted == 1
    assert not cache_of(api).admission.is_due
