"""Values come back as they were, in memory of their own; bytes that are none fail as one error."""

import collections
import dataclasses
import datetime as dt
import enum
import inspect
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import zoneinfo
from decimal import Decimal
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath
from uuid import UUID

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.values import arrays, builtins, detached, everything, facts, scalars, tensors

from litcache.errors import ValueEncodingError
from litcache.stores.base import FORMAT, NewEntry
from litcache.values import codec, devices, layouts
from litcache.values.dtypes import torch_dtypes
from litcache.values.rows import encode_rows, merge_rows

few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
some = settings(few, max_examples=80)


def again(value):
    return codec.decode(*codec.encode(value))


def entries(values):
    return [NewEntry(*codec.encode(value)) for value in values]


# What comes back


@some
@given(builtins())
def test_builtins_come_back_as_they_were(value):
    assert facts(again(value)) == facts(value)


@some
@given(st.one_of(arrays(), scalars()))
def test_arrays_and_numpy_scalars_come_back_bit_for_bit(value):
    assert facts(again(value)) == facts(value)


@some
@given(tensors())
def test_tensors_come_back_detached_bit_for_bit(value):
    assert facts(again(value)) == facts(value.detach())


@some
@given(everything())
def test_any_nesting_comes_back_as_it_was(value):
    assert facts(again(value)) == facts(detached(value))


@few
@given(st.lists(st.one_of(everything(), arrays(), tensors()), max_size=6))
def test_a_batch_is_encoded_and_decoded_like_each_value_by_itself(values):
    encoded = codec.encode_many(values)
    assert encoded == [codec.encode(value) for value in values]
    decoded = codec.decode_many([NewEntry(*pair) for pair in encoded])
    assert list(map(facts, decoded)) == [facts(detached(value)) for value in values]


def other_arrays():
    """Arrays beside `np.zeros((2, 3))`, each of which differs from it in one thing."""
    np = pytest.importorskip("numpy")
    plain = np.zeros((2, 3))
    return {
        "alike": np.ones((2, 3)),
        "a row of another": np.arange(12.0).reshape(2, 2, 3)[1],
        "another shape": np.zeros((3, 2)),
        "another number of axes": np.zeros(6),
        "another dtype": np.zeros((2, 3), "f4"),
        "another character of the dtype": np.zeros((2, 3), "g"),
        "another byte order": np.zeros((2, 3), ">f8"),
        "metadata": np.zeros((2, 3), np.dtype("f8", metadata={"unit": "m"})),
        "another memory order": np.asfortranarray(plain + 1),
        "every second column": np.arange(12.0).reshape(2, 6)[:, ::2],
        "read-only": np.broadcast_to(np.float64(7), (2, 3)),
        "a subclass": plain.view(np.recarray),
        "no array": [[0.0] * 3] * 2,
        "empty": np.zeros((0, 3)),
        "objects": np.zeros((2, 3), object),
        "texts": np.zeros((2, 3), "U2"),
        "a scalar": np.float64(1),
        "no axes": np.array(1.0),
    }


@pytest.mark.parametrize("places", ["first", "last", "all"])
@pytest.mark.parametrize("name", other_arrays())
def test_arrays_of_a_batch_are_encoded_like_each_by_itself(name, places):
    plain, other = other_arrays()["alike"], other_arrays()[name]
    values = {"first": [other, plain], "last": [plain, plain, other], "all": [other, other]}[places]

    def alone(value):
        try:
            return codec.encode(value)
        except ValueEncodingError as error:
            return str(error)

    encoded = codec.encode_many(values)
    assert [each if type(each) is tuple else str(each) for each in encoded] == [*map(alone, values)]


@pytest.mark.parametrize(
    "zone",
    [dt.timezone.utc, dt.timezone(dt.timedelta(hours=2)), dt.timezone(dt.timedelta(0), "GMT")],
)
def test_fixed_offsets_come_back_with_their_name(zone):
    moment = again(dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zone))
    assert (moment.tzinfo, moment.tzname(), moment.fold) == (zone, zone.tzname(None), 1)


def test_torch_dtypes_that_hold_elements_all_come_back():
    torch = pytest.importorskip("torch")
    for name, dtype in sorted(torch_dtypes().items()):
        tensor = torch.arange(2 * 3 * dtype.itemsize, dtype=torch.uint8).view(2, -1).view(dtype)
        assert again(tensor).dtype == dtype, name
        assert again(tensor).view(torch.uint8).equal(tensor.view(torch.uint8)), name


@pytest.mark.parametrize("fields", [[], [("a", []), ("b", "<f8")]], ids=["none", "nested none"])
def test_structures_without_fields_come_back(fields):
    np = pytest.importorskip("numpy")
    array = np.zeros(3, np.dtype([(n, np.dtype(d)) for n, d in fields]))
    assert again(array).dtype == array.dtype
    assert again(array).shape == (3,)


# Whose memory


@few
@given(st.one_of(arrays(), tensors()))
def test_what_is_decoded_is_writable_and_aliases_nothing(value):
    layout, payload = codec.encode(value)
    before = bytes(payload)
    first, second = codec.decode(layout, payload), codec.decode(layout, memoryview(payload))
    for decoded in (first, *codec.decode_many([NewEntry(layout, payload)] * 2)):
        if hasattr(decoded, "flags"):
            assert decoded.flags.writeable
            decoded.reshape(-1).view("u1")[...] = 7
        elif decoded.numel():
            decoded.zero_()
        assert payload == before
        assert facts(second) == facts(detached(value))


def test_rows_of_one_decoded_array_do_not_overlap():
    np = pytest.importorskip("numpy")
    first, second = codec.decode_many(entries([np.zeros(3), np.ones(3)]))
    first[...] = 9
    assert second.tolist() == [1, 1, 1]


def test_each_tensor_on_the_cpu_has_a_storage_of_its_own():
    torch = pytest.importorskip("torch")
    decoded = codec.decode_many(entries([torch.zeros(3), torch.ones(3)]))
    assert [tensor.untyped_storage().nbytes() for tensor in decoded] == [12, 12]


def test_an_entry_of_a_row_does_not_hold_its_batch():
    np = pytest.importorskip("numpy")
    batch = np.zeros((1000, 1000))
    tracemalloc.start()
    try:
        kept = codec.encode_many(list(batch))[3]
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(kept[1]) == 8000
    assert used < 800_000  # a tenth of the batch


def test_what_stood_in_memory_between_the_fields_of_a_structure_is_not_stored():
    np = pytest.importorskip("numpy")
    array = np.full(6 * 64, 0xAB, "u1").view(np.dtype({"names": ["a"], "formats": ["u1"],
                                                       "offsets": [2], "itemsize": 6}))  # fmt: skip
    for turned in (array[::-1], array[::2], array.reshape(8, 8).T):
        assert set(codec.encode(turned)[1]) == {0, 0xAB}
        assert codec.encode(turned)[1].count(0xAB) == turned.size


@pytest.mark.parametrize("code", ["<g", ">g", "<G", ">G"])
def test_what_stood_in_memory_beside_an_extended_float_is_not_stored(code):
    np = pytest.importorskip("numpy")
    if np.finfo("g").nmant != 63:
        pytest.skip("long double has no padding here")
    clean, dirty = np.zeros(3, code), np.zeros(3, code)
    floats = dirty.view("u1").reshape(-1, np.dtype("g").itemsize)
    floats[:, slice(10, None) if code[0] == "<" else slice(None, -10)] = 255
    fields = [("a", "u1"), ("b", code, (3,))]
    pair = [np.zeros(1, fields), np.zeros(1, fields)]
    pair[1]["b"] = dirty
    for one, other in [(clean, dirty), (clean[0], dirty[0]), (clean[::2], dirty[::2]), pair]:
        assert codec.encode(other) == codec.encode(one)
        assert codec.encode([other]) == codec.encode([one])
    assert encode_rows(dirty, columns=False) == encode_rows(clean, columns=False)


def test_equal_layouts_are_one_object():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for one, other in [
        (np.zeros((2, 3), "f4"), np.ones((2, 3), "f4")),
        (torch.zeros(2), torch.ones(2)),
        (np.zeros(1, [("a", "i1")]), np.ones(1, [("a", "i1")])),
        ({"a": 1}, [1.0]),
    ]:
        assert codec.encode(one)[0] is codec.encode(other)[0]
        noted = [codec.with_context(*codec.encode(v), {"n": v}, [])[0] for v in (one, other)]
        assert noted[0] is noted[1]


def test_layouts_tell_apart_what_numpy_calls_equal():
    np = pytest.importorskip("numpy")
    assert np.dtype("q") == np.dtype("l") or np.dtype("q") == np.dtype("i")
    types = [type(again(np.zeros(2, char))[0]) for char in "qlQL"]
    assert types == [np.longlong, np.int_ if np.dtype("l").itemsize == 8 else np.dtype("l").type,
                     np.ulonglong, np.dtype("L").type]  # fmt: skip


def test_bytes_of_a_class_of_the_user_are_not_taken_for_those_of_numpy():
    np = pytest.importorskip("numpy")
    mine = np.zeros(2, np.dtype((type("Mine", (np.void,), {}), 3)))
    assert mine.dtype == np.dtype("V3")
    assert type(again(np.zeros(2, "V3"))[0]) is np.void  # whose layout is known now
    with pytest.raises(ValueEncodingError):
        codec.encode(mine)


# What is not stored


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: int = 0


Pair = collections.namedtuple("Pair", "a b")
UNSTORABLE = [
    Color.RED, Level.LOW, Text("a"), Point(), Pair(1, 2), collections.OrderedDict(a=1), object(),
    collections.defaultdict(list), range(3), memoryview(b"a"), msgpack.ExtType(1, b"\0"), int,
    msgpack.Timestamp(1), print, Ellipsis, iter([]), slice(1), ValueError("a"),
    dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
]  # fmt: skip


@pytest.mark.parametrize("value", UNSTORABLE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    ("build", "path"),
    [
        (lambda v: v, "$"),
        (lambda v: {"a": [0, 1, 2, v]}, "$.a[3]"),
        (lambda v: ({"not a name": v},), '$[0]["not a name"]'),
        (lambda v: [{(1, 2): [v]}], "$[0][tuple][0]"),
        (lambda v: {7: v}, "$[7]"),
    ],
)
def test_other_types_are_refused_by_path_and_type(value, build, path):
    with pytest.raises(ValueEncodingError) as caught:
        codec.encode(build(value))
    assert (caught.value.path, caught.value.type) == (path, type(value))


def unstorable_arrays():
    np = pytest.importorskip("numpy")
    return [
        np.array([None]), np.zeros(2, [("a", "O")]), np.ma.array([1]),
        np.zeros(2).view(np.recarray),
        np.zeros(2, [("a", "i1")]).view(np.recarray).view(np.ndarray), np.dtype("f4"),
        np.array(["a"], np.dtypes.StringDType()) if hasattr(np, "dtypes") else np.array([None]),
    ]  # fmt: skip


def noted_arrays():
    np = pytest.importorskip("numpy")

    def noted(base):
        return np.dtype(base, metadata={"unit": "m"})

    inner = [("a", noted("f4"))], [("a", noted("f4"), (2,))], [("a", noted([("b", "u1")]))]
    return [
        np.zeros(2, noted("f4")), np.zeros((2, 3), noted("f8")), np.zeros((), noted("i1")),
        np.array(["a", "b"], noted("U1")), np.zeros(2, noted([("a", "f4")])),
        *(np.zeros(2, fields) for fields in inner), np.zeros(1, noted([("a", "f4")]))[0],
    ]  # fmt: skip


@pytest.mark.parametrize("form", [None, "float16", "int8"])
def test_arrays_with_metadata_are_refused_whatever_was_stored_before(form):
    for value in noted_arrays():
        bare = value.astype(value.dtype.str)
        values = [bare, value, [value], bare]
        found = codec.encode_many(values, form)
        assert [isinstance(each, ValueEncodingError) for each in found] == [
            False,
            True,
            True,
            False,
        ]
        assert all("metadata of its dtype" in str(error) for error in found[1:3])


def with_attribute(tensor, **attributes):
    vars(tensor).update(attributes)
    return tensor


def with_gradient(tensor):
    tensor.grad = tensor.clone()
    return tensor


def inside_a_graph(tensor):
    inner = tensor.requires_grad_() * 2
    inner.retain_grad()
    inner.sum().backward()
    return inner


def unstorable_tensors():
    torch = pytest.importorskip("torch")
    row = torch.ones(1)
    return [
        with_attribute(torch.ones(1), tokens=2), with_gradient(torch.ones(1)),
        with_gradient(torch.ones(1, requires_grad=True)), inside_a_graph(torch.ones(1)),
        torch.nn.Parameter(row), row.to_sparse(), torch.ones(1, device="meta"), torch.float32,
        torch.nested.nested_tensor([row], layout=torch.strided), torch.device("cpu"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("unstorable", [unstorable_arrays, unstorable_tensors])
def test_arrays_and_tensors_that_are_more_than_elements_are_refused(unstorable):
    for value in unstorable():
        for build, path in [(lambda v: v, "$"), (lambda v: {"a": (v,)}, "$.a[0]")]:
            with pytest.raises(ValueEncodingError) as caught:
                codec.encode(build(value))
            assert (caught.value.path, caught.value.type) == (path, type(value))


@pytest.mark.parametrize("store_as", [None, "float16", "int8"])
def test_a_tensor_with_more_than_its_elements_is_refused_wherever_it_lies(store_as):
    torch = pytest.importorskip("torch")
    for mark, named in [(with_gradient, "grad"), (partial(with_attribute, tokens=2), "'tokens'")]:
        marked, plain = mark(torch.ones(2, 4)), torch.ones(2, 4)
        beside = codec.encode_many([plain, marked, plain], store_as)
        rows = encode_rows(marked, columns=False, store_as=store_as)
        columns = encode_rows({"a": marked, "b": plain}, columns=True, store_as=store_as)
        for error in (beside[1], *rows, *columns):
            assert isinstance(error, ValueEncodingError)
            assert named in str(error)
            assert "return value.detach()" in str(error)
        assert all(isinstance(pair, tuple) for pair in (beside[0], beside[2]))
        assert len(codec.encode_many([marked.detach()], store_as)[0]) == 2


def test_what_the_compiler_of_torch_notes_on_its_outputs_is_no_reason_to_refuse_them():
    torch = pytest.importorskip("torch")
    noted = with_attribute(torch.ones(2), _dynamo_propagated_dynamic_indices={0})
    assert torch.equal(again(noted), noted)
    assert not vars(again(noted))


def test_what_comes_back_can_carry_no_attribute_or_is_refused_with_one():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    responses = pytest.importorskip("starlette.responses")
    storable = [
        None, True, 7, 2**100, 1.5, 1j, "a", b"a", bytearray(b"a"), [], (), {}, set(), frozenset(),
        Decimal(1), UUID(int=1), PurePosixPath("a"), PureWindowsPath("a"), dt.date(2024, 1, 1),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), dt.time(1), dt.timedelta(1),
        np.ones(2), np.float32(1), np.str_("a"), np.bytes_(b"a"), np.datetime64("2024"),
        np.zeros(1, "i4,i4")[0], torch.ones(2), responses.Response(b"a"),
        responses.JSONResponse([1]), responses.RedirectResponse("/"),
    ]  # fmt: skip
    carry = []
    for value in storable:
        codec.encode(value)
        try:
            value.note = "mine"
        except (AttributeError, TypeError):
            continue
        carry.append(type(value).__name__)
        with pytest.raises(ValueEncodingError, match="note"):
            codec.encode(value)
    assert carry == ["Tensor", "Response", "JSONResponse", "RedirectResponse"]


def test_a_tensor_whose_dimensions_have_names_is_refused():
    torch = pytest.importorskip("torch")
    if not hasattr(torch.Tensor, "rename"):  # since torch 2.13 dimensions have no names
        with pytest.raises(TypeError, match="names"):
            torch.zeros(2, names=("a",))
        return
    with pytest.raises(ValueEncodingError, match="rename"):
        codec.encode(torch.zeros(2, names=("a",)))


def test_a_path_that_its_string_does_not_tell_is_refused():
    path = PureWindowsPath("./a:b")
    if PureWindowsPath(str(path)) == path:
        assert again(path) == path  # Python mended it
    else:
        with pytest.raises(ValueEncodingError):
            codec.encode(path)


def test_one_value_of_a_batch_that_is_refused_leaves_the_others():
    good, bad, last = codec.encode_many([1, {"a": object()}, "b"])
    assert (good, last) == (codec.encode(1), codec.encode("b"))
    assert isinstance(bad, ValueEncodingError)
    assert bad.path == "$.a"


def nest(value, levels, wrap):
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: {1: [v]}],
    ids=["list", "tuple", "dict", "dict of lists"],
)
def test_a_hundred_levels_are_stored_and_more_are_refused(wrap):
    deep = nest(dt.date(2024, 1, 1), 100 if wrap(1) in ([1], (1,), {"a": 1}) else 50, wrap)
    assert again(deep) == deep
    with pytest.raises(ValueEncodingError, match="100 levels"):
        codec.encode([deep])


def cycles():
    a, b, c = [], {}, []
    a.append(a)
    b["b"] = (b,)
    c.extend([c, c])
    return [a, b, c]


@pytest.mark.parametrize("value", cycles(), ids=["list", "dict", "twice"])
def test_a_cycle_is_refused(value):
    with pytest.raises(ValueEncodingError, match="levels"):
        codec.encode(value)


def test_the_end_of_the_stack_is_an_error_like_any_other():
    deep = nest(1, 90, lambda v: (v,))

    def encoded_below(levels):
        if levels:
            return encoded_below(levels - 1)
        try:
            return type(codec.encode(deep))
        except ValueEncodingError:
            return ValueEncodingError

    used = len(inspect.stack(0))
    ends = range(sys.getrecursionlimit() - used - 400, sys.getrecursionlimit() - used - 30, 10)
    assert {encoded_below(end) for end in ends} == {tuple, ValueEncodingError}


# Contexts


@few
@given(everything(), st.dictionaries(st.text(), everything()), st.lists(st.text()))
def test_what_was_changed_in_the_context_comes_back_beside_the_value(value, changed, removed):
    plain = codec.encode(value)
    layout, payload, context, names = codec.context_changes(
        *codec.with_context(*plain, changed, removed)
    )
    assert (layout, bytes(payload)) == plain
    assert (facts(context), names) == (facts(detached(changed)), removed)


def test_changes_are_copies_each_time():
    entry = codec.with_context(*codec.encode(1), {"usage": [1]}, [])
    codec.context_changes(*entry)[2]["usage"].append(2)
    assert codec.context_changes(*entry)[2] == {"usage": [1]}


@pytest.mark.parametrize("value", [1, [b"c"], "c", b"c"])
def test_entries_without_a_context_say_so(value):
    assert codec.context_changes(*codec.encode(value)) is None


def test_a_value_with_a_context_is_not_read_without_it():
    with pytest.raises(ValueEncodingError):
        codec.decode(*codec.with_context(*codec.encode(1), {"a": 1}, []))


def test_an_unstorable_change_is_named():
    with pytest.raises(ValueEncodingError) as caught:
        codec.with_context(*codec.encode(1), {"a": 1, "usage": [object()]}, [])
    assert (caught.value.path, caught.value.type) == ("$context.usage[0]", object)


# Devices


@pytest.mark.parametrize(
    ("made_on", "device", "placed"),
    [
        ("cuda", "cuda:1", "cuda:1"), ("cuda", "cuda", "cuda"), ("mps", "mps", "mps"),
        ("cuda", ["cuda:2", "cuda:3"], "cuda:2"), ("cpu", "cuda:1", None), ("cpu", "cpu", None),
        ("cuda", "cpu", None), ("mps", "cuda:0", None), ("cuda", None, None), ("cuda", [], None),
        ("xla", "tpu", None), ("cuda", "", None),
    ],
)  # fmt: skip
def test_tensors_go_to_the_device_of_the_type_that_they_were_made_on(made_on, device, placed):
    torch = pytest.importorskip("torch")
    expected = placed and torch.device(placed)
    assert devices.placement(made_on, device) == expected
    if isinstance(device, str) and placed:
        assert devices.placement(made_on, torch.device(device)) == expected


def operations(function):
    """The names of torch's operations that a function calls, and what it returns."""
    mode = pytest.importorskip("torch").overrides.TorchFunctionMode

    class Names(mode):
        def __torch_function__(self, operation, types, args=(), kwargs=None):
            names.append(operation.__name__)
            return operation(*args, **(kwargs or {}))

    names = []
    with Names():
        result = function()
    return names, result


def test_a_batch_goes_to_its_device_by_one_copy_for_each_layout():
    torch = pytest.importorskip("torch")
    one = layouts.tensor_layout(b"t", torch.float32, (2,), "meta")
    other = layouts.tensor_layout(b"t", torch.float32, (4,), "meta")
    rows = [NewEntry(one, b"\0" * 8), NewEntry(other, b"\0" * 16), NewEntry(one, b"\0" * 8)]
    names, decoded = operations(lambda: codec.decode_many(rows, "meta"))
    assert names.count("to") == 2
    assert [(tensor.device.type, tensor.shape) for tensor in decoded] == [
        ("meta", (2,)), ("meta", (4,)), ("meta", (2,)),
    ]  # fmt: skip
    assert {tensor.device.type for tensor in codec.decode_many(rows, "cpu")} == {"cpu"}


def test_nested_tensors_go_to_their_device_too():
    torch = pytest.importorskip("torch")
    layout, payload = codec.encode({"a": torch.ones(2)})
    cpu, meta = (msgpack.packb(device) for device in ("cpu", "met"))
    moved = payload.replace(cpu, meta)  # as long: no other byte changes
    assert moved != payload
    made = layouts.parse(layouts.tensor_layout(b"t", torch.float32, (2,), "met"))
    assert made.made_on == "met"
    assert codec.decode(layout, moved, "meta")["a"].tolist() == [1, 1]


def test_tensors_alike_leave_their_device_by_one_copy():
    torch = pytest.importorskip("torch")
    alike = [torch.full((2,), float(n)) for n in range(8)]
    values = [*alike[:4], torch.ones(3), "text", *alike[4:], object()]
    names, encoded = operations(lambda: codec.encode_many(values))
    assert names.count("cpu") == 2  # of all (2,) and of the (3,)
    assert [pair[1] for pair in encoded[:4]] == [codec.encode(tensor)[1] for tensor in alike[:4]]
    assert isinstance(encoded[-1], ValueEncodingError)


def test_a_default_device_of_the_user_is_not_ours():
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        decoded = codec.decode_many(entries([torch.ones(2, device="cpu"), 1]))
        empty = again(torch.ones(0, 3, device="cpu"))
    assert decoded[0].tolist() == [1, 1]
    assert (empty.device.type, empty.shape) == ("cpu", (0, 3))


@pytest.mark.parametrize(
    ("value", "found"),
    [(lambda t: t, True), (lambda t: {"a": [(t,)]}, True), (lambda t: [t.detach()], False),
     (lambda t: "text", False), (lambda t: [1.0, 2.0], False), (lambda t: cycles(), False)],
)  # fmt: skip
def test_a_tensor_that_requires_a_gradient_is_found_anywhere(value, found):
    torch = pytest.importorskip("torch")
    assert codec.differs_from_stored(value(torch.ones(1, requires_grad=True))) is found


# Without numpy, without torch


def test_tensors_need_no_numpy_and_an_array_is_an_error_like_any_other():
    np = pytest.importorskip("numpy")
    pytest.importorskip("torch")
    arrays_ = [codec.encode(np.ones(2)), codec.encode([np.float32(1), np.str_("a")])]
    script = f"""
        import sys, warnings
        sys.modules["numpy"] = None
        warnings.simplefilter("ignore")  # torch says that numpy is missing
        import torch
        from litcache.values import codec
        from litcache.values.rows import encode_rows, merge_rows
        from litcache.errors import ValueEncodingError
        from litcache.stores.base import NewEntry

        tensor = torch.arange(6.0).view(2, 3)
        assert codec.decode(*codec.encode({{"a": tensor.bfloat16()}}))["a"].equal(tensor.bfloat16())
        rows = [NewEntry(*row) for row in encode_rows(tensor, columns=False)]
        assert merge_rows(rows).equal(tensor)
        for layout, payload in {arrays_!r}:
            try:
                codec.decode(layout, payload)
            except ValueEncodingError:
                continue
            raise AssertionError(layout)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Bytes that are no entry


def outcome(function):
    """Nothing but a value or the one error may come of bytes."""
    try:
        function()
    except ValueEncodingError:
        return "error"
    return "value"


def read(layout, payload):
    return [
        outcome(lambda: codec.decode(layout, payload)),
        outcome(lambda: codec.decode(layout, memoryview(payload), "meta")),
        outcome(lambda: codec.context_changes(layout, payload)),
    ]


kinds = st.sampled_from([b"v", b"a", b"t", b"A", b"T", b"c", b"cv", b"l", b"x", b""])
HOSTILE = [b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff",
           b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x12", b"\xd6\xff\0\0\0\0",
           b"\xc1", b"\x9f", b"\x8f"]  # fmt: skip
HOSTILE += [bytes([0xD4, code, 0]) for code in range(22)]


@some
@given(kinds, st.binary(max_size=60), st.binary(max_size=60))
def test_random_bytes_are_a_value_or_an_error(kind, layout, payload):
    read(kind + layout, payload)


@some
@given(st.lists(st.one_of(st.binary(max_size=4), st.sampled_from(HOSTILE)), max_size=20))
def test_hostile_headers_are_a_value_or_an_error(parts):
    read(b"v", b"".join(parts))
    read(b"a" + b"".join(parts), b"")
    read(b"cv", len(b"".join(parts)).to_bytes(8, "little") + b"".join(parts))


@some
@given(st.data(), st.one_of(everything(), arrays(), tensors()))
def test_damaged_entries_are_a_value_or_an_error(data, value):
    entry = codec.encode(value)
    if data.draw(st.booleans()):
        entry = codec.with_context(*entry, {"a": value}, ["b"])
    which = data.draw(st.sampled_from([0, 1]))
    part = bytearray(entry[which])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(0, len(part) - 1)))
        how = data.draw(st.sampled_from(["cut", "flip", "insert"]))
        if how == "cut":
            del part[place:]
        elif how == "flip" and part:
            part[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            part[place:place] = data.draw(st.sampled_from(HOSTILE))
    damaged = [entry[0], entry[1]]
    damaged[which] = bytes(part)
    read(*damaged)


@few
@given(st.one_of(builtins(), arrays(), tensors()))
def test_a_truncated_entry_is_an_error(value):
    layout, payload = codec.encode(value)
    for cut in {len(payload) - 1, len(payload) // 2, 0} - {-1, len(payload)}:
        assert outcome(lambda: codec.decode(layout, payload[:cut])) == "error"  # noqa: B023
    assert outcome(lambda: codec.decode(layout, payload + b"\0")) == "error"


def packed(*parts):
    return b"".join(msgpack.packb(part) for part in parts)


def tagged(code, *parts):
    return msgpack.packb([msgpack.ExtType(code, b"\0"), *parts])


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xc1", b"\x91" * 2000 + b"\xc0", packed(1, 2), tagged(99), tagged(5, 10**9),
        tagged(2, []), tagged(4, 1), tagged(5), tagged(8, "one"), tagged(9, 2024, 13, 1),
        tagged(9, 2024, 1, 1, 0, 0, 0, 0, 0, 86_400_000_000), tagged(11, 25), tagged(13, b"a", 0),
        tagged(14, b"a"), tagged(18, b"v", b"\xc0"), tagged(18, "a", b""), tagged(18, [], b""),
        tagged(19, b"v", b"\xc0"), tagged(20, 1), tagged(12, 10**12, 0, 0), tagged(7, "x", []),
        msgpack.packb([1, msgpack.ExtType(1, b"\0")]), msgpack.packb(msgpack.ExtType(1, b"\0")),
        tagged(1, msgpack.ExtType(1, b"\0")), msgpack.packb({"a": msgpack.ExtType(1, b"\0")}),
        msgpack.packb(msgpack.ExtType(1, b"ab")), b"\x81\x90\xc0",
    ],
    ids=repr,
)  # fmt: skip
def test_malformed_values_are_refused(payload):
    assert outcome(lambda: codec.decode(b"v", payload)) == "error"


@pytest.mark.parametrize(
    ("layout", "payload"),
    [
        (b"", b""), (b"v1", b"\xc0"), (b"?", b""), (b"a", b""), (b"a\xc0", b""),
        (b"A" + packed(["|O", [1]]), b"\0" * 8), (b"a" + packed(["|O", [1]]), b"\0" * 8),
        (b"a" + packed(["<f4,<f4", [1]]), b"\0" * 8), (b"a" + packed(["float64", [1]]), b"\0" * 8),
        (b"a" + packed(["<f8", [-1]]), b""), (b"a" + packed(["<f8", [True]]), b"\0" * 8),
        (b"a" + packed(["<f8", [2]]), b"\0" * 8), (b"a" + packed(["<f8", [1] * 65]), b"\0" * 8),
        (b"a" + packed(["<f8", [2**62, 0]]), b"\0"),
        (b"a" + packed(["<f8", [1], "cpu"]), b"\0" * 8),
        (b"a" + packed(["<U1", [1]]), b"\xff\xff\xff\xff"),
        (b"a" + packed(["<i8:O", [1]]), b"\0" * 8), (b"a" + packed(["<i8:a", [1]]), b"\0" * 8),
        (b"t" + packed(["float32", [1]]), b"\0" * 4), (b"t" + packed(["nn", [1], "cpu"]), b"\0"),
        (b"t" + packed(["float32", [1], 1]), b"\0" * 4),
        (b"t" + packed(["quint8", [1], "cpu"]), b"\0"),
        (b"t" + packed(["float32", [2], "cpu"]), b"\0" * 4),
        (b"t" + packed([[], [2], "cpu"]), b"\0"),
        (b"a" + packed([[[["<f4", [2]], [2]], [2]], [1]]), b"\0" * 8),
        (b"a" + packed([[4, False, ["a"], ["|O"], [0], [None]], [1]]), b"\0" * 4),
        (b"a" + b"\x92" * 300 + b"\xc0" * 301, b""), (b"c", b""), (b"cv", b"\xff" * 8 + b"\xc0"),
        (b"cv", (1).to_bytes(8, "little") + b"\xc0"),
    ],
    ids=repr,
)  # fmt: skip
def test_malformed_layouts_are_refused(layout, payload):
    pytest.importorskip("torch")
    assert set(read(layout, payload)) <= {"error", "value"}
    assert outcome(lambda: codec.decode(layout, payload)) == "error"
    if layout[:1] == b"c":
        assert outcome(lambda: codec.context_changes(layout, payload)) == "error"


@pytest.mark.parametrize(
    ("layout", "payload"),
    [
        (b"v", b"\xdd\x00\x01\x00\x00" * 20_000),
        (b"v", b"\xdc\xff\xff" * 1000 + b"\xc0" * 97_000),
        (b"v", b"\x9f" * 100_000),
        (b"v", b"\xc6\x7f\xff\xff\xff" + b"\0" * 90_000),
        (b"v", tagged(18, b"a" + packed(["<f8", [2**40]]), b"")),
        (b"a" + packed(["<f8", [2**40]]), b"\0" * 1000),
        (b"a" + packed(["<U1000000000", [0, 3]]), b""),
        (b"a" + b"\xdd\x00\x01\x00\x00" * 20_000, b""),
        (b"cv", b"\xff" * 7 + b"\x7f" + b"\0" * 1000),
    ],
    ids=range(9),
)
def test_reading_allocates_in_proportion_to_the_entry_whatever_it_claims(layout, payload):
    pytest.importorskip("numpy")
    read(layout, payload)
    tracemalloc.start()
    try:
        read(layout, payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000 + 30 * len(layout + payload)


def test_many_threads_read_and_write_the_same_values():
    np = pytest.importorskip("numpy")
    values = [np.arange(6, dtype="f4"), {"a": (1, np.float32(2))}, "text", 2**70]
    expected = [codec.encode(value) for value in values]
    start, wrong = threading.Barrier(8), []

    def work():
        start.wait()
        for _ in range(200):
            if codec.encode_many(values) != expected:
                wrong.append("encode")
            if list(map(facts, codec.decode_many([NewEntry(*e) for e in expected]))) != list(
                map(facts, values)
            ):
                wrong.append("decode")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# The format: what a store that outlives the process holds must be read by the next version


def golden_builtins():
    return [(value, b"v", payload) for value, payload in [
        ([None, True, -1, 0.5, "a", b"b"], "96c0c3ffcb3fe0000000000000a161c40162"),
        ({"a": 1, 2: b"b"}, "82a1610102c40162"),
        ({(1,): 2}, "93d4040092d401000102"),
        ((1, ()), "93d401000191d40100"),
        ({"x"}, "92d40200a178"),
        (frozenset([2.0]), "92d40300cb4000000000000000"),
        (bytearray(b"a"), "92d40500c40161"),
        (2**64, "92d40600c409000000000000000001"),
        (-(2**63) - 1, "92d40600c409ffffffffffffff7fff"),
        (1j, "93d40700cb0000000000000000cb3ff0000000000000"),
        (Decimal("1.50"), "92d40800a4312e3530"),
        (dt.datetime(2024, 1, 2, 3, 4, 5, 6, dt.timezone.utc), "9ad40900cd07e80102030405060000"),
        (dt.datetime(2024, 1, 2, fold=1), "99d40900cd07e801020000000001"),
        (dt.date(2024, 1, 2), "94d40a00cd07e80102"),
        (dt.time(tzinfo=dt.timezone(dt.timedelta(0, 9), "x")), "98d40b000000000000ce00895440a178"),
        (dt.timedelta(-1, 2, 3), "94d40c00ff0203"),
        (UUID(int=5), "93d40d00c41000000000000000000000000000000005c0"),
        (PurePosixPath("a/b"), "92d41000a3612f62"),
        (PureWindowsPath("c:/a"), "92d41100a4633a5c61"),
        ("\ud800", "a3eda080"),
    ]]  # fmt: skip


def golden_arrays():
    np = pytest.importorskip("numpy")
    return [
        (np.array([[1, 2]], ">i2"), b"a\x92\xa3>i2\x92\x01\x02", "00010002"),
        (np.array([1], "q"), b"a\x92\xa5<i8:q\x91\x01", "0100000000000000"),
        (np.array([(1, [2])], [("a", "u1"), (("t", "b"), "<f2", 1)]),
         b"a\x92\x96\x03\xc2\x92\xa1a\xa1b\x92\xa3|u1\x92\xa3<f2\x91\x01\x92\x00\x01\x92\xc0\xa1t\x91\x01",
         "010040"),
        (np.float32(0.5), b"v", "93d41300c4076192a33c663490c4040000003f"),
        (np.str_("a"), b"v", "92d41400a161"),
        (np.bytes_(b"a"), b"v", "92d41400c40161"),
        ([np.array(3, "<M8[s]")], b"v", "9193d41200c40a6192a63c4d385b735d90c4080300000000000000"),
    ]  # fmt: skip


def golden_tensors():
    torch = pytest.importorskip("torch")
    return [
        (torch.tensor([0.5], dtype=torch.bfloat16), b"t\x93\xa8bfloat16\x91\x01\xa3cpu", "003f"),
        ([torch.zeros(0, 2)], b"v", "9193d41200c4117493a7666c6f61743332920002a3637075c400"),
    ]


@pytest.mark.parametrize("golden", [golden_builtins, golden_arrays, golden_tensors])
def test_format_1_is_written_and_read_as_ever(golden):
    assert FORMAT == 3
    for value, layout, payload in golden():
        assert codec.encode(value) == (layout, bytes.fromhex(payload))
        assert facts(codec.decode(layout, bytes.fromhex(payload))) == facts(value)


def test_format_1_of_a_context_and_of_rows_is_written_and_read_as_ever():
    entry = codec.with_context(b"v", b"\x01", {"a": 2}, ["b"])
    assert entry == (b"cv", bytes.fromhex("0a0000000000000092c40481a1610291a16201"))
    assert codec.context_changes(*entry) == (b"v", b"\x01", {"a": 2}, ["b"])
    columns = {"a": [1], "b": ["x"]}
    (row,) = encode_rows(columns, columns=True)
    lengths = "01000000000000000200000000000000"
    layout = b"y\x92\x92\xa1a\xa1b\x92\xc4\x02lv\xc4\x02lv"
    assert row == (layout, bytes.fromhex(lengths + "01" + "a178"))
    assert merge_rows([NewEntry(*row)]) == columns
