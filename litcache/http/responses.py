"""Whole HTTP responses: which may be stored, how they are stored, and how they are sent again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgpack

from litcache.errors import ValueEncodingError
from litcache.stores import base
from litcache.stores.base import Entry, NewEntry

__all__ = ["Reply", "Stored", "content_length", "lifetime", "of_hit", "pack", "unpack"]

Headers = Iterable[tuple[bytes, bytes]]

Reply = tuple[list[tuple[bytes, bytes]], bytes]
"""A response to give: its headers, of which the last is its Cache-Status, and its body.

The list of headers is new each time, because outer middlewares change messages in place."""

CACHE_STATUS = b"cache-status"

LARGEST_BODY = 16 * 1024 * 1024
"""How many bytes of a request or response are held in memory at most; larger ones pass through."""

# Headers that belong to one client or one part, or give the age of an answer from another cache.
_FORBIDDEN = frozenset({b"set-cookie", b"content-range", b"transfer-encoding", b"age"})
_UNSHARED = frozenset({b"no-store", b"no-cache", b"private"})
_NUMBER = re.compile(rb"[0-9]{1,18}")


def tokens(value: bytes) -> list[bytes]:
    """Return the members of a comma-separated header in lower case.

    Example:
        >>> tokens(b"Accept, ORIGIN,,")
        [b'accept', b'origin']
    """
    return [token for part in value.split(b",") if (token := part.strip().lower())]


def content_length(headers: Headers) -> int | None:
    """Return the length that headers declare; `None` if they declare none, or several.

    Example:
        >>> content_length([(b"Content-Length", b"12")])
        12
    """
    values = {value for name, value in headers if name.lower() == b"content-length"}
    if len(values) != 1 or not _NUMBER.fullmatch(value := values.pop()):
        return None
    return int(value)


def lifetime(
    status: int, headers: Headers, ttl: float, vary: frozenset[bytes] = frozenset()
) -> float | None:
    """Return how long other clients may get a response.

    It reads directives and `Vary` as RFC 9111 defines them (5.2.2, 4.1), and is stricter if a
    response says nothing reliable.

    Args:
        status: Its status.
        headers: Its headers.
        ttl: The largest number of seconds.
        vary: The request headers that are part of the key, in lower case.

    Returns:
        Seconds; `None` if it must not be stored.

    Example:
        >>> lifetime(200, [(b"cache-control", b"max-age=5")], 60.0)
        5.0
        >>> lifetime(200, [(b"cache-control", b"private")], 60.0) is None
        True
    """
    seconds = ttl
    dated = aged = False
    if status != 200:
        return None
    for raw, value in headers:
        name = raw.lower()
        if name in _FORBIDDEN:
            return None
        if name == b"vary" and not vary.issuperset(tokens(value)):
            return None
        # Without a Vary, nothing says which clients can read the encoding.
        if name == b"content-encoding" and b"accept-encoding" not in vary:
            return None
        dated = dated or name == b"expires"
        if name == b"cache-control":
            for directive in tokens(value):
                key, _, argument = (part.strip() for part in directive.partition(b"="))
                if key in _UNSHARED:
                    return None
                if key in (b"max-age", b"s-maxage"):
                    aged = True
                    age = argument.strip(b'"')
                    seconds = min(seconds, int(age) if _NUMBER.fullmatch(age) else 0)
    # A response with `expires` and no age is mostly meant not to be kept.
    return None if seconds <= 0 or (dated and not aged) else float(seconds)


def pack(headers: Headers, body: bytes, seconds: float, now: float, client: int = 0) -> NewEntry:
    """Return the entry of a response.

    Its layout is the headers without the length, so that responses with equal headers share it.

    Args:
        headers: Its headers.
        body: Its whole body.
        seconds: How long other clients may get it.
        now: The store's clock, in seconds.
        client: A digest of the client that it is the answer for; 0 if that is not known.

    Returns:
        The entry.

    Example:
        >>> entry = pack([(b"content-length", b"2")], b"ok", 60.0, 1000.0)
        >>> entry.expires, unpack(entry)[1]
        (1060.0, ((b'content-length', b'2'),))
    """
    shape = [[n, None if n.lower() == b"content-length" else v] for n, v in headers]
    return NewEntry(msgpack.packb([base.FORMAT, seconds, shape]), body, now + seconds, client)


Stored = tuple[Entry, tuple[tuple[bytes, bytes], ...], bytes, float, float]
"""A response out of a store: what the store has of it, its headers, its body, how many seconds it
may be used from when it was stored, and when these seconds are over (wall clock, seconds).

A plain tuple, because each hit makes one."""


def unpack(entry: Entry) -> Stored:
    """Return the response of an entry.

    Args:
        entry: What `pack` made.

    Returns:
        The response.

    Raises:
        ValueEncodingError: If the entry does not hold a response.
    """
    layout, body, expires = entry.layout, entry.payload, entry.expires
    if expires is None:
        raise ValueEncodingError("a response without an expiry")
    if type(body) is not bytes:
        body = bytes(body)
    seconds, headers = _filled(layout if type(layout) is bytes else bytes(layout), len(body))
    return entry, headers, body, seconds, expires


@lru_cache(maxsize=1024)
def of_hit(age: float, left: float) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Return the headers that a hit has beside those of the stored response.

    Args:
        age: How many whole seconds old it is (RFC 9111, 5.1).
        left: For how many whole seconds it may still be used.

    Example:
        >>> of_hit(19, 41)
        ((b'age', b'19'), (b'cache-status', b'litcache; hit; ttl=41'))
    """
    status = b"litcache; hit; ttl=%d" % max(0, left)
    return (b"age", b"%d" % max(0, age)), (CACHE_STATUS, status)


@lru_cache(maxsize=1024)
def _filled(layout: bytes, length: int) -> tuple[float, tuple[tuple[bytes, bytes], ...]]:
    """Read a layout: the lifetime, and the headers of a body of that length."""
    seconds, shape, lengths = _shape(layout)
    headers = list(shape)
    for position in lengths:
        headers[position] = (headers[position][0], b"%d" % length)
    return seconds, tuple(headers)


@lru_cache(maxsize=256)
def _shape(layout: bytes) -> tuple[float, tuple[tuple[bytes, bytes], ...], tuple[int, ...]]:
    """Read a layout: the lifetime, the headers, and which of them are lengths."""
    try:
        format, seconds, shape = msgpack.unpackb(layout)
        headers = tuple((name, b"" if value is None else value) for name, value in shape)
    except Exception as error:  # msgpack raises many kinds, of which it documents some
        raise ValueEncodingError(f"no stored response: {error!r}") from None
    good = format == base.FORMAT and isinstance(seconds, int | float)
    if not good or {type(part) for pair in headers for part in pair} - {bytes}:
        raise ValueEncodingError("no stored response, or one of another format")
    return float(seconds), headers, tuple(i for i, (_, v) in enumerate(shape) if v is None)
