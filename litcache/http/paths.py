"""One cached path: what its requests have in common, and what is found for one without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Scope

from litcache.http.request_headers import Read
from litcache.http.responses import Reply
from litcache.http.route_check import RouteCheck
from litcache.http.tier import ResponseTier
from litcache.http.trials import PathTrial, TriedHit


class Unanswered(NamedTuple):
    """A request without a response to give at once.

    Attributes:
        key: Its key.
        refresh: Whether the client asks for a new answer.
        told: What tells the client from others.
        tried: The hit that LitServe is to answer, too; `None` if there is no hit.
    """

    key: bytes
    refresh: bool
    told: Sequence[bytes]
    tried: TriedHit | None


@dataclass(frozen=True, slots=True)
class CachedPath:
    """What all requests on a cached path have in common.

    Attributes:
        tier: The cache of the middleware.
        check: The check of the route; `None` if nothing may be cached there.
        trial: The trial of the path; `None` without one.
    """

    tier: ResponseTier
    check: RouteCheck | None
    trial: PathTrial | None

    def find_at_once(self, scope: Scope, read: Read, body: bytes) -> Reply | Unanswered:
        """Look up a request without waiting for I/O, and count it if it hits.

        Args:
            scope: The scope of the request.
            read: What its headers say.
            body: Its body as it was sent.

        Returns:
            The response to give, if there is one, and LitServe need not answer, too.
        """
        tier, trial = self.tier, self.trial
        kinds, varied, refresh, told = read
        key = tier.keyer.key(scope, kinds, varied, body)
        tried = None
        if not refresh and (stored := tier.find_at_once(key)) is not None:
            if trial is None:
                return tier.hit(stored)
            if not trial.verdict.is_off:  # which it may be since the body was waited for
                tried = trial.take_up(stored, told)
                if tried is None:
                    return tier.hit(stored)
        return Unanswered(key, refresh, told, tried)
