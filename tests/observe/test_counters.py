"""What each count is part of, and the state of a cache."""

import pytest

from litcache import CacheInfo
from litcache.observe.counters import HITS, NUMBERS, STATE, STATES, Counters
from litcache.stores.base import StoreInfo


def info(counters):
    return counters.info(StoreInfo())


def shared():
    return memoryview(bytearray(8 * NUMBERS)).cast("d")


RATES = {
    CacheInfo(): 0.0,
    CacheInfo(misses=3): 0.0,
    CacheInfo(hits=1, coalesced=2, misses=1): 0.75,
    CacheInfo(verified=3, misses=1): 0.75,
    CacheInfo(hits=1, coalesced=1, verified=1, misses=1, bypassed=9, uncacheable=9): 0.75,
}


@pytest.mark.parametrize(("counts", "rate"), RATES.items())
def test_the_hit_rate_is_the_share_of_what_was_found(counts, rate):
    assert counts.hit_rate == rate


def test_a_verified_item_was_computed_and_saved_no_time():
    counters = Counters()
    counters.add(hits=10, coalesced=2, misses=1, verified=2, bypassed=1, seconds=8.0)
    found = info(counters)
    assert (found.verified, found.seconds_computing) == (2, 8.0)
    assert found.seconds_saved == 12 * 2.0
    assert found.seconds_verifying == 2 * 2.0


def test_disagreements_are_counted_beside_the_outcomes():
    counters = Counters()
    counters.add(verified=2, disagreements=1)
    counters.disagreement = "$.label: 'cat' from the cache, 'dog' from the model"
    found = info(counters)
    assert (found.verified, found.disagreements) == (2, 1)
    assert found.disagreement == counters.disagreement


def test_a_cache_is_on_until_it_is_said_to_be_otherwise():
    counters = Counters()
    assert (info(counters).state, info(counters).disagreement) == ("on", "")
    for state in ("trial", "on", "off"):
        counters.state = state
        assert counters.state == info(counters).state == state


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_state_is_shared_and_no_earlier_process_adds_to_it(before, after):
    numbers = shared()
    numbers[STATE] = STATES.index("off")
    counters = Counters()
    counters.state = before
    counters.share(numbers)
    assert STATES[int(numbers[STATE])] == before
    counters.state = after
    assert STATES[int(numbers[STATE])] == info(counters).state == after


def test_beginning_at_0_keeps_the_state():
    counters = Counters()
    counters.add(verified=1, disagreements=1)
    counters.state, counters.disagreement = "off", "$: 1 from the cache, 2 from the model"
    counters.reset()
    found = info(counters)
    assert (found.verified, found.disagreements) == (0, 0)
    assert (found.state, found.disagreement) == ("off", counters.disagreement)
    numbers = shared()
    counters.share(numbers)
    assert STATES[int(numbers[STATE])] == "off"


def test_hits_that_one_thread_counts_are_in_what_is_shared():
    counters = Counters()
    counters.add_hit()
    numbers = shared()
    counters.share(numbers)
    counters.add_hit()
    assert (numbers[HITS], info(counters).hits) == (2, 2)
