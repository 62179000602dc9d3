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
    if value.dtype.hasobject:
        raise Unencodable("its dtype holds Python objects; give it as value.tolist()")
    head = to.pack([list(value.shape), _dtype(value.dtype)])
    elements = array_elements(arrays.numpy().asarray(value))
    return ext(code, head + b"".join(map(to.buffer, elements)))


def _scalar(to: Writer, value: Any) -> bytes:
    return _array(to, value, Code.NP_SCALAR)


def _memmap(to: Writer, value: Any) -> bytes:
    return ext(Code.RECORD, to.pack("numpy.memmap") + _array(to, value))


def _dtype(dtype: Any) -> object:
    """Describe a dtype of numpy without its padding."""
    if dtype.subdtype is not None:
        return [list(dtype.shape), _dtype(dtype.base)]
    if dtype.names is not None:
        fields = [[n, _dtype(dtype[n]), *dtype.fields[n][2:]] for n in dtype.names]
        return [dtype.type.__name__, fields]
    if dtype.isbuiltin == 2:  # made by another library: bfloat16 and float8 of ml_dtypes
        return [class_name(dtype.type), dtype.str]
    if dtype.num not in range(24):  # numpy's own, dates and strings among them
        raise Unencodable("its dtype has parameters that are not known")
    return [dtype.str, dtype.char] if dtype.char in _second_names() else dtype.str


@lru_cache(1)
def _second_names() -> frozenset[str]:
    """Return the characters of dtypes that share their string with another: `long long`."""
    dtype = arrays.numpy().dtype
    return frozenset(char for char in "lLqQ" if dtype(dtype(char).str).char != char)


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
