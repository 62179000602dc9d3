"""The headers of a request: what of them the cache reads, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from litcache.http.clients import tells
from litcache.http.responses import LARGEST_BODY, tokens

Read = tuple[tuple[bytes, ...], Sequence[tuple[bytes, bytes]], bool, list[bytes]]
"""What was read: the content types, the headers of `vary` sorted by name, whether the client asks
for a new answer, and what tells the client, as `digest_of` takes it."""

# What a header is read for: nothing, the client alone, the type or the length of the body.
_NOTHING, _CLIENT, _TYPE, _LENGTH = range(4)
_MOST_NAMES = 1024
_SMALL_DIGITS = len(str(LARGEST_BODY)) - 1
"""Lengths of so few digits are small enough, whatever they are."""


class HeaderReader:
    """Reads the headers of the requests of one middleware.

    Args:
        vary: The headers that are part of the key, in lower case.
        client_control: Whether requests may ask for a new answer, or that theirs is not stored.

    Example:
        >>> reader = HeaderReader(frozenset({b"x-user"}), client_control=False)
        >>> reader.read([(b"content-type", b"text/plain"), (b"x-user", b"ann")])[:3]
        ((b'text/plain',), [(b'x-user', b'ann')], False)
    """

    __slots__ = ("_client_control", "_vary")

    def __init__(self, vary: frozenset[bytes], *, client_control: bool) -> None:
        self._vary = vary
        self._client_control = client_control

    def read(self, headers: Sequence[tuple[bytes, bytes]]) -> Read | None:
        """Read the headers of a request.

        Returns:
            What matters of them; `None` if the request passes through: multipart, too large, or as
            the client asks.
        """
        kinds: tuple[bytes, ...] = ()
        told: list[bytes] = []
        roles = _roles
        for header in headers:
            role = roles[header[0]]
            if role == _CLIENT:
                told += header
            elif role == _TYPE:
                value = header[1]
                # Browsers make random boundaries, so equal forms have different bodies.
                if value != b"application/json" and _is_multipart(value):
                    return None
                kinds += (value,)
                told += header
            elif role == _LENGTH and len(header[1]) > _SMALL_DIGITS and _is_large(header[1]):
                return None
        varied: Sequence[tuple[bytes, bytes]] = ()
        if self._vary:
            varied = [(name, value) for name, value in headers if name in self._vary]
            varied.sort(key=itemgetter(0))  # by name alone: the order of equal names counts
        if not self._client_control:
            return kinds, varied, False, told
        wishes = [wish for n, value in headers if n == b"cache-control" for wish in tokens(value)]
        return None if b"no-store" in wishes else (kinds, varied, b"no-cache" in wishes, told)


class _Roles(dict[bytes, int]):
    """What headers of a name are read for, as far as such names were asked for lately."""

    def __missing__(self, name: bytes) -> int:
        if len(self) >= _MOST_NAMES:
            self.clear()
        known = {b"content-type": _TYPE, b"content-length": _LENGTH}
        role = self[name] = known.get(name, _CLIENT if tells(name) else _NOTHING)
        return role


_roles = _Roles()


def _is_multipart(kind: bytes) -> bool:
    return kind.lstrip()[:10].lower() == b"multipart/"


def _is_large(length: bytes) -> bool:
    return length.isdigit() and (len(length) > 15 or int(length) > LARGEST_BODY)
