"""Rows come in the container of their request, and back in that of their method."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.values import arrays, facts, tensors

from litcache.values.containers import LIST, assemble, duplicate, kind_of, own, together
from litcache.values.items import split
from litcache.values.rows import row_at

np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@few
@given(st.one_of(arrays(min_dims=1), tensors(min_dims=1)))
def test_the_rows_of_an_array_or_tensor_are_put_together_into_that_array_or_tensor(container):
    rows = split(container)
    if rows:
        whole = together(rows, kind_of(container))
        assert type(whole) is type(container)
        assert (whole.dtype, whole.shape) == (container.dtype, container.shape)
        assert list(map(facts, split(whole))) == list(map(facts, rows))


@pytest.mark.parametrize("decoded", ["a", ["a", "b"], [1, 2], [np.zeros(2)] * 2, [torch.ones(2)]])
def test_the_items_of_a_list_stay_a_list(decoded):
    assert kind_of(decoded) == LIST
    assert type(together(split(decoded) or [decoded], kind_of(decoded))) is list


def test_kinds_differ_by_all_that_an_array_or_tensor_cannot_mix():
    containers = [
        np.zeros((2, 3)), np.zeros((2, 4)), np.zeros((2, 3), "f4"), torch.zeros(2, 3),
        torch.zeros(2, 3).half(), torch.zeros(2, 4), torch.zeros(2, 3, device="meta"), ["a"],
    ]  # fmt: skip
    assert len({kind_of(container) for container in containers}) == len(containers)
    assert kind_of(np.zeros((2, 3))) == kind_of(np.ones((5, 3)))


@pytest.mark.parametrize(
    ("output", "columns"),
    [
        (["a", object(), None], False),
        (("a", "b"), False),
        (np.arange(6).reshape(3, 2), False),
        (np.array(["a", None, 3], object), False),
        (torch.arange(6).reshape(3, 2), False),
        ({"text": ["a", "b"], "score": np.array([1.5, 2])}, True),
        ((["a", "b"], torch.ones(2, 3)), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_are_assembled_into_the_container_that_they_came_in(output, columns):
    size = len(next(iter(output.values()))) if type(output) is dict else len(output)
    if columns and type(output) is tuple:
        size = len(output[0])
    rows = [row_at(output, index, columns=columns) for index in range(size)]
    assert str(assemble(rows, output, columns=columns)) == str(output)
    assert type(assemble(rows, output, columns=columns)) is type(output)


def test_rows_that_fit_into_no_array_or_tensor_are_assembled_into_a_list():
    for rows, like in (
        ([np.zeros(2), np.zeros(3)], np.zeros((1, 2))),
        ([torch.zeros(2), torch.zeros(3)], torch.zeros(1, 2)),
    ):
        assembled = assemble(rows, like, columns=False)
        assert type(assembled) is list
        assert all(one is other for one, other in zip(assembled, rows, strict=True))


def test_a_row_of_its_own_outlives_the_buffer_that_it_came_in():
    buffers = [np.zeros((2, 2)), torch.zeros(2, 2)]
    rows = [own(buffer[0]) for buffer in buffers]
    pair = own((buffers[0][1], {"cell": buffers[1][1]}))
    for buffer in buffers:
        buffer[...] = 7
    assert [float(row.sum()) for row in rows] == [0.0, 0.0]
    assert (float(pair[0].sum()), float(pair[1]["cell"].sum())) == (0.0, 0.0)
    thing = [[object()], "text"]
    assert own(thing) is thing
    part = [np.zeros(2)]
    twice = own([part, part])
    assert twice[0] is twice[1]
    assert twice[0] is not part


def test_a_copy_has_the_memory_order_of_its_original():
    np = pytest.importorskip("numpy")
    copy = duplicate([np.asfortranarray(np.ones((2, 3)))])[0]
    assert copy.flags.f_contiguous
    assert copy.flags.owndata
