"""How far apart floats are: numbers of Python one by one, arrays and tensors in large pieces."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from litcache import arrays
from litcache.trial.answers.places import EVERY, Tails

# So many elements are compared at once: what that takes beside them is bounded.
_PIECE = 1 << 20

# Unix times of the years 2001 to 2286, in seconds and in milliseconds. A clock in an answer moves
# by less than any tolerance of its size. A model's floats of this size are single precision, whose
# neighbours are 64 apart; so a number between them is a clock, and compared to the millisecond.
_CLOCKS = ((1e9, 1e10), (1e12, 1e13))
_CLOCK_TOLERANCE = 1e-12

# What is left of a zero is a few units in the last place of a number below one, by precision.
_UNITS = (2.0**-24, 2.0**-53)
_MOST_UNITS = 16


class Distance(NamedTuple):
    """How far two rows of numbers are apart.

    Attributes:
        worst: The largest difference of two numbers; infinite if one of them is not finite.
        at: Where it is.
        magnitude: The largest finite number, clocks left out.
    """

    worst: float
    at: int
    magnitude: float


def size(number: float | complex) -> float:
    """Return the magnitude of a number; 0 for one that is not finite, and for a clock."""
    if number != number or _is_clock(number):
        return 0.0
    found = _absolute(number)
    return found if math.isfinite(found) else 0.0


def gap(left: float | complex, right: float | complex) -> float:
    """Return how far two numbers are apart: NaN is no distance from NaN.

    Example:
        >>> gap(1.0, 1.5), gap(float("nan"), float("nan")), gap(float("inf"), 1.0)
        (0.5, 0.0, inf)
    """
    if left == right or (left != left and right != right):
        return 0.0
    found = _absolute(left - right)
    if found != found:
        return math.inf
    if _is_clock(left) or _is_clock(right):
        return 0.0 if found <= _CLOCK_TOLERANCE * max(abs(left), abs(right)) else math.inf
    return found


def are_rests(left: float | complex, right: float | complex) -> bool:
    """Return whether both numbers are what rounding leaves of a zero.

    `1 - cosine` of equal texts is 0 or a few times 2**-24 in float32, as the batch has it.

    Example:
        >>> are_rests(0.0, 2.0**-24), are_rests(0.0, 1e-9), are_rests(0.0, 0.25)
        (True, False, False)
    """
    return _is_rest(left) and _is_rest(right)


def _is_rest(number: float | complex) -> bool:
    # A float of more than 64 bits is another class, even as an item.
    if not isinstance(number, float) or abs(number) > _MOST_UNITS * _UNITS[0]:
        return False
    counts = [number / unit for unit in _UNITS]
    return any(abs(count) <= _MOST_UNITS and count.is_integer() for count in counts)


def of_rows(left: Sequence[float | complex], right: Sequence[float | complex]) -> Distance:
    """Return how far two rows of Python's numbers are apart."""
    if left == right:
        largest = max(map(_absolute, left), default=0.0)
        if largest < _CLOCKS[0][0]:  # neither infinity nor NaN nor a clock
            return Distance(0.0, 0, largest)
    if sys.modules.get("numpy") is not None:
        numpy = arrays.numpy()
        return of_arrays(numpy.array(left), numpy.array(right))
    worst, at, magnitude = 0.0, 0, 0.0
    for position, (one, other) in enumerate(zip(left, right, strict=True)):
        found = gap(one, other)
        if found > worst:
            worst, at = found, position
        magnitude = max(magnitude, size(one), size(other))
    return Distance(worst, at, magnitude)


def of_arrays(left: Any, right: Any) -> Distance:
    """Return how far two arrays, or two tensors, of one dtype and shape are apart.

    Integers and booleans that differ are infinitely far apart.
    """
    library = arrays.torch() if arrays.is_tensor(left) else arrays.numpy()
    compare = _floats if is_inexact(left) else _others
    left, right = left.reshape(-1), right.reshape(-1)
    worst, at, magnitude = 0.0, 0, 0.0
    for start in range(0, left.shape[0], _PIECE):
        piece = slice(start, start + _PIECE)
        found = compare(library, left[piece], right[piece])
        if found.worst > worst:
            worst, at = found.worst, start + found.at
        magnitude = max(magnitude, found.magnitude)
    return Distance(worst, at, magnitude)


def is_inexact(data: Any) -> bool:
    """Return whether the elements of an array or tensor are floats or complex numbers."""
    if arrays.is_tensor(data):
        return bool(data.dtype.is_floating_point or data.dtype.is_complex)
    return data.dtype.kind in "fc"


def without(data: Any, left_out: Tails) -> Any:
    """Return the elements of an array, with zeros in the place of those that are left out."""
    data = data.clone() if arrays.is_tensor(data) else data.copy()
    for tail in left_out:
        index = [slice(None) if step == EVERY else _number(step) for step in tail]
        if None not in index and len(index) <= len(data.shape):
            inside = all(
                not isinstance(step, int) or step < size
                for step, size in zip(index, data.shape, strict=False)
            )
            if inside:
                data[tuple(index)] = 0
    return data


def _number(step: str) -> int | None:
    text = step[1:-1]
    return int(text) if text.isdigit() else None


def _others(library: Any, left: Any, right: Any) -> Distance:
    differ = left != right
    if not bool(differ.any()):
        return Distance(0.0, 0, 0.0)
    return Distance(math.inf, int(library.argmax(differ * 1)), 0.0)


def _floats(library: Any, left: Any, right: Any) -> Distance:
    if arrays.is_tensor(left):
        return _distance(library, left, right)
    with library.errstate(all="ignore"):
        return _distance(library, left, right)


def _distance(library: Any, left: Any, right: Any) -> Distance:
    one, other = _wide(library, left), _wide(library, right)
    alike = (one == other) | ((one != one) & (other != other))
    apart = library.abs(one - other)
    apart[apart != apart] = math.inf
    sizes = library.maximum(_finite(library, one), _finite(library, other))
    if left.dtype == library.float64:
        clocks = _are_clocks(library, one) | _are_clocks(library, other)
        near = apart <= _CLOCK_TOLERANCE * library.maximum(library.abs(one), library.abs(other))
        apart[clocks & ~near] = math.inf
        apart[clocks & near] = 0.0
        sizes[clocks] = 0.0
    apart[alike] = 0.0
    at = int(library.argmax(apart))
    return Distance(float(apart[at]), at, float(sizes.max()))


def _wide(library: Any, data: Any) -> Any:
    if arrays.is_tensor(data):
        return data.to(library.complex128 if data.dtype.is_complex else library.float64)
    return data.astype("c16" if data.dtype.kind == "c" else "f8")


def _finite(library: Any, data: Any) -> Any:
    found = library.abs(data)
    found[~library.isfinite(found)] = 0.0
    return found


def _are_clocks(library: Any, data: Any) -> Any:
    single = data.to(library.float32) if arrays.is_tensor(data) else data.astype("f4")
    found = single != data
    ranges = [(least <= data) & (data < most) for least, most in _CLOCKS]
    return found & (ranges[0] | ranges[1])


def _is_clock(number: float | complex) -> bool:
    if isinstance(number, complex) or not any(a <= number < b for a, b in _CLOCKS):
        return False
    single: float = struct.unpack("f", struct.pack("f", number))[0]
    return single != number


def _absolute(number: float | complex) -> float:
    try:
        return abs(number)
    except OverflowError:  # of a complex number
        return math.inf
