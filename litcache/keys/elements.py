"""The canonical msgpack of arrays of numpy and tensors of torch: kind, dtype, shape, elements."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from litcache import arrays
from litcache.arrays import (
    array_elements,
    is_array,
    is_scalar,
    is_tensor,
    tensor_elements,
    tensor_fault,
)
from litcache.keys.writer import Code, Handler, Unencodable, Writer, class_name, ext, loaded

# How a tensor that is not dense becomes one, by what is said of it.
_DENSE = (("sparse", "to_dense"), ("nested", "unbind"), ("quantized", "dequantize"))

# What numpy notes in a memory map of its file, which does not count.
_OF_MEMMAP = frozenset({"_mmap", "offset", "mode", "filename"})


def handler_of(value: object) -> Handler | None:
    """Return the handler of a value of numpy or torch that has elements; `None` for others."""
    if is_array(value):
        return _array
    if is_tensor(value):
        return _tensor
    if is_scalar(value):
        return _scalar
    cls = type(value)
    if cls is loaded("torch.nn", "Parameter"):
        return _parameter
    return _memmap if cls is loaded("numpy", "memmap") else None


def _array(to: Writer, value: Any, code: int = Code.NP_ARRAY) -> bytes:
    dtype = value.dtype
    if dtype.hasobject:
        raise Unencodable("its dtype holds Python objects; give it as value.tolist()")
    head = to.pack([list(value.shape), _dtype(to, dtype)])
    elements = array_elements(arrays.numpy().asarray(value))
    return ext(code, head + b"".join(map(to.buffer, elements)))


def _scalar(to: Writer, value: Any) -> bytes:
    form = _array(to, value, Code.NP_SCALAR)
    # Of numpy's own classes none has any; the class of a record may be the user's.
    attributes = vars(value) if type(value).__dictoffset__ else None
    if not attributes:
        return form
    return ext(Code.RECORD, to.pack("numpy.void") + form + to.encode(attributes))


def _memmap(to: Writer, value: Any) -> bytes:
    attributes = {name: part for name, part in vars(value).items() if name not in _OF_MEMMAP}
    more = to.encode(attributes) if attributes else b""
    return ext(Code.RECORD, to.pack("numpy.memmap") + _array(to, value) + more)


def _dtype(to: Writer, dtype: Any) -> object:
    """Describe a dtype of numpy, with its metadata and without its padding."""
    metadata = dtype.metadata
    return _bare(to, dtype) if metadata is None else [to.encode({**metadata}), _bare(to, dtype)]


def _bare(to: Writer, dtype: Any) -> object:
    """Describe a dtype of numpy without its own metadata."""
    if dtype.subdtype is not None:
        return [list(dtype.shape), _dtype(to, dtype.base)]
    if dtype.names is not None:
        fields = [[n, _dtype(to, dtype[n]), *dtype.fields[n][2:]] for n in dtype.names]
        return [_name_of(dtype.type), fields]
    if dtype.isbuiltin == 2:  # made by another library: bfloat16 and float8 of ml_dtypes
        return [class_name(dtype.type), dtype.str]
    if dtype.num not in range(24):  # numpy's own, dates and strings among them
        raise Unencodable("its dtype has parameters that are not known")
    if dtype.char == "V" and dtype.type is not arrays.numpy().void:
        return [_name_of(dtype.type), dtype.str]
    return [dtype.str, dtype.char] if dtype.char in _second_names() else dtype.str


def _name_of(void: type) -> str:
    """Return the name of the class of elements that have fields, or are plain bytes."""
    numpy = arrays.numpy()
    return void.__name__ if void is numpy.void or void is numpy.record else class_name(void)


@lru_cache(1)
def _second_names() -> frozenset[str]:
    """Return the characters of dtypes that share their string with another: `long long`, `c`."""
    dtype = arrays.numpy().dtype
    return frozenset(char for char in "lLqQc" if dtype(dtype(char).str).char != char)


def _tensor(to: Writer, value: Any) -> bytes:
    fault = tensor_fault(value)
    if fault is not None:
        instead = next((f"; give it as value.{m}()" for part, m in _DENSE if part in fault), "")
        raise Unencodable(fault + instead)
    head = to.pack([str(value.dtype), list(value.shape)])
    attributes = vars(value)
    more = to.encode(attributes) if attributes else b""
    return ext(Code.TENSOR, head + to.buffer(tensor_elements(value)) + more)


def _parameter(to: Writer, value: Any) -> bytes:
    return ext(Code.RECORD, to.pack("torch.nn.Parameter") + _tensor(to, value))
