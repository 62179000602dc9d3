"""Rows are merged into the container that they came in."""

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.values import arrays, builtins, detached, everything, facts, tensors

from litcache.errors import ValueEncodingError
from litcache.stores.base import NewEntry
from litcache.values import codec, layouts
from litcache.values.items import take
from litcache.values.rows import count_rows, encode_rows, merge_rows, row_at, row_value

few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
some = settings(few, max_examples=80)


def entries(output, columns=False):
    return [NewEntry(*row) for row in encode_rows(output, columns=columns)]


def merged(output, columns=False):
    return merge_rows(entries(output, columns))


# How many rows


ROW_MODE = [
    ([1, 2], 2), ([], 0), ((1, 2, 3), 3), ((), 0), ({"a": [1]}, None), ("ab", None), (7, None),
    (None, None), (b"ab", None), ({1, 2}, None), (range(3), None),
]  # fmt: skip
LIST_MODE = [
    ([1, 2], 2), ([], 0), (([1, 2], ["a", "b"]), 2), (([1, 2], [1]), None), ((1, 2), None),
    ((), None), ({}, None), ({"a": [1, 2], "b": [3, 4]}, 2), ({"a": [1], "b": [1, 2]}, None),
    ({1: [1]}, None), ({"a": 1}, None), ({"a": "xy"}, None), (((1, 2), (3, 4)), None),
    ({"a": {"b": [1]}}, None), (([], []), 0), ("ab", None), (None, None),
]  # fmt: skip


@pytest.mark.parametrize(("output", "count"), ROW_MODE, ids=repr)
def test_rows_of_a_batch_are_counted(output, count):
    assert count_rows(output, columns=False) == count


@pytest.mark.parametrize(("output", "count"), LIST_MODE, ids=repr)
def test_rows_of_columns_are_counted(output, count):
    assert count_rows(output, columns=True) == count


def test_rows_of_arrays_and_tensors_are_counted():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for columns in (False, True):
        for output, count in [
            (np.zeros((3, 2)), 3), (np.zeros(0), 0), (np.array(1), None), (torch.zeros(3, 2), 3),
            (torch.tensor(1), None), (torch.zeros(2, 2).to_sparse(), None),
        ]:  # fmt: skip
            assert count_rows(output, columns=columns) == count
    assert count_rows({"a": np.zeros((2, 9)), "b": torch.zeros(2)}, columns=True) == 2


def test_a_row_of_a_container_is_found_by_its_index():
    np = pytest.importorskip("numpy")
    text, row = row_at((["a", "b"], np.array([[1, 2], [3, 4]])), 1, columns=True)
    assert (text, row.tolist()) == ("b", [3, 4])
    assert row_at({"a": [1, 2]}, 1, columns=True) == {"a": 2}
    assert row_at(("a", "b"), 1, columns=False) == "b"
    with pytest.raises(IndexError):
        row_at(["a"], 1, columns=False)


# Rows into entries and back


@some
@given(st.one_of(arrays(min_dims=1), tensors(min_dims=1)).filter(len))
def test_rows_of_arrays_and_tensors_are_merged_into_what_they_were(output):
    assert facts(merged(output)) == facts(detached(output))


@few
@given(st.lists(st.one_of(everything(), arrays(), tensors()), min_size=1, max_size=5))
def test_rows_of_lists_and_tuples_are_merged_into_what_they_were(output):
    for container in (output, tuple(output)):
        assert facts(merged(container)) == facts(detached(container))


@st.composite
def columns(draw):
    """A tuple or dict of columns of equally many rows."""
    cells = draw(st.lists(builtins(), min_size=1, max_size=4))
    parts = [cells, list(reversed(cells))]
    others = draw(st.lists(st.one_of(arrays(min_dims=1), tensors(min_dims=1)), max_size=2))
    parts += [take(o, [n % len(o) for n in range(len(cells))]) for o in others if len(o)]
    draw(st.randoms(use_true_random=False)).shuffle(parts)
    names = draw(st.lists(st.text(), min_size=len(parts), max_size=len(parts), unique=True))
    return draw(st.sampled_from([tuple(parts), dict(zip(names, parts, strict=True))]))


@some
@given(columns())
def test_rows_of_columns_are_merged_into_what_they_were(output):
    assert facts(merged(output, columns=True)) == facts(detached(output))


@few
@given(st.data(), st.one_of(arrays(min_dims=1), tensors(min_dims=1), columns()))
def test_rows_come_back_in_the_order_asked_for(data, output):
    rows = entries(output, columns=True)
    indices = data.draw(st.lists(st.integers(0, max(0, len(rows) - 1)), min_size=1, max_size=5))
    if rows:
        container = merge_rows([rows[index] for index in indices])
        assert count_rows(container, columns=True) == len(indices)
        for place, index in enumerate(indices):
            expected = row_at(output, index, columns=True)
            found = row_at(container, place, columns=True)
            assert facts(found) == facts(detached(expected))


@some
@given(st.one_of(arrays(min_dims=1), tensors(min_dims=1), columns()))
def test_one_row_by_itself_is_what_indexing_the_container_gives(output):
    for index, entry in enumerate(entries(output, columns=True)):
        expected = detached(row_at(output, index, columns=True))
        assert facts(row_value(entry.layout, entry.payload)) == facts(expected)


def test_rows_of_other_calls_are_merged_with_each_other():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for one, other in [
        (np.zeros((2, 3), "f4"), np.ones((1, 3), "f4")),
        (torch.zeros(2, 3), torch.ones(1, 3)),
        (["a", 1], [np.ones(2)]),
        ({"a": [1, 2], "b": np.zeros((2, 1))}, {"a": ["x"], "b": np.ones((1, 1))}),
    ]:
        rows = entries(one, columns=True)[:1] + entries(other, columns=True)
        result = merge_rows(rows)
        assert count_rows(result, columns=True) == 2
        for place, container in enumerate((one, other)):
            row = row_at(result, place, columns=True)
            assert facts(row) == facts(row_at(container, 0, columns=True))


def test_string_arrays_as_wide_as_their_longest_text_are_merged():
    np = pytest.importorskip("numpy")
    short, long = np.array(["cat", "é"]), np.array(["zebra"])
    result = merge_rows(entries(short) + entries(long))
    assert (result.dtype, result.tolist()) == (np.dtype("<U5"), ["cat", "é", "zebra"])
    assert result.flags.writeable
    wide = merge_rows(entries(np.array([[b"a"]])) + entries(np.array([[b"abc"]])))
    assert facts(wide) == facts(np.array([[b"a"], [b"abc"]]))


TEXTS = st.lists(st.lists(st.sampled_from(["", "a", "zebra", "é" * 9]), min_size=2, max_size=2))


@some
@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=3), st.sampled_from("US"), st.data())
def test_texts_are_as_wide_as_the_method_would_make_them_alone(batches, kind, data):
    """`np.array` makes a batch as wide as its longest text, whatever batch a row came from."""
    np = pytest.importorskip("numpy")

    def predict(texts):
        return np.array(texts if kind == "U" else [[t.encode() for t in row] for row in texts])

    computed = [row for batch in batches for row in entries(predict(batch))]
    asked = [row for batch in batches for row in batch]
    some = data.draw(st.lists(st.sampled_from(range(len(asked))), min_size=1))
    answer = merge_rows([computed[place] for place in some])
    assert facts(answer) == facts(predict([asked[place] for place in some]))


def test_texts_of_a_fixed_width_keep_it():
    np = pytest.importorskip("numpy")
    for dtype in ("U16", ">U16", "S16"):
        computed = entries(np.array([["a", "bc"], ["d", ""]], dtype))
        assert merge_rows(computed[1:]).dtype == np.dtype(dtype)
    both = {"label": np.array(["cat", "zebra"]), "n": [1, 2]}
    assert merge_rows(entries(both, columns=True)[:1])["label"].dtype == np.dtype("U3")


@pytest.mark.parametrize("rows", ["none", "lists", "arrays", "tensors", "columns"])
def test_rows_that_do_not_fit_together_are_refused(rows):
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    a, t = np.zeros((1, 2), "f4"), torch.zeros(1, 2)
    together = {
        "none": [()],
        "lists": [([1], (1,)), ([1], a), ([1], t), ((1,), a)],
        "arrays": [(a, t), (a, np.zeros((1, 3), "f4")), (a, np.zeros((1, 2))), (a, np.zeros(1)),
                   (np.array(["a"]), np.array([["a"]])), (np.array(["a"]), np.array([b"a"])),
                   (np.array(["a"]), np.array(["ab"], ">U2"))],
        "tensors": [(t, torch.zeros(1, 3)), (t, torch.zeros(1, 2).half()), (t, torch.zeros(1))],
        "columns": [({"a": [1]}, {"b": [1]}), ({"a": [1]}, {"a": [1], "b": [1]}),
                    ({"a": [1]}, ([1],)), (([1],), ([1], [1])), ({"a": [1]}, {"a": a}),
                    ({"a": a}, {"a": np.zeros(1)}),
                    ({"a": [1], "b": [1]}, {"b": [1], "a": [1]})],
    }  # fmt: skip
    for parts in together[rows]:
        mixed = [row for part in parts for row in entries(part, columns=type(part) is not tuple
                                                          or type(part[0]) is list)]  # fmt: skip
        with pytest.raises(ValueEncodingError):
            merge_rows(mixed)


def test_only_containers_have_rows():
    for output in (7, "ab", {"a": [1], "b": []}):
        with pytest.raises(ValueEncodingError):
            encode_rows(output, columns=True)


def test_an_empty_container_has_no_entries():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for output in ([], np.zeros((0, 3)), torch.zeros(0, 3), ([], []), {"a": []}):
        assert encode_rows(output, columns=True) == []


def test_a_row_that_is_not_stored_leaves_the_others():
    good, bad = encode_rows([1, {"a": object()}], columns=False)
    assert row_value(*good) == 1
    assert (bad.path, bad.type) == ("$.a", object)
    good, bad = encode_rows({"id": [1, 2], "raw": ["a", [object()]]}, columns=True)
    assert row_value(*good) == {"id": 1, "raw": "a"}
    assert (bad.path, bad.type) == ("$.raw[0]", object)
    bad = encode_rows(([object()],), columns=True)[0]
    assert bad.path == "$[0]"


def test_a_container_that_is_not_stored_is_an_error_for_each_row():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for output in (np.array([None, "a"]), {"a": [1, 2], "b": np.array([None, "a"])}):
        errors = encode_rows(output, columns=True)
        assert [type(error) for error in errors] == [ValueEncodingError] * 2
        assert errors[0].type is np.ndarray
    rows = encode_rows([torch.zeros(1, device="meta"), 1], columns=False)
    assert isinstance(rows[0], ValueEncodingError)
    assert row_value(*rows[1]) == 1


def test_rows_of_an_array_with_metadata_are_not_stored():
    np = pytest.importorskip("numpy")
    for rows in (np.ones((2, 8), "f4"), np.array(["a", "bc"]), np.zeros(2, [("a", "u1")])):
        noted = rows.astype(np.dtype(rows.dtype, metadata={"unit": "m"}))
        assert merge_rows(entries(rows)).dtype == noted.dtype
        for form in (None, "float16"):
            for output in (noted, {"a": noted}):
                errors = encode_rows(output, columns=True, store_as=form)
                assert [type(error) for error in errors] == [ValueEncodingError] * 2


# Whose memory


@few
@given(st.one_of(arrays(min_dims=2), tensors(min_dims=2), st.lists(builtins(), max_size=3)))
def test_a_payload_is_the_bytes_of_its_row_alone(output):
    for index, entry in enumerate(entries(output)):
        assert type(entry.layout) is type(entry.payload) is bytes
        if type(output) is not list:
            row = output[index]
            size = row.nbytes if hasattr(row, "flags") else row.numel() * row.element_size()
            assert len(entry.payload) == size


def test_a_kept_row_does_not_keep_its_batch():
    np = pytest.importorskip("numpy")
    tracemalloc.start()
    try:
        kept = encode_rows(np.zeros((1000, 1000), "f4"), columns=False)[7]
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(kept[1]) == 4000
    assert used < 400_000  # a tenth of the batch


@few
@given(st.one_of(arrays(min_dims=1), tensors(min_dims=1)).filter(len))
def test_what_is_merged_is_writable_and_aliases_nothing(output):
    rows = entries(output)
    before = [entry.payload for entry in rows]
    first, second = merge_rows(rows), merge_rows(rows)
    if hasattr(first, "flags"):
        assert first.flags.writeable
        first.reshape(-1).view("u1")[...] = 7
    else:
        first.zero_()
    assert [entry.payload for entry in rows] == before
    assert facts(second) == facts(detached(output))


def test_layouts_of_rows_are_one_object_and_name_their_container():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    outputs = [
        np.zeros((2, 3)), torch.zeros(2, 3), [np.zeros(3)] * 2, (np.zeros(3), np.ones(3)),
        [torch.zeros(3)] * 2, ([1, 2],), {"a": [1, 2]}, {"b": [1, 2]}, {"a": np.zeros((2, 3))},
    ]  # fmt: skip
    kinds = set()
    for output in outputs:
        columns = type(output) is dict or output is outputs[5]
        one, other = (
            entries(output, columns) + entries(output, columns)[:1],
            entries(output, columns),
        )
        assert {id(entry.layout) for entry in one + other} == {id(one[0].layout)}
        kinds.add(one[0].layout)
    assert len(kinds) == len(outputs)


def test_payloads_may_be_views_and_layouts_copies():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for output in (np.arange(6.0).reshape(3, 2), torch.arange(6.0).reshape(3, 2), ["a", 1, None],
                   {"a": np.arange(3), "b": ["x", "y", "z"]}):  # fmt: skip
        rows = [
            NewEntry(bytes(bytearray(entry.layout)), memoryview(bytearray(entry.payload)))
            for entry in entries(output, columns=True)
        ]
        assert facts(merge_rows(rows)) == facts(output)
        assert facts(row_value(*rows[1][:2])) == facts(row_at(output, 1, columns=True))


# Devices


def test_rows_of_a_tensor_go_to_their_device_by_one_copy():
    torch = pytest.importorskip("torch")
    layout = layouts.tensor_layout(b"T", torch.float32, (2,), "meta")
    rows = [NewEntry(layout, b"\0" * 8) for _ in range(5)]
    moved = []

    class Moves(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, operation, types, args=(), kwargs=None):
            if operation.__name__ in ("to", "cpu"):
                moved.append(operation.__name__)
            return operation(*args, **(kwargs or {}))

    with Moves():
        merged_there = merge_rows(rows, "meta")
        assert moved == ["to"]
        merged_here = merge_rows(rows, "cpu")
        assert moved == ["to"]
        encode_rows(torch.zeros(5, 2), columns=False)
        assert moved == ["to", "cpu"]
    assert (merged_there.device.type, merged_there.shape) == ("meta", (5, 2))
    assert merged_here.tolist() == [[0, 0]] * 5


# Bytes that are no rows


def outcome(function):
    """Nothing but a value or the one error may come of bytes."""
    try:
        function()
    except ValueEncodingError:
        return "error"
    return "value"


@some
@given(st.data(), st.one_of(arrays(min_dims=1), tensors(min_dims=1), columns()))
def test_damaged_rows_are_a_value_or_an_error(data, output):
    for entry in entries(output, columns=True)[:2]:
        part = data.draw(st.sampled_from(["layout", "payload"]))
        damaged = bytearray(getattr(entry, part))
        place = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        how = data.draw(st.sampled_from(["cut", "flip", "insert"]))
        if how == "cut":
            del damaged[place:]
        elif how == "flip" and damaged:
            damaged[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            damaged[place:place] = data.draw(st.binary(min_size=1, max_size=5))
        other = entry._replace(**{part: bytes(damaged)})
        outcome(lambda: row_value(other.layout, other.payload, "meta"))  # noqa: B023
        outcome(lambda: merge_rows([entry, other, entry]))  # noqa: B023


@some
@given(st.sampled_from([b"A", b"T", b"l", b"lv", b"u", b"x", b"y", b""]), st.binary(), st.binary())
def test_random_bytes_are_a_value_or_an_error(kind, layout, payload):
    outcome(lambda: row_value(kind + layout, payload))
    outcome(lambda: merge_rows([NewEntry(kind + layout, payload)] * 2))


@few
@given(st.one_of(arrays(min_dims=2), tensors(min_dims=2), columns()))
def test_a_truncated_row_is_an_error(output):
    for entry in entries(output, columns=True):
        if entry.payload:
            short = entry._replace(payload=entry.payload[:-1])
            assert outcome(lambda: merge_rows([short])) == "error"  # noqa: B023
            assert outcome(lambda: merge_rows([entry, short])) == "error"  # noqa: B023


@pytest.mark.parametrize(
    ("layout", "payload"),
    [
        (b"", b""), (b"v", b"\xc0"), (b"l", b"\xc0"), (b"llv", b"\xc0"), (b"cv", b"\xc0"),
        (b"x\x92\x90\x90", b""), (b"x\x90", b""), (b"x\xc0", b""),
        (b"y\x92\x90\x91\xc4\x02lv", b""),
        (b"x\x92\x90\x91\xc4\x02lv", b""), (b"x\x92\x90\x91\xc4\x02lv", b"\xff" * 8 + b"\xc0"),
        (b"x\x92\x90\x91\xc4\x02lv", b"\x01" + b"\0" * 7 + b"\xc0\xc0"),
        (b"x\x92\x90\x91\xc4\x01v", b"\x01" + b"\0" * 7 + b"\xc0"),
        (b"y\x92\x91\x01\x91\xc4\x02lv", b"\x01" + b"\0" * 7 + b"\xc0"),
        (b"y\x92\x92\xa1a\xa1a\x92\xc4\x02lv\xc4\x02lv", b"\x01\0\0\0\0\0\0\0" * 2 + b"\xc0\xc0"),
    ],
    ids=repr,
)  # fmt: skip
def test_malformed_rows_are_refused(layout, payload):
    assert outcome(lambda: row_value(layout, payload)) == "error"


def test_a_row_is_no_value_and_a_value_is_no_row():
    np = pytest.importorskip("numpy")
    for output in (np.zeros((1, 2)), [1], {"a": [1]}):
        (entry,) = entries(output, columns=True)
        assert outcome(lambda: codec.decode(entry.layout, entry.payload)) == "error"  # noqa: B023
    for value in (np.zeros(2), [1], {"a": [1]}):
        entry = NewEntry(*codec.encode(value))
        assert outcome(lambda: merge_rows([entry])) == "error"  # noqa: B023
