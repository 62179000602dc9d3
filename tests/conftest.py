"""What all tests share."""

import functools
import os
import sys
from pathlib import Path

import pytest

from litcache.observe import pages

sys.path.insert(0, str(Path(__file__).parent))


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
