"""The metrics: from caches to counts, and from a real server to a real scrape."""

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import litserve as ls
import pytest
from support.servers import serve, wait_until

from litcache import MemoryStore, RedisStore, TieredStore, cached_predict
from litcache.engine.writes import queue_of
from litcache.observe.counters import Labels
from litcache.testing import APIRunner

prometheus_client = pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from litcache.metrics import PrometheusLogger, collector  # noqa: E402

HERE = Path(__file__).parent
TEXT = Labels("/predict", "predict", "decorator")
LISTS = Labels("/lists", "predict", "decorator")
HTTP = Labels("/predict", "POST", "http")
SECONDS = 30


# ------------------------------------------------------------------- caches into counts


class TextAPI(ls.LitAPI):
    @cached_predict(version="1", trial=0)
    def predict(self, texts):
        return [text.upper() for text in texts]


class ListAPI(ls.LitAPI):
    @cached_predict(items="list", max_items=2, version="1", trial=0)
    def predict(self, texts):
        if "error" in texts:
            raise ValueError("error")
        return [text.upper() for text in texts]


class AsyncListAPI(ls.LitAPI):
    async def decode_request(self, request):
        return request

    async def encode_response(self, output):
        return output

    @cached_predict(items="list", version="1", trial=0)
    async def predict(self, texts):
        return [text.upper() for text in texts]


@pytest.fixture
def registry():
    registry = prometheus_client.CollectorRegistry()
    registry.register(collector())
    return registry


def requests_of(registry, labels=TEXT):
    return [
        registry.get_sample_value("litcache_requests_total", {**labels._asdict(), "answered": how})
        for how in ("full", "partial", "none")
    ]


def sums_of(registry, name):
    return [registry.get_sample_value(f"{name}_{s}", TEXT._asdict()) for s in ("count", "sum")]


def test_model_batches_and_look_ups_are_measured(registry):
    with APIRunner(TextAPI(max_batch_size=8)) as runner:
        runner.run_batch(["a", "b", "c", "a"])
        runner.run_batch(["a", "d"])
        runner.run_batch(["a", "b"])
    assert sums_of(registry, "litcache_model_batch_items") == [2, 4]
    count, seconds = sums_of(registry, "litcache_lookup_seconds")
    assert count == 3
    assert 0 < seconds < 60
    assert requests_of(registry) == [4, 0, 4]


def test_an_unbatched_hit_is_measured_too(registry):
    class SingleAPI(ls.LitAPI):
        @cached_predict
        def predict(self, text):
            return text.upper()

    with APIRunner(SingleAPI()) as runner:
        assert [runner.run(text) for text in "abaa"] == ["A", "B", "A", "A"]
    assert sums_of(registry, "litcache_lookup_seconds")[0] == 4
    assert sums_of(registry, "litcache_model_batch_items") == [2, 2]
    assert requests_of(registry) == [2, 0, 2]


@pytest.mark.parametrize(
    ("api", "batches"),
    [(ListAPI(), [1, 1, 2, 1]), (ListAPI(max_batch_size=8), [1, 1, 2, 1]),
     (AsyncListAPI(enable_async=True), [1, 1, 3])],
    ids=["single", "batched", "async"],
)  # fmt: skip
def test_a_list_is_answered_fully_partly_or_not(api, batches, registry):
    with APIRunner(api) as runner:
        for request in (["a"], ["a", "b"], ["b", "a", "b"], ["c", "d", "e"], "a"):
            runner.run(request)
        assert runner.model_batches == batches
    assert requests_of(registry) == [2, 1, 2]
    count = registry.get_sample_value("litcache_model_batch_items_count", TEXT._asdict())
    assert count == len(batches)


def test_lists_of_one_batch_are_told_apart(registry):
    with APIRunner(ListAPI(max_batch_size=8)) as runner:
        runner.run(["a"])
        runner.run_batch([["a"], ["a", "b"], ["c"], []])
        assert requests_of(registry) == [1, 1, 2]
        with pytest.raises(ValueError, match="error"):
            runner.run_batch([["a"], ["error", "a"], ["error"]])
    assert requests_of(registry) == [2, 2, 3]


@pytest.mark.parametrize("tiered", [False, True])
def test_an_open_breaker_is_seen(tiered, registry):
    pytest.importorskip("redis")
    store = RedisStore("redis://127.0.0.1:1/0", timeout=0.01)
    store = TieredStore(MemoryStore(), store) if tiered else store

    class RemoteAPI(ls.LitAPI):
        @cached_predict(store=store, namespace="n", version="1", trial=0)
        def predict(self, text):
            return text

    api = RemoteAPI()
    assert api.predict("a") == "a"
    assert not store.breaker_open
    for text in "bcde":
        assert api.predict(text) == text
        assert queue_of(store).flush(SECONDS)  # each write by itself, so that each one fails
    name = "litcache_store_breakers_open"
    assert registry.get_sample_value(name, TEXT._asdict()) == 1
    assert registry.get_sample_value("litcache_store_errors_total", TEXT._asdict()) >= 3


# ------------------------------------------------------------------- the logger


NO_PATHS = ["metrics", "", "/", "/metrics/", "//", "/{name}", None, 5, "/a b", "/a\n"]


@pytest.mark.parametrize("path", NO_PATHS)
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(ValueError, match=re.escape(f"path={path!r}")):
        PrometheusLogger(path)


class OtherLogger(ls.Logger):
    def __init__(self, path):
        super().__init__()
        self.mount(path, lambda scope, receive, send: None)

    def process(self, key, value):
        pass


TAKEN = {
    "/predict": "api_path of TextAPI",
    "/v1": "spec of TextAPI",
    "/v1/embeddings": "spec of TextAPI",
    "/alive": "healthcheck_path",
    "/about": "info_path",
    "/shutdown": "shutdown_path",
    "/docs": "LitServer",
    "/openapi.json": "LitServer",
    "/other": "another logger",
    "/other/metrics": "another logger",
    "/first": "another logger|LitServer",
}


@pytest.mark.parametrize(("path", "user"), TAKEN.items())
def test_a_path_that_is_taken_is_refused_by_name(path, user):
    apis = [TextAPI()]
    if path.startswith("/v1"):
        apis = [TextAPI(spec=ls.OpenAIEmbeddingSpec())]
    with pytest.raises(ValueError, match=rf"path='{path}' .*taken by .*({user})"):
        ls.LitServer(
            apis, accelerator="cpu", healthcheck_path="/alive", info_path="/about",
            loggers=[OtherLogger("/other"), PrometheusLogger("/first"), PrometheusLogger(path)],
        )  # fmt: skip


def test_paths_beside_those_that_are_taken_are_free():
    loggers = [PrometheusLogger(path) for path in ("/metrics", "/predict2", "/health/metrics")]
    server = ls.LitServer(TextAPI(), accelerator="cpu", loggers=loggers)
    transport = httpx.ASGITransport(server.app)

    async def statuses():
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            paths = ("/metrics", "/predict2", "/health/metrics", "/metrics/", "/metric")
            return [(await client.get(path)).status_code for path in paths]

    assert asyncio.run(statuses()) == [200, 200, 200, 200, 404]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 405)])
def test_only_reading_is_answered(method, status):
    server = ls.LitServer(TextAPI(), accelerator="cpu", loggers=PrometheusLogger())

    async def answer():
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, "/metrics")

    assert asyncio.run(answer()).status_code == status


def test_asking_a_logger_whether_it_mounts_changes_nothing():
    logger = PrometheusLogger("/counts")
    server = ls.LitServer(TextAPI(), accelerator="cpu")

    class Connector:
        """Has in its frame what LitServe's own connector has in its."""

        _lit_server = server

        def add_logger(self, logger):
            return "mount" in logger._config

    routes = list(server.app.routes)
    assert Connector().add_logger(logger)
    assert server.app.routes == routes


def test_other_loggers_are_mounted_as_ever():
    apps = [ls.LitServer(TextAPI(), accelerator="cpu", loggers=OtherLogger("/other")).app]
    PrometheusLogger()
    apps += [ls.LitServer(TextAPI(), accelerator="cpu", loggers=OtherLogger("/other")).app]
    before, after = ([(type(route), route.path) for route in app.routes] for app in apps)
    assert before == after


def test_openmetrics_is_spoken_to_who_asks_for_it():
    server = ls.LitServer(TextAPI(), accelerator="cpu", loggers=PrometheusLogger())
    TextAPI().predict.cache.info()  # a cache is there

    async def answer():
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            accept = {"accept": "application/openmetrics-text; version=1.0.0"}
            return await client.get("/metrics", headers=accept)

    response = asyncio.run(answer())
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_the_logger_reaches_the_logger_process():
    logger = pickle.loads(pickle.dumps(PrometheusLogger()))
    assert logger.process("key", "value") is None


@pytest.mark.e2e
def test_without_prometheus_client_the_extra_is_named():
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import litcache.metrics as m\n"
        "for make in (m.PrometheusLogger, m.collector):\n"
        "    try: make()\n"
        "    except ImportError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.count("pip install prometheus-client") == 2


OTHER_LITSERVES = {
    "del Connector._mount": "_LoggerConnector._mount",
    "Connector._mount = lambda self, path, app, name: None": "_LoggerConnector._mount",
    "Connector.add_logger = lambda self, logger: None": "_mount in _LoggerConnector.add_logger",
    "Connector.__init__ = lambda self, server, loggers: None": (
        "_lit_server in _LoggerConnector.__init__"
    ),
    "del loggers._LoggerConnector": "_LoggerConnector._mount",
    "litserve.LitServer.__init__ = lambda self, api: None": "_shutdown_path in LitServer.__init__",
}


@pytest.mark.e2e
@pytest.mark.parametrize(("change", "missing"), OTHER_LITSERVES.items())
def test_a_litserve_that_mounts_otherwise_is_refused_with_what_is_missing(change, missing):
    code = (
        "import litserve\n"
        "from litserve import loggers\n"
        "from litcache.metrics import PrometheusLogger\n"
        "Connector = loggers._LoggerConnector\n"
        f"{change}\n"
        "try: PrometheusLogger()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("UnsupportedLitServeError PrometheusLogger knows LitServe 0.2.17")
    assert missing in run.stdout


# ------------------------------------------------------------------- real servers


def scrape(server):
    """Return the samples of a scrape by name and labels, as Prometheus' own parser reads them."""
    response = httpx.get(f"{server.url}/metrics", trust_env=False)  # not always the same process
    assert response.status_code == 200, response.text
    samples = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples


def take(samples, name, labels=TEXT, **more):
    return samples[name, frozenset({**labels._asdict(), **more}.items())]


def items_of(samples, labels=TEXT):
    return {
        outcome: take(samples, "litcache_items_total", labels, outcome=outcome)
        for outcome in ("hit", "miss", "coalesced", "verified", "bypassed", "uncacheable")
    }


def metrics_server(tmp_path, http="process"):
    store = {"STORE": str(tmp_path / "store")}
    return serve(str(HERE / "support" / "metrics_server.py"), http, environment=store)


@pytest.mark.e2e
@pytest.mark.parametrize("http", ["process", "thread"])
def test_sums_over_workers_apis_and_http_processes_are_what_was_sent(tmp_path, http):
    sent = ["a", "b", "c", "bypass"] * 10
    lists = [["x", "y"], ["y"], ["z", "y", "w"], ["x", "y"], ["v"]]
    with metrics_server(tmp_path, http) as server, ThreadPoolExecutor(8) as clients:
        # A client each, so that both HTTP processes are asked.
        ask = lambda body: httpx.post(f"{server.url}/predict", json=body, trust_env=False)  # noqa: E731
        answers = list(clients.map(ask, [{"text": text} for text in sent]))
        assert [answer.json()["output"] for answer in answers] == [text.upper() for text in sent]
        for texts in lists:
            server.post("/lists", {"texts": texts})
        samples = scrape(server)
        counts = items_of(samples)
        workers = len({answer.json()["pid"] for answer in answers})
        assert counts["bypassed"] == 10
        assert 3 <= counts["miss"] <= 3 * workers
        assert counts["hit"] + counts["miss"] + counts["coalesced"] == 30
        assert counts["uncacheable"] == 0
        assert take(samples, "litcache_model_batch_items_sum") == counts["miss"] + 10
        assert take(samples, "litcache_model_batch_items_count") <= counts["miss"] + 10
        assert take(samples, "litcache_stored_entries_total") == counts["miss"]
        assert take(samples, "litcache_computing_seconds_total") > 0
        assert take(samples, "litcache_lookup_seconds_count") > 0
        for answered, number in (("full", 30 - counts["miss"]), ("partial", 0)):
            assert take(samples, "litcache_requests_total", answered=answered) == number
        # One after the other, with one store for both workers: exactly these.
        assert items_of(samples, LISTS) | {"uncacheable": 0} == {
            "hit": 4, "miss": 5, "coalesced": 0, "verified": 0, "bypassed": 0, "uncacheable": 0,
        }  # fmt: skip
        requests = Counter(
            {how: take(samples, "litcache_requests_total", LISTS, answered=how)
             for how in ("full", "partial", "none")}
        )  # fmt: skip
        assert requests == {"full": 2, "partial": 1, "none": 2}
        assert items_of(samples, HTTP)["miss"] == len(sent)
        about = {"version": "words 1", "store": "MemoryStore"}
        namespace = "metrics_server.TextAPI.predict/predict"
        assert take(samples, "litcache_cache_info", **about, namespace=namespace) == 1

        def sampled():
            samples = scrape(server)
            return (
                take(samples, "litcache_store_entries") == counts["miss"]
                and take(samples, "litcache_store_bytes") > 0
                and take(samples, "litcache_store_entries", LISTS) == 5
            )

        wait_until(sampled, "samples", 30)
        # The counters have not moved, whichever process was asked.
        for _ in range(4):
            assert items_of(scrape(server)) == counts


@pytest.mark.e2e
def test_counters_of_a_killed_worker_are_neither_lost_nor_counted_twice(tmp_path):
    asked = 0

    def ask(server):
        nonlocal asked
        asked += 1
        return server.post("/predict", {"text": f"text {asked % 3}"}).json()["pid"]

    def total(server):
        return sum(items_of(scrape(server)).values())

    with metrics_server(tmp_path) as server:
        seen: set[int] = set()
        wait_until(lambda: seen.add(ask(server)) or len(seen) == 2, "both workers", 60)
        for _ in range(2):
            before = items_of(scrape(server))
            assert sum(before.values()) == asked
            victim = seen.pop()
            os.kill(victim, signal.SIGKILL)
            # LitServe notices within two seconds; until then its queue may still feed the dead.
            restarted = "is dead. Restarting it"
            deaths = server.log.count(restarted)
            wait_until(lambda: server.log.count(restarted) > deaths, "restart", 30)  # noqa: B023
            assert items_of(scrape(server)) == before
            fresh: set[int] = set()

            def new_worker_answers():
                pid = ask(server)
                assert total(server) == asked
                return pid not in seen and (fresh.add(pid) or True)  # noqa: B023

            wait_until(new_worker_answers, "the new worker", 60)
            assert victim not in fresh
            seen |= fresh
        after = items_of(scrape(server))
        assert sum(after.values()) == asked
        assert all(after[outcome] >= before[outcome] for outcome in before)
        folder = next(Path(server._log).parent.glob("litcache-metrics-*"))
        # Two workers of two APIs, and the tier of two HTTP processes: no page more.
        assert len(list(folder.glob("*.page*"))) == 6


@pytest.mark.e2e
def test_the_folder_goes_when_the_server_is_interrupted(tmp_path):
    with metrics_server(tmp_path) as server:
        folder = next(Path(server._log).parent.glob("litcache-metrics-*"))
        # An interrupt while it still forks may be lost in a hook of the fork.
        wait_until(lambda: "Swagger UI is available" in server.log, "all of the server", 60)
        main = int(re.search(r"server process \[(\d+)\]", server.log)[1])
        main = os.getpgid(main)  # the process that leads the group
        os.kill(main, signal.SIGINT)
        # LitServe gives each HTTP process 30 seconds, and each worker 5.
        wait_until(lambda: not folder.exists(), "the end", 120)
