"""The requests of a loop as they came: which digest belongs to which decoded item."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgpack
from litserve import LitAPI
from xxhash import xxh3_64_intdigest

from litcache.engine.cache import Cache
from litcache.engine.call import Call
from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical
from litcache.litapi.state import state_of

_LARGE = 64 * 1024
_NUMBER_BYTES = 9
_LEVELS = 4


def digest_of(request: object, *, large: bool = True) -> int:
    """Return a digest of a request as it came, by which two requests are told apart.

    Args:
        request: What the server gives to `decode_request`.
        large: Whether a request above 64 KiB gets a digest, too; that may take a millisecond.

    Returns:
        8 bytes as a number, never 0; 0 if the request has no canonical form, or is too large.

    Example:
        >>> digest_of({"text": "a"}) == digest_of({"text": "a"}) != digest_of({"text": "b"})
        True
    """
    if not large and _size(request, _LEVELS) > _LARGE:
        return 0
    try:
        # Most requests are JSON. Two that differ in the order of a dict alone may count as two.
        data = msgpack.packb(request)
    except (TypeError, ValueError, OverflowError, RecursionError):
        try:
            data = canonical(request)
        except KeyEncodingError:
            return 0
    return xxh3_64_intdigest(data) or 1


def _size(value: object, levels: int) -> int:
    """Return about how many bytes a value has."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return len(value)
    size = getattr(value, "size", None) or getattr(value, "nbytes", None)
    if type(size) is int:  # an upload, or an array
        return size
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) and value:
        if not levels:
            return _NUMBER_BYTES * len(value)
        some = value[:_LEVELS]
        mean = sum(_size(part, levels - 1) for part in some) / len(some)
        return int(mean * len(value))
    return _NUMBER_BYTES


def enter(cache: Cache, call: Call, decoded: Sequence[Any], digest: int | None = None) -> None:
    """Let the hits of a call be tried, if a loop has decoded its items.

    The user's own calls in a hook are not tried: nobody has decoded their items.

    Args:
        cache: The cache of the call.
        call: The call.
        decoded: What `decode_request` returned for each request of the call.
        digest: The digest of the request, if the items are requests.
    """
    verdict = cache.verdict
    arrivals = state_of(cache.api).arrivals
    if verdict is None or arrivals is None:
        return
    digests = arrivals.take_each(decoded) if digest is None else [digest]
    if digests is not None:
        call.verdict = verdict
        call.requests = [
            digest for digest, size in zip(digests, call.sizes, strict=True) for _ in range(size)
        ]


def digest_for(api: LitAPI, request: Any) -> int:
    """Return the digest of a request of an API, as its trial needs it."""
    for cache in state_of(api).caches.values():
        if cache.verdict is not None and cache.verdict.wants_large:
            return digest_of(request)
    return digest_of(request, large=False)


def note(api: LitAPI, decoded: Any, digest: int) -> None:
    """Note of which request an item was decoded."""
    arrivals = state_of(api).arrivals
    if arrivals is not None:
        arrivals.put(decoded, digest)


def note_decoded(cache: Cache, output: Any, digest: int) -> None:
    """Note of which request an item was decoded, if the method decodes requests."""
    if cache.labels.method == "decode_request":
        note(cache.api, output, digest)


def noting(api: LitAPI, hook: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `decode_request` as one that notes of which request an item was decoded."""
    is_async = api.enable_async and inspect.iscoroutinefunction(hook)
    return partial(_decode_async if is_async else _decode, api, call)


def _decode(api: LitAPI, call: Callable[..., Any], request: Any, *args: Any, **context: Any) -> Any:
    digest = digest_for(api, request)
    decoded = call(request, *args, **context)
    note(api, decoded, digest)
    return decoded


async def _decode_async(
    api: LitAPI, call: Callable[..., Any], request: Any, *args: Any, **context: Any
) -> Any:
    digest = digest_for(api, request)
    decoded = await call(request, *args, **context)
    note(api, decoded, digest)
    return decoded
