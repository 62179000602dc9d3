"""A part of LitServe's own tests with every LitAPI cached. All of them: `make conformance`."""

import pytest

from conformance import sources
from conformance.expected import reason
from conformance.suite import run

PARTS = {"decode": "tests/unit/test_litapi.py", "overlap": "tests/unit/test_batch.py"}


@pytest.mark.e2e
@pytest.mark.parametrize("variant", PARTS)
def test_litserves_own_tests_pass_with_every_api_cached(variant):
    try:
        source, python = sources.fetch(sources.installed()), sources.environment()
    except RuntimeError as offline:
        pytest.skip(f"LitServe's source distribution cannot be fetched: {offline}")
    done = run(python, source, variant, [PARTS[variant]])
    wrong = {test: done.outcomes[test][1] for test in done.failed() if not reason(variant, test)}
    assert wrong == {}
    assert len(done.outcomes) > 10, done.tail
    assert done.counts["predict decorated"] > 5
