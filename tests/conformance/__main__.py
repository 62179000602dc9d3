"""Runs LitServe's tests with every LitAPI cached: `python -m conformance` in the folder of tests.

Each test must end as it does without litcache, but for those of `expected.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from conformance import sources
from conformance.expected import reason
from conformance.suite import VARIANTS, Run, run

TESTS = ("tests/unit", "tests/integration")
CACHED = [variant for variant in VARIANTS if variant != "baseline"]
TRIES = 2
"""How often a test that fails is tried again by itself: LitServe's own are not always steady."""


def main() -> int:
    """Run what the arguments ask for; return 1 if a test differs."""
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument(
        "--variant", action="append", choices=[v for v in VARIANTS if v != "baseline"]
    )
    parser.add_argument("--litserve", default=sources.installed(), help="whose tests")
    parser.add_argument("tests", nargs="*", default=TESTS, help="files of the source distribution")
    asked = parser.parse_args()
    source, python = sources.fetch(asked.litserve), sources.environment()
    baseline = _timed(python, source, "baseline", asked.tests)
    worse = 0
    for variant in asked.variant or CACHED:
        cached = _timed(python, source, variant, asked.tests)
        worse += compare(python, source, variant, baseline, cached)
    return 1 if worse else 0


def _timed(python: Path, source: Path, variant: str, tests: Sequence[str]) -> Run:
    started = time.monotonic()
    result = run(python, source, variant, tests)
    kinds = [outcome for outcome, _ in result.outcomes.values()]
    numbers = ", ".join(f"{kinds.count(k)} {k}" for k in ("passed", "failed", "skipped"))
    print(
        f"\n{variant}: {numbers}, {time.monotonic() - started:.0f} s; {result.counts}", flush=True
    )
    return result


def compare(python: Path, source: Path, variant: str, baseline: Run, cached: Run) -> int:
    """Print the tests that do not end as without litcache; return how many are unexpected."""
    unexpected = 0
    for test in sorted(baseline.outcomes.keys() | cached.outcomes.keys()):
        before = baseline.outcomes.get(test, ("missing", ""))
        after = cached.outcomes.get(test, ("missing", ""))
        if before[0] == after[0] or before[0] == "failed":
            continue
        why = reason(variant, test)
        if not why and _passes(python, source, variant, test):
            why = "passes when it is run again"
        unexpected += not why
        print(f"  {'expected' if why else 'WRONG'}: {test}: {after[0]} ({why or after[1]})")
    return unexpected


def _passes(python: Path, source: Path, variant: str, test: str) -> bool:
    return any(
        run(python, source, variant, [test]).outcomes.get(test, ("", ""))[0] == "passed"
        for _ in range(TRIES)
    )


if __name__ == "__main__":
    sys.exit(main())
