"""A look-up in the folder of a shared store: frames are read, verified and made entries."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from litcache.errors import StoreError, ValueEncodingError
from litcache.stores.base import UNKNOWN_EPOCH, Entry, Scope
from litcache.stores.frame import EPOCH_BYTES, unframe
from litcache.stores.shared.database import BusyError, NoRoomError
from litcache.stores.shared.finding import hashes_of
from litcache.stores.shared.folder import Folder
from litcache.stores.shared.frames import Found
from litcache.stores.shared.ring import Ring


def look_up(
    folder: Folder, scope: Scope, keys: Sequence[bytes], now: float, timeout: float
) -> tuple[list[Entry | None], Sequence[Found | None]]:
    """Look up entries, and verify each of them.

    Args:
        folder: The folder.
        scope: Whose entries; its `epoch` is set.
        keys: The keys.
        now: The wall clock, in seconds.
        timeout: Seconds that a write waits for its turn.

    Returns:
        An entry for each key, or `None`; and the frame of each key, valid or not, or `None`.

    Raises:
        StoreError: If the folder cannot be used.
    """
    scope.epoch = UNKNOWN_EPOCH
    hashes = hashes_of(keys)
    try:
        ring, tokens, found = folder.run(lambda ring: (ring, *ring.read(scope.tag, hashes)))
        if tokens is None:
            # Without an epoch there are no entries. If none can be made, outputs are not stored.
            with contextlib.suppress(BusyError, NoRoomError):
                scope.epoch = folder.run(lambda ring: ring.tokens(scope, timeout))
            return [None] * len(keys), found
        scope.epoch = tokens
        entries, doubtful = _verified(folder, ring, keys, found, tokens[:EPOCH_BYTES], now)
        if doubtful:
            folder.run(lambda ring: _condemn(folder, ring, doubtful, timeout))
    except (BusyError, NoRoomError) as error:
        raise StoreError(str(error), "SharedStore") from error
    return entries, found


def look_up_at_once(
    folder: Folder, scope: Scope, keys: Sequence[bytes]
) -> list[Entry | None] | None:
    """Look up keys that surely have no entries, without any I/O.

    Args:
        folder: The folder.
        scope: Whose entries; its `epoch` is set.
        keys: The keys.

    Returns:
        `None` for each key; `None` for all of them if `look_up` has to be asked.
    """
    ring = folder.ring_at_hand()
    try:
        tokens = None if ring is None else ring.absent(scope.tag, hashes_of(keys))
    except OSError:  # another thread has closed it
        return None
    if tokens is None:
        return None
    scope.epoch = tokens
    return [None] * len(keys)


def _verified(
    folder: Folder,
    ring: Ring,
    keys: Sequence[bytes],
    found: Sequence[Found | None],
    epoch: bytes,
    now: float,
) -> tuple[list[Entry | None], list[Found]]:
    """Return the entries of frames, and the frames that do not verify."""
    entries: list[Entry | None] = [None] * len(keys)
    if not any(found):
        return entries, []
    hits: list[int] = []
    doubtful: list[Found] = []
    expired = 0
    for number, at in enumerate(found):
        if at is None:
            continue
        _, place, data = at
        try:
            entry = unframe(data, epoch, keys[number])
        except ValueEncodingError:
            doubtful.append(at)
            continue
        if entry is None:
            continue
        if entry.expires is not None and entry.expires <= now:
            expired += 1
            continue
        entries[number] = entry
        hits.append(place)
    ring.touched.add(hits)
    if expired:
        folder.count(expired=expired)
    return entries, doubtful


def _condemn(folder: Folder, ring: Ring, doubtful: Sequence[Found], timeout: float) -> None:
    """Delete and count entries that did not verify, unless they were evicted meanwhile."""
    corrupt = [hash for hash, place, _ in doubtful if ring.holds(hash, place)]
    folder.count(corrupt=len(corrupt))
    if corrupt:
        with contextlib.suppress(BusyError, NoRoomError):
            ring.forget(corrupt, timeout)
