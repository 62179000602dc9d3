"""The verdict: which share of the hits is verified after the trial."""

import pytest

from litcache.observe.counters import Counters
from litcache.observe.log import Reporter
from litcache.stores.base import NewEntry
from litcache.trial.verdict import Verdict
from litcache.trial_policy import Trial

ENTRY = NewEntry(b"", b"")


def verified(share, hits):
    trial = Trial(hits=0, verify=share)
    verdict = Verdict("API.predict", trial, Counters(), Reporter("API.predict"), stop=lambda: None)
    return sum(len(verdict.choose([1], [ENTRY])) for _ in range(hits))


@pytest.mark.parametrize(("share", "expected"), [(0, 0), (1, 50)])
def test_none_or_every_hit_is_verified_if_that_is_asked_for(share, expected):
    assert verified(share, 50) == expected


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_the_share_that_is_asked_for_is_verified(share):
    hits = 20_000
    deviation = (hits * share * (1 - share)) ** 0.5
    assert verified(share, hits) == pytest.approx(hits * share, abs=6 * deviation)
