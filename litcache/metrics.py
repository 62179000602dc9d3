"""Metrics for Prometheus: what the caches of every process of a server counted."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from litserve import LitServer, Logger
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from litcache.observe import counters as stats
from litcache.observe import pages as ledger
from litcache.observe.pages import Labels, Page

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector
    from starlette.types import Receive, Scope, Send

__all__ = ["PrometheusLogger", "collector"]

_LABELS = Labels._fields
_OUTCOMES = {
    "hit": stats.HITS,
    "miss": stats.MISSES,
    "coalesced": stats.COALESCED,
    "bypassed": stats.BYPASSED,
    "uncacheable": stats.UNCACHEABLE,
}
_COUNTERS = {
    "computing_seconds": (stats.SECONDS, "Seconds in the cached method, or behind the cache"),
    "stored_entries": (stats.STORED, "Entries given to the store"),
    "evicted_entries": (ledger.EVICTED, "Entries that the store dropped to make room"),
    "expired_entries": (ledger.EXPIRED, "Entries that the store found past their expiry"),
    "rejected_entries": (ledger.REJECTED, "Entries that exceed the store's budget by themselves"),
    "dropped_entries": (ledger.DROPPED, "Entries given up: the store was busy, full or cleared"),
    "corrupt_entries": (ledger.CORRUPT, "Entries that did not verify"),
    "store_errors": (stats.STORE_ERRORS, "Calls of the store that failed"),
}
_ABOUT = ("version", "namespace", "store")


class PrometheusLogger(Logger):  # type: ignore[misc]  # LitServe has no types
    """Serves the counters of every worker and HTTP process of a LitServer to Prometheus.

    Give it to `LitServer(…, loggers=…)`. Nothing is sent anywhere by a call: processes count in
    memory that they share, found by a file in a folder that is made for them and removed at the
    end. `LIT_SERVER_API_KEY` does not protect the path, as LitServe guards no path of a logger.

    Args:
        path: Where the metrics are served.

    Raises:
        ImportError: If prometheus-client is not installed.
        ValueError: If the path is none, or, when it is given to a LitServer, if it is taken.
        OSError: If there is no folder for temporary files.

    Example:
        >>> import litserve as ls
        >>> logger = PrometheusLogger()
        >>> server = ls.LitServer(ls.LitAPI(), accelerator="cpu", loggers=[logger])
        >>> [route.path for route in server.app.routes if "metrics" in route.path]
        ['/metrics', '/metrics']
    """

    def __init__(self, path: str = "/metrics") -> None:
        super().__init__()
        if not isinstance(path, str) or not re.fullmatch(r"(/[\w.~-]+)+", path):
            raise ValueError(
                f"PrometheusLogger: path={path!r} must be a path such as '/metrics', of letters, "
                "digits and _ . ~ -, without a slash at the end"
            )
        _prometheus()
        ledger.start()
        self._config = _Config()
        self.mount(path, _Exposition())

    def process(self, key: str, value: Any) -> None:
        """Ignore what an API logs: what is served was never sent."""


def collector() -> Collector:
    """Return a collector for a registry of one's own.

    Counts are shared from the first call on, so call it in the process that starts the server,
    before that.

    Returns:
        What yields the metrics of all processes of the server, whichever it is asked in.

    Raises:
        ImportError: If prometheus-client is not installed.
        OSError: If there is no folder for temporary files.

    Example:
        >>> from prometheus_client import CollectorRegistry
        >>> registry = CollectorRegistry()
        >>> registry.register(collector())
        >>> registry.get_sample_value("litcache_items_total", {"api": "/none"}) is None
        True
    """
    _prometheus()
    ledger.start()
    return _Collector()


def _prometheus() -> Any:
    try:
        import prometheus_client.core
    except ImportError as error:
        raise ImportError(
            "litcache.metrics needs prometheus-client: pip install 'litcache[metrics]'"
        ) from error
    return prometheus_client


class _Collector:
    """Reads the counts of all processes when it is asked."""

    def collect(self) -> Iterator[Metric]:
        yield from families(ledger.read())


class _Exposition:
    """The ASGI app that answers a scrape."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if request.method not in ("GET", "HEAD"):
            response = Response("Method Not Allowed", 405, {"allow": "GET, HEAD"})
        else:
            body, kind = await run_in_threadpool(_exposed, request.headers.get("accept", ""))
            response = Response(body, headers={"content-type": kind})
        await response(scope, receive, send)


def _exposed(accept: str) -> tuple[bytes, str]:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector())
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


# ---------------------------------------------------------------------- the server's paths


class _Config(dict[str, Any]):
    """What LitServe reads of a logger: of which server, only its own frame says."""

    def __contains__(self, name: object) -> bool:
        # LitServe 0.2.17-0.2.19: `if "mount" in logger._config` in _LoggerConnector.add_logger
        connector = sys._getframe(1).f_locals.get("self")
        server = getattr(connector, "_lit_server", None)
        if name == "mount" and isinstance(server, LitServer):
            path, app = self["mount"]["path"], self["mount"]["app"]
            _check_free(server, path)
            # LitServe's mount answers below the path, and redirects from the path itself.
            server.app.router.routes.append(Route(path, app, include_in_schema=False))
        return super().__contains__(name)


def _check_free(server: LitServer, path: str) -> None:
    """Raise `ValueError` if a path of a server would hide the metrics, or they would hide it."""
    taken = {server.healthcheck_path: "LitServer's healthcheck_path"}
    taken[server.info_path] = "LitServer's info_path"
    taken[server._shutdown_path] = "LitServer's shutdown_path"
    for api in server.litapi_connector:
        name = type(api).__qualname__
        taken[api.api_path] = f"the api_path of {name}"
        if api.spec is not None:
            taken.update({p: f"the spec of {name}" for p, *_ in api.spec.endpoints})
        if getattr(api, "mcp", None):
            taken["/mcp"] = f"the MCP tools of {name}"
    for route in server.app.routes:
        used = getattr(route, "path", "")
        if isinstance(route, Mount) and path.startswith(f"{used}/"):
            used = path
        taken.setdefault(used, "another logger" if isinstance(route, Mount) else "LitServer")
    for used, user in taken.items():
        if used == path or used.startswith(f"{path}/"):
            where = "is taken" if used == path else f"would hide {used!r}, which is taken"
            raise ValueError(
                f"PrometheusLogger: path={path!r} {where} by {user}; choose another path"
            )


# ---------------------------------------------------------------------- pages into families


def families(pages: Iterable[Page]) -> Iterator[Metric]:
    """Yield the metric families of pages; those of equal labels are added up.

    Args:
        pages: The pages of all processes.

    Yields:
        The families; none if there are no pages.
    """
    groups: dict[Labels, list[Page]] = {}
    for page in pages:
        groups.setdefault(page.labels, []).append(page)
    if not groups:
        return
    sums = {
        labels: [sum(column) for column in zip(*(page.numbers for page in group), strict=True)]
        for labels, group in sorted(groups.items())
    }
    yield from _counted(sums)
    yield from _measured(sums)
    living = {
        labels: [page for page in group if page.alive and page.numbers[ledger.SAMPLED]]
        for labels, group in sorted(groups.items())
    }
    yield from _sampled(living)


def _counted(sums: dict[Labels, list[float]]) -> Iterator[Metric]:
    core = _prometheus().core
    items = core.CounterMetricFamily(
        "litcache_items", "Items by what became of them", labels=(*_LABELS, "outcome")
    )
    requests = core.CounterMetricFamily(
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
    for name, (place, text) in _COUNTERS.items():
        family = core.CounterMetricFamily(f"litcache_{name}", text, labels=_LABELS)
        for labels, numbers in sums.items():
            family.add_metric(labels, numbers[place])
        yield family


def _requests(numbers: Sequence[float]) -> dict[str, float]:
    """Return the requests by how much of them was answered without computing."""
    if numbers[stats.LISTS]:
        counts = numbers[stats.FULL], numbers[stats.PARTIAL], numbers[stats.EMPTY]
    else:  # a request is an item
        full = numbers[stats.HITS] + numbers[stats.COALESCED]
        counts = full, 0.0, sum(numbers[place] for place in _OUTCOMES.values()) - full
    return dict(zip(("full", "partial", "none"), counts, strict=True))


def _measured(sums: dict[Labels, list[float]]) -> Iterator[Metric]:
    core = _prometheus().core
    batches = core.HistogramMetricFamily(
        "litcache_model_batch_items", "Items of each call of the cached method", labels=_LABELS
    )
    lookups = core.HistogramMetricFamily(
        "litcache_lookup_seconds", "Seconds of each look-up of one or more items", labels=_LABELS
    )
    saved = core.GaugeMetricFamily(
        "litcache_saved_seconds",
        "Mean seconds an item computed, times the items answered without: an estimate, may fall",
        labels=_LABELS,
    )
    for labels, numbers in sums.items():
        sizes = _buckets(stats.BATCH_SIZES, numbers[stats.BATCHES])
        batches.add_metric(labels, sizes, numbers[stats.BATCH_ITEMS])
        times = _buckets(stats.LOOKUP_TIMES, numbers[stats.LOOKUPS])
        lookups.add_metric(labels, times, numbers[stats.LOOKUP_SECONDS])
        counts = {outcome: numbers[place] for outcome, place in _OUTCOMES.items()}
        answered = counts["hit"] + counts["coalesced"]
        computed = sum(counts.values()) - answered
        mean = numbers[stats.SECONDS] / computed if computed else 0.0
        saved.add_metric(labels, mean * answered)
    yield batches
    yield lookups
    yield saved


def _buckets(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """Return the cumulative buckets of a histogram."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _sampled(living: dict[Labels, list[Page]]) -> Iterator[Metric]:
    core = _prometheus().core
    entries = core.GaugeMetricFamily(
        "litcache_store_entries", "Entries that the stores hold", labels=_LABELS
    )
    size = core.GaugeMetricFamily(
        "litcache_store_bytes", "Bytes that the stores account for their entries", labels=_LABELS
    )
    breakers = core.GaugeMetricFamily(
        "litcache_store_breakers_open",
        "Processes that leave a store alone for the moment, since it fails",
        labels=_LABELS,
    )
    about = core.InfoMetricFamily("litcache_cache", "What is cached where", labels=_LABELS)
    for labels, pages in living.items():
        stores = _stores(pages)
        entries.add_metric(labels, sum(page.numbers[ledger.ENTRIES] for page in stores))
        size.add_metric(labels, sum(page.numbers[ledger.BYTES] for page in stores))
        breakers.add_metric(labels, sum(page.numbers[ledger.BREAKER_OPEN] for page in pages))
        for words in {tuple(page.words.get(name, "") for name in _ABOUT) for page in pages}:
            about.add_metric(labels, dict(zip(_ABOUT, words, strict=True)))
    yield entries
    yield size
    yield breakers
    yield about


def _stores(living: Sequence[Page]) -> list[Page]:
    """Return one page for each store: of the processes that share one, what was said last."""
    shared = [page for page in living if page.words.get("shared")]
    newest = sorted(shared, key=lambda page: page.numbers[ledger.SAMPLED])[-1:]
    return [page for page in living if not page.words.get("shared")] + newest
