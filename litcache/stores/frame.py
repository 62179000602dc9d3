"""Frames: entries as bytes with a checksum, as stores outside the process hold them."""

from __future__ import annotations

import os
from struct import Struct

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from litcache.errors import ValueEncodingError
from litcache.stores import base
from litcache.stores.base import Entry, NewEntry

EPOCH_BYTES = 8

# checksum | format, length of the layout, expiry (NaN: none), epoch | [request |] layout | payload
# The request is there if the length has this bit: most entries of a test or a warm-up have none.
_HAS_REQUEST = 1 << 31
_REQUEST_BYTES = 8
_HEAD = Struct("<BId8s")
_SUM_BYTES = 8
_PREFIX = Struct(f"<{_SUM_BYTES}sBId8s")
_PREFIX_BYTES = _PREFIX.size
EPOCH_AT = _PREFIX_BYTES - EPOCH_BYTES
"""Where the epoch stands in a frame."""
EXPIRES_AT = EPOCH_AT - 8
"""Where the expiry stands in a frame: a double, little-endian, NaN if there is none."""
_NEVER = float("nan")


def new_epoch() -> bytes:
    """Return a new random epoch.

    Returns:
        8 bytes.

    Example:
        >>> len(new_epoch())
        8
    """
    return os.urandom(EPOCH_BYTES)


def frame(entry: Entry, epoch: bytes, key: bytes = b"") -> bytes:
    """Return an entry as bytes that `unframe` verifies.

    The checksum is XXH3-64 (Collet) of the payload. Its seed is XXH3-64 of everything else and of
    the key, so a frame that comes back under another key does not verify.

    Args:
        entry: The entry.
        epoch: The epoch of its namespace, 8 bytes.
        key: The key of the entry; it is in the checksum, not in the frame.

    Returns:
        The frame, 29 bytes longer than layout and payload; 37 if the entry knows its request.

    Raises:
        ValueError: If the epoch is not 8 bytes long.

    Example:
        >>> data = frame(NewEntry(b"raw", b"payload"), b"epoch--1", b"key")
        >>> unframe(data, b"epoch--1", b"key")
        NewEntry(layout=b'raw', payload=b'payload', expires=None, request=0)
    """
    if len(epoch) != EPOCH_BYTES:
        raise ValueError(f"an epoch is {EPOCH_BYTES} bytes long, not {len(epoch)}")
    layout, payload, expires = entry.layout, entry.payload, entry.expires
    length, until = len(layout), _NEVER if expires is None else expires
    request = getattr(entry, "request", 0)
    if request:
        length |= _HAS_REQUEST
        layout = request.to_bytes(_REQUEST_BYTES, "little") + layout
    head = _HEAD.pack(base.FORMAT, length, until, epoch) + layout
    return b"".join((xxh3_64_digest(payload, xxh3_64_intdigest(head + key)), head, payload))


def epoch_of(data: bytes) -> bytes:
    """Return the epoch that is written in a frame, without verifying the frame.

    Args:
        data: What `frame` returned.

    Returns:
        8 bytes.

    Example:
        >>> epoch_of(frame(NewEntry(b"raw", b"payload"), b"epoch--1"))
        b'epoch--1'
    """
    return data[EPOCH_AT:_PREFIX_BYTES]


def unframe(data: bytes | memoryview, epoch: bytes, key: bytes = b"") -> NewEntry | None:
    """Verify a frame, and return its entry.

    Args:
        data: What `frame` returned.
        epoch: The epoch of its namespace now.
        key: The key of the look-up.

    Returns:
        The entry, in its own memory; `None` if it was stored in another epoch or another format.

    Raises:
        ValueEncodingError: If the bytes are not what `frame` returned for this key.

    Example:
        >>> data = frame(NewEntry(b"raw", b"payload"), b"epoch--1")
        >>> unframe(data, b"epoch--2") is None
        True
        >>> unframe(data[:-1], b"epoch--1")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        litcache.errors.ValueEncodingError: cannot store or read an output: the checksum differs ...
    """
    if not isinstance(data, bytes):
        data = bytes(data)
    if len(data) < _PREFIX_BYTES:
        raise ValueEncodingError("stored bytes are cut short")
    checksum, format, length, expires, stored_epoch = _PREFIX.unpack_from(data)
    begin, request = _PREFIX_BYTES, 0
    if length >= _HAS_REQUEST:
        length -= _HAS_REQUEST
        begin += _REQUEST_BYTES
        request = int.from_bytes(data[_PREFIX_BYTES:begin], "little")
    start = begin + length
    payload = data[start:]
    seed = xxh3_64_intdigest(data[_SUM_BYTES:start] + key)
    if xxh3_64_digest(payload, seed) != checksum:
        raise ValueEncodingError("the checksum differs from that of the stored bytes")
    if format != base.FORMAT or stored_epoch != epoch:
        return None
    # Only NaN differs from itself. NewEntry(...) is a Python function, and takes twice as long.
    parts = (data[begin:start], payload, None if expires != expires else expires, request)
    return tuple.__new__(NewEntry, parts)
