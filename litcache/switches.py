"""Two switches for a thread or task: every cache off, and strict mode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_off = ContextVar("litcache_off", default=os.environ.get("LITCACHE_DISABLED", "0") not in ("", "0"))
_strict = ContextVar("litcache_strict", default=False)

is_disabled = _off.get
is_strict = _strict.get


@contextmanager
def disabled() -> Iterator[None]:
    """Turn every cache off for this thread or task and for what it awaits.

    Example:
        >>> with disabled():
        ...     is_disabled()
        True
    """
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


@contextmanager
def strict() -> Iterator[None]:
    """Raise the errors that serving only counts and warns of.

    They are an item without a key, an output that cannot be stored, and a store that fails.

    Example:
        >>> with strict():
        ...     is_strict()
        True
    """
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)
