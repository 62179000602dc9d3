"""Look-ups that take leases on what they miss, in one transaction of the index."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from litcache.stores.base import Lease, Scope
from litcache.stores.shared import leases
from litcache.stores.shared.database import BusyError, NoRoomError
from litcache.stores.shared.finding import find, hashed, hashes_of, tokens_in
from litcache.stores.shared.folder import Folder
from litcache.stores.shared.ring import Ring

# How often a process removes the leases that are over.
_SWEEP_SECONDS = 1.0


class Answer(NamedTuple):
    """What became of the keys that a process wants to lease.

    Attributes:
        written: Those under which an entry was written since they were looked up.
        others: Those that other processes hold, and who does.
    """

    written: Sequence[bytes]
    others: Mapping[bytes, bytes]


class Leasing:
    """Takes and releases leases in the folder of a store.

    Args:
        folder: The folder.
        monotonic: A clock that all processes of the host share, in seconds.
        timeout: Seconds to wait for the lock. Without it in time, a key counts as leased.
    """

    def __init__(self, folder: Folder, monotonic: Callable[[], float], timeout: float) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._timeout = timeout
        self._sweep_at = -math.inf

    def take(self, scope: Scope, places: Mapping[bytes, int | None], lease: Lease) -> Answer:
        """Lease keys that missed, unless others hold them; if others hold all, this only reads.

        Args:
            scope: The namespace, with the tokens that the look-up saw.
            places: The keys, each with the place of the frame that the look-up saw.
            lease: Who asks, and for how long.

        Raises:
            StoreError: If the folder cannot be used.
        """
        by_hash = {hashed(key): key for key in places}
        before = {hash: places[key] for hash, key in by_hash.items()}
        written: Collection[int] = ()
        others: Mapping[int, bytes] = {}
        with contextlib.suppress(BusyError, NoRoomError):
            written, others = self._folder.run(lambda r: self._take(r, scope, before, lease))
        return Answer(
            [by_hash[hash] for hash in written],
            {by_hash[hash]: holder for hash, holder in others.items()},
        )

    def _take(
        self, ring: Ring, scope: Scope, places: Mapping[int, int | None], lease: Lease
    ) -> tuple[list[int], dict[int, bytes]]:
        others = self._held(ring, places, lease)
        free = [hash for hash in places if hash not in others]
        if not free:
            return [], others
        try:
            written, late = self._take_free(ring, scope, places, free, lease)
        except (BusyError, NoRoomError):  # most often because others take the same leases
            return [], self._held(ring, places, lease)
        return written, others | late

    def _held(self, ring: Ring, hashes: Collection[int], lease: Lease) -> dict[int, bytes]:
        with ring.index.reading:
            return leases.held(ring.index.reader, list(hashes), lease, self._monotonic())

    def _take_free(
        self,
        ring: Ring,
        scope: Scope,
        places: Mapping[int, int | None],
        free: Sequence[int],
        lease: Lease,
    ) -> tuple[list[int], dict[int, bytes]]:
        """Lease hashes unless another process was faster: with an entry, or with a lease."""
        index = ring.index
        with index.transaction(index.patience(self._timeout)) as db:
            rows = find(db, scope.tag, free)
            if tokens_in(rows) != scope.epoch:  # cleared meanwhile: what is computed is not stored
                return [], {}
            written = [hash for hash in free if hash in rows and rows[hash][1] != places[hash]]
            now = self._monotonic()  # with the lock: no lease that others took begins later
            others = leases.held(db, free, lease, now)
            mine = [hash for hash in free if hash not in others and hash not in written]
            if now >= self._sweep_at or now < self._sweep_at - _SWEEP_SECONDS:
                self._sweep_at = now + _SWEEP_SECONDS
                leases.end_old(db, now)
            leases.take(db, scope.tag, mine, lease, now)
        return written, others

    def release(self, keys: Sequence[bytes], lease: Lease) -> None:
        """End leases of a holder; without the lock in time, they end with their time.

        Raises:
            StoreError: If the folder cannot be used.
        """
        hashes = hashes_of(keys)

        def end(ring: Ring) -> None:
            patience = ring.index.patience(self._timeout)
            with ring.index.transaction(patience, urgent=True) as db:
                leases.end(db, hashes, lease)

        with contextlib.suppress(BusyError, NoRoomError):
            self._folder.run(end)
