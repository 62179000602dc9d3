"""The chunks of a stream as one entry, and back.

The payload begins with the number of chunks and their sizes; then they come one after another, each
with its layout. The last of them says how the stream ended. A chunk is what `codec.encode` made of
what was yielded, with the changes that the method made in the context before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from litcache.errors import ValueEncodingError
from litcache.values import codec
from litcache.values.layouts import Encoded, Payload, interned

MODE = "stream"
"""The mode of a call whose output is a stream, in its key."""
LAYOUT = b"s"
Chunk = tuple[bytes, Payload]
"""The layout and the payload of one chunk."""
Changes = tuple[Mapping[str, Any], Sequence[str]]
"""The entries of a context that were added or changed, by name, and the names of those removed."""

_NUMBER = struct.Struct("<Q")
_NUMBERS = 2
"""Of each chunk, the sizes of its layout and of its payload stand before all chunks."""


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
    return _NUMBERS * _NUMBER.size + len(chunk[0]) + len(chunk[1])


def join(chunks: Sequence[Chunk]) -> Encoded:
    """Make one entry of the chunks of a stream, of which the last says how it ended.

    Args:
        chunks: The chunks.

    Returns:
        The layout and the payload of the entry.

    Example:
        >>> entry = join([encode("a", {}, []), encode(None, {}, [])])
        >>> [read(chunk).value for chunk in Chunks(*entry)]
        ['a', None]
    """
    sizes = [len(part) for chunk in chunks for part in chunk]
    numbers = struct.pack(f"<{1 + len(sizes)}Q", len(chunks), *sizes)
    return LAYOUT, b"".join((numbers, *(part for chunk in chunks for part in chunk)))


class Chunks:
    """The chunks of an entry, of which the last says how the stream ended.

    To iterate over them reads each when it is its turn: the first one of many is not late.

    Args:
        layout: What `join` made.
        payload: What `join` made.

    Raises:
        ValueEncodingError: If the entry is malformed, or holds no stream.
    """

    def __init__(self, layout: bytes, payload: Payload) -> None:
        if layout != LAYOUT:
            raise ValueEncodingError(f"no layout of a stream: {layout[:1]!r}")
        self._view = view = memoryview(payload)
        count = _NUMBER.unpack_from(view)[0] if len(view) >= _NUMBER.size else 0
        self._start = start = _NUMBER.size * (1 + _NUMBERS * count)
        if not count or start > len(view):
            raise ValueEncodingError("malformed stream")
        self._sizes = struct.unpack_from(f"<{_NUMBERS * count}Q", view, _NUMBER.size)
        if start + sum(self._sizes) != len(view):
            raise ValueEncodingError("malformed stream")

    def __len__(self) -> int:
        return len(self._sizes) // _NUMBERS

    def __iter__(self) -> Iterator[Chunk]:
        end, view = self._start, self._view
        sizes = iter(self._sizes)
        for layout_size, size in zip(sizes, sizes, strict=True):
            start, end = end + layout_size, end + layout_size + size
            yield interned(bytes(view[start - layout_size : start])), view[start:end]


def context_changes(layout: bytes, payload: Payload) -> list[Changes]:
    """Return what any entry changes in a context.

    Args:
        layout: The layout of the entry.
        payload: Its payload.

    Returns:
        The changes; of a stream, those before each chunk. The others have one, or none.

    Raises:
        ValueEncodingError: If the entry is malformed.

    Example:
        >>> context_changes(*join([encode("a", {}, []), encode(None, {"tokens": 1}, ["b"])]))
        [({}, []), ({'tokens': 1}, ['b'])]
    """
    parts = Chunks(layout, payload) if layout == LAYOUT else [(layout, payload)]
    found = [codec.context_changes(*part) for part in parts]
    if layout != LAYOUT and found == [None]:
        return []
    return [({}, []) if changes is None else changes[2:] for changes in found]


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
    return [read(chunk, device).value for chunk in list(Chunks(layout, payload))[:-1]]
