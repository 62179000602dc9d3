"""Floats in fewer bits: each row keeps its promise, or its item is stored in full."""

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.values import facts

from litcache.errors import ValueEncodingError
from litcache.stores.base import NewEntry
from litcache.values import codec, layouts, narrow
from litcache.values.packing import packed
from litcache.values.rows import encode_rows, merge_rows, row_value

np = pytest.importorskip("numpy")

FORMS = ["float16", "bfloat16", "int8"]
some = settings(max_examples=150, deadline=None)

# As `narrow` promises: an element differs by at most this part of its row's largest magnitude.
# An array of float16 is rounded to itself besides.
PROMISED = {"float16": 2**-11, "bfloat16": 2**-8, "int8": 1 / 250}
OWN = {"float16": 2**-11, "float32": 0, "float64": 0, "bfloat16": 2**-8}

magnitudes = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 65504.0, 65519.0, 65520.0, 1e-4, 6e-5, 6e-8, 1e-40, 3e38]),
    st.floats(-1, 1),
    st.floats(),
)


@st.composite
def batches(draw, dtypes=("<f2", "<f4", ">f4", "<f8")):
    """An array of items: most rows are ordinary, in some an element is anything."""
    shape = draw(st.sampled_from([(1, 8), (3, 8), (2, 5), (2, 3, 4), (2, 1, 9), (3, 6, 1), (2, 7)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.standard_normal(shape) * draw(st.sampled_from([1, 1e-3, 1e-6, 1e4, 1e30]))
    for _ in range(draw(st.integers(0, 3))):
        place = tuple(draw(st.integers(0, n - 1)) for n in shape)
        values[place] = draw(magnitudes)
    with np.errstate(all="ignore"):
        return values.astype(draw(st.sampled_from(dtypes)))


def keeps(before, after, form, own):
    """Whether every element keeps the promise of a form."""
    before, after = before.astype("f8"), after.astype("f8")
    largest = np.abs(before).max(-1, keepdims=True)
    return bool((np.abs(after - before) <= largest * (PROMISED[form] + OWN[own])).all())


def is_narrow(layout):
    return bool(layouts.parse(layout).store_as)


def again(values, form):
    return codec.decode(*codec.encode(values, form))


@some
@given(batches(), st.sampled_from(FORMS))
def test_an_item_keeps_its_promise_or_is_stored_in_full(batch, form):
    for before, (layout, payload) in zip(batch, codec.encode_many(list(batch), form), strict=True):
        after = codec.decode(layout, payload)
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert after.flags.writeable
        if not is_narrow(layout):
            assert facts(after) == facts(before)
        else:
            assert len(payload) < before.nbytes
            assert keeps(before, after, form, before.dtype.name)


@some
@given(batches(("<f4", "<f8")), st.sampled_from(FORMS), st.sampled_from(["<f2", "bfloat16", None]))
def test_tensors_keep_the_same_promise(batch, form, own):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(batch)
    if own is not None:
        tensor = tensor.to(torch.bfloat16 if own == "bfloat16" else torch.float16)
    name = str(tensor.dtype).removeprefix("torch.")
    for before, (layout, payload) in zip(
        tensor, codec.encode_many(list(tensor), form), strict=True
    ):
        after = codec.decode(layout, payload)
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        if not is_narrow(layout):
            assert facts(after) == facts(before.contiguous())
        else:
            assert keeps(before.double().numpy(), after.double().numpy(), form, name)


ORDINARY = np.linspace(-1, 1, 40, dtype="f4").reshape(5, 8)


@pytest.mark.parametrize(
    ("value", "forms"),
    [
        (math.nan, []), (math.inf, []), (-math.inf, []), (65504.0, FORMS),
        (65520.0, ["bfloat16", "int8"]), (1e30, ["bfloat16", "int8"]), (3.4e38, []), (0.0, FORMS),
        (-0.0, FORMS),
    ],
)  # fmt: skip
def test_what_a_form_cannot_hold_is_stored_in_full(value, forms):
    batch = ORDINARY.copy()
    batch[2, 3] = value
    for form in FORMS:
        entries = encode_rows(batch, columns=False, store_as=form)
        assert [is_narrow(layout) for layout, _ in entries] == [True] * 2 + [form in forms] + [
            True
        ] * 2
        merged = merge_rows([NewEntry(*entry) for entry in entries])
        if form not in forms:
            assert merged[2].tobytes() == batch[2].tobytes()
        assert keeps(batch[[0, 1, 3, 4]], merged[[0, 1, 3, 4]], form, "float32")


@pytest.mark.parametrize(
    ("largest", "forms"),
    [(2.0**-14, FORMS), (2.0**-15, ["bfloat16", "int8"]), (1e-37, ["bfloat16"]), (1e-39, [])],
)
def test_a_row_that_is_too_small_as_a_whole_is_stored_in_full(largest, forms):
    row = ORDINARY[0] * np.float32(largest)
    assert [form for form in FORMS if is_narrow(codec.encode(row, form)[0])] == forms


def test_float16_holds_zeros_with_their_sign_and_int8_does_not():
    row = np.array([-0.0, 0.0, 1, -1], "f4")
    assert np.signbit(again(row, "float16")).tolist() == [True, False, False, True]
    assert np.signbit(again(row, "bfloat16")).tolist() == [True, False, False, True]
    assert np.signbit(again(row, "int8")).tolist() == [False, False, False, True]
    zeros = np.zeros((2, 8), "f4")
    for form in FORMS:
        assert is_narrow(codec.encode(zeros, form)[0])
        assert again(zeros, form).tolist() == zeros.tolist()


UNTOUCHED = [
    1.1, [0.1, 0.2], {"score": 0.1}, np.float32(0.1), np.float64(0.1), np.array(0.1), np.zeros(0),
    np.zeros((0, 3)), np.zeros((3, 0), "f4"), np.arange(9), np.array([True] * 9),
    np.array([1 + 0.1j] * 9),
    np.full(9, 0.1, "g"), np.array(["a"] * 9), np.zeros(9, [("a", "f4")]), np.zeros(9, "M8[s]"),
]  # fmt: skip


@pytest.mark.parametrize("value", UNTOUCHED, ids=repr)
def test_only_arrays_of_floats_are_narrowed(value):
    for form in FORMS:
        assert codec.encode(value, form) == codec.encode(value)


def test_only_tensors_of_floats_are_narrowed():
    torch = pytest.importorskip("torch")
    for value in [
        torch.tensor(0.1), torch.zeros(0), torch.arange(9), torch.full((9,), 1 + 1j),
        torch.zeros(9, dtype=torch.float8_e4m3fn), torch.full((9,), 0.1, dtype=torch.float16),
        torch.full((9,), 0.1, dtype=torch.bfloat16),
    ]:  # fmt: skip
        assert codec.encode(value, "float16") == codec.encode(value)
    with pytest.raises(ValueEncodingError, match="sparse"):
        codec.encode(torch.ones(9).to_sparse(), "float16")


def test_what_would_not_become_smaller_is_stored_in_full():
    assert not is_narrow(codec.encode(np.ones((9, 1), "f4"), "int8")[0])  # a scale each
    assert is_narrow(codec.encode(np.ones((9, 2), "f4"), "int8")[0])
    assert not is_narrow(codec.encode(np.ones(9, "f2"), "float16")[0])


def test_arrays_anywhere_in_an_output_are_narrowed():
    torch = pytest.importorskip("torch")
    row = np.array([0.1, 0.2, 0.3], "f4")
    value = {"a": (row, [torch.from_numpy(row), 0.1]), "ids": np.arange(3), "text": "a"}
    for form in FORMS:
        found = again(value, form)
        expected = again(row, form)
        assert expected.tolist() != row.tolist()
        assert facts(found["a"][0]) == facts(expected)
        assert found["a"][1][0].dtype == torch.float32
        assert keeps(row, found["a"][1][0].numpy(), form, "float32")
        assert facts(found["a"][1][1]) == facts(0.1)
        assert facts(found["ids"]) == facts(value["ids"])


@some
@given(batches(), st.sampled_from(FORMS), st.sampled_from(["array", "tensor", "list", "columns"]))
def test_an_item_does_not_depend_on_its_neighbours(batch, form, container):
    if container == "tensor":
        torch = pytest.importorskip("torch")
        batch = torch.from_numpy(batch.astype(batch.dtype.newbyteorder("=")))
    made = {"list": list, "columns": lambda rows: {"v": rows}}.get(container, lambda rows: rows)
    columns = container == "columns"
    entries = encode_rows(made(batch), columns=columns, store_as=form)
    for at in range(len(batch)):
        alone = encode_rows(made(batch[at : at + 1]), columns=columns, store_as=form)
        assert alone == entries[at : at + 1]
    merged = merge_rows([NewEntry(*entry) for entry in entries])
    rows = [row_value(*entry) for entry in entries]
    for at, row in enumerate(rows):
        together = {"v": merged["v"][at]} if columns else merged[at]
        assert facts(together) == facts(row)


@some
@given(batches(), st.sampled_from(FORMS))
def test_batches_of_values_are_read_as_each_alone(batch, form):
    entries = [NewEntry(*pair) for pair in codec.encode_many([*batch, "text"], form)]
    together = codec.decode_many(entries)
    alone = [codec.decode(entry.layout, entry.payload) for entry in entries]
    assert list(map(facts, together)) == list(map(facts, alone))


def test_every_float16_is_read_as_numpy_reads_it():
    halves = np.arange(2**16, dtype="<u2").view("<f2")
    finite = halves[np.isfinite(halves)]
    found = narrow.widened(finite.tobytes(), 1, finite.shape, np.dtype("f4"), "float16")
    assert found[0].tobytes() == finite.astype("f4").tobytes()


def test_floats_are_rounded_as_numpy_and_torch_round_them():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    near = np.arange(2**16, dtype="<u2").view("<f2").astype("f4")
    values = np.concatenate(
        [rng.standard_normal(10**5).astype("f4"), near[np.isfinite(near)],
         (near[:30000] + near[1:30001]) / 2, rng.standard_normal(10**5).astype("f4") * 2**-13]
    )  # fmt: skip
    values = values[np.abs(values) <= 65504]
    assert again(values, "float16").tobytes() == values.astype("f2").astype("f4").tobytes()
    brains = torch.from_numpy(values).bfloat16().float().numpy()
    assert again(values, "bfloat16").tobytes() == brains.tobytes()


def test_a_thread_without_denormal_numbers_reads_the_same():
    torch = pytest.importorskip("torch")
    row = np.array([1, 3e-5, -6e-8, 0.25, 2e-6, 0, -0.0, 1e-5], "f4")
    entries = {form: codec.encode(row, form) for form in FORMS}
    expected = {form: codec.decode(*entry).tobytes() for form, entry in entries.items()}
    found, made = {}, {}

    def without():
        if torch.set_flush_denormal(True):
            for form, entry in entries.items():
                found[form] = codec.decode(*entry).tobytes()
                made[form] = codec.encode(row, form)
            torch.set_flush_denormal(False)

    thread = threading.Thread(target=without)
    thread.start()
    thread.join()
    if not found:
        pytest.skip("this processor always has denormal numbers")
    assert found == expected
    assert made == entries


def test_errors_of_numpy_that_a_user_wants_raised_are_not_raised_by_rounding():
    batch = np.array([[1, math.nan, 1e-40, 2], [1e300, 1, 2, 3], [1e-9, 1, 2, 3]], "f8")
    with np.errstate(all="raise"):
        for form in FORMS:
            rows = encode_rows(batch, columns=False, store_as=form)
            merged = merge_rows([NewEntry(*row) for row in rows])
            assert merged[:2].tobytes() == batch[:2].tobytes()


@pytest.mark.parametrize(
    "parts",
    [[18, [4]], [-1, [4]], [2.0, [4]], [True, [4]], [6, []], [6, [0]], [0, [4]], [6, [4], "cpu"]],
    ids=repr,
)
def test_a_layout_with_an_unknown_form_is_malformed(parts):
    assert codec.decode(b"a" + packed([6, [4]]), b"\0" * 8).tolist() == [0.0] * 4
    with pytest.raises(ValueEncodingError):
        codec.decode(b"a" + packed(parts), b"\0" * 8)


@pytest.mark.parametrize("form", FORMS)
def test_a_payload_of_another_size_is_malformed(form):
    layout, payload = codec.encode(ORDINARY, form)
    with pytest.raises(ValueEncodingError, match="another size"):
        codec.decode(layout, payload[:-1])


@pytest.mark.parametrize(
    ("form", "layout", "payload"),
    [
        ("float16", "6192069104", "003800bc00340000"),
        ("bfloat16", "6192079104", "003f80bf803e0000"),
        ("int8", "6192089104", "0402013c40812000"),
    ],
)
def test_stored_bytes_are_those_of_earlier_versions(form, layout, payload):
    made = codec.encode(np.array([0.5, -1, 0.25, 0], "<f4"), form)
    assert (made[0].hex(), made[1].hex()) == (layout, payload)
