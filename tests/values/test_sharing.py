"""What is one object in an output is one object on a hit; views of one memory are not stored."""

import logging

import litserve as ls
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from litcache import cached_predict
from litcache.errors import ValueEncodingError
from litcache.testing import APIRunner
from litcache.values import codec
from litcache.values.sharing import numbers


def again(value):
    return codec.decode(*codec.encode(value))


def outline(value, seen):
    """A value with a number for every object that can be changed: the same for the same object."""
    kind = type(value)
    if kind in (list, dict, set, bytearray) or kind.__module__ in ("numpy", "torch"):
        known = id(value) in seen
        number = seen.setdefault(id(value), len(seen))
        if known:
            return number
        if kind is dict:
            return number, kind, [(key, outline(part, seen)) for key, part in value.items()]
        if kind is list:
            return number, kind, [outline(part, seen) for part in value]
        return number, kind, list(value)
    if kind is tuple:
        return kind, [outline(part, seen) for part in value]
    return value


def twice(part):
    return [[part, part], {"a": part, "b": [part]}, ([part], part), {1: part, (2,): {"c": part}}]


@pytest.mark.parametrize(
    "part", [[], [1], [[1], (2,)], {}, {"a": 1}, {"a": [1]}, {1}, bytearray(b"a")], ids=repr
)
def test_a_part_that_stands_twice_is_one_object_again(part):
    for value in twice(part):
        assert again(value) == value
        assert outline(again(value), {}) == outline(value, {})


def test_arrays_and_tensors_that_stand_twice_are_one_object_again():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for part in (np.zeros(3), np.array(1), torch.zeros(3), torch.zeros(0)):
        for value in twice(part):
            assert numbers(again(value)).keys().__len__() == 1
        first, second = again([part, part])
        assert first is second
        if part.ndim and len(part):
            first[0] = 7
            assert second[0] == 7


def by_number(parts):
    return dict(enumerate(parts))


def by_name(parts):
    return {str(number): part for number, part in enumerate(parts)}


@st.composite
def graphs(draw):
    """Values whose parts are drawn from a few objects, so that many stand at several places."""
    parts = [[1], {"a": 1}, {2}, bytearray(b"b"), (3,), "text"]
    for _ in range(draw(st.integers(1, 6))):
        some = draw(st.lists(st.sampled_from(parts), max_size=3))
        made = draw(st.sampled_from([list, tuple, by_number, by_name]))
        parts.append(made(some))
    return parts[-1]


@example([([1],)] * 2)
@example([(({"a": 1},),)] * 3)
@given(graphs())
def test_any_value_comes_back_with_the_same_objects_at_the_same_places(value):
    assert again(value) == value
    assert outline(again(value), {}) == outline(value, {})


def test_a_value_in_itself_is_refused():
    inner = [1]
    cycle = [inner, inner]
    cycle.append(cycle)
    with pytest.raises(ValueEncodingError, match="in itself"):
        codec.encode(cycle)


def test_values_without_sharing_are_written_as_before():
    assert codec.encode([[1], [1]])[1] == b"\x92\x91\x01\x91\x01"
    assert len(codec.encode([[1], [1]])[1]) < len(codec.encode(twice([1])[0])[1])


def views():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    grid, tensor = np.zeros((4, 6)), torch.zeros(4, 6)
    bits = np.zeros(8, "u1")
    return [
        [grid, grid[0]], [grid[:2], grid[1:]], {"a": grid[:, :4], "b": grid[:, 3:]}, (grid, grid.T),
        [bits, bits.view("i4")], [tensor, tensor[0]], [tensor, tensor.detach()],
        {"a": [tensor[:, :4]], "b": {"c": tensor[:, 3:]}}, [tensor, tensor.t()],
        [tensor[::2], tensor[2]],
    ]  # fmt: skip


def apart():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    grid, tensor = np.zeros((4, 6)), torch.zeros(4, 6)
    return [
        list(grid), [grid[:, :4], grid[:, 4]], [grid[::2], grid[1::2]], [grid, grid.copy()],
        list(tensor), [tensor[:, :4], tensor[:, 4]], [tensor[::2], tensor[1::2]],
        [tensor, tensor.clone()], [torch.zeros(0), torch.zeros(0)], [np.zeros(0)] * 1,
    ]  # fmt: skip


def test_views_of_one_memory_are_refused():
    for value in views():
        with pytest.raises(ValueEncodingError, match="share memory"):
            codec.encode(value)


def test_parts_of_one_memory_that_do_not_meet_are_stored():
    for value in apart():
        assert len(again(value)) == len(value)


def test_a_hit_is_changed_at_both_places_as_a_miss_is():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            row = [x]
            return {"first": row, "rows": [row, row]}

        def encode_response(self, output):
            output["first"].append(0)
            return output

    with APIRunner(API()) as runner:
        miss, hit = runner.run(1), runner.run(1)
    assert miss == hit == {"first": [1, 0], "rows": [[1, 0], [1, 0]]}


def test_an_output_of_views_is_answered_and_not_stored(caplog):
    np = pytest.importorskip("numpy")

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            grid = np.full((2, 2), x)
            return {"all": grid, "first": grid[0]}

        def encode_response(self, output):
            output["first"] += 1
            return output["all"].tolist()

    with caplog.at_level(logging.WARNING), APIRunner(API()) as runner:
        assert [runner.run(1) for _ in range(2)] == [[[2, 2], [1, 1]]] * 2
    assert len(caplog.records) == 1
    assert "return copies" in caplog.records[0].getMessage()
