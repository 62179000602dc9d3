"""Metric families of Prometheus, made from the counts of pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from litcache.observe import counters
from litcache.observe.counters import Labels
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

if TYPE_CHECKING:
    from prometheus_client import Metric

_LABELS = Labels._fields
_OUTCOMES = {
    "hit": counters.HITS,
    "miss": counters.MISSES,
    "coalesced": counters.COALESCED,
    "verified": counters.VERIFIED,
    "bypassed": counters.BYPASSED,
    "uncacheable": counters.UNCACHEABLE,
}
_COUNTERS = {
    "computing_seconds": (counters.SECONDS, "Seconds in the cached method, or behind the cache"),
    "stored_entries": (counters.STORED, "Entries given to the store"),
    "evicted_entries": (EVICTED, "Entries that the store dropped to make room"),
    "expired_entries": (EXPIRED, "Entries that the store found expired"),
    "rejected_entries": (REJECTED, "Entries that alone exceed the store's budget"),
    "dropped_entries": (DROPPED, "Entries given up: the store was busy, full or cleared"),
    "corrupt_entries": (CORRUPT, "Entries that did not verify"),
    "overflowed_entries": (counters.OVERFLOWED, "Entries dropped: the queue of writes was full"),
    "not_admitted_entries": (counters.NOT_ADMITTED, "Outputs not stored: most items come once"),
    "disagreements": (counters.DISAGREEMENTS, "Verified items whose entry was not the answer"),
    "store_errors": (counters.STORE_ERRORS, "Calls of the store that failed"),
}
_ABOUT = ("version", "namespace", "store")

_Sums: TypeAlias = Mapping[Labels, Sequence[float]]


def families(pages: Iterable[Page]) -> Iterator[Metric]:
    """Yield the metric families of pages; pages with equal labels are added up.

    Args:
        pages: The pages of all processes.

    Yields:
        The families; none if there are no pages.
    """
    groups: dict[Labels, list[Page]] = {}
    for page in sorted(pages, key=lambda page: page.labels):
        groups.setdefault(page.labels, []).append(page)
    if not groups:
        return
    sums = {
        labels: [sum(column) for column in zip(*(page.numbers for page in group), strict=True)]
        for labels, group in groups.items()
    }
    yield from _requested(sums)
    yield from _counted(sums)
    yield from _measured(sums)
    yield _states(groups)
    living = {
        labels: [page for page in group if page.alive and page.numbers[SAMPLED]]
        for labels, group in groups.items()
    }
    yield from _sampled(living)


def _requested(sums: _Sums) -> Iterator[Metric]:
    """Yield the outcomes of items and of requests."""
    from prometheus_client.core import CounterMetricFamily

    items = CounterMetricFamily(
        "litcache_items", "Items by what became of them", labels=(*_LABELS, "outcome")
    )
    requests = CounterMetricFamily(
        "litcache_requests",
        "Requests whose items were answered without computing: in full, partly, not one",
        labels=(*_LABELS, "answered"),
    )
    for labels, numbers in sums.items():
        for outcome, place in _OUTCOMES.items():
            items.add_metric((*labels, outcome), numbers[place])
        for answered, value in _requests(numbers).items():
            requests.add_metric((*labels, answered), value)
    yield items
    yield requests


def _requests(numbers: Sequence[float]) -> dict[str, float]:
    """Return the numbers of requests, by how many of their items were not computed."""
    if numbers[counters.LISTS]:
        counts = numbers[counters.FULL], numbers[counters.PARTIAL], numbers[counters.EMPTY]
    else:  # a request is an item
        full, computed = _answered(numbers)
        counts = full, 0.0, computed
    return dict(zip(("full", "partial", "none"), counts, strict=True))


def _answered(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the number of items that were not computed, and the number of the others."""
    answered = numbers[counters.HITS] + numbers[counters.COALESCED]
    return answered, sum(numbers[place] for place in _OUTCOMES.values()) - answered


def _counted(sums: _Sums) -> Iterator[Metric]:
    """Yield the counters that have no labels of their own."""
    from prometheus_client.core import CounterMetricFamily

    for name, (place, text) in _COUNTERS.items():
        family = CounterMetricFamily(f"litcache_{name}", text, labels=_LABELS)
        for labels, numbers in sums.items():
            family.add_metric(labels, numbers[place])
        yield family


def _measured(sums: _Sums) -> Iterator[Metric]:
    """Yield the histograms, and the time that the cache saved."""
    from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

    batches = HistogramMetricFamily(
        "litcache_model_batch_items", "Items of each call of the cached method", labels=_LABELS
    )
    lookups = HistogramMetricFamily(
        "litcache_lookup_seconds", "Seconds of each look-up of one or more items", labels=_LABELS
    )
    saved = GaugeMetricFamily(
        "litcache_saved_seconds",
        "Mean seconds an item computed, times the items answered without: an estimate, may fall",
        labels=_LABELS,
    )
    for labels, numbers in sums.items():
        sizes = _buckets(counters.BATCH_SIZES, numbers[counters.BATCHES])
        batches.add_metric(labels, sizes, numbers[counters.BATCH_ITEMS])
        times = _buckets(counters.LOOKUP_TIMES, numbers[counters.LOOKUPS])
        lookups.add_metric(labels, times, numbers[counters.LOOKUP_SECONDS])
        answered, computed = _answered(numbers)
        mean = numbers[counters.SECONDS] / computed if computed else 0.0
        saved.add_metric(labels, mean * answered)
    yield batches
    yield lookups
    yield saved


def _buckets(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """Return the cumulative buckets of a histogram."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _states(groups: Mapping[Labels, Sequence[Page]]) -> Metric:
    """Return how many caches of running processes are in each state."""
    from prometheus_client.core import GaugeMetricFamily

    caches = GaugeMetricFamily(
        "litcache_caches",
        "Caches of running processes by state: on trial, on, off after a disagreement",
        labels=(*_LABELS, "state"),
    )
    for labels, pages in groups.items():
        living = [page.numbers[counters.STATE] for page in pages if page.alive]
        for number, state in enumerate(counters.STATES):
            caches.add_metric((*labels, state), living.count(number))
    return caches


def _sampled(living: Mapping[Labels, Sequence[Page]]) -> Iterator[Metric]:
    """Yield what the stores of running processes hold."""
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    entries = GaugeMetricFamily(
        "litcache_store_entries", "Entries that the stores hold", labels=_LABELS
    )
    size = GaugeMetricFamily(
        "litcache_store_bytes", "Bytes that the stores account for their entries", labels=_LABELS
    )
    breakers = GaugeMetricFamily(
        "litcache_store_breakers_open",
        "Processes that leave a store alone for the moment, since it fails",
        labels=_LABELS,
    )
    about = InfoMetricFamily("litcache_cache", "What is cached where", labels=_LABELS)
    for labels, pages in living.items():
        stores = _stores(pages)
        entries.add_metric(labels, sum(page.numbers[ENTRIES] for page in stores))
        size.add_metric(labels, sum(page.numbers[BYTES] for page in stores))
        breakers.add_metric(labels, sum(page.numbers[BREAKER_OPEN] for page in pages))
        for words in sorted({tuple(page.words.get(n, "") for n in _ABOUT) for page in pages}):
            about.add_metric(labels, dict(zip(_ABOUT, words, strict=True)))
    yield entries
    yield size
    yield breakers
    yield about


def _stores(living: Sequence[Page]) -> list[Page]:
    """Return a page for each store; for a shared store, the page with the last sample."""
    shared = [page for page in living if page.words.get("shared")]
    newest = sorted(shared, key=lambda page: page.numbers[SAMPLED])[-1:]
    return [page for page in living if not page.words.get("shared")] + newest
