"""Arrays and tensors come back in the memory order that they had."""

import itertools

import numpy as np
import pytest

from litcache.errors import ValueEncodingError
from litcache.stores.base import NewEntry
from litcache.values import codec, layouts
from litcache.values.order import in_order, order_of
from litcache.values.packing import packed
from litcache.values.rows import encode_rows, merge_rows, row_value

ORDERS = list(itertools.permutations(range(4)))
SHAPE = (2, 3, 4, 5)


def made(kind, shape, order):
    """An array or a tensor of floats, its axes in a memory order."""
    values = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    if kind == "array":
        return in_order(values, order)
    return in_order(pytest.importorskip("torch").from_numpy(values), order)


def strides(value):
    return value.strides if isinstance(value, np.ndarray) else value.stride()


def are_alike(one, other):
    return strides(one) == strides(other) and bool((one == other).all())


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_value_comes_back_in_its_order(kind, order):
    value = made(kind, SHAPE, order)
    assert order_of(value) == (() if order == (0, 1, 2, 3) else order)
    assert are_alike(codec.decode(*codec.encode(value)), value)
    assert are_alike(codec.decode(*codec.encode({"a": [value]}))["a"][0], value)
    other = made(kind, SHAPE, ())
    encoded = codec.encode_many([value, other, value])
    for back, before in zip(
        codec.decode_many([NewEntry(*pair) for pair in encoded]), [value, other, value], strict=True
    ):
        assert are_alike(back, before)


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("form", ["float16", "int8"])
def test_a_value_in_fewer_bits_comes_back_in_its_order(kind, form):
    value, other = made(kind, SHAPE, (0, 2, 3, 1)), made(kind, SHAPE, ())
    for encoded, before in zip(
        [*codec.encode_many([value, other], form), codec.encode(value, form)],
        [value, other, value],
        strict=True,
    ):
        back = codec.decode(*encoded)
        assert strides(back) == strides(before)
        assert abs(back - before).max() < 1


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("form", [None, "float16"])
def test_rows_come_back_in_the_order_of_a_row(kind, form):
    images = made(kind, (3, 4, 5, 6), (0, 2, 3, 1))
    entries = [NewEntry(*pair) for pair in encode_rows(images, columns=False, store_as=form)]
    assert are_alike(merge_rows(entries), images)
    assert are_alike(merge_rows(entries[::2]), in_order(images[::2], (0, 2, 3, 1)))
    assert strides(row_value(entries[1].layout, entries[1].payload)) == strides(images[1])
    plain = [NewEntry(*pair) for pair in encode_rows(made(kind, (3, 4, 5, 6), ()), columns=False)]
    assert bool((merge_rows([entries[0], plain[1]]) == images[:2]).all())


def test_the_order_of_the_rows_themselves_is_that_of_a_batch():
    vectors = made("array", (3, 4), (1, 0))
    layouts_of = {layout for layout, _ in encode_rows(vectors, columns=False)}
    assert layouts_of == {
        layout for layout, _ in encode_rows(made("array", (2, 4), ()), columns=False)
    }


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((4, 6))[::2, ::3],
        np.zeros((4, 6))[::-1],
        np.broadcast_to(np.zeros(3), (4, 3)),
        np.zeros((0, 3)).T,
        np.zeros((1, 3)).T,
        np.zeros(5)[::2],
        np.array(1.0),
    ],
)
def test_what_is_strided_in_c_order_or_has_no_order_comes_back_in_c_order(value):
    assert order_of(value) == ()
    assert codec.decode(*codec.encode(value)).flags.c_contiguous


def test_what_comes_back_owns_its_memory():
    (back,) = codec.decode_many([NewEntry(*codec.encode(np.asfortranarray(np.ones((3, 2)))))])
    assert back.flags.f_contiguous
    assert back.flags.owndata
    assert back.flags.writeable


def test_c_order_stands_in_no_layout():
    layout, _ = codec.encode(np.zeros((2, 3), "f4"))
    assert layout == b"a" + packed(["<f4", [2, 3]])


@pytest.mark.parametrize("order", [[0], [0, 0], [1, 2], [0, 1, 2], ["0", 1], [True, 0], 7, "ab"])
@pytest.mark.parametrize("kind", [b"a", b"t"])
def test_an_order_of_other_axes_is_malformed(order, kind):
    rest = ["<f4", [2, 3]] if kind == b"a" else ["float32", [2, 3], "cpu"]
    with pytest.raises(ValueEncodingError):
        layouts.parse(kind + packed([*rest, order]))
