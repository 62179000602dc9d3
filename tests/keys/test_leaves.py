"""Arrays, tensors and large buffers: what of them counts, and that nothing is copied."""

import array
import sys
import tracemalloc
import warnings

import pytest
from blake3 import blake3
from support.forms import collisions

from litcache.errors import KeyEncodingError
from litcache.keys import writer as module
from litcache.keys.encoder import canonical

BIG = 5000  # beyond the 4 KiB that stand in full
OTHERS = [1, 1.0, 1j, True, "1", b"1", "", b"", (1,), [1], [[1]], [1.0], {1}, bytearray(b"1"),
          memoryview(b"1"), array.array("d", [1.0]), array.array("q", [1]), b"\0" * 8]  # fmt: skip


# numpy


def arrays(np):
    fields = [("a", "u1"), ("b", "<f8")]
    plain, aligned = np.dtype(fields), np.dtype(fields, align=True)
    return [
        np.array(1), np.array(1.0), np.array([1]), np.array([[1]]), np.array([1], "i4"),
        np.array([1], "u8"), np.array([1], ">i8"), np.array([256], ">i2"), np.array([True]),
        np.array([1.0]), np.array([1.0], "f4"), np.array([1.0], "f2"), np.array([1j]),
        np.array([1j], "c8"), np.array([0.0]), np.array([-0.0]), np.array([np.nan]),
        np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), np.arange(6),
        np.arange(6).reshape(3, 2).T, np.zeros((0,)), np.zeros((0, 3)), np.zeros((3, 0)),
        np.zeros(BIG), np.zeros((1, BIG)), np.zeros(BIG, "f4"), np.ones(BIG),
        np.array(["a"]), np.array(["a"], "U2"), np.array([b"a"]), np.array([b"a"], "S2"),
        np.array([b"a"], "c"),
        np.array([""], "U1"), np.array([b"\1\2"], "V2"), np.array(["2020"], "M8[D]"),
        np.array(["2020"], "M8[s]"), np.array(["NaT"], "M8[s]"), np.array([1], "m8[s]"),
        np.array([1], "m8[D]"), np.zeros(2, plain), np.zeros(2, aligned.newbyteorder()),
        np.zeros(2, [("a", "u1"), ("c", "<f8")]), np.zeros(2, [("b", "<f8"), ("a", "u1")]),
        np.zeros(2, [("a", "u1"), ("b", "<i8")]), np.zeros(2, [("a", "u1", (2,))]),
        np.zeros(2, [("a", "u1", (2, 1))]), np.zeros(2, [("a", plain)]), np.zeros(2, "V9"),
        np.zeros(2, [(("title", "a"), "u1"), ("b", "<f8")]), np.zeros(BIG, plain),
        np.ones(2, plain), np.zeros(2, np.dtype((np.record, fields))),
        np.float32(1), np.float64(1), np.float16(1), np.int64(1), np.int32(1), np.uint8(1),
        np.bool_(True), np.complex64(1), np.complex128(1), np.str_("1"), np.str_(""),
        np.str_("\0"), np.str_("a"), np.str_("a\0"), np.bytes_(b"1"), np.bytes_(b""),
        np.bytes_(b"\0"), np.datetime64("2020"), np.datetime64("2020-01-01"),
        np.datetime64("NaT", "D"), np.datetime64("NaT", "s"), np.timedelta64(1, "D"),
        np.timedelta64(1, "s"), np.void(b"a"),
        np.zeros(1, plain)[0], np.ones(1, plain)[0], np.float64("nan"), np.float64(-0.0),
        np.float64(0.0), np.longdouble(1), np.longdouble(2), np.clongdouble(1),
        np.array([1], "g"), np.array([1], "G"), np.array([1] * BIG, "g"),
        *([np.longlong(1), np.array([1], "q")] if np.longlong is not np.int64 else []),
    ]  # fmt: skip


@pytest.mark.parametrize("digest", ["blake", "sha256"])
def test_arrays_and_numpy_scalars_differ_by_kind_dtype_shape_and_elements(digest):
    np = pytest.importorskip("numpy")
    assert collisions([*OTHERS, *arrays(np)], digest) == []


def test_memory_order_strides_and_flags_of_an_array_do_not_count():
    np = pytest.importorskip("numpy")
    for count in (24, 24_000):
        plain = np.arange(count, dtype="f4").reshape(4, -1)
        wide = np.zeros((8, plain.shape[1] * 2), "f4")
        wide[::2, ::-2] = plain
        frozen = plain.copy()
        frozen.flags.writeable = False
        unaligned = np.frombuffer(b"x" + plain.tobytes(), "u1")[1:].view("f4").reshape(plain.shape)
        for other in (
            np.asfortranarray(plain),
            wide[::2, ::-2],
            frozen,
            unaligned,
            plain.T.copy().T,
        ):
            assert canonical(other) == canonical(plain)
        assert canonical(np.broadcast_to(plain[:1], plain.shape)) != canonical(plain)


def test_padding_of_structured_arrays_does_not_count():
    np = pytest.importorskip("numpy")
    dtype = np.dtype([("a", "u1"), ("b", "f8"), ("c", [("d", "u1"), ("e", "i4")])], align=True)
    for count in (3, BIG):
        zeros, dirty = np.zeros(count, dtype), np.zeros(count, dtype)
        dirty.view("u1")[:] = 255
        for name in "ab":
            dirty[name] = 0
        dirty["c"]["d"] = dirty["c"]["e"] = 0
        assert zeros.tobytes() != dirty.tobytes()
        assert canonical(zeros) == canonical(dirty)
        assert canonical(zeros[0]) == canonical(dirty[0])
        packed = np.zeros(count, [("a", "u1"), ("b", "f8"), ("c", [("d", "u1"), ("e", "i4")])])
        assert canonical(packed) == canonical(zeros)
        dirty["c"]["e"][-1] = 1
        assert canonical(zeros) != canonical(dirty)


def test_padding_of_extended_floats_does_not_count():
    np = pytest.importorskip("numpy")
    if np.finfo(np.longdouble).nmant != 63:
        pytest.skip("long double has no padding here")
    for code in "gG":
        for order in "<>":
            clean = np.ones(3, code).astype(order + code)
            dirty = clean.copy()
            rows = dirty.view("u1").reshape(-1, np.dtype("g").itemsize)
            rows[:, slice(10, None) if order == "<" else slice(None, -10)] = 255
            assert canonical(dirty) == canonical(clean)
            rows[0, 0 if order == "<" else -1] ^= 1
            assert canonical(dirty) != canonical(clean)


class Kept(dict):
    """What is noted in a dtype may be of any class."""


def noted(np):
    """Arrays of one dtype but for what is noted in it, in a field, or below one."""

    def note(unit, base="f4"):
        return np.dtype(base) if unit is None else np.dtype(base, metadata={"unit": unit})

    for unit in (None, "m", "ft", 1, [1], Kept(a=1)):
        yield np.zeros(2, note(unit))
        yield np.zeros(2, [("a", note(unit)), ("b", "f4")])
        yield np.zeros(2, [("b", "f4"), ("a", note(unit, [("c", "f4")]))])
        yield np.zeros(2, [("a", note(unit), (2,))])
        yield np.zeros(BIG, note(unit))
        yield np.array(["a"], note(unit, "U1"))
        yield np.zeros(1, note(unit, [("a", "f4")]))[0]
    yield np.zeros(2, [("a", "f4"), ("b", note("m"))])
    yield np.zeros(2, np.dtype([("a", note("m"))], metadata={"unit": "m"}))


def test_the_metadata_of_a_dtype_counts():
    np = pytest.importorskip("numpy")
    assert collisions(list(noted(np))) == []
    for one, other in zip(noted(np), noted(np), strict=True):
        assert canonical(one) == canonical(other)
    with pytest.raises(KeyEncodingError) as caught:
        canonical(np.zeros(2, np.dtype("f4", metadata={"unit": object()})))
    assert caught.value.type is object


def test_classes_of_structures_count_by_name_and_their_attributes_by_value():
    np = pytest.importorskip("numpy")

    def void(name, module=__name__, base=np.void):
        return type(name, (base,), {"__module__": module})

    kinds = [np.void, np.record, void("record"), void("void"), void("record", "m"), void("a.b")]
    fields = [np.zeros(2, np.dtype((kind, [("a", "u1")]))) for kind in kinds]
    plain = [np.zeros(2, np.dtype((kind, 3))) for kind in kinds if kind is not np.record]
    scalars = [array[0] for array in (*fields, *plain)]
    noted = np.zeros(1, fields[2].dtype)[0]
    noted.unit = "m"
    assert collisions([*fields, *plain, *scalars, noted]) == []


def test_attributes_of_a_memory_map_count_and_its_file_does_not(tmp_path):
    np = pytest.importorskip("numpy")
    maps = [np.memmap(tmp_path / name, "u1", "w+", shape=(2,)) for name in "abcd"]
    maps[2].unit, maps[3].unit = "m", "ft"
    assert canonical(maps[0]) == canonical(maps[1])
    assert collisions([np.zeros(2, "u1"), *maps[1:]]) == []


def test_dtypes_of_other_libraries_count_by_name():
    np = pytest.importorskip("numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    names = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"]
    dtypes = [*(getattr(ml_dtypes, name) for name in names), "V1", "V2", "f2", "i1"]
    assert collisions([np.zeros(count, dtype) for dtype in dtypes for count in (2, BIG)]) == []


def refused_arrays(np):
    yield np.array([object()])
    yield np.array([1, None])
    yield np.zeros(1, [("a", "u1"), ("b", "O")])
    yield np.zeros(1, [("a", "u1"), ("b", "O")])[0]
    yield np.ma.array([1])
    yield np.rec.array([(1,)], dtype=[("a", "u1")])
    yield np.array([1]).view(type("Sub", (np.ndarray,), {}))
    yield type("Sub64", (np.float64,), {})(1)
    yield np.dtype("f4")
    yield memoryview(np.array([object()]))
    if hasattr(np.dtypes, "StringDType"):
        yield np.array(["a"], np.dtypes.StringDType())


def test_arrays_of_objects_and_subclasses_are_refused():
    np = pytest.importorskip("numpy")
    for value in refused_arrays(np):
        with pytest.raises(KeyEncodingError) as caught:
            canonical({"x": [value]})
        assert caught.value.path == "$.x[0]"
        assert caught.value.type is type(value)


# torch


def tensors(torch):
    return [
        torch.tensor(1), torch.tensor(1.0), torch.tensor([1]), torch.tensor([[1]]),
        torch.tensor([1], dtype=torch.int32), torch.tensor([1], dtype=torch.uint8),
        torch.tensor([1], dtype=torch.int8), torch.tensor([True]), torch.tensor([1.0]),
        torch.tensor([1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float16),
        torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1j]), torch.tensor([-1j]),
        torch.tensor([1.0], dtype=torch.float8_e4m3fn), torch.tensor([0.0]), torch.tensor([-0.0]),
        torch.tensor([1.0], dtype=torch.float8_e5m2), torch.arange(6).reshape(2, 3),
        torch.arange(6).reshape(3, 2), torch.arange(6).reshape(3, 2).T, torch.zeros(0),
        torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(BIG), torch.ones(BIG),
        torch.zeros(BIG, dtype=torch.bfloat16), torch.zeros(1, BIG),
        torch.zeros(BIG, dtype=torch.float16), torch.nn.Parameter(torch.tensor([1.0])),
        torch.nn.Parameter(torch.zeros(BIG)), named(torch.zeros(2)),
    ]  # fmt: skip


def named(tensor):
    tensor.language = "de"
    return tensor


def test_tensors_differ_from_arrays_and_by_dtype_shape_and_elements():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    assert collisions([*OTHERS, *arrays(np), *tensors(torch)]) == []


def test_strides_views_gradients_and_lazy_conjugation_of_a_tensor_do_not_count():
    torch = pytest.importorskip("torch")
    for count in (24, 24_000):
        plain = torch.arange(count, dtype=torch.float32).reshape(4, -1)
        padded = torch.zeros(4, plain.shape[1] + 3)
        padded[:, 2:-1] = plain
        wide = torch.zeros(count * 2)
        wide[::2] = plain.flatten()
        for other in (
            plain.T.contiguous().T, padded[:, 2:-1], plain.clone().requires_grad_(),
            plain.clone().requires_grad_() * 1,
        ):  # fmt: skip
            assert canonical(other) == canonical(plain)
        assert canonical(wide[::2]) == canonical(plain.flatten())
        for alone in (wide[:1:2], plain.T[:1, :1], torch.zeros(1, dtype=torch.complex64).imag):
            assert canonical(alone) == canonical(torch.zeros(alone.shape))
        assert canonical(plain[:1].expand(4, -1)) == canonical(plain[:1].repeat(4, 1))
        turned = torch.complex(plain, plain)
        assert canonical(turned.conj()) == canonical(torch.complex(plain, -plain))
        assert canonical(turned.conj().imag) == canonical(-plain)
        assert canonical(torch._neg_view(plain)) == canonical(-plain)
        with torch.inference_mode():
            assert canonical(plain.clone()) == canonical(plain)


def test_a_tensor_without_numpy_has_the_same_form(monkeypatch):
    torch = pytest.importorskip("torch")
    values = [*tensors(torch), torch.rand(3, 700)]
    expected = [canonical(value) for value in values]
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    assert [canonical(value) for value in values] == expected


def refused_tensors(torch):
    dense, unknown = "it is no dense tensor", "its type has no canonical form"
    yield torch.zeros(2, 2).to_sparse(), dense
    yield torch.zeros(2, 2).to_sparse_csr(), dense
    yield torch.zeros(2, device="meta"), dense
    yield torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)]), dense
    yield torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.quint8), dense
    yield torch.zeros(2).as_subclass(type("Sub", (torch.Tensor,), {})), unknown
    yield torch.float32, unknown
    yield torch.device("cpu"), unknown


def test_tensors_that_are_not_dense_and_subclasses_are_refused():
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls some of these layouts beta or deprecated
        for value, reason in refused_tensors(torch):
            with pytest.raises(KeyEncodingError, match=reason) as caught:
                canonical({"x": [value]})
            assert caught.value.path == "$.x[0]"
            assert caught.value.type is type(value)


# Large buffers are hashed where they lie.


def address(data):
    return pytest.importorskip("numpy").frombuffer(data, "u1").ctypes.data


def contiguous(np):
    yield np.arange(60_000, dtype="f4").reshape(100, 600)
    yield np.arange(60_000).astype("M8[s]")
    yield b"x" * 60_000
    yield bytearray(b"x" * 60_000)
    yield memoryview(b"x" * 60_000)
    yield array.array("d", [1.0] * 60_000)


def test_contiguous_buffers_are_hashed_in_place(monkeypatch):
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    seen = []

    def spy(data):
        seen.append((address(data), len(data)))
        return blake3(data)

    monkeypatch.setitem(module._HASHES, "blake", spy)
    for value in contiguous(np):
        data = (
            value.view("i8") if isinstance(value, np.ndarray) and value.dtype.kind == "M" else value
        )
        canonical([value])
        assert seen.pop() == (address(data), memoryview(data).nbytes)
    tensor = torch.rand(100, 600, requires_grad=True)
    canonical([tensor])
    assert seen.pop() == (tensor.data_ptr(), 240_000)


def test_no_memory_is_taken_for_a_large_array():
    np = pytest.importorskip("numpy")
    values = [np.zeros((1000, 4000), "u1"), b"x" * 4_000_000]
    for value in values:
        canonical({"x": value})
        tracemalloc.start()
        canonical({"x": value})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40_000
