"""Requests as they were before their batch, so that they can be computed again if it fails."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from litcache.engine.cache import Cache
from litcache.engine.call import Call
from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical
from litcache.keys.images import load_images
from litcache.loop.requests import Request


class Originals:
    """Finds out whether requests have changed since their look-up, and restores them.

    A method that raised may have changed items and contexts in place. Then it would compute another
    answer, which must not be stored under the old keys.

    Args:
        cache: The cache whose keys identify most items; `None` if there are no keys.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        self._cache = cache
        # If not, `key` leaves out parts of the item, or `context` parts of the context.
        self._keys_tell = (
            cache is not None
            and not cache.keyring.is_custom
            and (not cache.reads_context or cache.policy.context is True)
        )

    def note(self, request: Request) -> None:
        """Note the state of a request before its batch, which may fail."""
        if self._keyed(request) is None:
            request.form = self._form(request)
            if request.form is None:
                request.source = _digest(request.payload)

    def restore(
        self,
        request: Request,
        decode: Callable[[Request], None],
        take: Callable[[Request], bool] = lambda request: True,
    ) -> bool:
        """Restore a request, and return whether it is certain that it is as before.

        Args:
            request: The request, whose batch failed.
            decode: Decodes it again.
            take: Takes the decoded item, and returns whether it fits.

        Returns:
            False if `decode_request` returns another item now, or nobody can tell.
        """
        if self._is_unchanged(request):
            return True
        if self._keyed(request) is not None or request.form is not None:
            decode(request)
            # If a function of the policy had read the pixels, the image was no longer lazy.
            return take(request) and (
                self._is_unchanged(request)
                or (load_images(request.decoded) and self._is_unchanged(request))
            )
        # Nothing says what the item was, so its payload must be the same as before.
        if not self._has_source(request):
            return False
        decode(request)
        return take(request) and self._has_source(request)

    def _has_source(self, request: Request) -> bool:
        return request.source is not None and request.source == _digest(request.payload)

    def _is_unchanged(self, request: Request) -> bool:
        call = self._keyed(request)
        if call is None:
            return request.form is not None and request.form == self._form(request)
        assert self._cache is not None
        try:
            return call.keys_again(self._cache.keyring) == list(call.keys)
        except KeyEncodingError:  # it had a key before
            return False

    def _keyed(self, request: Request) -> Call | None:
        """Return the call of a request if its keys identify all of its items."""
        call = request.call
        return call if self._keys_tell and call is not None and None not in call.keys else None

    def _form(self, request: Request) -> bytes | None:
        # Without contexts, no hook between decode_request and encode_response sees them.
        sees_context = self._cache is None or self._cache.reads_context
        return _digest([request.decoded, request.context if sees_context else None])


def _digest(value: object) -> bytes | None:
    """Return a digest of a value; `None` if it has no canonical form."""
    try:
        return hashlib.blake2b(canonical(value), digest_size=16).digest()
    except KeyEncodingError:
        return None
