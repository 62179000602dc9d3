"""Floats of tensors in fewer bits, as `narrow` has them of arrays: on the device of the tensor."""

from __future__ import annotations

from math import prod
from typing import Any

from litcache import arrays
from litcache.values.narrow import INT8, LIMITS, SCALE_BYTES, STEPS, narrow_bytes


def narrowed(items: Any, store_as: str) -> Any:
    """Narrow the items of a tensor.

    Args:
        items: A dense tensor `(n, *shape)`.
        store_as: The form.

    Returns:
        Bytes `(n, … + 1)` on the same device, so that one copy brings all to the CPU. The last byte
        of each item is 1 if the others keep the promise of the form. `None` if such items are
        stored in full.
    """
    torch = arrays.torch()
    shape, count = tuple(items.shape[1:]), len(items)
    if items.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return None
    if not count or narrow_bytes(shape, items.dtype.itemsize, store_as) is None:
        return None
    values = items.detach().resolve_neg()
    if items.dtype is not torch.float64:
        values = values.float()
    largest = values.abs().amax(-1)
    limits = LIMITS[store_as]
    kept = (largest >= limits.least) & (largest <= limits.most) | (largest == 0)
    parts = [kept.reshape(count, -1).all(1, keepdim=True)]
    if store_as == INT8:
        scales = (largest / STEPS).float()
        divisors = torch.where(scales == 0, 1.0, scales)
        parts = [scales, (values / divisors.unsqueeze(-1)).round().to(torch.int8), *parts]
    else:
        parts = [values.to(getattr(torch, store_as)), *parts]
    rows = [part.reshape(count, -1).contiguous().view(torch.uint8) for part in parts]
    return torch.cat(rows, 1)


def widened(data: Any, count: int, shape: tuple[int, ...], dtype: Any, store_as: str) -> Any:
    """Return the items of narrow bytes.

    Args:
        data: The bytes of all items, one after another: a tensor on the device of the result.
        count: How many.
        shape: The shape of each.
        dtype: The dtype that they had.
        store_as: The form.

    Returns:
        A tensor `(count, *shape)`, made by one conversion.
    """
    torch = arrays.torch()
    if store_as != INT8:
        return data.view(getattr(torch, store_as)).to(dtype).view(count, *shape)
    rows = prod(shape[:-1])
    data = data.view(count, -1)
    # Not `contiguous`: it leaves a single item its stride, with which it cannot be viewed.
    scales = data[:, : SCALE_BYTES * rows].clone(memory_format=torch.contiguous_format)
    scales = scales.view(torch.float32)
    steps = data[:, SCALE_BYTES * rows :].contiguous().view(torch.int8)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    values = steps.view(count, *shape).to(wide) * scales.view(count, *shape[:-1], 1).to(wide)
    return values.to(dtype)
