import logging

import litserve as ls
import pytest

from litcache import CacheInfo, MemoryStore, cached_predict, disabled
from litcache.observe.log import Reporter
from litcache.testing import APIRunner, FakeClock


@pytest.fixture(autouse=True)
def lines(caplog):
    caplog.set_level(logging.INFO, "litcache")
    return lambda: [record.getMessage() for record in caplog.records]


def api(**options):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["id"], context["language"] = request, "en"
            return "item"

        @cached_predict(**options)
        def predict(self, x, context):
            return x

    return API()


def test_a_worker_logs_what_it_caches_where(lines):
    with APIRunner(api(namespace="shop", version="v7", max_bytes="1 MiB")):
        (line,) = lines()
    for word in ("API.predict", "'shop'", "'v7'", "MemoryStore", "1 MiB in each worker"):
        assert word in line


def test_the_default_namespace_names_module_class_method_and_path(lines):
    with APIRunner(api()):
        (line,) = lines()
    assert "test_log.api.<locals>.API.predict/predict" in line


def test_one_of_several_workers_names_the_shared_store(lines, monkeypatch):
    for worker, said in (("0", 0), ("1", 1), ("2", 0)):
        monkeypatch.setenv("LITSERVE_WORKER_ID", worker)
        before = len(lines())
        with APIRunner(api()):
            new = lines()[before:]
        assert sum("SharedStore" in line for line in new) == said


def test_counters_are_logged_when_they_changed(lines, monkeypatch):
    monkeypatch.setenv("LITCACHE_LOG_SECONDS", "0.000001")
    with APIRunner(api(context=False)) as runner:
        runner.run(1)
        runner.run(2)
    found = [line for line in lines() if "hit rate" in line]
    assert len(found) == 2
    assert "hit rate 50.0 %, 1 hits, 1 misses" in found[-1]


def test_a_line_is_due_once_an_interval_and_only_if_the_counters_changed(lines):
    clock = FakeClock()
    reporter = Reporter("API.predict", clock=clock)
    for seconds, hits, logged in ((59, 1, 0), (1, 2, 1), (59, 3, 1), (1, 3, 2), (60, 3, 2)):
        clock.advance(seconds)
        reporter.tick(lambda: CacheInfo(hits=hits), hit=True)  # noqa: B023
        assert len(lines()) == logged
    assert "2 hits" in lines()[0]
    assert "3 hits" in lines()[1]


def test_the_counters_are_not_asked_for_before_a_line_is_due():
    asked = []
    reporter = Reporter("API.predict", clock=FakeClock())
    reporter.tick(lambda: asked.append(1) or CacheInfo())
    assert not asked


def test_zero_seconds_log_no_counters(lines, monkeypatch):
    monkeypatch.setenv("LITCACHE_LOG_SECONDS", "0")
    with APIRunner(api()) as runner:
        runner.run(1)
    assert not [line for line in lines() if "hit rate" in line]


def test_a_thousand_misses_name_the_context_that_always_differs(lines):
    with APIRunner(api()) as runner:
        runner.run_batch(list(range(1_000)))
        runner.run_batch(list(range(1_000, 1_100)))
    (warning,) = [line for line in lines() if "without one hit" in line]
    assert "1000 misses" in warning
    assert "id" in warning
    assert "language" not in warning


def test_a_hit_in_between_keeps_the_warning_away(lines):
    with APIRunner(api()) as runner:
        runner.run_batch([1, 1])
        runner.run_batch(list(range(2, 1_200)))
    assert not [line for line in lines() if "without one hit" in line]


def test_the_store_of_the_runner_replaces_that_of_the_policy():
    store = MemoryStore()
    served = api()
    with APIRunner(served, store) as runner:
        runner.run(1)
    assert store.info().entries == 1


def test_a_worker_whose_caches_are_off_says_nothing_of_caching(lines):
    with disabled(), APIRunner(api()) as runner:
        runner.run(1)
    assert lines() == []


@pytest.mark.parametrize("asked", ["often", "-1", "nan"])
def test_a_bad_number_of_seconds_is_named_and_serving_goes_on(lines, monkeypatch, asked):
    monkeypatch.setenv("LITCACHE_LOG_SECONDS", asked)
    with APIRunner(api()) as runner:
        assert runner.run(1) == "item"
    assert any(f"LITCACHE_LOG_SECONDS={asked!r}" in line for line in lines())
