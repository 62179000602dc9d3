"""A pytest plugin: writes the outcome of every test into a file."""

from __future__ import annotations

import json
import os
from typing import Any

_outcomes: dict[str, list[str]] = {}


def pytest_runtest_logreport(report: Any) -> None:
    """Keep the worst of a test's three phases."""
    before = _outcomes.get(report.nodeid, ["passed", ""])
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash is not None else str(report.longrepr)
        _outcomes[report.nodeid] = ["failed", text[:600]]
    elif report.skipped and before[0] == "passed":
        _outcomes[report.nodeid] = ["skipped", ""]
    elif report.outcome == "passed" and report.when == "call":
        _outcomes[report.nodeid] = ["passed", ""]  # at last, if it was tried again
    else:
        _outcomes.setdefault(report.nodeid, before)


def pytest_sessionfinish() -> None:
    """Write what is known."""
    with open(os.environ["LITCACHE_CONFORMANCE_REPORT"], "w") as file:
        json.dump(_outcomes, file)
