"""Two answers: which agree, and what is said of those that do not."""

import pytest

from litcache.trial.compare import check_place, differences, freeze, raised


def said(cached, model, **options):
    """What is said of two answers."""
    return [str(found) for found in differences(freeze(cached), freeze(model), **options)]


AGREE = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([0.5, 1e-9], [0.5, 2e-9]),
    ([[{"score": 0.9}, {"score": 1e-9}]], [[{"score": 0.9}, {"score": 3e-9}]]),
    ({"cat": 0.9, "dog": 1e-9}, {"cat": 0.9, "dog": 2e-9}),
    (0.914, 0.912),
    (float("nan"), float("nan")),
    (-0.0, 0.0),
    ('{"a": [1.0, 2]}', '{"a":[1.001,2]}'),
]
DISAGREE = [
    (1, 1.0, "$: int 1 from the cache, float 1.0 from the model"),
    ([1], (1,), "$: a list of 1 from the cache, a tuple of 1 from the model"),
    (True, 1, "$: bool True from the cache, int 1 from the model"),
    (None, 0, "$: None from the cache, int 0 from the model"),
    ({"a": {}}, {"a": {"b": 1}}, "$.a.b: not there from the cache, 1 from the model"),
    ({"a": [1, 2, 3]}, {"a": [1]}, "$.a: 3 parts from the cache, 1 from the model"),
    ({"e": [0.1, 0.12]}, {"e": [0.1, 0.57]}, "$.e[1]: 0.12 from the cache, 0.57 from the model"),
    ({"score": 0.12}, {"score": 0.57}, "$.score: 0.12 from the cache, 0.57 from the model"),
    ("Hallo", "Bonjour", "$: 'Hallo' from the cache, 'Bonjour' from the model"),
]


@pytest.mark.parametrize(("cached", "model"), AGREE, ids=repr)
def test_these_agree(cached, model):
    assert said(cached, model) == []


@pytest.mark.parametrize(("cached", "model", "text"), DISAGREE, ids=repr)
def test_these_do_not_and_the_text_says_where(cached, model, text):
    assert said(cached, model) == [text]


def test_what_is_done_to_an_answer_later_changes_nothing():
    answer = {"a": [1.0]}
    frozen = freeze(answer)
    answer["a"][0] = 5.0
    assert differences(frozen, freeze({"a": [1.0]})) == []


def test_equal_errors_agree_and_an_error_beside_a_value_does_not():
    error, other = raised(ValueError("a")), raised(ValueError("b"))
    assert differences(error, raised(ValueError("a"))) == []
    assert [str(found) for found in differences(error, other)] == [
        "$.text: 'a' from the cache, 'b' from the model"
    ]
    assert [str(found) for found in differences(error, freeze("a"))] == [
        "$: the error ValueError from the cache, str 'a' from the model"
    ]


@pytest.mark.parametrize("place", ["seconds", "", 3, None, "$seconds", "$.", "$[", "$.a..b"])
def test_what_is_no_place_is_refused(place):
    with pytest.raises(ValueError, match=r"ignore=.* is no place"):
        check_place(place)


def test_ignored_places_are_left_out_with_all_below():
    one = {"seconds": 1, "items": [{"t": 1, "x": [1]}, {"t": 2, "x": [2]}]}
    other = {"seconds": 2, "items": [{"t": 3, "x": [1]}, {"t": 4, "x": [3]}]}
    ignore = ["$.seconds", "$.items[*].t", "$.items[1].x"]
    assert said(one, other, ignore=ignore) == []
    assert len(said(one, other, ignore=ignore[:2])) == 1
