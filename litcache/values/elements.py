"""Arrays and tensors to layouts and payloads: all their elements, or their floats narrowed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from litcache.arrays import (
    NUMERIC,
    array_buffer,
    array_bytes,
    has_gradient,
    is_array,
    tensor_attributes,
    tensor_elements,
    tensor_fault,
)
from litcache.errors import ValueEncodingError
from litcache.values import narrow, narrow_tensors
from litcache.values.devices import to_cpu
from litcache.values.layouts import Encoded, array_layout, tensor_layout
from litcache.values.order import Order, order_of


def stored_fault(tensor: Any) -> str | None:
    """Return why a tensor is not stored; `None` if its elements are all that a hit needs."""
    if tensor.__dict__:  # most have none
        for name in tensor_attributes(tensor):
            return (
                f"its attribute {name!r} would not come back: return value.detach(), and the "
                "attribute beside it"
            )
    if has_gradient(tensor):
        return "its grad would not come back: return value.detach(), and value.grad beside it"
    return tensor_fault(tensor)


def elements_of(tensor: Any) -> Any:
    """Return the elements of a tensor in C order: bytes, or a buffer of bytes.

    Raises:
        TypeError: If it is no dense tensor, or has more than its elements.
    """
    fault = stored_fault(tensor)
    if hasattr(type(tensor), "has_names") and tensor.has_names():  # torch before 2.13
        fault = "the names of its dimensions would not come back: return value.rename(None)"
    if fault is not None:
        raise TypeError(fault)
    return tensor_elements(to_cpu(tensor))


def tensor_bytes(tensor: Any) -> bytes:
    """Return the elements of a tensor in C order, in their own memory.

    Raises:
        TypeError: If it is no dense tensor, or has more than its elements.
    """
    return bytes(elements_of(tensor))


def cut(data: Any, count: int) -> list[bytes]:
    """Return the equal parts of a contiguous buffer; each has its own memory."""
    size = memoryview(data).nbytes // count
    if not size:
        return [b""] * count
    return [part for (part,) in struct.iter_unpack(f"{size}s", data)]


def encode_elements(value: Any, store_as: str | None = None) -> Encoded:
    """Make the layout and the payload of an array or tensor.

    Args:
        value: Exactly a `numpy.ndarray` or `torch.Tensor`, of any shape `(*shape)`.
        store_as: The form in which its floats are stored, as one item; `None`: in full.

    Returns:
        The layout, and the elements in C order.

    Raises:
        ValueEncodingError: If arrays of its dtype, or tensors of its kind, are not stored.
    """
    if store_as is not None and (is_array(value) or stored_fault(value) is None):
        narrowed = encode_narrow(value[None], store_as)
        if narrowed is not None:
            return narrowed[0]
    try:
        if is_array(value):
            layout = array_layout(b"a", value.dtype, value.shape, order=order_of(value))
            return layout, array_bytes(value)
        data = tensor_bytes(value)
        form = value.dtype, value.shape, value.device.type
        return tensor_layout(b"t", *form, order=order_of(value)), data
    except (TypeError, RuntimeError) as error:  # RuntimeError: torch lacks memory, or a kernel
        raise ValueEncodingError(str(error), "$", type(value)) from error


def encode_alike(values: Sequence[Any]) -> list[Encoded] | None:
    """Make the layouts and payloads of arrays of numbers that differ in nothing but these.

    Args:
        values: Any values.

    Returns:
        What `encode_elements` makes of each; `None` if some are no arrays of numbers in C order, or
        are of different dtypes or shapes.
    """
    kinds = set(map(type, values))
    if len(kinds) != 1 or not is_array(values[0]):
        return None
    dtype, shape = values[0].dtype, values[0].shape
    if dtype.char not in NUMERIC or dtype.metadata is not None:
        return None
    for value in values:
        # One object stands for most dtypes; where it does not, the longer way is as right.
        if value.dtype is not dtype or value.shape != shape or not value.flags.c_contiguous:
            return None
    layout = array_layout(b"a", dtype, shape)
    return [(layout, value.tobytes()) for value in values]


def encode_each(rows: Any) -> list[Encoded]:
    """Make the layout and the payload of each row of an array or tensor, in full.

    Args:
        rows: Exactly a `numpy.ndarray` or `torch.Tensor`, of a shape `(n, *shape)`; `n` is not 0.

    Returns:
        For each row its layout, which is that of rows, and its elements in C order.

    Raises:
        ValueEncodingError: If arrays of its dtype, or tensors of its kind, are not stored.
    """
    try:
        if is_array(rows):
            order = _order_of_rows(rows) if rows.ndim > 2 else ()
            layout = array_layout(b"A", rows.dtype, rows.shape[1:], order=order)
            data = array_buffer(rows)
        else:
            data = elements_of(rows)
            form = rows.dtype, rows.shape[1:], rows.device.type
            layout = tensor_layout(b"T", *form, order=_order_of_rows(rows))
    except (TypeError, RuntimeError) as error:  # as above
        raise ValueEncodingError(str(error), "$", type(rows)) from error
    return list(zip(repeat(layout), cut(data, len(rows))))


def _order_of_rows(value: Any) -> Order:
    """Return the memory order of the rows of a value."""
    return order_of(value[0]) if value.ndim > 2 and len(value) else ()


def encode_narrow(
    items: Any, store_as: str, *, rows: bool = False, order: Order | None = None
) -> list[Encoded] | None:
    """Make layouts and payloads of items whose floats are stored in fewer bits.

    Args:
        items: An array or dense tensor `(n, *shape)`, of `n` items or rows.
        store_as: The form of the floats. An item that would not keep its promise is stored in full.
        rows: Whether the layouts are those of rows.
        order: The memory order of each; `None`: that of the first.

    Returns:
        The layout and the payload of each; `None` if such items are all stored in full.

    Raises:
        ValueEncodingError: If torch lacks memory, or a kernel.
    """
    shape = tuple(items.shape[1:])
    try:
        if is_array(items):
            found = narrow.narrowed(items, store_as)
            if found is None:
                return None
            kind = b"A" if rows else b"a"
            if order is None:
                order = _order_of_rows(items)
            layouts = [
                array_layout(kind, items.dtype, shape, form, order) for form in (store_as, "")
            ]
            data, kept, tail = found[0].tobytes(), found[1].tolist(), 0
        else:
            flat = narrow_tensors.narrowed(items, store_as)
            if flat is None:
                return None
            kind, made_on = b"T" if rows else b"t", items.device.type
            if order is None:
                order = _order_of_rows(items)
            layouts = [
                tensor_layout(kind, items.dtype, shape, made_on, form, order)
                for form in (store_as, "")
            ]
            data, tail = tensor_bytes(flat), 1
            kept = data[flat.shape[1] - 1 :: flat.shape[1]]
    except (TypeError, RuntimeError) as error:
        raise ValueEncodingError(str(error), "$", type(items)) from error
    step = len(data) // len(items)
    starts = range(0, len(data), step)
    return [
        (layouts[0], data[at : at + step - tail])
        if good
        else (layouts[1], encode_elements(items[number : number + 1])[1])
        for number, (at, good) in enumerate(zip(starts, kept, strict=True))
    ]
