"""Floats in fewer bits: as float16, as bfloat16, or as int8 with a scale for each row.

A row is what stands along the last axis. Each is rounded by itself, so that an item does not depend
on its neighbours in a batch. An item of which a row would lose more than its form promises is not
narrowed at all: one that is not finite, or whose largest magnitude is too large or too small.

| form | bytes of a float | an element differs by at most, of the largest magnitude of its row |
| --- | --- | --- |
| `float16` | 2 | 2^-11, if that magnitude is from 2^-14 to 65504 |
| `bfloat16` | 2 | 2^-8, from 2^-126 to 3.38e38 |
| `int8` | 1, and 4 for each row | 1/250, from 1.5e-36 to 1.7e38 |

numpy converts float16 one by one, in 5 ns each. Here integer arithmetic on whole arrays does it in
a tenth of that time (to read: the "magic multiply" of F. Giesen's `half_to_float_fast`; it needs
the processor's denormal numbers, so it is left out in a thread that has switched them off).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from litcache import arrays

INT8 = "int8"
FLOATS = "efd"
"""The characters of the dtypes of numpy that are narrowed: float16, float32 and float64."""
SCALE_BYTES = 4
STEPS = 127
"""The largest int8; -128 is not used, so that a row and its negative are rounded alike."""

_SIGN_AND_SIZE = -0x70002000
_HALF = 0x3F000000
_BIAS = 112  # between the exponents of float32 and float16


class Limits(NamedTuple):
    """From which to which largest magnitude a row keeps the promise of a form."""

    least: float
    most: float


LIMITS = {
    "float16": Limits(2.0**-14, 65504.0),
    "bfloat16": Limits(2.0**-126, (2 - 2.0**-7) * 2.0**127),
    INT8: Limits(STEPS * 2.0**-126, 2.0**127),
}


def narrow_bytes(shape: Sequence[int], itemsize: int, store_as: str) -> int | None:
    """Return how many bytes an item takes in a form.

    Args:
        shape: Its shape.
        itemsize: The bytes of one of its floats.
        store_as: The form.

    Returns:
        The number; `None` if it is stored in full, because it has no axis (it is one number) or
        would not become smaller.

    Example:
        >>> narrow_bytes((384,), 4, "float16"), narrow_bytes((384,), 4, "int8")
        (768, 388)
        >>> narrow_bytes((), 4, "float16") is None
        True
    """
    count = prod(shape)
    if not shape or not count:
        return None
    size = 2 * count
    if store_as == INT8:
        size = count + SCALE_BYTES * prod(shape[:-1])
    return size if size < count * itemsize else None


def narrowed(items: Any, store_as: str) -> tuple[Any, Any] | None:
    """Narrow the items of an array.

    Args:
        items: An array `(n, *shape)` of floats.
        store_as: The form.

    Returns:
        Bytes `(n, …)`, and for each item whether they keep the promise of the form. `None` if such
        items are stored in full.
    """
    shape = items.shape[1:]
    if items.dtype.char not in FLOATS or narrow_bytes(shape, items.itemsize, store_as) is None:
        return None
    numpy = arrays.numpy()
    with numpy.errstate(all="ignore"):  # a user may have them raised
        values = items.astype("d" if items.dtype.char == "d" else "f")
        largest = numpy.abs(values).max(-1).astype("d")
        limits = LIMITS[store_as]
        kept = (largest >= limits.least) & (largest <= limits.most) | (largest == 0)
        if store_as == INT8:
            data = _int8_bytes(values, largest)
        else:
            data = _BITS[store_as](values.astype("f", copy=False))
        data = data.reshape(len(items), -1).view("u1")
    return data, kept.reshape(len(items), -1).all(1)


def widened(buffer: Any, count: int, shape: tuple[int, ...], dtype: Any, store_as: str) -> Any:
    """Return the items of narrow bytes.

    Args:
        buffer: The bytes of all items, one after another.
        count: How many.
        shape: The shape of each.
        dtype: The dtype that they had.
        store_as: The form.

    Returns:
        A writable array `(count, *shape)`, made by one conversion.
    """
    if store_as != INT8:
        return _FLOATS[store_as](buffer).astype(dtype, copy=False).reshape(count, *shape)
    numpy = arrays.numpy()
    rows = prod(shape[:-1])
    data = numpy.frombuffer(buffer, "u1").reshape(count, -1)
    steps = data[:, SCALE_BYTES * rows :].view("i1").reshape(count, *shape)
    scales = data[:, : SCALE_BYTES * rows].view("<f4").reshape(count, *shape[:-1], 1)
    values = steps.astype("d" if dtype.char == "d" else "f")
    values *= scales
    with numpy.errstate(all="ignore"):  # where the dtype is float16
        return values.astype(dtype, copy=False)


def _int8_bytes(values: Any, largest: Any) -> Any:
    numpy = arrays.numpy()
    count = len(values)
    scales = (largest / STEPS).astype("<f4")
    divisors = numpy.where(scales == 0, 1, scales).astype("f")
    steps = numpy.rint(values / divisors[..., None]).astype("i1")
    parts = scales.reshape(count, -1).view("u1"), steps.reshape(count, -1).view("u1")
    return numpy.concatenate(parts, 1)


def _keeps_denormals() -> bool:
    """Return whether this thread computes with denormal numbers, as IEEE 754 has them."""
    denormal, one = _probe()
    return bool(denormal * one)


@lru_cache(1)
def _probe() -> tuple[Any, Any]:
    single = arrays.numpy().float32
    return single(2.0**-140), single(1)


def _float16_bits(values: Any) -> Any:
    """Return float32 as float16, rounded to the nearest; all are within its range."""
    numpy = arrays.numpy()
    signs = values.view("u4") >> 16
    signs &= 0x8000
    sizes = numpy.abs(values)
    bits = _rounded(sizes.view("u4"), 13)
    bits -= _BIAS << 10
    # Below 2^-14 float16 counts in steps of 2^-24, which are those of float32 at a half.
    steps = (sizes + numpy.float32(0.5)).view("u4")
    steps -= _HALF
    numpy.copyto(bits, steps, where=sizes < 2.0**-14)
    bits |= signs
    return bits.astype("<u2")


def _bfloat16_bits(values: Any) -> Any:
    return _rounded(values.view("u4"), 16).astype("<u2")


def _rounded(bits: Any, count: int) -> Any:
    """Return integers without their last bits, rounded to the nearest, half to even."""
    last = bits >> count
    last &= 1
    last += (1 << count - 1) - 1
    last += bits
    last >>= count
    return last


def _float16_values(buffer: Any) -> Any:
    numpy = arrays.numpy()
    if not _keeps_denormals():
        return numpy.frombuffer(buffer, "<f2").astype("f")
    bits = numpy.frombuffer(buffer, "<i2").astype("i4")
    numpy.left_shift(bits, 13, out=bits)
    numpy.bitwise_and(bits, _SIGN_AND_SIZE, out=bits)  # of the copies of the sign the first is left
    values = bits.view("f")
    return numpy.multiply(values, numpy.float32(2.0**_BIAS), out=values)


def _bfloat16_values(buffer: Any) -> Any:
    numpy = arrays.numpy()
    bits = numpy.frombuffer(buffer, "<u2").astype("u4")
    return numpy.left_shift(bits, 16, out=bits).view("f")


_BITS = {"float16": _float16_bits, "bfloat16": _bfloat16_bits}
_FLOATS = {"float16": _float16_values, "bfloat16": _bfloat16_values}
