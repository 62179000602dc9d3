"""Read all entries of a ring while other processes use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from litcache.errors import ValueEncodingError
from litcache.stores.frame import epoch_of, unframe
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.shared.finding import hashed
from litcache.stores.shared.ring import Ring
from litcache.stores.survey import PAGE_BYTES, Cursor, Page

# A statement reads only this number of rows: a longer one would keep the WAL from being copied.
_ROWS = 1_000


def namespaces(ring: Ring) -> list[NamespaceInfo]:
    """Return what the ring holds of each namespace."""
    spaces = ring.index.spaces()
    sums = {epoch: [0, 0] for epoch in spaces}
    for _, place, size in _rows(ring):
        data, _ = ring.read_at(place, size)
        found = sums.get(epoch_of(data))
        if found is not None:
            found[0] += 1
            found[1] += size
    return sorted(
        spaces[epoch]._replace(entries=count, bytes=size) for epoch, (count, size) in sums.items()
    )


def verify(ring: Ring) -> tuple[int, int]:
    """Return how many entries there are, of any epoch, and how many of them do not verify."""
    checked = corrupt = 0
    for row in _rows(ring):
        sound, _, _ = _read(ring, *row)
        if sound is not None:
            checked += 1
            corrupt += not sound
    return checked, corrupt


class RingSurvey:
    """A way through all entries of a shared store, oldest first: a `Survey`.

    Args:
        run: Runs an operation on the ring.
    """

    def __init__(self, run: Callable[[Callable[[Ring], Any]], Any]) -> None:
        self._run = run

    def spaces(self) -> dict[bytes, NamespaceInfo]:
        """Return the namespaces by their epochs of now, with no entries counted."""
        spaces: dict[bytes, NamespaceInfo] = self._run(lambda ring: ring.index.spaces())
        return spaces

    def identity(self) -> bytes:
        """Return the identity of its files: new ones begin at other places."""
        identity: bytes = self._run(lambda ring: ring.index.identity)
        return identity

    def expected(self) -> int:
        """Return how many entries there are."""
        entries: int = self._run(Ring.totals)[0]
        return entries

    def pages(self, after: Cursor | None = None) -> Iterator[Page]:
        """Yield pages; the cursor is the place of a page's last entry."""
        last = after[0] if after else -1
        while True:
            page: Page = self._run(partial(_page, last=last))
            if not page.seen:
                return
            yield page
            last = page.cursor[0]


def _page(ring: Ring, last: int) -> Page:
    """Return the entries behind a place."""
    entries: list[tuple[bytes, bytes]] = []
    corrupt = seen = size = 0
    for row in _rows(ring, last):
        sound, data, key = _read(ring, *row)
        last = row[1]
        seen += 1
        size += row[2]
        if sound:
            entries.append((key, data))
        corrupt += sound is False
        if seen == _ROWS or size >= PAGE_BYTES:
            break
    return Page(entries, corrupt, seen, [last])


def _read(ring: Ring, hash: int, place: int, size: int) -> tuple[bool | None, bytes, bytes]:
    """Return whether an entry verifies, its frame and its key; `None` if it is not there now."""
    data, key = ring.read_at(place, size)
    sound = hashed(key) == hash and _is_sound(data, key)
    # An entry that does not verify may have been evicted while it was read.
    return sound if sound or ring.holds(hash, place) else None, data, key


def _is_sound(data: bytes, key: bytes) -> bool:
    try:
        unframe(data, epoch_of(data), key)
    except ValueEncodingError:
        return False
    return True


def _rows(ring: Ring, last: int = -1) -> Iterator[tuple[int, int, int]]:
    """Yield hash, place and size of the entries behind a place, oldest first."""
    query = "SELECT hash, place, size FROM entries WHERE place > ? ORDER BY place LIMIT ?"
    while True:
        with ring.index.reading:
            rows = ring.index.reader.execute(query, (last, _ROWS)).fetchall()
        yield from rows
        if len(rows) < _ROWS:
            return
        last = rows[-1][1]
