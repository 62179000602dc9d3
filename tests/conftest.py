"""What all tests share."""

import functools
import os
import sys
from pathlib import Path

import pytest

from litcache.observe import pages

sys.path.insert(0, str(Path(__file__).parent))


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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI nothing may skip: a missing package is an error there."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


@pytest.fixture(autouse=True)
def metrics_end_with_their_test(monkeypatch):
    """Counts that one test shares with other processes are none of the next one's."""
    make = functools.partial(pages.Pages, in_background=False)
    monkeypatch.setattr(pages, "of_this_process", functools.cache(make))
