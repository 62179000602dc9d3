"""A file of entries: blocks with checksums, written in order, so that a part of it can be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from litcache.stores import base

MAGIC = b"litcache entries"
HEADER, NAMESPACE, ENTRIES, CURSOR, END = b"H", b"N", b"E", b"C", b"Z"

_KEY_BYTES = 16
# kind, number of the namespace, entries, bytes of the body, checksum of the body
_HEAD = Struct("<cIIIQ")
_SUM = Struct("<Q")
_ENTRY = Struct(f"<{_KEY_BYTES}sI")


class Block(NamedTuple):
    """A part of the file.

    Attributes:
        kind: What is in it.
        number: The number of the namespace of its entries.
        entries: How many entries it has.
        body: What is in it; `None` if it does not verify.
        end: Where it ends in the file.
        chain: The checksum of its head, which those of all heads before it are part of.
    """

    kind: bytes
    number: int
    entries: int
    body: bytes | None
    end: int
    chain: int


class Namespace(NamedTuple):
    """A namespace whose entries are in the file.

    Attributes:
        name: Its name.
        versions: The versions that wrote to it.
        epoch: Its epoch when its entries were read.
    """

    name: str
    versions: tuple[str, ...]
    epoch: bytes


class Writer:
    """Writes blocks to the end of a file.

    Args:
        file: The file, open to write at its end.
        chain: The checksum of the head of its last block; 0 for a new file, which begins anew.
    """

    def __init__(self, file: BinaryIO, chain: int = 0) -> None:
        self._file = file
        self._chain = chain
        if not chain:
            file.write(MAGIC)

    def write(self, kind: bytes, body: bytes, number: int = 0, count: int = 0) -> None:
        """Write a block.

        Args:
            kind: What is in it.
            body: What is in it.
            number: The number of the namespace of its entries.
            count: How many entries it has.
        """
        head = _HEAD.pack(kind, number, count, len(body), xxh3_64_intdigest(body))
        self._chain = xxh3_64_intdigest(head, self._chain)
        self._file.write(b"".join((head, _SUM.pack(self._chain), body)))

    def entries(self, number: int, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write a block of entries of a namespace.

        Args:
            number: The number of the namespace.
            entries: Keys and frames.
        """
        parts: list[bytes] = []
        for key, frame in entries:
            parts += (_ENTRY.pack(key, len(frame)), frame)
        self.write(ENTRIES, b"".join(parts), number, len(entries))

    def values(self, kind: bytes, *values: Any) -> None:
        """Write a block of plain values.

        Args:
            kind: What they say.
            *values: The values.
        """
        self.write(kind, msgpack.packb(values))


def blocks(file: BinaryIO) -> Iterator[Block]:
    """Yield the blocks of a file, up to the first that cannot be found.

    Args:
        file: The file, at its beginning.

    Yields:
        The blocks in order. The last one is not `END` if the file is cut short, or if the head of a
        block is damaged: what comes behind it cannot be told apart.

    Raises:
        ValueError: If the file does not begin as such a file.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("it is no file that litcache export wrote")
    chain, end = 0, len(MAGIC)
    while True:
        head = file.read(_HEAD.size)
        told = file.read(_SUM.size)
        chain = xxh3_64_intdigest(head, chain)
        if len(head) < _HEAD.size or told != _SUM.pack(chain):
            return
        kind, number, count, length, checksum = _HEAD.unpack(head)
        body = file.read(length)
        if len(body) < length:
            return
        end += len(head) + len(told) + length
        sound = xxh3_64_intdigest(body) == checksum
        yield Block(kind, number, count, body if sound else None, end, chain)
        if kind == END:
            return


def entries_of(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and frames in a block of entries.

    Args:
        body: What is in the block.

    Yields:
        Keys and frames.
    """
    at = 0
    while at < len(body):
        key, length = _ENTRY.unpack_from(body, at)
        at += _ENTRY.size
        yield key, body[at : at + length]
        at += length


def values_of(block: Block) -> list[Any]:
    """Return the plain values in a block.

    Args:
        block: The block.

    Returns:
        The values.

    Raises:
        ValueError: If the block is damaged.
    """
    if block.body is None:
        raise ValueError(f"it is damaged before byte {block.end:,}")
    values: list[Any] = msgpack.unpackb(block.body, use_list=True)
    return values


def check_format(values: Sequence[Any]) -> None:
    """Check that the entries of a file can be read.

    Args:
        values: Those of its header.

    Raises:
        ValueError: If they are in another format.
    """
    if values[0] != base.FORMAT:
        raise ValueError(
            f"its entries are in format {values[0]}, and this version of litcache reads format "
            f"{base.FORMAT}: no key would find them"
        )


def packed(space: Namespace) -> tuple[bytes, list[bytes], bytes]:
    """Return a namespace as plain values; names may hold any character.

    Args:
        space: The namespace.

    Returns:
        Its name, its versions and its epoch.
    """
    name, *versions = (
        text.encode("utf-8", "surrogatepass") for text in (space.name, *space.versions)
    )
    return name, versions, space.epoch


def unpacked(values: Sequence[Any]) -> Namespace:
    """Return the namespace that plain values tell of.

    Args:
        values: What `packed` returned.

    Returns:
        The namespace.
    """
    name, versions, epoch = values
    names = [text.decode("utf-8", "surrogatepass") for text in (name, *versions)]
    return Namespace(names[0], tuple(names[1:]), epoch)
