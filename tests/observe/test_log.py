import io
import logging
from contextlib import contextmanager

import litserve as ls
import pytest

from litcache import CacheInfo, MemoryStore, cached_predict, disabled
from litcache.observe.log import Reporter, logger, show_log_lines
from litcache.testing import APIRunner, FailingStore, FakeClock


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


LINES = {
    CacheInfo(hits=3, misses=1): "hit rate 75.0 %, 3 hits, 1 misses",
    CacheInfo(bypassed=2): "2 bypassed",
    CacheInfo(misses=1, entries=1, bytes=134217728, store_errors=1): (
        "hit rate 0.0 %, 1 misses, 1 entries, 128 MiB, 1 store errors"
    ),
    CacheInfo(coalesced=1, uncacheable=2, rejected=3, evicted=4, expired=5, bytes=1850): (
        "hit rate 100.0 %, 1 coalesced, 2 uncacheable, 1.8 KiB, 3 rejected, 4 evicted, 5 expired"
    ),
    CacheInfo(hits=1, seconds_computing=0.04, seconds_saved=2.25): (
        "hit rate 100.0 %, 1 hits, 40.0 ms computing, 2.2 s saved"
    ),
    CacheInfo(misses=1, seconds_computing=1e-5): "hit rate 0.0 %, 1 misses",
    CacheInfo(misses=1, verified=3, state="trial"): (
        "hit rate 75.0 %, 1 misses, 3 verified, on trial"
    ),
    CacheInfo(verified=1, disagreements=1, state="off", disagreement="$: 1 and 2"): (
        "hit rate 100.0 %, 1 verified, 1 disagreements, off"
    ),
}


@pytest.mark.parametrize(("info", "line"), LINES.items())
def test_a_line_shows_the_counters_that_are_not_0(info, line, lines):
    clock = FakeClock()
    reporter = Reporter("API.predict", clock=clock)
    clock.advance(60)
    reporter.tick(lambda: info)
    assert lines() == [f"API.predict: {line}"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [(134217728, "128 MiB"), ("1.5 MiB", "1.5 MiB"), ("64 KiB", "64 KiB"), ("3 GB", "2.8 GiB")],
)
def test_a_budget_is_shown_as_a_person_reads_it(size, shown, lines):
    with APIRunner(api(max_bytes=size)):
        (line,) = lines()
    assert line.endswith(f"in MemoryStore ({shown} in each worker)")


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


def test_two_threads_may_come_to_the_thousandth_miss(lines):
    class Interrupted(set):
        """The forms of an entry: another thread comes when they are counted."""

        def __len__(self):
            if not others:
                others.append(1)
                reporter.missed(1, ())
            return super().__len__()

    others, reporter = [], Reporter("m")
    for number in range(999):
        reporter.missed(1, ({"id": number, "language": "en"},))
    reporter._varied = {name: Interrupted(forms) for name, forms in reporter._varied.items()}
    reporter.missed(1, ({"id": 999, "language": "en"},))
    assert len([line for line in lines() if "without one hit" in line]) == 1


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


# ---------------------------------------------------------------------- a store that fails


class LeftAlone(FailingStore):
    """A store that leaves itself alone, which it has told of in the log."""

    breaker_open = True


def fail(store):
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            return x

    with APIRunner(API(), store) as runner:
        assert [runner.run(1), runner.run(2)] == [1, 2]
        assert runner.api.predict.cache.info().store_errors == 2


def test_whatever_a_failing_store_is_asked_it_is_told_of_once(lines):
    fail(FailingStore())
    (warning,) = [line for line in lines() if "caching under" not in line]
    assert "the store failed and items are computed" in warning


def test_a_store_that_has_told_of_its_failure_is_not_told_of_again(lines):
    fail(LeftAlone())
    assert [line for line in lines() if "caching under" not in line] == []


# ---------------------------------------------------------------------- where lines go


@pytest.fixture
def server(monkeypatch):
    """A process of a server where nobody has set up logging; gives what LitServe's handler prints.

    Entered by the test itself: pytest sets up logging before each part of a test.
    """

    @contextmanager
    def entered():
        stream = io.StringIO()
        theirs = logging.StreamHandler(stream)
        theirs.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        with monkeypatch.context() as patch:
            patch.setattr(logging.getLogger("litserve"), "handlers", [theirs])
            patch.setattr(logging.root, "handlers", [])
            patch.setattr(logger, "filters", [])
            before = logger.level
            logger.setLevel(logging.NOTSET)
            show_log_lines()
            yield lambda: stream.getvalue().splitlines()
            logger.setLevel(before)

    return entered


def test_lines_go_where_those_of_litserve_go(server, capsys):
    with server() as printed:
        logger.info("started")
        logger.warning("failed")
        assert printed() == ["litcache INFO started", "litcache WARNING failed"]
        assert capsys.readouterr() == ("", "")


def test_a_line_comes_once_after_litserve_has_called_logging_info(server, capsys):
    with server() as printed:
        logging.info("LitServe will use a spec")
        assert logging.root.handlers
        logger.info("started")
        assert printed() == ["litcache INFO started"]
        assert "started" not in capsys.readouterr().err


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_the_level_of_litserves_lines_holds_for_ours(server, level, monkeypatch):
    with server() as printed:
        theirs = logging.getLogger("litserve")
        monkeypatch.setattr(theirs, "level", logging.getLevelName(level))
        logger.info("started")
        logger.error("broken")
        assert printed() == ["litcache ERROR broken"]


@pytest.mark.parametrize(("level", "shown"), [("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_once_the_user_has_set_up_logging_lines_go_there_alone(server, level, shown):
    with server() as printed:
        stream = io.StringIO()
        logger.info("before")
        before = logging.root.level
        logging.basicConfig(level=level, format="%(asctime)s %(message)s", stream=stream)
        try:
            logger.info("started")
            logger.warning("failed")
        finally:
            logging.root.setLevel(before)
        assert printed() == ["litcache INFO before"]
        assert len(stream.getvalue().splitlines()) == shown


def test_a_handler_of_the_users_on_our_logger_gets_each_line_once(server, monkeypatch):
    with server() as printed:
        stream = io.StringIO()
        monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(stream)])
        logger.setLevel(logging.INFO)
        logger.info("started")
        assert (printed(), stream.getvalue()) == ([], "started\n")


def test_asking_for_lines_again_changes_nothing(server):
    with server() as printed:
        show_log_lines()
        logger.info("started")
        assert printed() == ["litcache INFO started"]
