"""What to give instead of a value that has no key: one line for each kind, for warnings."""

from __future__ import annotations

import io
import types
from typing import Any

from litcache.keys.writer import inherits, loaded

_KINDS: tuple[tuple[str, str, str], ...] = (
    ("numpy", "ndarray", "numpy.asarray(value)"),
    ("numpy", "generic", "value.item()"),
    ("torch", "Tensor", "value.as_subclass(torch.Tensor)"),
    ("PIL.Image", "Image", 'value.convert("RGB")'),
    ("pandas", "DataFrame", "pandas.DataFrame(value)"),
    ("pandas", "Series", "pandas.Series(value)"),
    ("polars", "LazyFrame", "value.collect()"),
    ("collections.abc", "Mapping", "dict(value)"),
    ("collections.abc", "Iterator", "list(value)"),
)


def remedy(value: Any) -> str:
    """Return what to give instead of a value, as the end of a message.

    Args:
        value: A value that has no canonical form.

    Returns:
        Text such as `"; give it as dict(value)"`.

    Example:
        >>> remedy(iter([1]))
        '; give it as list(value)'
    """
    cls = type(value)
    for module, name, instead in _KINDS:
        if inherits(cls, loaded(module, name)):
            return f"; give it as {instead}"
    if isinstance(value, io.IOBase):
        return "; give it as value.read()"
    if isinstance(value, (types.GeneratorType, map, filter, zip)) or hasattr(cls, "__next__"):
        return "; give it as list(value)"
    if callable(getattr(cls, "keys", None)) and hasattr(cls, "__getitem__"):
        return "; give it as dict(value)"
    return "; give what is read of it, as a dict of builtins and arrays, or name it in key="
