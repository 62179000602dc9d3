"""Comparing outputs, exactly or within a tolerance."""

from __future__ import annotations

import math
import sys
from typing import Any


def difference(left: Any, right: Any, *, rtol: float = 0.0, atol: float = 0.0) -> str:
    """Return how two outputs differ.

    Args:
        left: An output of any nesting of builtins, arrays and tensors.
        right: Another output.
        rtol: The allowed difference of two numbers, as a share of the one in `left`.
        atol: The allowed difference of two numbers, in addition.

    Returns:
        What differs and where; an empty text if nothing does.

    Example:
        >>> difference({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]})
        "2.0 != 2.5 at ['a'][1]"
    """
    return _difference(left, right, rtol, atol, "")


def _difference(left: Any, right: Any, rtol: float, atol: float, path: str) -> str:
    where = f" at {path}" if path else ""
    if type(left) is not type(right):
        return f"{type(left).__name__} is not {type(right).__name__}{where}"
    if hasattr(left, "dtype") and hasattr(left, "shape"):
        return _array_difference(left, right, rtol, atol, where)
    if isinstance(left, dict):
        if list(left) != list(right):
            return f"keys {list(left)} != {list(right)}{where}"
        pairs = [(left[key], right[key], f"{path}[{key!r}]") for key in left]
    elif isinstance(left, list | tuple):
        if len(left) != len(right):
            return f"length {len(left)} != {len(right)}{where}"
        pairs = [(*pair, f"{path}[{i}]") for i, pair in enumerate(zip(left, right, strict=True))]
    elif isinstance(left, float):
        close = left == right or abs(left - right) <= atol + rtol * abs(left)
        close = close or (math.isnan(left) and math.isnan(right))
        return "" if close else f"{left!r} != {right!r}{where}"
    else:
        return "" if left == right else f"{left!r:.80} != {right!r:.80}{where}"
    for one, other, deeper in pairs:
        found = _difference(one, other, rtol, atol, deeper)
        if found:
            return found
    return ""


def _array_difference(left: Any, right: Any, rtol: float, atol: float, where: str) -> str:
    """Return how two arrays or tensors differ."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return f"{left.dtype} {tuple(left.shape)} != {right.dtype} {tuple(right.shape)}{where}"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(left, torch.Tensor):
        if torch.allclose(left, right, rtol=rtol, atol=atol, equal_nan=True):
            return ""
        distance = float((left.double() - right.double()).abs().max())
    else:
        numpy = sys.modules["numpy"]
        if left.dtype.kind not in "fciub":
            return "" if bool((left == right).all()) else f"elements differ{where}"
        if numpy.allclose(left, right, rtol=rtol, atol=atol, equal_nan=True):
            return ""
        distance = float(abs(left.astype("c16") - right.astype("c16")).max())
    return f"elements differ by up to {distance:.3g}{where}"
