"""Read everything under a prefix of Redis, page by page, while others use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from litcache.errors import ValueEncodingError
from litcache.stores.frame import epoch_of, unframe
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.redis.remote import Remote
from litcache.stores.redis.scripts import is_tombstone
from litcache.stores.redis.wire import Command

if TYPE_CHECKING:
    from litcache.stores.redis.nodes import Node

_PAGE = 100
_KEY_BYTES = 16
_HEAD_BYTES = 64  # longer than the start of a frame, up to the end of its epoch


def counted(
    remote: Remote, start: bytes, spaces: dict[bytes, NamespaceInfo]
) -> list[NamespaceInfo]:
    """Return what the server holds of each namespace.

    Args:
        remote: The server.
        start: The start of the names of all entries.
        spaces: The namespaces by their epochs, without counts of entries.
    """
    sums = {epoch: [0, 0] for epoch in spaces}
    for page in _pages(remote, start):
        heads = remote.send([("GETRANGE", name, 0, _HEAD_BYTES - 1) for name in page])
        sizes = remote.send([("STRLEN", name) for name in page])
        for head, size in zip(heads, sizes, strict=True):
            found = sums.get(epoch_of(head)) if isinstance(head, bytes) else None
            if found is not None and isinstance(size, int):
                found[0] += 1
                found[1] += size
    return sorted(
        spaces[epoch]._replace(entries=count, bytes=size) for epoch, (count, size) in sums.items()
    )


def verified(remote: Remote, start: bytes) -> tuple[int, int]:
    """Return how many entries there are, of any epoch, and how many of them do not verify.

    Args:
        remote: The server.
        start: The start of the names of all entries.
    """
    checked = corrupt = 0
    for page in _pages(remote, start):
        values = remote.send([("GET", name) for name in page])
        others = [n for n, value in zip(page, values, strict=True) if isinstance(value, Exception)]
        marks = remote.send([("LINDEX", name, 0) for name in others])
        deleted = {n for n, mark in zip(others, marks, strict=True) if is_tombstone(mark)}
        for name, value in zip(page, values, strict=True):
            if value is not None and name not in deleted:  # evicted meanwhile
                checked += 1
                corrupt += not _is_sound(value, name[-_KEY_BYTES:])
    return checked, corrupt


def _is_sound(value: Any, key: bytes) -> bool:
    if not isinstance(value, bytes):
        return False
    try:
        unframe(value, epoch_of(value), key)
    except ValueEncodingError:
        return False
    return True


def _send(node: Node, command: Command, _: object) -> list[Any]:
    return node.send([command])


def _pages(remote: Remote, start: bytes) -> Iterator[list[bytes]]:
    """Yield the names of entries; an entry that moves during the scan may come twice."""
    pattern = re.sub(rb"([\[\]*?\\^])", rb"\\\1", start) + b"*"
    for node in remote.ask(lambda nodes: nodes.all()):
        cursor = b"0"
        while True:
            command = ("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)
            (answer,) = remote.ask(partial(_send, node, command))
            if isinstance(answer, Exception):
                raise remote.refused(answer)
            cursor, names = answer
            page = [name for name in names if is_entry(name, start)]
            if page:
                yield page
            if cursor == b"0":
                break


def is_entry(name: bytes, start: bytes) -> bool:
    """Return whether a name is that of an entry: the start, a tag of 8 bytes, and a key."""
    return name.startswith(start) and len(name) == len(start) + 8 + _KEY_BYTES
