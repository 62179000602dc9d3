"""The headers of a request: what of them the cache reads, in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

from litcache.http.clients import MOST_NAMES, tells
from litcache.http.responses import LARGEST_BODY, tokens

Read = tuple[tuple[bytes, ...], list[tuple[bytes, bytes]], bool, list[bytes]]
"""What was read: the content types, the headers of `vary` sorted by name, whether the client asks
for a new answer, and what tells the client, as `digest_of` takes it."""

# What a header is read for.
_NOTHING, _CLIENT, _KEY, _BOTH = range(4)
_SMALL_DIGITS = len(str(LARGEST_BODY)) - 1
"""Lengths of so few digits are small enough, whatever they are."""


class HeaderReader:
    """Reads the headers of the requests of one middleware.

    Args:
        vary: The headers that are part of the key, in lower case.
        client_control: Whether requests may ask for a new answer, or that theirs is not stored.

    Example:
        >>> reader = HeaderReader(frozenset({b"x-user"}), client_control=False)
        >>> reader.read([(b"content-type", b"text/plain"), (b"x-user", b"ann"), (b"date", b"now")])
        ((b'text/plain',), [(b'x-user', b'ann')], False, [...])
    """

    __slots__ = ("_client_control", "_roles", "_vary")

    def __init__(self, vary: frozenset[bytes], *, client_control: bool) -> None:
        self._vary = vary
        self._client_control = client_control
        wishes = (b"cache-control",) if client_control else ()
        self._roles = _Roles(vary.union((b"content-type", b"content-length"), wishes))

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> Read | None:
        """Read the headers of a request.

        Returns:
            What matters of them; `None` if the request passes through: multipart, too large, or as
            the client asks.
        """
        kinds: tuple[bytes, ...] = ()
        varied: list[tuple[bytes, bytes]] = []
        refresh = False
        told: list[bytes] = []
        roles = self._roles
        for header in headers:
            role = roles[header[0]]
            if role == _CLIENT:
                told += header
            elif role:
                name, value = header
                if role == _BOTH:
                    told += header
                if name == b"content-type":
                    # Browsers make random boundaries, so equal forms have different bodies.
                    if value != b"application/json" and _is_multipart(value):
                        return None
                    kinds += (value,)
                elif name == b"content-length":
                    if len(value) > _SMALL_DIGITS and _is_large(value):
                        return None
                elif name == b"cache-control" and self._client_control:  # else it is in `vary`
                    wishes = tokens(value)
                    if b"no-store" in wishes:
                        return None
                    refresh = refresh or b"no-cache" in wishes
                if name in self._vary:
                    varied.append((name, value))
        if varied:
            varied.sort(key=itemgetter(0))  # by name alone: the order of equal names counts
        return kinds, varied, refresh, told


class _Roles(dict[bytes, int]):
    """What headers of a name are read for, as far as such names were asked for lately."""

    def __init__(self, in_key: frozenset[bytes]) -> None:
        self._in_key = in_key

    def __missing__(self, name: bytes) -> int:
        if len(self) >= MOST_NAMES:
            self.clear()
        role = (_CLIENT if tells(name) else _NOTHING) + (_KEY if name in self._in_key else _NOTHING)
        self[name] = role
        return role


def _is_multipart(kind: bytes) -> bool:
    return kind.lstrip()[:10].lower() == b"multipart/"


def _is_large(length: bytes) -> bool:
    return length.isdigit() and (len(length) > 15 or int(length) > LARGEST_BODY)
