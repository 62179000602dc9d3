"""What this thread or task is inside of: the methods of caches, and the claims they compute for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from litcache.engine.cache import Cache
from litcache.engine.call import Part
from litcache.engine.flight import Claim

_computing: ContextVar[tuple[Cache, ...]] = ContextVar("litcache_computing", default=())
_held: ContextVar[tuple[Claim, ...]] = ContextVar("litcache_held", default=())

caches_computing = _computing.get
"""Return the caches whose methods this thread or task is inside already."""
claims_held = _held.get
"""Return the claims of the calls inside which this thread or task runs."""


@contextmanager
def computing(cache: Cache, part: Part | None = None) -> Iterator[None]:
    """While the method runs, let the user's own calls of it and of its hooks pass uncached."""
    token = _computing.set((*_computing.get(), cache))
    claims = {misses.claim for misses, _ in part.places} - {None} if part is not None else ()
    holding = _held.set((*_held.get(), *claims))
    try:
        yield
    finally:
        _held.reset(holding)
        _computing.reset(token)
