"""The keys of HTTP requests: digests of what may change the answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgpack
from blake3 import blake3
from starlette.types import Scope

from litcache.keys.writer import LARGE
from litcache.stores import base

_Head = tuple[str, str, bytes, tuple[bytes, ...]]

_SIZE = 16
_MOST = 256
_LONGEST = 512
"""The length of the paths, queries and content types for which a state is kept."""


class RequestKeyer:
    """Makes the keys of the requests of one middleware.

    A key is the BLAKE2b (RFC 7693) of a msgpack array, in which every part stands with its length,
    so that no two requests can be confused: format, namespace, version, method, path, query, the
    content types, the values of the headers that answers vary by, and the body; of a large one its
    BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs).

    Requests of one path and content type differ in the body alone, as a rule. So a state that has
    read the other parts is kept, and copied for each key; values of `varied` are kept nowhere.

    Concurrency: safe to use from any number of threads.

    Args:
        namespace: Whose entries the keys are of.
        version: Which model makes the answers.

    Example:
        >>> scope = {"method": "POST", "path": "/predict", "query_string": b""}
        >>> RequestKeyer("http", "v1").key(scope, (b"application/json",), [], b"{}").hex()
        '0f565f00787ba05f4c2851b1599d37bf'
    """

    __slots__ = ("_known", "_start")

    def __init__(self, namespace: str, version: str) -> None:
        # A state that has read the common part is copied for each key.
        self._start = hashlib.blake2b(
            _pack_any([base.FORMAT, "http", namespace, version]), digest_size=_SIZE
        )
        # States that have read all parts but a small body, as such were asked for lately.
        self._known: dict[_Head, hashlib.blake2b] = {}

    def key(
        self,
        scope: Scope,
        kinds: tuple[bytes, ...],
        varied: Sequence[tuple[bytes, bytes]],
        body: bytes,
    ) -> bytes:
        """Return the key of one request.

        Args:
            scope: Its ASGI scope.
            kinds: Its content types, as a rule one.
            varied: Names and values of the headers that answers vary by, sorted by name.
            body: Its body as it was sent.

        Returns:
            16 bytes.

        Example:
            >>> keyer, scope = RequestKeyer("http", ""), {"method": "POST", "path": "/predict"}
            >>> keyer.key(scope, (), [], b"1") == keyer.key(scope, (b"1",), [], b"")
            False
        """
        head = scope["method"], scope["path"], scope.get("query_string", b""), kinds
        large = len(body) > LARGE
        if varied or large or (begun := self._known.get(head)) is None:
            begun = self._begun(head, varied, large=large)
        state = begun.copy()
        state.update(_pack(blake3(body).digest() if large else body))
        return state.digest()

    def _begun(
        self,
        head: _Head,
        varied: Sequence[tuple[bytes, bytes]],
        *,
        large: bool,
    ) -> hashlib.blake2b:
        """Return a state that has read all parts but the body."""
        parts = (*head, varied, large)
        state = self._start.copy()
        state.update(_ARRAY)
        try:
            state.update(b"".join(map(_pack, parts)))
        except UnicodeEncodeError:  # a path with surrogates
            state.update(b"".join(map(_pack_any, parts)))
        _, path, query, kinds = head
        if not varied and not large and sum(map(len, (path, query, *kinds))) <= _LONGEST:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[head] = state
        return state


_pack = msgpack.Packer().pack
# Takes three times as long: it encodes each string through the codec of its errors.
_pack_any = msgpack.Packer(unicode_errors="surrogatepass").pack
_ARRAY = msgpack.Packer().pack_array_header(7)
