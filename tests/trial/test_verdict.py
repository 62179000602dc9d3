"""The verdict: which share of the hits is verified after the trial."""

import random

import pytest

from litcache.litapi.digests import digest_of
from litcache.observe.counters import Counters
from litcache.observe.log import Reporter
from litcache.stores.base import NewEntry
from litcache.trial.verdict import Tried, Verdict, unlike
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


def test_which_hits_are_verified_is_drawn_beside_the_random_numbers_of_the_user():
    before = random.getstate()
    assert verified(0.5, 100)
    assert random.getstate() == before


def tried(verdict, request, entry):
    """Whether a hit of a request is tried, which then agrees."""
    made_by = ENTRY._replace(request=entry)
    if not verdict.choose([request], [made_by]):
        return False
    verdict.agreed(Tried(made_by, unlike=unlike(request, entry)))
    return True


def new_verdict(hits):
    trial = Trial(hits=hits, verify=0)
    return Verdict("API.predict", trial, Counters(), Reporter(""), stop=lambda: None)


@pytest.mark.parametrize("hits", [2, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_ids_that_differ_each_time_do_not_use_up_what_another_field_needs(count, hits):
    def request(number, **fields):
        ids = {f"id {at}": f"{number} {at}" for at in range(count)}
        return digest_of({**ids, "text": "a", "to": "de", **fields})

    verdict, entry = new_verdict(hits), request(0)
    same = [tried(verdict, request(number), entry) for number in range(1, 300)]
    # A field has 10 directions. Each of them has a part in every other difference.
    assert sum(same) <= 4 * hits + 12 * count
    assert not any(same[150:])
    others = [request(number, to="fr") for number in range(300, 300 + 2 * hits)]
    assert [tried(verdict, each, entry) for each in others] == [True] * hits + [False] * hits


def test_an_optional_field_does_not_use_up_what_another_field_needs():
    verdict, entry = new_verdict(2), digest_of({"text": "a", "to": "de"})
    optional = digest_of({"client": "web", "text": "a", "to": "de"})
    assert [tried(verdict, optional, entry) for _ in range(4)] == [True] * 2 + [False] * 2
    for other in ({"text": "a", "to": "fr"}, {"client": "web", "text": "a", "to": "it"}):
        assert [tried(verdict, digest_of(other), entry) for _ in range(4)] == [True] * 2 + [
            False
        ] * 2


def test_a_field_of_many_is_told_apart_from_each_other():
    fields = {f"field {number}": 0 for number in range(40)}
    verdict, entry = new_verdict(2), digest_of(fields)
    for name in fields:
        other = digest_of({**fields, name: 1})
        assert [tried(verdict, other, entry) for _ in range(3)] == [True] * 2 + [False]


def test_where_only_another_request_is_known_the_digests_are_not_asked_for_any_more():
    trial = Trial(hits=2, verify=0)
    reporter = Reporter("")
    with_fields, without = (
        Verdict("API.predict", trial, Counters(), reporter, stop=lambda: None, has_fields=fields)
        for fields in (True, False)
    )
    for verdict in (with_fields, without):
        assert [tried(verdict, 3, 2) for _ in range(4)] == [True] * 2 + [False] * 2
    assert with_fields.wants_large
    assert not without.wants_large


def test_a_request_that_is_not_known_is_no_other():
    verdict = Verdict(
        "API.predict", Trial(hits=1, verify=0), Counters(), Reporter(""), stop=lambda: None
    )
    assert tried(verdict, 5, 5)
    assert not tried(verdict, 5, 0)
    assert not tried(verdict, 0, 5)
    assert tried(verdict, 5, 7)


# ---------------------------------------------------------------------- outputs alone


def leaving(hits=2, **given):
    """A verdict on a method that leaves something, and where it is told."""
    counters, dropped = Counters(), []
    verdict = Verdict(
        "API.predict", Trial(hits=hits, verify=0, **given), counters, Reporter(""),
        stop=lambda: dropped.append(1), output="what predict returns", leaves=["server.py:7: left"],
    )  # fmt: skip
    return verdict, counters, dropped


def test_as_many_outputs_in_a_row_as_would_have_been_enough_end_caching_if_something_is_left():
    verdict, counters, dropped = leaving()
    verdict.agreed(Tried(ENTRY, unlike=1), by_output=True)
    assert (verdict.is_off, counters.state, dropped) == (False, "trial", [])
    verdict.agreed(Tried(ENTRY, unlike=1), by_output=True)
    assert (verdict.is_off, counters.state, dropped) == (True, "off", [1])
    assert counters.disagreement == (
        "hits agree by what predict returns alone, which does not show server.py:7: left"
    )


def test_an_answer_that_may_differ_by_noise_ends_caching_at_once_if_something_is_left():
    verdict, counters, _ = leaving()
    verdict.agreed(Tried(ENTRY, unlike=0), doubts=True)
    assert (verdict.is_off, counters.state) == (True, "off")


def test_an_output_proves_nothing_if_something_is_left_and_a_response_does():
    verdict, counters, _ = leaving()
    for _ in range(2):
        verdict.agreed(Tried(ENTRY, unlike=1), by_output=True)
        assert counters.state == "trial"
        verdict.agreed(Tried(ENTRY, unlike=2))
    assert (verdict.is_off, counters.state) == (False, "on")
    assert tried_as(verdict, unlike=1)  # only its output was compared
    assert not tried_as(verdict, unlike=2)


def tried_as(verdict, unlike):
    return bool(verdict.choose([unlike ^ 8], [ENTRY._replace(request=8)]))


def test_later_outputs_end_caching_too_if_something_is_left():
    verdict, counters, _ = leaving(hits=1)
    verdict.agreed(Tried(ENTRY, unlike=0))
    assert counters.state == "on"
    verdict.agreed(Tried(ENTRY, unlike=0), by_output=True)
    assert (verdict.is_off, counters.state) == (True, "off")


def test_a_trial_that_begins_again_counts_outputs_anew():
    verdict, counters, _ = leaving()
    for _ in range(2):
        verdict.agreed(Tried(ENTRY, unlike=0), by_output=True)
    verdict.begin()
    verdict.agreed(Tried(ENTRY, unlike=0), by_output=True)
    assert (verdict.is_off, counters.state, counters.disagreement) == (False, "trial", "")


def test_who_asks_for_outputs_has_them_as_proof():
    verdict, counters, _ = leaving(compare="output")
    for _ in range(2):
        verdict.agreed(Tried(ENTRY, unlike=0), by_output=True)
    assert (verdict.is_off, counters.state) == (False, "on")
