"""The zoo: no service is answered wrongly, and those that should be cached are."""

# ruff: noqa: E402 - without these packages the module skips before it imports them

import re

import numpy as np
import pytest

for package in ("torch", "pandas", "PIL", "polars"):
    pytest.importorskip(package)

from census import language, page, zoo
from census.before import BEFORE
from census.drive import Run
from census.judge import outcome, same
from census.shape import SHAPES, Judge, Shape
from litcache import Trial

pytestmark = pytest.mark.e2e
GOOD_ENDS = {
    "cache": {"right"},
    "option": {"right", "off", "uncached", "refused"},
    "never": {"right", "off", "uncached", "refused"},
}
by_name = pytest.mark.parametrize("shape", zoo.shapes(), ids=lambda shape: shape.name)


@pytest.fixture(scope="module")
def found():
    """What became of each service; each is run once, when it is asked for."""
    known = {}

    def find(shape):
        if shape.name not in known:
            known[shape.name] = zoo.found(shape)
        return known[shape.name]

    return find


@by_name
def test_no_answer_is_wrong_and_what_should_be_cached_is(shape, found):
    each = found(shape)
    assert each.bare in GOOD_ENDS[shape.expected], each.run
    if shape.has_option:
        assert each.with_option == "right", each.option_run


def test_the_figures_are_reached(found):
    share = page.shares([found(shape) for shape in zoo.shapes()])
    assert share["wrong"] == 0
    assert share["bare"] >= 0.8
    assert share["option"] >= 0.95


def test_the_page_shows_what_is_found(found):
    table = page.table([found(shape) for shape in zoo.shapes()])
    is_written = page.put("zoo", table) == page.PAGE.read_text()
    assert is_written, "run python -m census in tests/"


def test_the_zoo_is_large_and_each_service_has_its_own_name():
    assert len(SHAPES) >= 75
    assert {shape.name for shape in SHAPES} == BEFORE.keys()
    assert len(BEFORE) == len(SHAPES)
    assert all(shape.has_option for shape in SHAPES if shape.expected == "option")


# ---------------------------------------------------------------------- a language on self


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("share", language.SHARES)
def test_a_language_on_self_is_never_answered_wrongly(share, ids):
    with zoo.quiet():
        found = [language.one(seed, share, Trial(verify=0), ids=ids) for seed in range(5)]
    assert found == [(0, True)] * 5


def test_the_page_has_the_experiment_without_a_wrong_answer():
    text = page.PAGE.read_text()
    plain = text[text.index("<!-- language") : text.index("Each request carries an id")]
    rows = re.findall(r"^\| (\d+)% \| (\S+) \| (\d+) of 100 \| (\d+) of", plain, re.MULTILINE)
    assert {(int(share) / 100, float(verify)) for share, verify, _, _ in rows} == {
        (share, verify) for share in language.SHARES for verify in (0, 0.001)
    }
    assert {wrong for *_, wrong in rows} == {"0"}


# ---------------------------------------------------------------------- the judge is not blind


@pytest.mark.parametrize(
    ("one", "other", "tolerance"),
    [({"a": 1}, {"a": 1, "b": 2}, 0), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 0), ([1], (1,), 0),
     (1, True, 0), (0.0, -0.0, 0), (1.0, 1.02, 0.01), ([1.0, 2.0], [1.0], 0.5), ("a", "b", 0),
     (np.zeros(2), np.zeros(2, np.float32), 0.5), (np.zeros(2), np.zeros((2, 1)), 0.5),
     (np.array([1, 2]), np.array([1, 3]), 0.9), (float("nan"), 1.0, 0), (float("nan"), 1.0, 0.5),
     (ValueError("a"), ValueError("b"), 0), (ValueError("a"), KeyError("a"), 0)],
    ids=repr,
)  # fmt: skip
def test_answers_that_a_client_can_tell_apart_are_not_the_same(one, other, tolerance):
    assert not same(one, other, tolerance)
    assert same(one, one, tolerance)


RUN = Run(requests=["a", "a"], answers=[{"id": 1, "x": 1}, {"id": 2, "x": 1}])


@pytest.mark.parametrize(
    ("judge", "changed", "expected"),
    [(Judge(), {}, "uncached"), (Judge(), {"served": 1}, "right"),
     (Judge(), {"served": 1, "is_off": True}, "off"), (Judge(), {"refusal": "no"}, "refused"),
     (Judge(), {"answers": [{"id": 1, "x": 1}] * 2, "is_off": True}, "wrong"),
     (Judge(unique=("id",)), {"answers": [{"id": 1, "x": 1}] * 2}, "wrong"),
     (Judge(unique=("id",)), {"answers": [{"id": 3, "x": 1}, {"id": 4, "x": 1}]}, "uncached"),
     (Judge(free=("id",)), {"answers": [{"id": 1, "x": 1}] * 2, "served": 1}, "right"),
     (Judge(fresh=True), {"served": 1}, "wrong"),
     (Judge(fresh_if=lambda request: request == "a"), {"answers": ["b", "c"]}, "uncached"),
     (Judge(fresh_if=lambda request: request == "a"), {"answers": ["b", "b"]}, "wrong")],
)  # fmt: skip
def test_each_outcome_is_told(judge, changed, expected):
    shape = Shape(object, "kind", "shows", "cache", lambda rng: [], judge)
    run = Run(**{"requests": RUN.requests, "answers": RUN.answers, **changed})
    assert outcome(shape, run, RUN) == expected
