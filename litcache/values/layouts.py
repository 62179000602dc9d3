"""Layouts of arrays and tensors: short bytes that say how to read a payload of raw elements.

The first byte of every layout is its kind:

| kind | payload | module |
| --- | --- | --- |
| `a`, `t` | an array, a tensor: the elements in C order, whatever the memory order | here |
| `A`, `T` | one row of an array, of a tensor, that held the rows of a batch | here |
| `v` | any other value, as msgpack | `codec` |
| `c` | another entry, and the changes of the context | `codec` |
| `l`, `u` | one row of a list, of a tuple; the layout of the row follows | `rows` |
| `x`, `y` | one row of a tuple, of a dict, of columns; their layouts follow | `rows` |

Where floats are stored in fewer bits, a number stands in the place of the dtype, for the dtype and
the form in which they are stored: every entry is accounted with its layout, so it is short.

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
from litcache.errors import ValueEncodingError
from litcache.values import narrow, narrow_tensors
from litcache.values.devices import placement, to_device
from litcache.values.dtypes import dtype_form, read_dtype, torch_dtypes
from litcache.values.order import Order, in_order
from litcache.values.packing import MALFORMED, packed, unpacked

Payload = bytes | memoryview
Encoded = tuple[bytes, bytes]
"""A layout, interned, and a payload in its own memory."""

# Their order stands in stored bytes: a change raises stores.base.FORMAT.
_FORMS = ("float16", "bfloat16", "int8")
_ARRAYS = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")
_TENSORS = ("float16", "bfloat16", "float32", "float64")
_LAYOUTS = 4096
_DIMENSIONS = 64


@lru_cache(_LAYOUTS)
def interned(layout: bytes) -> bytes:
    """Return the one object that stands for all layouts equal to this one."""
    return layout


def array_layout(
    kind: bytes, dtype: Any, shape: tuple[int, ...], store_as: str = "", order: Order = ()
) -> bytes:
    """Return the layout, interned, of arrays of a `numpy.dtype` and shape.

    Args:
        kind: `b"a"`, or `b"A"` for rows.
        dtype: The dtype of the array.
        shape: The shape of the array, or of one row.
        store_as: The form in which its floats are stored; empty: in full.
        order: The memory order of the array, or of one row; empty: C order.

    Returns:
        The layout.

    Raises:
        TypeError: If arrays of this dtype are not stored.
    """
    if dtype.names is None and dtype.metadata is None:
        # Equal dtypes may differ in their characters, in the type of their scalars, in metadata.
        return _elementary_layout(kind, dtype, dtype.char, dtype.type, shape, store_as, order)
    return interned(kind + packed([dtype_form(dtype), list(shape), *_stated(order)]))


@lru_cache(_LAYOUTS)
def _elementary_layout(
    kind: bytes,
    dtype: Any,
    char: str,
    scalar: type,
    shape: tuple[int, ...],
    store_as: str,
    order: Order,
) -> bytes:
    code = _code(dtype_form(dtype), store_as, _ARRAYS)
    return interned(kind + packed([code, list(shape), *_stated(order)]))


@lru_cache(_LAYOUTS)
def tensor_layout(
    kind: bytes,
    dtype: Any,
    shape: tuple[int, ...],
    made_on: str,
    store_as: str = "",
    order: Order = (),
) -> bytes:
    """Return the layout, interned, of tensors of a `torch.dtype` and shape.

    Args:
        kind: `b"t"`, or `b"T"` for rows.
        dtype: The dtype of the tensor.
        shape: The shape of the tensor, or of one row.
        made_on: The type of its device, such as `"cuda"`.
        store_as: The form in which its floats are stored; empty: in full.
        order: The memory order of the tensor, or of one row; empty: C order.

    Returns:
        The layout.
    """
    name = str(dtype).removeprefix("torch.")
    code = _code(name, store_as, _TENSORS)
    return interned(kind + packed([code, list(shape), made_on, *_stated(order)]))


@dataclass(frozen=True, eq=False, slots=True)
class ArrayLayout:
    """How payloads of one dtype and shape become arrays."""

    numpy: Any
    dtype: Any
    shape: tuple[int, ...]
    nbytes: int
    is_text: bool
    store_as: str
    order: Order = ()

    @property
    def form(self) -> object:
        """What is equal of arrays that fit into one, however their floats are stored."""
        return "array", self.dtype, self.shape

    def empty(self, count: int, like: Any) -> Any:
        """Return an array for `count` of them, beside one that was joined."""
        return self.numpy.empty((count, *self.shape), self.dtype)

    def join(self, payloads: Sequence[Payload], device: object = None) -> Any:
        """Return one writable array of shape `(len(payloads), *shape)`, made by one copy."""
        shape = (len(payloads), *self.shape)
        joined = self._array(shape, bytearray().join(payloads), len(payloads))
        return in_order(joined, _of_rows(self.order)) if self.order else joined

    def read(self, payloads: Sequence[Payload], device: object = None) -> list[object]:
        """Return one array for each payload, rows of one that is joined."""
        if self.order:
            buffers = map(bytearray, payloads)
            return [in_order(self._array(self.shape, each, 1), self.order) for each in buffers]
        if len(payloads) == 1:
            # A copy owns its memory, so resize() works.
            return [self._array(self.shape, payloads[0], 1).copy()]
        joined = self.join(payloads)
        if self.shape:
            return list(joined)
        return [joined[index, ...] for index in range(len(payloads))]

    def _array(self, shape: tuple[int, ...], buffer: Any, count: int) -> Any:
        """Return an array of `count` payloads, over their bytes unless they are converted."""
        if len(buffer) != self.nbytes * count:
            raise ValueEncodingError("the payload has another size than its layout")
        if self.store_as:
            values = narrow.widened(buffer, count, self.shape, self.dtype, self.store_as)
            return values.reshape(shape)
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
    store_as: str
    order: Order = ()

    @property
    def form(self) -> object:
        """What is equal of tensors that fit into one, however their floats are stored."""
        return "tensor", self.dtype, self.shape, self.made_on

    def empty(self, count: int, like: Any) -> Any:
        """Return a tensor for `count` of them, on the device of one that was joined."""
        return like.new_empty((count, *self.shape))

    def join(self, payloads: Sequence[Payload], device: object = None) -> Any:
        """Return one tensor of shape `(len(payloads), *shape)`; at most one copy to the device."""
        return in_order(self._tensor(payloads, device), _of_rows(self.order))

    def _tensor(self, payloads: Sequence[Payload], device: object) -> Any:
        buffer = bytearray().join(payloads)
        if len(buffer) != self.nbytes * len(payloads):
            raise ValueEncodingError("the payload has another size than its layout")
        shape = (len(payloads), *self.shape)
        target = placement(self.made_on, device)
        if not buffer:
            return self.torch.empty(shape, dtype=self.dtype, device=target or "cpu")
        if target is not None:
            return to_device(buffer, target, lambda data: self._elements(data, shape))
        data = self.torch.frombuffer(buffer, dtype=self.torch.uint8)
        # A tensor over our own buffer could not be resized.
        return self._elements(data if self.store_as else data.clone(), shape)

    def _elements(self, data: Any, shape: tuple[int, ...]) -> Any:
        """Return the elements of bytes, on the device of the bytes."""
        if self.store_as:
            return narrow_tensors.widened(data, shape[0], self.shape, self.dtype, self.store_as)
        return data.view(self.dtype).view(shape)

    def read(self, payloads: Sequence[Payload], device: object = None) -> list[object]:
        """Return a tensor for each payload: a separate one on the CPU, else rows of one copied."""
        if self.order:
            return [in_order(row, self.order) for row in self._tensor(payloads, device).unbind(0)]
        if placement(self.made_on, device) is None:  # rows are pickled with all of their storage
            if self.store_as:
                return [row.clone() for row in self.join(payloads)]
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
        code, sizes, *rest = unpacked(layout[1:])
        shape = tuple(sizes)
        if len(shape) > _DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("no shape")
        if layout[:1] in (b"a", b"A"):
            order = _order(shape, *rest)
            form, store_as = _decoded(code, _ARRAYS)
            dtype = read_dtype(form)
            size = _size(shape, dtype, store_as)
            return ArrayLayout(
                arrays.numpy(), dtype, shape, size, dtype.kind == "U", store_as, order
            )
        form, store_as = _decoded(code, _TENSORS)
        dtype, device, order = torch_dtypes()[form], rest[0], _order(shape, *rest[1:])
        if layout[:1] in (b"t", b"T") and type(device) is str:
            size = _size(shape, dtype, store_as)
            return TensorLayout(arrays.torch(), dtype, shape, size, device, store_as, order)
    except MALFORMED as error:
        raise ValueEncodingError(f"malformed layout: {error}") from error
    raise ValueEncodingError("a layout of another kind")


def _stated(order: Order) -> list[list[int]]:
    """Return what a layout says of a memory order: nothing of C order."""
    return [list(order)] if order else []


def _order(shape: tuple[int, ...], axes: Sequence[int] = ()) -> Order:
    """Return the memory order that stands in a layout."""
    order = tuple(axes)
    if order and (sorted(order) != list(range(len(shape))) or bool in map(type, order)):
        raise ValueError("no order of axes")
    return order


def _of_rows(order: Order) -> Order:
    """Return the memory order of a container whose rows have one."""
    return (0, *(axis + 1 for axis in order)) if order else ()


def _code(dtype: object, store_as: str, floats: tuple[str, ...]) -> object:
    """Return the dtype of a layout; with a form of its floats, the number that stands for both."""
    if not store_as:
        return dtype
    return floats.index(str(dtype)) * len(_FORMS) + _FORMS.index(store_as)


def _decoded(code: Any, floats: tuple[str, ...]) -> tuple[Any, str]:
    """Return the dtype and the form that stand in a layout; no form: in full."""
    if type(code) is not int:
        return code, ""
    dtype, form = divmod(code, len(_FORMS))
    if dtype < 0:
        raise ValueError("no dtype")
    return floats[dtype], _FORMS[form]


def _size(shape: tuple[int, ...], dtype: Any, store_as: str) -> int:
    """Return how many bytes a payload has."""
    if not store_as:
        return prod(shape) * int(dtype.itemsize)
    size = narrow.narrow_bytes(shape, dtype.itemsize, store_as)
    if size is None:
        raise ValueError("no shape of floats in fewer bits")
    return size
