"""Read everything under a prefix of Redis, page by page, while others use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from litcache.errors import ValueEncodingError
from litcache.stores.frame import epoch_of, new_epoch, unframe
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.redis.epochs import Epochs
from litcache.stores.redis.remote import Remote
from litcache.stores.redis.scripts import is_mark
from litcache.stores.redis.values import frame_in
from litcache.stores.redis.wire import Command
from litcache.stores.survey import PAGE_BYTES, Cursor, Page

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
    for page, _ in _pages(remote, start):
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
    for page, _ in _pages(remote, start):
        for key, value in _read(remote, page):
            checked += 1
            corrupt += not _is_sound(value, key)
    return checked, corrupt


class RedisSurvey:
    """A way through all entries of a Redis store, in the server's order: a `Survey`.

    Args:
        remote: The server.
        epochs: The epochs of the namespaces.
        start: The start of the names of all entries.
        expected: Returns about how many entries there are.
    """

    def __init__(
        self, remote: Remote, epochs: Epochs, start: bytes, expected: Callable[[], int]
    ) -> None:
        self._remote = remote
        self._epochs = epochs
        self._start = start
        self.expected = expected

    def spaces(self) -> dict[bytes, NamespaceInfo]:
        """Return the namespaces by their epochs of now, with no entries counted."""
        return self._epochs.spaces()

    def identity(self) -> bytes:
        """Return the ids of the servers' runs: a server that starts again has another order."""
        answers = self._remote.ask(lambda nodes: nodes.each([("INFO", "server")]))
        runs = [re.search(rb"run_id:(\w+)", told) for (told,) in answers if type(told) is bytes]
        known = [run[1] for run in runs if run]
        # Where a server does not tell, each survey is one of its own.
        return b",".join(known) if len(known) == len(answers) else new_epoch()

    def pages(self, after: Cursor | None = None) -> Iterator[Page]:
        """Yield pages; the cursor is the number of a node, and the cursor of its scan."""
        number, cursor = after if after else (0, 0)
        few = 4  # before the size of entries is known
        for names, behind in _pages(self._remote, self._start, (number, cursor)):
            entries: list[tuple[bytes, bytes]] = []
            corrupt = at = 0
            while at < len(names):
                part, at = names[at : at + few], at + few
                size = 1
                for key, value in _read(self._remote, part):
                    if _is_sound(value, key):
                        entries.append((key, value))
                        size += len(value)
                    else:
                        corrupt += 1
                few = max(1, min(_PAGE, 4 * few, PAGE_BYTES * len(part) // size))
            yield Page(entries, corrupt, len(names), behind)


def _read(remote: Remote, names: Sequence[bytes]) -> Iterator[tuple[bytes, Any]]:
    """Yield the keys and frames of the names that are there, but not what a delete left."""
    values = remote.send([("GET", name) for name in names])
    others = [n for n, value in zip(names, values, strict=True) if isinstance(value, Exception)]
    marks = remote.send([("LINDEX", name, 0) for name in others])
    deleted = {n for n, mark in zip(others, marks, strict=True) if is_mark(mark)}
    for name, value in zip(names, values, strict=True):
        if value is not None and name not in deleted:  # evicted meanwhile
            yield name[-_KEY_BYTES:], frame_in(value) if isinstance(value, bytes) else value


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


def _pages(
    remote: Remote, start: bytes, after: tuple[int, int] = (0, 0)
) -> Iterator[tuple[list[bytes], tuple[int, int]]]:
    """Yield the names of entries, and where their page ends: a node, and the cursor of its scan.

    An entry that moves during the scan may come twice.
    """
    pattern = re.sub(rb"([\[\]*?\\^])", rb"\\\1", start) + b"*"
    nodes = remote.ask(lambda nodes: nodes.all())
    number, cursor = after
    while number < len(nodes):
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)
        (answer,) = remote.ask(partial(_send, nodes[number], command))
        if isinstance(answer, Exception):
            raise remote.refused(answer)
        cursor, names = int(answer[0]), answer[1]
        if cursor == 0:
            number += 1
        page = [name for name in names if is_entry(name, start)]
        if page:
            yield page, (number, cursor)


def is_entry(name: bytes, start: bytes) -> bool:
    """Return whether a name is that of an entry: the start, a tag of 8 bytes, and a key."""
    return name.startswith(start) and len(name) == len(start) + 8 + _KEY_BYTES
