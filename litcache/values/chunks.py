"""The chunks of a stream as one entry, and back.

The payload is the chunks one after another, each with its layout; the last of them says how the
stream ended. A chunk is what `codec.encode` made of what was yielded, with the changes that the
method made in the context before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple

from litcache.errors import ValueEncodingError
from litcache.values import codec
from litcache.values.codec import Encoded
from litcache.values.layouts import Payload, interned

MODE = "stream"
"""The mode of a call whose output is a stream, in its key."""
LAYOUT = b"s"
Chunk = tuple[bytes, Payload]
"""The layout and the payload of one chunk."""

_SIZES = Struct("<IQ")


class Read(NamedTuple):
    """A chunk as it is given to a caller.

    Attributes:
        value: What was yielded.
        changed: The entries of the context that were added or changed before it, by name.
        removed: The names of those that were removed.
    """

    value: Any
    changed: Mapping[str, Any] = {}
    removed: Sequence[str] = ()


def encode(value: object, changed: Mapping[str, object], removed: Sequence[str]) -> Encoded:
    """Make a chunk.

    Args:
        value: What was yielded.
        changed: The entries of the context that were added or changed before it, by name.
        removed: The names of those that were removed.

    Returns:
        Its layout and its payload.

    Raises:
        ValueEncodingError: If something in the value or in the context is of a type that is not
            stored.
    """
    encoded = codec.encode(value)
    return codec.with_context(*encoded, changed, removed) if changed or removed else encoded


def read(chunk: Chunk, device: object = None) -> Read:
    """Read a chunk.

    Args:
        chunk: What `encode` made.
        device: Where tensors go that were stored from a device of its type; others to the CPU.

    Returns:
        The value, in its own memory, and the changes of the context.

    Raises:
        ValueEncodingError: If the chunk is malformed.

    Example:
        >>> read(encode("a", {"tokens": 1}, []))
        Read(value='a', changed={'tokens': 1}, removed=[])
    """
    found = codec.context_changes(*chunk)
    if found is None:
        return Read(codec.decode(*chunk, device))
    layout, payload, changed, removed = found
    return Read(codec.decode(layout, payload, device), changed, removed)


def size_of(chunk: Chunk) -> int:
    """Return how many bytes a chunk takes in an entry."""
    return _SIZES.size + len(chunk[0]) + len(chunk[1])


def join(chunks: Sequence[Chunk]) -> Encoded:
    """Make one entry of the chunks of a stream, of which the last says how it ended.

    Args:
        chunks: The chunks.

    Returns:
        The layout and the payload of the entry.

    Example:
        >>> layout, payload = join([encode("a", {}, []), encode(None, {}, [])])
        >>> [read(chunk).value for chunk in split(layout, payload)]
        ['a', None]
    """
    parts: list[Payload] = []
    for layout, payload in chunks:
        parts += (_SIZES.pack(len(layout), len(payload)), layout, payload)
    return LAYOUT, b"".join(parts)


def split(layout: bytes, payload: Payload) -> list[Chunk]:
    """Return the chunks of an entry, of which the last says how the stream ended.

    Args:
        layout: What `join` made.
        payload: What `join` made.

    Returns:
        At least one chunk; each is a view of the payload.

    Raises:
        ValueEncodingError: If the entry is malformed, or holds no stream.
    """
    if layout != LAYOUT:
        raise ValueEncodingError(f"no layout of a stream: {layout[:1]!r}")
    view = memoryview(payload)
    chunks: list[Chunk] = []
    at = 0
    while at < len(view):
        start = at + _SIZES.size
        if start > len(view):
            raise ValueEncodingError("malformed stream")
        layout_size, size = _SIZES.unpack_from(view, at)
        middle, at = start + layout_size, start + layout_size + size
        if at > len(view):
            raise ValueEncodingError("malformed stream")
        chunks.append((interned(bytes(view[start:middle])), view[middle:at]))
    if not chunks:
        raise ValueEncodingError("malformed stream")
    return chunks


def encode_all(values: Sequence[object]) -> Encoded:
    """Make the entry of a stream that yields some values, and changes no context.

    Args:
        values: What it yields.

    Returns:
        The layout and the payload of the entry.

    Raises:
        ValueEncodingError: If one of them is of a type that is not stored.

    Example:
        >>> decode_all(*encode_all(["a", "b"]))
        ['a', 'b']
    """
    return join([codec.encode(value) for value in (*values, None)])


def decode_all(layout: bytes, payload: Payload, device: object = None) -> list[Any]:
    """Return what a stream yielded.

    Args:
        layout: The layout of its entry.
        payload: The payload of its entry.
        device: Where tensors go that were stored from a device of its type; others to the CPU.

    Returns:
        The values, in order.

    Raises:
        ValueEncodingError: If the entry is malformed, or holds no stream.
    """
    return [read(chunk, device).value for chunk in split(layout, payload)[:-1]]
