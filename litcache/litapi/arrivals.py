"""The requests of a loop as they came: which digest belongs to which decoded item."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.engine.call import Call
from litcache.litapi import in_hand
from litcache.litapi.classes import CACHEABLE
from litcache.litapi.digests import digest_of, hashes_of
from litcache.litapi.identity import ByIdentity
from litcache.litapi.proxies import Acting, Noting
from litcache.litapi.state import state_of


def enter(cache: Cache, call: Call, decoded: Sequence[Any], digest: int | None = None) -> None:
    """Let the hits of a call be tried, if a loop has decoded its items.

    The user's own calls in a hook are not tried: nobody has decoded their items.

    Args:
        cache: The cache of the call.
        call: The call.
        decoded: What `decode_request` returned for each request of the call.
        digest: The digest of the request, if the items are requests.
    """
    state = state_of(cache.api)
    if cache.verdict is None or state.arrivals is None:
        return
    if digest is None and cache.labels.method not in CACHEABLE:
        digest = digest_of_item(cache, decoded[0])
    digests: list[int] | None
    if digest is not None:
        digests = [digest]
    elif len(decoded) == 1:
        found = state.arrivals.take(decoded[0])
        digests = None if found is None else [found]
    else:
        digests = state.arrivals.take_each(decoded)
    if digests is None:
        if "decode_request" not in cache.api.__dict__:
            return
        digests = [0] * len(decoded)  # it is out of litcache's sight
    if len(digests) < len(call.items):
        pairs = zip(digests, call.sizes, strict=True)
        digests = [digest for digest, size in pairs for _ in range(size)]
    call.verdict, call.requests = cache.verdict, digests


def digest_for(caches: Mapping[str, Cache], read: Callable[..., int], request: Any) -> int:
    """Return the digest of a request, as the trials of an API's caches need it."""
    is_wanted = False
    for cache in caches.values():
        verdict = cache.verdict
        if verdict is not None:
            if verdict.wants_large:
                return read(request)
            # Another process, or a trial that is begun again, may still want it.
            is_wanted = is_wanted or verdict.trial.hits > 0
    return read(request, large=False) if is_wanted else 0


def digest_of_item(cache: Cache, item: Any) -> int:
    """Return a digest for the item of `decode_request`, which is a request, or of a helper.

    A helper works for the requests in hand. Two items of it that share a key are one item, unless
    `key` leaves out some of it.
    """
    if cache.labels.method == "decode_request":
        return digest_for(state_of(cache.api).caches, _reader(cache.api), item)
    if cache.verdict is None or not cache.verdict.trial.hits:
        return 0
    of_item = None
    if cache.policy.key is not None:
        of_item = hashes_of(item, large=cache.verdict.wants_large)
    return in_hand.digest_with(of_item)


def _reader(api: LitAPI) -> Callable[..., int]:
    """Return what reads requests: where helpers are cached, it takes them in hand."""
    most = int(api.max_batch_size)
    return partial(in_hand.read, most) if state_of(api).has_helpers else digest_of


def note_decoded(cache: Cache, output: Any, digest: int) -> None:
    """Note of which request an item was decoded, if the method decodes requests."""
    arrivals = state_of(cache.api).arrivals
    if cache.labels.method == "decode_request" and arrivals is not None:
        arrivals.put(output, digest)


def noting(
    api: LitAPI, original: Any, call: Callable[..., Any], arrivals: ByIdentity[int]
) -> Acting:
    """Return `decode_request` as one that notes of which request an item was decoded."""
    caches, put = state_of(api).caches, arrivals.put
    read = _reader(api)
    if not (api.enable_async and inspect.iscoroutinefunction(original)):
        return Noting(original, call, partial(digest_for, caches, read), put)

    async def decode(request: Any, *args: Any, **context: Any) -> Any:
        digest = digest_for(caches, read, request)
        decoded = await call(request, *args, **context)
        put(decoded, digest)
        return decoded

    return Acting(original, decode)
