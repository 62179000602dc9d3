"""The memory order of arrays and tensors: in which order their axes lie, the slowest first."""

from __future__ import annotations

from typing import Any

from litcache.arrays import is_array, numpy

Order = tuple[int, ...]


def order_of(value: Any) -> Order:
    """Return the order of the axes of an array or a dense tensor.

    Args:
        value: The array or tensor.

    Returns:
        The axes, the slowest first; empty for C order. What is not read one element after another,
        such as every second row, has the order of a copy of it.

    Example:
        >>> import numpy as np
        >>> order_of(np.zeros((2, 3, 4)).T), order_of(np.zeros((2, 3))[:, ::2])
        ((2, 1, 0), ())
    """
    if is_array(value):
        if value.flags.c_contiguous:
            return ()
        strides = value.strides
    else:
        if value.is_contiguous():
            return ()
        strides = value.stride()
    axes = [axis for axis, size in enumerate(value.shape) if size != 1]
    if not all(strides[axis] for axis in axes):  # the same elements stand at several places
        return ()
    ordered = sorted(axes, key=lambda axis: -abs(strides[axis]))
    if ordered == axes:
        return ()
    return (*(axis for axis, size in enumerate(value.shape) if size == 1), *ordered)


def in_order(value: Any, order: Order) -> Any:
    """Return an array or tensor with its axes in a memory order.

    Args:
        value: The array or tensor.
        order: What `order_of` returned; an empty one leaves the value as it is.

    Returns:
        A copy, in its own memory.

    Example:
        >>> import numpy as np
        >>> in_order(np.zeros((2, 3)), (1, 0)).flags.f_contiguous
        True
    """
    if not order:
        return value
    shape = [value.shape[axis] for axis in order]
    places = sorted(range(len(order)), key=order.__getitem__)
    if is_array(value):
        like = numpy().empty(shape, value.dtype).transpose(places)
        copy = numpy().empty_like(like, order="K")  # a transposed one could not be resized
    else:
        copy = value.new_empty(shape).permute(places)
    copy[...] = value
    return copy
