"""Read all entries of a ring while other processes use it."""

from __future__ import annotations

from collections.abc import Iterator

from litcache.errors import ValueEncodingError
from litcache.stores.frame import epoch_of, unframe
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.shared.ring import Ring, hashed

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
    for hash, place, size in _rows(ring):
        data, key = ring.read_at(place, size)
        sound = hashed(key) == hash and _is_sound(data, key)
        # An entry that does not verify may have been evicted while it was read.
        if sound or ring.holds(hash, place):
            checked += 1
            corrupt += not sound
    return checked, corrupt


def _is_sound(data: bytes, key: bytes) -> bool:
    try:
        unframe(data, epoch_of(data), key)
    except ValueEncodingError:
        return False
    return True


def _rows(ring: Ring) -> Iterator[tuple[int, int, int]]:
    """Yield hash, place and size of all entries, oldest first."""
    query = "SELECT hash, place, size FROM entries WHERE place > ? ORDER BY place LIMIT ?"
    last = -1
    while True:
        with ring.index.reading:
            rows = ring.index.reader.execute(query, (last, _ROWS)).fetchall()
        yield from rows
        if len(rows) < _ROWS:
            return
        last = rows[-1][1]
