"""Layouts of arrays and tensors: short bytes that say how to read a payload of raw elements.

The first byte of every layout is its kind:

| kind | payload | module |
| --- | --- | --- |
| `a`, `t` | an array, a tensor: the elements in C order | here |
| `A`, `T` | one row of an array, of a tensor, that held the rows of a batch | here |
| `v` | any other value, as msgpack | `codec` |
| `c` | another entry, and the changes of the context | `codec` |
| `l`, `u` | one row of a list, of a tuple; the layout of the row follows | `rows` |
| `x`, `y` | one row of a tuple, of a dict, of columns; their layouts follow | `rows` |

Layouts made in this process are interned: equal layouts are one object, so comparing them costs
nothing. (After thousands of other layouts a layout is forgotten, and a new object replaces it.)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from litcache import arrays
from litcache.arrays import array_bytes, is_array, tensor_elements, tensor_fault
from litcache.errors import ValueEncodingError
from litcache.values.dtypes import dtype_form, read_dtype, torch_dtypes
from litcache.values.packing import MALFORMED, packed, unpacked

Payload = bytes | memoryview

_LAYOUTS = 4096
_DIMENSIONS = 64


def tensor_bytes(tensor: Any) -> bytes:
    """Return the elements of a tensor in C order, in their own memory.

    Raises:
        TypeError: If it is no dense tensor.
    """
    fault = tensor_fault(tensor)
    if fault is not None:
        raise TypeError(fault)
    return bytes(tensor_elements(tensor))


def encode_elements(value: Any, *, rows: bool = False) -> tuple[bytes, bytes]:
    """Make the layout and the payload of an array or tensor.

    Args:
        value: Exactly a `numpy.ndarray` or `torch.Tensor`, of any shape `(*shape)`.
        rows: Whether the layout is that of one of its rows, of shape `(*shape[1:])`.

    Returns:
        The layout, and the elements in C order.

    Raises:
        ValueEncodingError: If arrays of its dtype, or tensors of its kind, are not stored.
    """
    try:
        if is_array(value):
            shape = value.shape[1:] if rows else value.shape
            layout = array_layout(b"A" if rows else b"a", value.dtype, shape)
            return layout, array_bytes(value)
        data = tensor_bytes(value)
        shape = value.shape[1:] if rows else value.shape
        return tensor_layout(b"T" if rows else b"t", value.dtype, shape, value.device.type), data
    except (TypeError, RuntimeError) as error:  # RuntimeError: torch lacks memory, or a kernel
        raise ValueEncodingError(str(error), "$", type(value)) from error


def placement(made_on: str, device: object) -> Any:
    """Return the device for a stored tensor when it is read.

    Args:
        made_on: The type of the device that it was stored from, such as `"cuda"`.
        device: LitServe's `api.device`: a string, a `torch.device`, a list of them, or `None`.

    Returns:
        The `torch.device` of `device`, if it is of the type `made_on`; `None` for the CPU.

    Example:
        >>> placement("cpu", "cuda:1") is None
        True
    """
    wanted = device[0] if isinstance(device, (list, tuple)) and device else device
    if made_on == "cpu" or not wanted:
        return None
    torch = arrays.torch()
    try:
        target = torch.device(wanted)
    except (RuntimeError, TypeError):  # LitServe knows this device, but torch does not
        return None
    return target if target.type == made_on else None


@lru_cache(_LAYOUTS)
def interned(layout: bytes) -> bytes:
    """Return the one object that stands for all layouts equal to this one."""
    return layout


def array_layout(kind: bytes, dtype: Any, shape: tuple[int, ...]) -> bytes:
    """Return the layout, interned, of arrays of a `numpy.dtype` and shape.

    Args:
        kind: `b"a"`, or `b"A"` for rows.
        dtype: The dtype of the array.
        shape: The shape of the array, or of one row.

    Returns:
        The layout.

    Raises:
        TypeError: If arrays of this dtype are not stored.
    """
    if dtype.names is None:
        # Equal dtypes may differ in the type of their scalars: that of their characters, too.
        return _elementary_layout(kind, dtype, dtype.char, shape)
    return interned(kind + packed([dtype_form(dtype), list(shape)]))


@lru_cache(_LAYOUTS)
def _elementary_layout(kind: bytes, dtype: Any, char: str, shape: tuple[int, ...]) -> bytes:
    return interned(kind + packed([dtype_form(dtype), list(shape)]))


@lru_cache(_LAYOUTS)
def tensor_layout(kind: bytes, dtype: Any, shape: tuple[int, ...], made_on: str) -> bytes:
    """Return the layout, interned, of tensors of a `torch.dtype` and shape.

    Args:
        kind: `b"t"`, or `b"T"` for rows.
        dtype: The dtype of the tensor.
        shape: The shape of the tensor, or of one row.
        made_on: The type of its device, such as `"cuda"`.

    Returns:
        The layout.
    """
    return interned(kind + packed([str(dtype).removeprefix("torch."), list(shape), made_on]))


@dataclass(frozen=True, eq=False, slots=True)
class ArrayLayout:
    """How payloads of one dtype and shape become arrays."""

    numpy: Any
    dtype: Any
    shape: tuple[int, ...]
    nbytes: int
    is_text: bool

    def join(self, payloads: Sequence[Payload], device: object = None) -> Any:
        """Return one writable array of shape `(len(payloads), *shape)`, made by one copy."""
        return self._array((len(payloads), *self.shape), payloads)

    def read(self, payloads: Sequence[Payload], device: object = None) -> list[object]:
        """Return one array for each payload, rows of one that is joined."""
        if len(payloads) == 1:
            # A copy owns its memory, so resize() works.
            return [self._array(self.shape, payloads).copy()]
        joined = self.join(payloads)
        if self.shape:
            return list(joined)
        return [joined[index, ...] for index in range(len(payloads))]

    def _array(self, shape: tuple[int, ...], payloads: Sequence[Payload]) -> Any:
        buffer = bytearray().join(payloads)
        if len(buffer) != self.nbytes * len(payloads):
            raise ValueEncodingError("the payload has another size than its layout")
        if self.is_text and buffer:
            characters = self.numpy.ndarray(len(buffer) // 4, self.dtype.str[0] + "u4", buffer)
            if characters.max() > sys.maxunicode:  # numpy would fail as late as an element is read
                raise ValueEncodingError("the payload is no text")
        return self.numpy.ndarray(shape, self.dtype, buffer)


@dataclass(frozen=True, eq=False, slots=True)
class TensorLayout:
    """How payloads of one dtype and shape become tensors."""

    torch: Any
    dtype: Any
    shape: tuple[int, ...]
    nbytes: int
    made_on: str

    def join(self, payloads: Sequence[Payload], device: object = None) -> Any:
        """Return one tensor of shape `(len(payloads), *shape)`; at most one copy to the device."""
        buffer = bytearray().join(payloads)
        if len(buffer) != self.nbytes * len(payloads):
            raise ValueEncodingError("the payload has another size than its layout")
        shape = (len(payloads), *self.shape)
        target = placement(self.made_on, device)
        if not buffer:
            return self.torch.empty(shape, dtype=self.dtype, device=target or "cpu")
        data = self.torch.frombuffer(buffer, dtype=self.torch.uint8)
        # A tensor over our own buffer could not be resized.
        data = data.clone() if target is None else data.to(target)
        return data.view(self.dtype).view(shape)

    def read(self, payloads: Sequence[Payload], device: object = None) -> list[object]:
        """Return a tensor for each payload: a separate one on the CPU, else rows of one copied."""
        if placement(self.made_on, device) is None:  # rows are pickled with all of their storage
            return [self.join([payload])[0] for payload in payloads]
        return list(self.join(payloads, device).unbind(0))


@lru_cache(_LAYOUTS)
def parse(layout: bytes) -> ArrayLayout | TensorLayout:
    """Return how payloads are read.

    Args:
        layout: A layout of kind `a`, `A`, `t` or `T`.

    Returns:
        What makes arrays or tensors of payloads.

    Raises:
        ValueEncodingError: If the layout is malformed.

    Example:
        >>> import numpy as np
        >>> parse(array_layout(b"a", np.dtype("float32"), (2, 3))).shape
        (2, 3)
    """
    try:
        form, sizes, *made_on = unpacked(layout[1:])
        shape = tuple(sizes)
        if len(shape) > _DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("no shape")
        if layout[:1] in (b"a", b"A") and not made_on:
            dtype = read_dtype(form)
            nbytes = prod(shape) * dtype.itemsize
            return ArrayLayout(arrays.numpy(), dtype, shape, nbytes, dtype.kind == "U")
        dtype, (device,) = torch_dtypes()[form], made_on
        if layout[:1] in (b"t", b"T") and type(device) is str:
            nbytes = prod(shape) * dtype.itemsize
            return TensorLayout(arrays.torch(), dtype, shape, nbytes, device)
    except MALFORMED as error:
        raise ValueEncodingError(f"malformed layout: {error}") from error
    raise ValueEncodingError("a layout of another kind")
