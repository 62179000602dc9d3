"""Hooks that an API object has set on itself: LitServe calls them in the place of its class's."""

from __future__ import annotations

from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.litapi.state import state_of


def has_own_encoding(api: LitAPI) -> bool:
    """Return whether an API object has set its own `encode_response`."""
    own = api.__dict__.get("encode_response")
    return own is not None and own is not state_of(api).encode_watch


def warn_of_own(cache: Cache, api: LitAPI, name: str) -> bool:
    """Return whether an API object hides a cached method by its own; warn once of that."""
    attributes = api.__dict__
    if name in attributes:
        cache.reporter.warn_once(
            "own",
            f"the API has set self.{name}, which is called instead: nothing is cached. Leave "
            f"{name} as the class defines it and replace what it calls, as in self.model = "
            "torch.compile(self.model)",
        )
        return True
    if cache.policy.result == "response" and has_own_encoding(api):
        cache.reporter.warn_once(
            "own",
            "the API has set self.encode_response, which LitServe calls instead: with "
            'result="response" nothing is cached. Define encode_response in the class',
        )
        return True
    hooks = [hook for hook in ("batch", "unbatch") if hook in attributes]
    looks_up = cache.labels.tier != "decorator"  # such a loop calls the user's hooks itself
    if name != "predict" or api.max_batch_size == 1 or looks_up or not hooks:
        return False
    cache.reporter.warn_once(
        "own",
        f"the API has set self.{hooks[0]}, which LitServe calls instead: predict is not given "
        f"single items, and nothing is cached. Define {hooks[0]} in the class, or serve with "
        "CachedBatchedLoop",
    )
    return True
