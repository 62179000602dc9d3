"""What all tests share."""

import contextlib
import functools
import gc
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from litcache.observe import pages
from litcache.trial import verdict

sys.path.insert(0, str(Path(__file__).parent))

SECONDS_OF_A_CHILD = 240


PROCESS_OF_THE_TESTS = os.getpid()


def _collect_again():
    """A child that forks goes on without: it still holds the garbage of its parent's tests."""
    if os.getpid() == PROCESS_OF_THE_TESTS:
        gc.enable()


def _bound_child():
    """End a forked child that hangs, so that whoever waits for it goes on and fails."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS_OF_A_CHILD)


if hasattr(os, "register_at_fork"):
    # A child that collects what the tests before it left behind may hang: a session of onnxruntime
    # waits in its destructor for threads that only the parent has.
    os.register_at_fork(
        before=gc.disable, after_in_parent=_collect_again, after_in_child=_bound_child
    )  # fmt: skip

with contextlib.suppress(ImportError):  # tests/wheel runs without it
    from hypothesis import HealthCheck, settings

    # How long an example takes tells of the machine, and of who else uses it. CI draws the same
    # examples each time; the nightly run and people draw others.
    settings.register_profile(
        "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow],
        derandomize=os.environ.get("CI") == "true",
    )  # fmt: skip
    settings.load_profile("busy")


@pytest.fixture(autouse=True, scope="module")
def _apis_go_with_their_module():
    """FastAPI's own caches hold on to a server's endpoints, and so to its API and its model."""
    yield
    module = sys.modules.get("fastapi.dependencies.models")
    for function in vars(module).values() if module else ():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture(autouse=True)
def _stores_of_redis_are_closed():
    """Otherwise the garbage collector warns of their sockets, in another test."""
    yield
    module = sys.modules.get("support.redis_stores")
    if module is not None:
        module.close_opened()


@pytest.fixture(autouse=True)
def _verified_hits(request, monkeypatch):
    """One hit in a thousand is verified after a trial: in a test always the same ones.

    How they are drawn is the matter of `tests/trial/test_verdict.py`.
    """
    if request.path.name != "test_verdict.py":
        monkeypatch.setattr(verdict, "_chance", random.Random(5))


def pytest_addoption(parser):
    parser.addoption(
        "--soak", action="store_true",
        help="run only the tests that repeat a fault, each many times as often",
    )  # fmt: skip


def pytest_collection_modifyitems(config, items):
    if config.getoption("soak"):
        repeating = [item for item in items if "times" in item.fixturenames]
        config.hook.pytest_deselected(items=[item for item in items if item not in repeating])
        items[:] = repeating


@pytest.fixture(scope="session")
def times(request):
    """How often a fault is repeated: as often as proves the point, and in `make soak` more often.

    Example:
        >>> for turn in range(times(10, soak=200)): ...
    """
    return lambda proof, *, soak: soak if request.config.getoption("soak") else proof


def pytest_sessionfinish():
    """Save what was covered: xdist gives its processes two seconds to end, then kills them."""
    coverage = sys.modules.get("coverage")
    measuring = coverage and coverage.Coverage.current()
    if measuring is not None:
        measuring.stop()
        measuring.save()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    fail_if_skipped_in_ci(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    outcome = yield
    fail_if_skipped_in_ci(outcome.get_result())


def fail_if_skipped_in_ci(report):
    """In CI nothing may skip, no test and no module: a missing package is an error there."""
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


@pytest.fixture(autouse=True)
def metrics_end_with_their_test(monkeypatch):
    """Counts that one test shares with other processes are none of the next one's."""
    make = functools.partial(pages.Pages, in_background=False)
    monkeypatch.setattr(pages, "of_this_process", functools.cache(make))
