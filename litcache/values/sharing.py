"""Find parts of a value that are the same object, or share their memory.

A change of such a part at one place is seen at the other place. A hit must behave in the same way.
"""

from __future__ import annotations

from ctypes import c_ubyte
from itertools import combinations
from typing import Any

from litcache import arrays
from litcache.arrays import is_array, is_tensor
from litcache.values.responses import is_response

_CHANGEABLE = frozenset({list, dict, set, bytearray})
_CONTAINERS = frozenset({list, dict, set, frozenset, tuple})
_WORK = 10_000


def is_changeable(value: object) -> bool:
    """Return whether a stored value can be changed in place."""
    return type(value) in _CHANGEABLE or is_array(value) or is_tensor(value) or is_response(value)


def numbers(value: object) -> dict[int, int]:
    """Number the parts of a value that can be changed in place and stand at several places.

    Args:
        value: Any value; of containers, only builtin ones are searched.

    Returns:
        A number for the id of each such part.

    Example:
        >>> part = [1]
        >>> numbers([part, part, [1]]) == {id(part): 0}
        True
    """
    met: dict[int, int] = {}
    found: dict[int, int] = {}
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        if type(value) in _CONTAINERS or is_changeable(value):
            times = met[id(value)] = met.get(id(value), 0) + 1
            # A tuple that stands at two places brings its parts to both; a third adds nothing.
            if times > 1 and is_changeable(value):
                found.setdefault(id(value), len(found))
            elif times <= 2 and type(value) in _CONTAINERS:
                parts: Any = value.values() if isinstance(value, dict) else value
                waiting.extend(parts)
    return found


def overlap(elements: list[Any]) -> bool:
    """Return whether some of several arrays or tensors share memory, as views do.

    Args:
        elements: Arrays and tensors, each of them once.

    Example:
        >>> import numpy as np
        >>> grid = np.zeros((4, 4))
        >>> overlap([grid[:, 0], grid[:, 1]]), overlap([grid, grid[0]])
        (False, True)
    """
    if len(elements) < 2:
        return False
    together: dict[int, list[Any]] = {}
    for value in elements:
        together.setdefault(_owner(value), []).append(value)
    return any(
        _share(one, other) for views in together.values() for one, other in combinations(views, 2)
    )


def share_memory(some: list[Any], others: list[Any]) -> bool:
    """Return whether one of some arrays or dense tensors shares memory with one of others.

    Example:
        >>> import numpy as np
        >>> grid = np.zeros((4, 4))
        >>> share_memory([grid[0]], [grid[1], grid[2]]), share_memory([grid[0]], [grid])
        (False, True)
    """
    return any(
        _share(one, other)
        for one in some
        for other in others
        if not (is_tensor(one) and is_tensor(other)) or _owner(one) == _owner(other)
    )


def is_frozen(value: Any) -> bool:
    """Return whether a value is an array that nobody can change: read-only, as what it views."""
    if not is_array(value):
        return False
    while is_array(value):
        if value.flags.writeable:
            return False
        value = value.base
    return True


def _owner(value: Any) -> int:
    """Return a number that stands for the memory of which an array or tensor is a view."""
    if is_tensor(value):
        return int(value.untyped_storage().data_ptr())
    while is_array(value.base):
        value = value.base
    return id(value if value.base is None else value.base)


def _share(one: Any, other: Any) -> bool:
    try:
        numpy = arrays.numpy()
        return bool(numpy.shares_memory(_memory(one), _memory(other), max_work=_WORK))
    except (ImportError, RuntimeError):  # tensors without numpy, or too hard a question
        return True


def _memory(value: Any) -> Any:
    """Return an array at the place of a tensor; nobody may read its elements."""
    if is_array(value):
        return value
    size, steps = value.element_size(), value.stride()
    strides = [size * step for step in steps]
    span = size + sum(step * (count - 1) for step, count in zip(strides, value.shape, strict=True))
    if not value.numel():
        return arrays.numpy().empty(0, "u1")
    memory = (c_ubyte * span).from_address(value.data_ptr())
    return arrays.numpy().ndarray(tuple(value.shape), f"V{size}", memory, strides=strides)
