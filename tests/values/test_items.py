"""Batches are cut into items."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.values import arrays, builtins, facts, tensors

from litcache.values.items import split, split_items, take

few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("decoded", "items"),
    [
        (["a", "b"], ["a", "b"]),
        ("a", ["a"]),
        ("", [""]),
        ([101, 7, 102], [[101, 7, 102]]),
        ([0.5, 1], [[0.5, 1]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([True, False], [True, False]),
        ([1, "a"], [1, "a"]),
        ([("query", "document")], [("query", "document")]),
        ([None], [None]),
        ([], None),
        (("a", "b"), None),
        ({"a": 1}, None),
        (b"a", None),
        (7, None),
        (None, None),
    ],
    ids=repr,
)
def test_a_request_is_cut_into_items(decoded, items):
    assert split_items(decoded) == items


def test_a_list_of_numbers_of_any_kind_is_one_item():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    ids = [101, 7592, 102]
    for numbers in (
        list(np.array(ids)), list(torch.tensor(ids)), [1, np.float32(2)], [np.int8(1), 2.5],
        [np.array(1), 2], [torch.tensor(1.5), 2], [1j], [Decimal(1), Fraction(1, 2)],
    ):  # fmt: skip
        (item,) = split_items(numbers)
        assert item is numbers
    for others in (
        [np.array([1]), np.array([2])], [torch.tensor([1])], [np.str_("a")], [True, 1],
        [np.bool_(True)], [torch.tensor(True)], ["a", 1], [np.datetime64("2020")],
    ):  # fmt: skip
        assert len(split_items(others)) == len(others)


def test_arrays_and_tensors_are_cut_along_their_first_axis():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for container in (np.arange(6).reshape(3, 2), torch.arange(6).reshape(3, 2)):
        for cut in (split, split_items):
            assert [row.tolist() for row in cut(container)] == [[0, 1], [2, 3], [4, 5]]
    assert split(np.array([1.5, 2])) == [np.float64(1.5), np.float64(2)]
    assert [row.shape for row in split(torch.ones(2))] == [(), ()]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_has_no_rows_is_not_cut():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    nested = torch.nested.nested_tensor([torch.ones(1)], layout=torch.strided)
    for container in (
        np.array(1), torch.tensor(1), torch.ones(2, 2).to_sparse(), nested,
        torch.nn.Parameter(torch.ones(2)), np.ma.array([1, 2]), ("a",), "ab", None, {"a": [1]},
    ):  # fmt: skip
        assert split(container) is None
    for empty in (np.zeros((0, 2)), torch.zeros(0, 2)):
        assert split(empty) == []
        assert split_items(empty) is None


def test_cutting_a_list_leaves_the_list_to_its_owner():
    texts = ["a", "b"]
    split(texts).append("c")
    split_items(texts).append("c")
    assert texts == ["a", "b"]


@few
@given(st.data(), st.one_of(arrays(min_dims=1), tensors(min_dims=1), st.lists(builtins())))
def test_taken_rows_are_those_asked_for_in_the_same_kind_of_container(data, container):
    rows = split(container)
    places = st.lists(st.integers(0, len(rows) - 1), max_size=4) if rows else st.just([])
    indices = data.draw(places)
    taken = take(container, indices)
    assert type(taken) is type(container)
    assert list(map(facts, split(taken))) == [facts(rows[index]) for index in indices]
    if type(container) is not list:
        assert (taken.dtype, taken.shape[1:]) == (container.dtype, container.shape[1:])


def test_taken_rows_are_copies():
    np = pytest.importorskip("numpy")
    container = np.zeros((3, 2))
    take(container, [0, 1, 2])[...] = 1
    assert container.sum() == 0
