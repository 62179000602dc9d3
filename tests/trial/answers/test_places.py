"""Places in an answer: as text, and which are left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litcache.trial.answers.compare import differences, freeze
from litcache.trial.answers.places import below, path, step_text, tails
from litcache.trial_policy import check_place

GOOD = [
    "$", "$.seconds", "$.items[3].score", "$[*].t", "$.items[*].t", '$["a b"].c', "$['a b']",
    "$.x-request-id", "$.0", "$[-1]", "$.größe", '$["\\n\\""]', "$[0][*]",
]  # fmt: skip
BAD = [
    "seconds",
    "",
    " $.a",
    "$seconds",
    "$.",
    "$[",
    "$[]",
    "$.a..b",
    "$[a]",
    "$['a",
    "$.a b",
    "$.a[1.5]",
]


@pytest.mark.parametrize("place", GOOD)
def test_these_are_places(place):
    check_place(place)


@pytest.mark.parametrize("place", [*BAD, 3, None, b"$.a", ("$.a",)])
def test_what_is_no_place_is_refused_with_what_one_is(place):
    with pytest.raises(
        ValueError, match=r"skip=.* is no place of an answer: write it as \"\$\.sec"
    ):
        check_place(place, "skip")


def test_ignored_places_are_left_out_with_all_below():
    one = {"seconds": 1, "items": [{"t": 1, "x": [1]}, {"t": 2, "x": [2]}]}
    other = {"seconds": 2, "items": [{"t": 3, "x": [1]}, {"t": 4, "x": [3]}]}

    def left(*ignore):
        return [found.path for found in differences(freeze(one), freeze(other), ignore=ignore)]

    assert left() == ["$.seconds", "$.items[0].t", "$.items[1].t", "$.items[1].x[0]"]
    for ignore, rest in [
        (["$"], []),
        (["$.seconds", "$.items"], []),
        (["$.seconds", "$.items[*].t", "$.items[1].x"], []),
        (["$[*][*].t", "$[*][*][*][0]", '$["seconds"]'], []),
        (["$.items[*].t"], ["$.seconds", "$.items[1].x[0]"]),
        (["$.items[0]"], ["$.seconds", "$.items[1].t", "$.items[1].x[0]"]),
        (["$.items[1]['x']"], ["$.seconds", "$.items[0].t", "$.items[1].t"]),
        (["$.t", "$.items.t", "$.second", "no place", "$.items[1].x[0].deeper"], left()),
    ]:
        assert left(*ignore) == rest


def test_a_key_that_only_one_answer_has_can_be_ignored():
    assert differences(freeze({"a": 1}), freeze({}), ignore=["$.a"]) == []
    assert differences(freeze({}), freeze({"a": 1}), ignore=["$.a"]) == []


def test_a_path_is_written_as_people_read_it():
    place = ((((None, "items"), 3), "é b"), "größe")
    assert path(place) == '$.items[3]["é b"].größe'


@given(st.lists(st.integers(0, 9) | st.text(), max_size=4))
def test_a_path_that_was_printed_is_read_as_the_same_place(steps):
    place = None
    for step in steps:
        place = (place, step)
    check_place(path(place))
    assert tails([path(place)]) == [tuple(map(step_text, steps))]


@given(st.text() | st.integers())
def test_every_step_leaves_out_itself_and_what_stands_for_every_step_leaves_out_all(step):
    assert below([(step_text(step), "[1]")], step) == [("[1]",)]
    assert below([("[*]",)], step) == [()]
    assert below([(".another one",)], step) == []
