"""What is done and said of cached methods when a service starts, and when it is set up again."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.litapi.classes import CACHEABLE, cached_methods, policy_of
from litcache.litapi.identity import ByIdentity
from litcache.litapi.state import state_of
from litcache.stores.memory import MemoryStore
from litcache.trial.source.look import Finding, causes, look
from litcache.trial.verdict import Verdict
from litcache.trial_policy import trial_of

logger = logging.getLogger("litcache")

_MOST_FINDINGS = 10

# The APIs of the server that is being made, by their paths. A `LitServer` prepares all of its APIs
# one after the other in the main process; a worker knows only its own.
_apis: weakref.WeakValueDictionary[str, LitAPI] = weakref.WeakValueDictionary()


def warn_of_source(findings: Sequence[Finding], caches: Mapping[str, Cache]) -> None:
    """Warn once of each thing that the source of a class shows to pass the cache of a method."""
    for finding in findings[:_MOST_FINDINGS]:
        cache = caches.get(finding.method)
        if cache is not None:
            cache.reporter.warn_once((finding.cause, finding.attribute), str(finding))


def usual_causes(cls: type, name: str) -> list[str]:
    """Return the usual causes of a disagreement of a method, those that the source shows first."""
    policy = policy_of(cls, name)
    return causes([] if policy is None else look(cls, {name: policy}))


def drop_entries(caches: Mapping[str, Cache]) -> None:
    """Clear what the model before computed: `setup` runs again, and the version stays the same."""
    for cache in caches.values():
        if isinstance(cache.policy.version, str):  # a function is asked again
            cache.guarded.clear(cache.scope.namespace)
            cache.reporter.warn_once(
                "setup again",
                "setup runs again, and version= is no function that names the model: the entries "
                "are cleared, now and each time. Give version=lambda api: … to keep those of each "
                "model, and so that workers that share a store and have another model do not mix",
            )


def warn_of_equals(api: LitAPI) -> None:
    """Warn if two APIs of a server have one namespace and version, by which they share entries."""
    path = str(getattr(api, "api_path", ""))
    if path in _apis:  # the paths of a server differ: here begins another one
        _apis.clear()
    for other_path, other in list(_apis.items()):
        for name, identity in _identities(api).items():
            if identity == _identities(other).get(name):
                namespace, version = identity
                logger.warning(
                    "%s.%s at %s and %s.%s at %s have the same namespace %r and version %r: in a "
                    "store that they share, one answers with what the other has computed. Give "
                    "each its own namespace, or a version= that names the model",
                    type(other).__qualname__, name, other_path, type(api).__qualname__, name, path,
                    namespace, version,
                )  # fmt: skip
    _apis[path] = api


def _identities(api: LitAPI) -> dict[str, tuple[str, str]]:
    """Return namespace and version of each cached method where both are given as text.

    A namespace by default has the path of its API, and a version that is a function asks the model.
    """
    return {
        name: (policy.namespace, policy.version)
        for name, policy in cached_methods(type(api)).items()
        if policy.namespace and isinstance(policy.version, str)
    }


def begin_trial(api: LitAPI, cache: Cache, findings: Iterable[Finding]) -> None:
    """Begin the trial of a method that is served, unless its policy wants none.

    Args:
        api: The API.
        cache: The cache of the method.
        findings: What the source of its class shows.
    """
    state = state_of(api)
    trial = state.trial if state.has_own_trial else trial_of(cache.policy.trial)
    if trial is None or cache.verdict is not None:
        return
    state.has_helpers = state.has_helpers or cache.labels.method not in CACHEABLE
    name = cache.labels.method
    cache.verdict = Verdict(
        cache.method, trial, cache.counters, cache.reporter,
        stop=cache.drop, causes=partial(usual_causes, type(api), name),
        output="" if cache.policy.result == "response" else f"what {name} returns",
        leaves=[str(each) for each in findings if each.leaves and each.method == name],
    )  # fmt: skip
    if state.arrivals is None:
        # A loop decodes a batch before it goes on; an async one, as many requests as there are.
        state.arrivals = ByIdentity(
            4096 if api.enable_async or state.has_own_trial else 64 + 2 * api.max_batch_size
        )


def log_start(cache: Cache) -> None:
    """Log which entries a method uses; with several workers, that each has its own."""
    store = cache.store
    namespace, version = cache.scope.namespace, cache.keyring.version
    trial = "" if cache.verdict is None else cache.verdict.announcement()
    cache.reporter.started(namespace, version, store, "worker", trial)
    # LitServe numbers the workers of an API from 0, so exactly one of several is number 1.
    if isinstance(store, MemoryStore) and os.environ.get("LITSERVE_WORKER_ID") == "1":
        cache.reporter.warn_once(
            "workers",
            "several workers, each with a MemoryStore of its own: what one computed, the others "
            "compute again. A SharedStore is used by all of them",
        )
