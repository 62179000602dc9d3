"""Which differences of requests are proven."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.trial.proven import Proven

DIFFERENCES = st.integers(1, (1 << 64) - 1)


@given(proven=st.lists(DIFFERENCES, min_size=1, max_size=12), picks=st.data())
def test_the_sums_of_what_is_proven_are_proven_and_nothing_else(proven, picks):
    space = Proven(hits=1)
    for _ in range(2):
        for difference in proven:
            space.note(difference)
    parts = picks.draw(st.lists(st.sampled_from(proven)))
    total = 0
    for part in parts:
        total ^= part
    assert not space.wants(total)
    other = picks.draw(DIFFERENCES)
    assert space.wants(other) == (_rank([*proven, other]) > _rank(proven))


def _rank(vectors):
    basis = []
    for vector in vectors:
        for each in basis:
            vector = min(vector, vector ^ each)
        if vector:
            basis.append(vector)
    return len(basis)


@pytest.mark.parametrize("hits", [1, 2, 16])
def test_a_difference_is_proven_by_so_many_hits(hits):
    space = Proven(hits)
    for _ in range(hits):
        assert space.wants(0b101)
        space.note(0b101)
    assert not space.wants(0b101)
    assert space.wants(0b001)
    assert space.wants(0b100)


def test_a_difference_met_beside_another_has_to_be_proven_as_often():
    space = Proven(hits=3)
    space.note(0b01)
    space.note(0b11)  # it is the first time that the second one differs
    space.note(0b01)
    space.note(0b01)
    assert not space.wants(0b01)
    for _ in range(2):
        assert space.wants(0b10)
        space.note(0b11)
    assert not space.wants(0b10)


def test_nothing_is_wanted_once_every_direction_is_proven():
    space, rng = Proven(hits=2), random.Random(1)
    noted = 0
    while space.is_open:
        space.note(rng.getrandbits(64))
        noted += 1
    assert noted < 200
    assert not space.wants(rng.getrandbits(64))


def test_with_few_directions_nothing_is_wanted_once_these_are_proven():
    space = Proven(hits=1, directions=2)
    space.note(0b01)
    assert space.wants(0b10)
    space.note(0b11)
    assert not space.is_open


def test_no_difference_is_none():
    space = Proven(hits=2)
    assert not space.wants(0)
    space.note(0)
    assert space.wants(1)
    assert not Proven(hits=0).wants(1)
