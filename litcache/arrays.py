"""Arrays of numpy and tensors of torch: which values are any, and their elements as bytes.

No other module asks whether a value is an array or a tensor. The questions import nothing: before
numpy or torch is imported, no value can be an array or a tensor. Only exact types count, because an
object of a subclass may hold more than its elements.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ctypes import c_ubyte, string_at
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from typing import Any

# Up to this number of bytes, a copy takes less time than a view.
_SMALL_BYTES = 4096
NUMERIC = frozenset("?bBhHiIlLqQefd")
"""What numpy gives to others as a buffer, without padding: `dtype.char` of each."""
_COMPILERS = "_dynamo_"
"""How attributes begin that `torch.compile` sets on the tensors that it returns."""
_NUMBERS = frozenset({int, float, complex, Decimal, Fraction})


def numpy() -> Any:
    """Return numpy; import it if nobody has imported it yet."""
    return sys.modules.get("numpy") or import_module("numpy")


def torch() -> Any:
    """Return torch; import it if nobody has imported it yet."""
    return sys.modules.get("torch") or import_module("torch")


def is_array(value: object) -> bool:
    """Return whether a value is exactly a `numpy.ndarray`.

    Example:
        >>> import numpy as np
        >>> is_array(np.zeros(2)), is_array(np.float32(1)), is_array([0.0])
        (True, False, False)
    """
    return type(value) is getattr(sys.modules.get("numpy"), "ndarray", None)


def is_tensor(value: object) -> bool:
    """Return whether a value is exactly a `torch.Tensor`."""
    return type(value) is getattr(sys.modules.get("torch"), "Tensor", None)


def is_scalar(value: Any) -> bool:
    """Return whether a value is a scalar of numpy, exactly of the type of its dtype.

    Example:
        >>> import numpy as np
        >>> is_scalar(np.float32(1)), is_scalar(1.0)
        (True, False)
    """
    kind = type(value)
    generic = getattr(sys.modules.get("numpy"), "generic", ())
    return issubclass(kind, generic) and value.dtype.type is kind


def is_number(value: Any) -> bool:
    """Return whether a value is one number: of Python, of numpy, or a tensor of no dimension.

    Example:
        >>> import numpy as np
        >>> is_number(7), is_number(np.float32(1)), is_number(np.array(1)), is_number(True)
        (True, True, True, False)
    """
    if type(value) in _NUMBERS:
        return True
    if is_scalar(value) or is_array(value):
        return value.ndim == 0 and value.dtype.kind in "iufc"
    if is_tensor(value):
        return value.ndim == 0 and value.dtype is not sys.modules["torch"].bool
    return False


def has_rows(value: Any) -> bool:
    """Return whether a value is an array or a dense tensor with a first axis.

    Example:
        >>> import numpy as np
        >>> has_rows(np.zeros((2, 3))), has_rows(np.array(1))
        (True, False)
    """
    if is_array(value):
        return bool(value.ndim)
    return is_tensor(value) and tensor_fault(value) is None and value.ndim > 0


def tensor_fault(tensor: Any) -> str | None:
    """Return why a tensor is not dense; `None` if it is, so that its elements can be read."""
    if tensor.is_nested:
        return "it is no dense tensor, but a nested one"
    if tensor.layout is not sys.modules["torch"].strided:
        return "it is no dense tensor, but a sparse one"
    if tensor.is_quantized:
        return "it is no dense tensor, but a quantized one"
    return "it is no dense tensor, but one without elements (meta)" if tensor.is_meta else None


def tensor_attributes(tensor: Any) -> dict[str, Any]:
    """Return the attributes that somebody has set on a tensor; those of torch's compiler are not.

    Example:
        >>> import torch
        >>> tensor = torch.zeros(2)
        >>> tensor.tokens = 3
        >>> tensor_attributes(tensor)
        {'tokens': 3}
    """
    return {name: part for name, part in vars(tensor).items() if not name.startswith(_COMPILERS)}


def has_gradient(tensor: Any) -> bool:
    """Return whether a tensor holds a gradient; to ask others inside a graph for it warns."""
    return (tensor.is_leaf or tensor.retains_grad) and tensor.grad is not None


def tensor_elements(tensor: Any) -> Any:
    """Return the elements of a dense tensor in C order, without a copy if they lie so on the CPU.

    Args:
        tensor: A tensor of any device for which `tensor_fault` gives no reason.

    Returns:
        Bytes, or a one-dimensional buffer of bytes.
    """
    whole = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if not whole.numel():
        return b""
    address, size = whole.data_ptr(), whole.numel() * whole.element_size()
    if sys.modules.get("numpy") is None:
        return string_at(address, size)
    # tensor.numpy() would hold the storage for ever: then resize_() fails in the user's code.
    elements = (c_ubyte * size).from_address(address)
    elements.tensor = whole  # whose memory it is
    return numpy().frombuffer(elements, "u1")


def array_elements(array: Any) -> Iterator[Any]:
    r"""Yield the elements of an array in C order, field by field; large contiguous ones in place.

    Padding is left out: the bytes between the fields of a structure, and those beside the ten bytes
    of an extended float.

    Args:
        array: An array that holds no Python objects.

    Yields:
        Bytes, or a one-dimensional buffer of bytes.

    Example:
        >>> import numpy as np
        >>> pair = np.zeros(2, np.dtype([("a", "u1"), ("b", "<u2")], align=True))
        >>> list(array_elements(pair))
        [b'\x00\x00', b'\x00\x00\x00\x00']
    """
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            yield from array_elements(array[name])
    elif _is_extended(dtype):
        floats = _in_bytes(array).reshape(-1, numpy().dtype("g").itemsize)
        yield _buffer(floats[:, :10] if dtype.isnative else floats[:, -10:])
    else:
        yield _buffer(array)


def array_bytes(array: Any) -> bytes:
    """Return the elements of an array in C order, with zeros for the padding in between.

    Args:
        array: An array, or a scalar of numpy, that holds no Python objects.

    Returns:
        As many bytes as the array has, in their own memory.
    """
    data: bytes = _cleaned(array).tobytes()
    return data


def array_buffer(array: Any) -> Any:
    """Return what `array_bytes` does as a contiguous buffer: the array itself where it is one."""
    if array.flags.c_contiguous and array.dtype.char in NUMERIC:
        return array
    return _in_bytes(_cleaned(array)) if array.nbytes else b""


def _cleaned(array: Any) -> Any:
    """Return an array with zeros for the padding in between: a copy, if it can have any."""
    if array.dtype.names is None and not _is_extended(array.dtype):
        return array
    clean = numpy().zeros(array.shape, array.dtype)
    clean[...] = array  # field by field
    _clear(clean)
    return clean


def _buffer(array: Any) -> Any:
    """Return the bytes of an array in C order; a large contiguous array is not copied."""
    return array.tobytes() if array.nbytes <= _SMALL_BYTES else _in_bytes(array)


def _in_bytes(array: Any) -> Any:
    return numpy().ascontiguousarray(array).reshape(-1).view("u1")


def _is_extended(dtype: Any) -> bool:
    """Return whether elements are x87 floats, each ten bytes in a place of 12 or 16 bytes."""
    return dtype.char in "gG" and numpy().finfo("g").nmant == 63


def _clear(array: Any) -> None:
    """Set to zero, in place, the bytes beside the ten bytes of extended floats."""
    dtype = array.dtype
    for name in dtype.names or ():
        _clear(array[name])
    if _is_extended(dtype):
        size = numpy().dtype("g").itemsize
        offsets = [*range(10 if dtype.isnative else 0, dtype.itemsize, size)]
        names, formats = [*map(str, offsets)], [f"V{size - 10}"] * len(offsets)
        form = {"names": names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize}
        padding = array.view(numpy().dtype(form))
        for name in names:
            padding[name] = b""
