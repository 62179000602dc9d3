"""Arrays and tensors to layouts and payloads: all their elements, or their floats narrowed."""

from __future__ import annotations

from typing import Any

from litcache.arrays import array_bytes, is_array, tensor_elements, tensor_fault
from litcache.errors import ValueEncodingError
from litcache.values import narrow, narrow_tensors
from litcache.values.devices import to_cpu
from litcache.values.layouts import Encoded, array_layout, tensor_layout
from litcache.values.order import Order, order_of


def tensor_bytes(tensor: Any) -> bytes:
    """Return the elements of a tensor in C order, in their own memory.

    Raises:
        TypeError: If it is no dense tensor.
    """
    fault = tensor_fault(tensor)
    if fault is not None:
        raise TypeError(fault)
    return bytes(tensor_elements(to_cpu(tensor)))


def encode_elements(value: Any, store_as: str | None = None, *, rows: bool = False) -> Encoded:
    """Make the layout and the payload of an array or tensor.

    Args:
        value: Exactly a `numpy.ndarray` or `torch.Tensor`, of any shape `(*shape)`.
        store_as: The form in which its floats are stored, as one item; `None`: in full.
        rows: Whether the layout is that of one of its rows, of shape `(*shape[1:])`.

    Returns:
        The layout, and the elements in C order.

    Raises:
        ValueEncodingError: If arrays of its dtype, or tensors of its kind, are not stored.
    """
    if store_as is not None and (is_array(value) or tensor_fault(value) is None):
        narrowed = encode_narrow(value[None], store_as)
        if narrowed is not None:
            return narrowed[0]
    try:
        if is_array(value):
            shape = value.shape[1:] if rows else value.shape
            kind, order = b"A" if rows else b"a", _order(value, rows=rows)
            return array_layout(kind, value.dtype, shape, order=order), array_bytes(value)
        data = tensor_bytes(value)
        shape = value.shape[1:] if rows else value.shape
        kind, order = b"T" if rows else b"t", _order(value, rows=rows)
        return tensor_layout(kind, value.dtype, shape, value.device.type, order=order), data
    except (TypeError, RuntimeError) as error:  # RuntimeError: torch lacks memory, or a kernel
        raise ValueEncodingError(str(error), "$", type(value)) from error


def _order(value: Any, *, rows: bool) -> Order:
    """Return the memory order of a value, or of its rows."""
    if not rows:
        return order_of(value)
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
                order = _order(items, rows=True)
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
                order = _order(items, rows=True)
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
