"""What this thread or task is inside of: the methods of caches, and the claims they compute for."""

from __future__ import annotations

from collections.abc import Sequence
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


def _claims_of(part: Part) -> Sequence[Claim]:
    """Return the claims of the calls whose items a part holds."""
    claims = {misses.claim for misses, _ in part.places}
    return [claim for claim in claims if claim is not None]


class computing:
    """While the method runs, let the user's own calls of it and of its hooks pass uncached.

    Args:
        cache: The cache of the method.
        part: What the method is called with.
    """

    __slots__ = ("_cache", "_computing", "_held", "_part")

    def __init__(self, cache: Cache, part: Part | None = None) -> None:
        self._cache = cache
        self._part = part

    def __enter__(self) -> None:
        held, part = _held.get(), self._part
        if part is not None:
            first = part.places[0][0]
            if part.places[-1][0] is not first:  # the items of one call adjoin
                held = (*held, *_claims_of(part))
            elif first.claim is not None:
                held = (*held, first.claim)
        self._computing = _computing.set((*_computing.get(), self._cache))
        self._held = _held.set(held)

    def __exit__(self, *_: object) -> None:
        _held.reset(self._held)
        _computing.reset(self._computing)
