"""What a client's code can read of a value, as plain builtins that compare and pickle."""

from __future__ import annotations

import dataclasses
import enum
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

_PLAIN = (type(None), bool, int, str, bytes)


def describe(value: Any) -> Any:
    """Return type, elements, dtype and writability of a value, and of all that it holds."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _PLAIN:
        return name, value
    if kind is float:
        return name, "nan" if math.isnan(value) else struct.pack(">d", value)
    if isinstance(value, (np.ndarray, np.generic)):
        return name, *_array(value)
    if isinstance(value, torch.Tensor):
        return name, *_tensor(value)
    if isinstance(value, Image.Image):
        return name, value.mode, value.size, value.tobytes(), value.getpalette()
    if isinstance(value, enum.Enum):
        return name, value.name
    if isinstance(value, dict):
        return name, [(describe(key), describe(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return name, [describe(part) for part in value], _shared(value)
    if isinstance(value, (set, frozenset)):
        return name, sorted(repr(describe(part)) for part in value)
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        return name, [(key, describe(part)) for key, part in vars(value).items()]
    if kind is memoryview:
        return name, value.format, value.shape, value.readonly, value.tobytes()
    if isinstance(value, Iterator):
        return (name,)
    return name, bytes(value) if kind is bytearray else repr(value)


def _array(array: Any) -> tuple[Any, ...]:
    writable = array.flags.writeable if isinstance(array, np.ndarray) else None
    if array.dtype.names is not None:  # the padding between fields does not count
        fields = [(field, describe(array[field])) for field in array.dtype.names]
        return array.dtype.descr, array.shape, fields, writable
    return array.dtype.str, array.shape, array.tobytes(), writable


def _tensor(tensor: torch.Tensor) -> tuple[Any, ...]:
    plain = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
    elements = bytes(plain.reshape(-1).view(torch.uint8).tolist())
    return str(tensor.dtype), tuple(tensor.shape), str(tensor.device), elements


def _shared(parts: Any) -> tuple[int, ...]:
    """Return which parts of a container are one object, of those that can be changed."""
    fixed = (*_PLAIN, float, complex, tuple, frozenset, enum.Enum, np.generic)
    first: dict[int, int] = {}
    places = [
        -1 if isinstance(part, fixed) else first.setdefault(id(part), place)
        for place, part in enumerate(parts)
    ]
    return tuple(place for place, seen in enumerate(places) if seen not in (-1, place))


def difference(expected: Any, got: Any, path: str = "$") -> str:
    """Return where two descriptions differ first; an empty text if they do not."""
    if isinstance(expected, (list, tuple)) and type(expected) is type(got):
        if len(expected) != len(got):
            return f"{path}: {len(expected)} parts, got {len(got)}: {expected!r:.300} {got!r:.300}"
        for place, (one, other) in enumerate(zip(expected, got, strict=True)):
            if found := difference(one, other, f"{path}[{place}]"):
                return found
        return ""
    same = type(expected) is type(got) and expected == got
    return "" if same else f"{path}: expected {expected!r:.300}, got {got!r:.300}"


def spoil(value: Any) -> None:
    """Change a value in place wherever that can be done, and whatever it holds."""
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            value[...] = np.zeros((), value.dtype)
    elif isinstance(value, torch.Tensor):
        value.detach().zero_()
    elif isinstance(value, Image.Image):
        value.paste(0, (0, 0, 1, 1))
    elif isinstance(value, dict):
        for part in list(value.values()):
            spoil(part)
        value.clear()
        value["spoilt"] = True
    elif isinstance(value, list):
        for part in value:
            spoil(part)
        value.append("spoilt")
    elif isinstance(value, tuple):
        for part in value:
            spoil(part)
    elif isinstance(value, set):
        value.add("spoilt")
    elif isinstance(value, bytearray):
        value[:] = b"spoilt"
    elif hasattr(value, "__dict__") and not isinstance(value, (enum.Enum, type)):
        _spoil_attributes(value)


def _spoil_attributes(value: Any) -> None:
    for part in list(vars(value).values()):
        spoil(part)
    if not getattr(getattr(type(value), "__dataclass_params__", None), "frozen", False):
        value.spoilt = True
