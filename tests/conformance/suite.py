"""Runs LitServe's tests in one variant."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance.sources import ROOT

INSIDE = Path(__file__).parent / "inside"
VARIANTS = {
    "baseline": "",
    "predict": "predict",
    "decode": "predict,decode_request",
    "loop": "predict,loop",
    "overlap": "predict,overlap",
    "middleware": "predict,middleware",
}
"""How the APIs are cached, in the words of `inside/cached_litserve.py`."""

SECONDS_A_TEST = 120


@dataclass
class Run:
    """What became of LitServe's tests in one variant.

    Attributes:
        outcomes: Of each test `passed`, `failed` or `skipped`, and the error.
        counts: What was decorated, and what was found in the caches.
        tail: The last lines that pytest printed.
    """

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    tail: str = ""

    def failed(self) -> set[str]:
        """Return the tests that failed."""
        return {test for test, (outcome, _) in self.outcomes.items() if outcome == "failed"}


def run(python: Path, source: Path, variant: str, tests: Sequence[str]) -> Run:
    """Run tests of LitServe's.

    Args:
        python: The interpreter.
        source: The unpacked source distribution.
        variant: A name of `VARIANTS`.
        tests: Files or tests, as pytest takes them.

    Returns:
        What became of them.
    """
    with tempfile.TemporaryDirectory(prefix="litcache-conformance-") as folder:
        report = Path(folder, "report.json")
        counts = Path(folder, "counts")
        counts.mkdir()
        surroundings = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(INSIDE), str(ROOT))),
            "LITCACHE_CONFORMANCE": VARIANTS[variant],
            "LITCACHE_CONFORMANCE_COUNTS": str(counts),
            "LITCACHE_CONFORMANCE_REPORT": str(report),
        }
        command = [
            str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:litcache",
            "-p", "no:xdist", "-p", "conformance_report", f"--timeout={SECONDS_A_TEST}", *tests,
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=source, env=surroundings, capture_output=True, text=True, errors="replace"
        )
        if not report.exists():
            raise RuntimeError(f"pytest did not run:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        outcomes = {test: (one, two) for test, (one, two) in json.loads(report.read_text()).items()}
        return Run(outcomes, _sum(counts), done.stdout[-300:])


def _sum(folder: Path) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for path in folder.iterdir():
        total.update(json.loads(path.read_text() or "{}"))
    return dict(sorted(total.items()))
