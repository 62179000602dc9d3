"""Values of every kind that is stored, at random, and what makes two of them the same."""

import datetime as dt
import math
import pathlib
import struct
import uuid
from decimal import Decimal

import pytest
from hypothesis import strategies as st

TENSOR_DTYPES = [
    "float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64",
    "complex128", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint64", "bool",
]  # fmt: skip
ARRAY_DTYPES = [
    "?", "u1", "i1", "<i2", ">i4", "<u8", "q", "Q", "l", "<f2", ">f4", "<f8", "g", "<c8", ">c16",
    "G", "<M8[ns]", ">M8[25s]", "<M8", "m8[D]", "S3", "U2", ">U3", "V5", "S0", "U0", "c",
]  # fmt: skip


def facts(value):
    """What must be equal of two values for them to be the same, as builtins that compare."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is complex:
        return kind, facts(value.real), facts(value.imag)
    if kind in (list, tuple):
        return kind, [facts(part) for part in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(facts(part)) for part in value)
    if kind is dict:
        return kind, [(facts(key), facts(part)) for key, part in value.items()]
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in (dt.datetime, dt.time):
        zone = value.tzinfo
        offset = None if zone is None else (type(zone), zone.utcoffset(None), zone.tzname(None))
        return kind, value.replace(tzinfo=None).isoformat(), value.fold, offset
    if kind is uuid.UUID:
        return kind, value.bytes, value.is_safe
    if kind.__module__ == "numpy":
        return kind, array_facts(value)
    if kind.__module__ == "torch":
        return kind, tensor_facts(value)
    return kind, value


def array_facts(array):
    dtype = array.dtype
    shape, text = array.shape, dtype_facts(dtype)
    if isinstance(array, (str, bytes)):  # numpy's own methods drop zeros at their end
        return text, list(array)
    if dtype.names is not None:  # the padding between fields does not count
        return text, shape, [facts(array[name]) for name in dtype.names]
    if dtype.char in "gG":  # long doubles have bytes that do not count
        return text, shape, [repr(element) for element in array.ravel()]
    return text, shape, array.tobytes()


def dtype_facts(dtype):
    if dtype.names is None:
        return dtype.str, dtype.char, dtype.type, dtype.itemsize
    fields = [(name, *dtype.fields[name][1:], dtype_facts(dtype[name])) for name in dtype.names]
    return dtype.type, dtype.itemsize, dtype.isalignedstruct, fields


def tensor_facts(tensor):
    import torch

    plain = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.detach().reshape(-1))
    elements = plain.view(torch.uint8).tolist()
    return tensor.dtype, tuple(tensor.shape), str(tensor.device), tensor.requires_grad, elements


def detached(value):
    """The value as it comes back: tensors without their graph."""
    kind = type(value)
    if kind.__module__ == "torch":
        return value.detach()
    if kind in (list, tuple):
        return kind(map(detached, value))
    if kind is dict:
        return {key: detached(part) for key, part in value.items()}
    return value


offsets = st.timedeltas(
    min_value=dt.timedelta(hours=-23, minutes=-59), max_value=dt.timedelta(hours=23, minutes=59)
)
zones = st.none() | st.builds(dt.timezone, offsets) | st.builds(dt.timezone, offsets, st.text())
moments = st.datetimes(timezones=st.none()) | st.builds(
    dt.datetime.replace, st.datetimes(), tzinfo=zones, fold=st.sampled_from([0, 1])
)
anything = st.text(st.characters(exclude_categories=()))  # lone surrogates, too
bits = st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("<d", struct.pack("<Q", n))[0])
floats = st.floats() | bits
segments = st.lists(st.text("ab.: ~", min_size=1), max_size=3)

hashables = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**200), 2**200),
        floats,
        st.builds(complex, floats, floats),
        anything,
        st.binary(),
        st.decimals(allow_nan=False),
        st.sampled_from([Decimal("-0"), Decimal("NaN7"), Decimal("1E+9")]),
        moments,
        st.dates(),
        st.builds(dt.time.replace, st.times(), tzinfo=zones, fold=st.sampled_from([0, 1])),
        st.timedeltas(),
        st.uuids(),
        st.builds(
            uuid.UUID, int=st.integers(0, 2**128 - 1), is_safe=st.sampled_from(uuid.SafeUUID)
        ),
        st.builds(lambda parts: pathlib.Path(*parts), segments),
        st.builds(lambda parts: pathlib.PurePosixPath(*parts), segments),
        st.builds(lambda parts: pathlib.PureWindowsPath("c:/", *parts), segments),
    ),
    lambda parts: st.lists(parts, max_size=3).map(tuple) | st.frozensets(parts, max_size=3),
    max_leaves=4,
)


@st.composite
def arrays(draw, *, min_dims=0):
    """Arrays of every dtype but object, in any memory order; their elements are any bytes."""
    np = pytest.importorskip("numpy")
    dtype = np.dtype(draw(st.sampled_from(ARRAY_DTYPES)))
    if draw(st.integers(0, 3)) == 0:
        dtype = draw(structures(dtype))
    shape = tuple(draw(st.lists(st.integers(0, 3), min_size=min_dims, max_size=3)))
    array = np.zeros(shape, dtype)
    if dtype.names:
        array[dtype.names[0]] = draw(st.integers(0, 255))
    elif dtype.kind == "U":
        array[...] = draw(st.sampled_from(["é", ""]))
    elif dtype.char in "SV":
        array[...] = np.bytes_(draw(st.sampled_from([b"a", b""])))
    elif array.size:
        top = 1 if dtype.kind == "b" else 255
        data = draw(st.lists(st.integers(0, top), min_size=array.nbytes, max_size=array.nbytes))
        # No two arrays share it; Python has each bytes of one element only once.
        array = np.frombuffer(bytearray(data), dtype).reshape(shape)
    turned = draw(st.sampled_from(["as it is", "transposed", "reversed", "by columns"]))
    if turned == "transposed":
        return array.T if array.ndim >= min_dims else array
    if turned == "reversed" and array.ndim:
        return array[::-1]
    return np.asfortranarray(array) if turned == "by columns" and array.ndim else array


@st.composite
def structures(draw, dtype):
    """Structured dtypes: nested, padded, aligned, with subarrays and titles, in any order."""
    np = pytest.importorskip("numpy")
    inner = np.dtype([("é", "<f4"), ("k", ">i2", (2,))])
    fields = [("b", "u1"), ("a", dtype), (("a title", "n"), inner)]
    aligned = draw(st.booleans())
    padded = {"names": ["y", "x"], "formats": ["u1", "<f4"], "offsets": [9, 0], "itemsize": 12}
    return draw(st.sampled_from([np.dtype(fields, align=aligned), np.dtype(padded)]))


@st.composite
def tensors(draw, *, min_dims=0):
    """Tensors of every dtype, in any memory order, some of them in a graph; of any bytes."""
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, draw(st.sampled_from(TENSOR_DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 3), min_size=min_dims, max_size=3)))
    size = math.prod(shape) * dtype.itemsize
    top = 1 if dtype == torch.bool else 255
    data = draw(st.lists(st.integers(0, top), min_size=size, max_size=size))
    tensor = torch.empty(shape, dtype=dtype)
    if size:
        tensor = torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
    turned = draw(st.sampled_from(["as it is", "transposed", "graph", "conjugated", "part"]))
    if turned == "transposed":
        return tensor.mT if tensor.ndim > 1 else tensor
    if turned == "graph" and dtype.is_floating_point:
        return tensor.requires_grad_()
    if turned == "conjugated" and dtype.is_complex:
        return tensor.conj()
    return tensor[::2] if turned == "part" and tensor.ndim else tensor


@st.composite
def scalars(draw):
    """numpy's scalars."""
    np = pytest.importorskip("numpy")
    array = draw(arrays(min_dims=1).filter(lambda array: array.size))
    texts = [np.str_("a\0"), np.str_("\ud800"), np.bytes_(b"a\0")]
    # Hypothesis looks at what it samples from, and a date of any bits has no text.
    return draw(st.sampled_from(texts)) if draw(st.booleans()) else array.reshape(-1)[0]


def nested(leaves):
    """Containers of leaves, of one another."""
    return st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.lists(parts, max_size=4),
            st.lists(parts, max_size=4).map(tuple),
            st.dictionaries(st.text(max_size=3), parts, max_size=3),
            st.dictionaries(hashables, parts, max_size=3),
        ),
        max_leaves=8,
    )


def builtins():
    unhashable = st.sampled_from([Decimal("sNaN7")]) | st.binary().map(bytearray)
    return nested(st.one_of(hashables, unhashable, st.sets(hashables, max_size=3)))


def everything():
    return nested(st.one_of(hashables, arrays(), tensors(), scalars()))
