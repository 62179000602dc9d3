"""What is said of a cached method when its service starts."""

from __future__ import annotations

from collections.abc import Mapping

from litcache.engine.cache import Cache
from litcache.litapi.classes import cached_methods, policy_of
from litcache.trial.source import causes, look

_MOST_FINDINGS = 10


def warn_of_source(cls: type, caches: Mapping[str, Cache]) -> None:
    """Warn once of each thing that the source of a class shows to pass the cache of a method."""
    for finding in look(cls, cached_methods(cls))[:_MOST_FINDINGS]:
        cache = caches.get(finding.method)
        if cache is not None:
            cache.reporter.warn_once((finding.cause, finding.attribute), str(finding))


def usual_causes(cls: type, name: str) -> list[str]:
    """Return the usual causes of a disagreement of a method, those that the source shows first."""
    policy = policy_of(cls, name)
    return causes([] if policy is None else look(cls, {name: policy}))
