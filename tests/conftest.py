"""What all tests share."""

import os
import sys
from pathlib import Path

import pytest

from litcache.observe import pages as ledger

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
    monkeypatch.setattr(ledger, "_folder", None)
    monkeypatch.setattr(ledger, "_owned", type(ledger._owned)())
    monkeypatch.setattr(ledger, "_sources", type(ledger._sources)())
    monkeypatch.setattr(ledger, "_start_sampler", lambda: None)
