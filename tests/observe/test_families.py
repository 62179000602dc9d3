"""The counts of pages as families of Prometheus: what adds up, and what does not."""

import pytest

from litcache.observe import counters
from litcache.observe.counters import Labels
from litcache.observe.families import families
from litcache.observe.page import (
    BREAKER_OPEN,
    BYTES,
    CORRUPT,
    DROPPED,
    ENTRIES,
    EVICTED,
    EXPIRED,
    REJECTED,
    SAMPLED,
    Page,
)

pytest.importorskip("prometheus_client")

TEXT = Labels("/predict", "predict", "decorator")
LISTS = Labels("/lists", "predict", "decorator")
HTTP = Labels("/predict", "POST", "http")


def page(labels=TEXT, numbers=(), *, alive=True, **words):
    counts = [0.0] * (SAMPLED + 1)
    counts[SAMPLED] = 1.0
    for place, number in dict(numbers).items():
        counts[place] = number
    return Page(labels, counts, alive, words)


def value(pages, name, labels=TEXT, **more):
    """Return the value of a sample of pages; `None` if there is none."""
    wanted = {**labels._asdict(), **more}
    found = [
        sample.value
        for family in families(pages)
        for sample in family.samples
        if sample.name == name and sample.labels == wanted
    ]
    assert len(found) < 2
    return found[0] if found else None


COUNTED = {
    ("litcache_items_total", "outcome", "hit"): counters.HITS,
    ("litcache_items_total", "outcome", "miss"): counters.MISSES,
    ("litcache_items_total", "outcome", "coalesced"): counters.COALESCED,
    ("litcache_items_total", "outcome", "verified"): counters.VERIFIED,
    ("litcache_items_total", "outcome", "bypassed"): counters.BYPASSED,
    ("litcache_items_total", "outcome", "uncacheable"): counters.UNCACHEABLE,
    ("litcache_computing_seconds_total",): counters.SECONDS,
    ("litcache_stored_entries_total",): counters.STORED,
    ("litcache_evicted_entries_total",): EVICTED,
    ("litcache_expired_entries_total",): EXPIRED,
    ("litcache_rejected_entries_total",): REJECTED,
    ("litcache_dropped_entries_total",): DROPPED,
    ("litcache_corrupt_entries_total",): CORRUPT,
    ("litcache_disagreements_total",): counters.DISAGREEMENTS,
    ("litcache_store_errors_total",): counters.STORE_ERRORS,
}


@pytest.mark.parametrize(("sample", "place"), COUNTED.items(), ids=lambda x: str(x))
def test_counters_are_sums_over_processes_ended_ones_too(sample, place):
    name, *more = sample
    pages = [page(numbers={place: 3}), page(numbers={place: 4}, alive=False)]
    others = [page(LISTS, {place: 100}), page(HTTP, {place: 100})]
    assert value(pages + others, name, **dict([more] if more else [])) == 7
    assert value(others, name, **dict([more] if more else [])) is None


def test_gauges_are_sums_over_running_processes():
    store = {ENTRIES: 3, BYTES: 30, BREAKER_OPEN: 1}
    pages = [page(numbers=store), page(numbers=store), page(numbers=store, alive=False)]
    for name, expected in (("entries", 6), ("bytes", 60), ("breakers_open", 2)):
        assert value(pages, f"litcache_store_{name}") == expected


def test_states_are_counted_over_running_processes_from_their_first_moment():
    def caches(state, **more):
        return page(numbers={counters.STATE: counters.STATES.index(state), SAMPLED: 0}, **more)

    pages = [caches("on"), caches("trial"), caches("trial"), caches("off", alive=False)]
    pages.append(page(LISTS, {counters.STATE: counters.STATES.index("off")}))
    for labels, expected in ((TEXT, (2, 1, 0)), (LISTS, (0, 0, 1))):
        for state, number in zip(("trial", "on", "off"), expected, strict=True):
            assert value(pages, "litcache_caches", labels, state=state) == number


def test_a_store_that_processes_share_counts_once_as_it_was_seen_last():
    pages = [
        page(numbers={ENTRIES: n, SAMPLED: at, BREAKER_OPEN: 1}, shared=True)
        for n, at in ((9, 1), (4, 3), (7, 2))
    ]
    pages.append(page(numbers={ENTRIES: 5, SAMPLED: 4}, alive=False, shared=True))
    assert value(pages, "litcache_store_entries") == 4
    assert value(pages, "litcache_store_breakers_open") == 3


def test_requests_of_one_item_are_told_by_their_items():
    outcomes = (
        counters.HITS,
        counters.MISSES,
        counters.COALESCED,
        counters.BYPASSED,
        counters.UNCACHEABLE,
        counters.VERIFIED,
    )
    pages = [page(numbers=dict(zip(outcomes, (1, 2, 4, 8, 16, 32), strict=True)))]
    answered = [
        value(pages, "litcache_requests_total", answered=how) for how in ("full", "partial", "none")
    ]
    assert answered == [5, 0, 58]


def test_requests_of_several_items_are_told_by_themselves():
    numbers = {
        counters.HITS: 99,
        counters.LISTS: 1,
        counters.FULL: 1,
        counters.PARTIAL: 2,
        counters.EMPTY: 4,
    }
    pages = [page(numbers=numbers), page(numbers=numbers)]
    answered = [
        value(pages, "litcache_requests_total", answered=how) for how in ("full", "partial", "none")
    ]
    assert answered == [2, 4, 8]


def test_saved_seconds_are_those_of_the_mean_item_of_all_processes():
    computed = {counters.MISSES: 2, counters.VERIFIED: 1, counters.UNCACHEABLE: 1}
    computing = page(numbers={counters.SECONDS: 8.0, **computed})
    answering = page(numbers={counters.HITS: 5, counters.COALESCED: 1})
    assert value([computing, answering], "litcache_saved_seconds") == 12.0
    assert value([answering], "litcache_saved_seconds") == 0.0


@pytest.mark.parametrize(
    ("items", "bounds"), [(0, 1), (1, 1), (2, 2), (3, 4), (32, 32), (33, 64), (513, "+Inf")]
)
def test_a_model_batch_falls_into_the_bucket_of_its_size(items, bounds):
    numbers = memoryview(bytearray(8 * counters.NUMBERS)).cast("d")
    counted = counters.Counters()
    counted.share(numbers)
    counted.add_batch(items)
    name = "litcache_model_batch_items"
    for bound in (*map(float, counters.BATCH_SIZES), "+Inf"):
        expected = 1 if bounds == "+Inf" and bound == "+Inf" else float(bound) >= float(bounds)
        assert (
            value([page(numbers=enumerate(numbers))], f"{name}_bucket", le=str(bound)) == expected
        )
    assert value([page(numbers=enumerate(numbers))], f"{name}_sum") == items
    assert value([page(numbers=enumerate(numbers))], f"{name}_count") == 1


def test_versions_that_processes_serve_are_shown_and_those_served_before_are_not():
    pages = [page(version="1", store="S"), page(version="2", store="S"), page(version="2")]
    pages.append(page(version="0", alive=False))
    info = [s for f in families(pages) for s in f.samples if s.name == "litcache_cache_info"]
    shown = sorted((s.labels["version"], s.labels["store"]) for s in info)
    assert shown == [("1", "S"), ("2", ""), ("2", "S")]


def test_no_processes_no_families():
    assert list(families([])) == []
