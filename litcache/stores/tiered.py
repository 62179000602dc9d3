"""A store in the memory of each process, in front of one that processes share."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litcache.checks import check_store
from litcache.errors import StoreError
from litcache.forks import Forkable, begin_anew
from litcache.functions import check_clocks
from litcache.stores.base import UNKNOWN_EPOCH, Entry, Lease, Scope, Store, StoreInfo
from litcache.stores.queued import write_queued

# How long an answer of the back is trusted. With the time of a call to the back, this stays below
# the second within which a clear must hold.
CHECK_SECONDS = 0.5
_NEVER = (-math.inf, UNKNOWN_EPOCH)
_LENGTHS = [bytes((length,)) for length in range(256)]


class TieredStore(Store, Forkable):
    """A store of each process in front of one that processes share.

    A look-up asks the front, and then the back for the keys that the front misses. Entries of the
    back fill the front, and expire there at the same time. Writes go to both.

    A front does not know by itself that another process cleared or deleted. So a look-up asks the
    back for the epoch of the namespace, in one round trip, if the last answer is older than half a
    second. If the epoch has changed, the front drops the deleted keys. It drops the whole namespace
    if that was cleared, or if the back does not know the keys, because they are too many. A refresh
    replaces the entry in the front of its own process; other fronts keep the old entry until it
    expires or is evicted.

    Async code asks the front in the thread of its event loop, and litcache's threads only for what
    the front misses.

    While the back fails, the front goes on alone: look-ups return what it holds. Writes reach it,
    and then raise, which litcache counts.

    Concurrency: as safe as both stores. One lock stops threads from dropping what another one has
    just stored. A forked process asks the back again.

    Args:
        front: The store that is asked first, one for each process, such as a `MemoryStore`.
        back: The store that processes share.
        monotonic: The clock by which the back's epoch ages, in seconds.

    Attributes:
        front: The store that is asked first.
        back: The store that processes share.

    Raises:
        ValueError: If the front outlives the process.
        TypeError: If an option is of the wrong type.

    Example:
        >>> from litcache.stores.base import NewEntry
        >>> from litcache.stores.memory import MemoryStore
        >>> front, back = MemoryStore("1 MiB"), MemoryStore("16 MiB")
        >>> store = TieredStore(front, back)
        >>> back.set_many(Scope("shop"), {b"k" * 16: NewEntry(b"", b"payload")})
        >>> store.get_many(Scope("shop"), [b"k" * 16])[0].payload
        b'payload'
        >>> front.get_many(Scope("shop"), [b"k" * 16])[0].payload
        b'payload'
    """

    persistent = True
    blocking = True

    def __init__(
        self, front: Store, back: Store, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        check_store("front", front, "a Store of each process, such as a MemoryStore")
        check_store("back", back, "the Store that processes share")
        check_clocks(monotonic=monotonic)
        if front.persistent:
            raise ValueError(
                f"front={front!r} must be a store of each process, such as a MemoryStore: "
                "TieredStore(front, back), the one that processes share behind it"
            )
        self.front = front
        self.back = back
        self._monotonic = monotonic
        self._start()

    def _start(self) -> None:
        """Begin without any answer of the back."""
        self.clock = self.back.clock
        self._lock = threading.Lock()
        # By the tag of a namespace: when the back was last asked, and the epoch that it answered.
        self._seen: dict[bytes, tuple[float, bytes]] = {}
        begin_anew(self)

    def after_fork_in_child(self) -> None:
        """Begin anew: another thread may have left the lock locked."""
        self._start()

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("front", "back", "_monotonic")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.front!r}, {self.back!r})"

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look up entries in the front, and in the back the keys that the front misses.

        Raises:
            StoreError: If the front cannot answer.
        """
        return self._look_up(scope, keys, self.back.get_many)

    def get_or_lease_many(
        self, scope: Scope, keys: Sequence[bytes], lease: Lease
    ) -> tuple[list[Entry | None], Mapping[bytes, bytes]]:
        """Look up entries, and lease those that both miss in the back.

        Raises:
            StoreError: If the front cannot answer.
        """
        others: Mapping[bytes, bytes] = {}

        def get_or_lease(far: Scope, missing: Sequence[bytes]) -> list[Entry | None]:
            nonlocal others
            entries, others = self.back.get_or_lease_many(far, missing, lease)
            return entries

        return self._look_up(scope, keys, get_or_lease), others

    def release_many(self, scope: Scope, keys: Sequence[bytes], lease: Lease) -> None:
        """End leases in the back.

        Raises:
            StoreError: If the back cannot answer.
        """
        self.back.release_many(_parts(scope)[1], keys, lease)

    def _look_up(
        self,
        scope: Scope,
        keys: Sequence[bytes],
        ask: Callable[[Scope, Sequence[bytes]], list[Entry | None]],
    ) -> list[Entry | None]:
        """Look up entries in the front, and ask the back for the keys that the front misses."""
        scope.epoch = UNKNOWN_EPOCH
        near, far, now = scope.renewed(), scope.renewed(), self._monotonic()
        # Before the front is asked: its answer is then of this epoch or of a later one.
        asked, epoch = self._seen.get(scope.tag, _NEVER)
        found = self.front.get_many(near, keys)
        missing = [key for key, entry in zip(keys, found, strict=True) if entry is None]
        if keys and not missing and now - asked < CHECK_SECONDS:
            scope.epoch = _both(near, epoch)
            return found
        try:
            entries = ask(far, missing)
            if far.epoch != epoch:
                self._renew(far, epoch, now)
                found = self.front.get_many(near, keys)
                missing = [key for key, at in zip(keys, found, strict=True) if at is None]
                entries = ask(far, missing)
            self._note_asked(scope, now)
        except Exception:  # any class may be the back: whatever it raises, the front goes on
            self._note_asked(scope, now)
            far.epoch = UNKNOWN_EPOCH
            entries = [None] * len(missing)
        scope.epoch = _both(near, far.epoch)
        got = {key: entry for key, entry in zip(missing, entries, strict=True) if entry is not None}
        if not got:
            return found
        self.front.set_many(near, got)
        return [
            got.get(key) if entry is None else entry for key, entry in zip(keys, found, strict=True)
        ]

    def get_at_once(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Look up entries in the front, and in the back what it can answer at once, too."""
        near, now = scope.renewed(), self._monotonic()
        # Before the front is asked, as in `get_many`.
        asked, epoch = self._seen.get(scope.tag, _NEVER)
        found = self.front.get_at_once(near, keys) if keys else None
        if found is None:
            return None
        missing = [key for key, entry in zip(keys, found, strict=True) if entry is None]
        if missing or now - asked >= CHECK_SECONDS:
            far = scope.renewed()
            entries = self.back.get_at_once(far, missing)
            # Entries of the back go to the front, and so does a new epoch: all that takes longer.
            if entries is None or any(entries) or far.epoch != epoch:
                return None
            self._note_asked(scope, now)
        scope.epoch = _both(near, epoch)
        return found

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries in both stores.

        Raises:
            StoreError: If the back cannot write, or could not answer the look-up. The front has the
                entries then.
        """
        if scope.epoch == UNKNOWN_EPOCH:
            raise StoreError("the front did not answer the look-up", type(self).__name__)
        near, far = _parts(scope)
        self.front.set_many(near, entries)
        if far.epoch == UNKNOWN_EPOCH:
            raise StoreError(
                "the back did not answer the look-up; what was computed is in the front alone",
                type(self).__name__,
            )
        self.back.set_many(far, entries)

    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries from both stores; return the larger of their two answers.

        Raises:
            StoreError: If the back cannot write. The front has deleted the entries then.
        """
        nearby = self.front.delete_many(scope.renewed(), keys)
        try:
            return max(nearby, self.back.delete_many(scope.renewed(), keys))
        finally:
            # Again: a look-up of another thread may have brought them back.
            self.front.delete_many(scope.renewed(), keys)

    def deleted_since(self, scope: Scope, epoch: bytes) -> Sequence[bytes] | None:
        """Return the answer of the back, for its own part of the epoch."""
        return self.back.deleted_since(scope, epoch[1 + epoch[0] :]) if epoch else None

    def clear(self, namespace: str | None = None) -> None:
        """Drop the entries of a namespace from both stores.

        Raises:
            StoreError: If the back cannot write. The front has dropped the entries then.
        """
        try:
            self.back.clear(namespace)
        finally:
            self.front.clear(namespace)

    @property
    def grants_leases(self) -> bool:
        """Whether the back grants leases."""
        return self.back.grants_leases

    @property
    def breaker_open(self) -> bool:
        """Whether this process leaves one of the stores alone for a while, because it fails."""
        return self.front.breaker_open or self.back.breaker_open

    def info(self) -> StoreInfo:
        """Return what the back holds, and what both did; if the back fails, only the front's part.

        Raises:
            StoreError: If the front cannot answer.
        """
        near = self.front.info()
        try:
            far = self.back.info()
        except Exception:  # as in a look-up
            return near
        return StoreInfo(
            entries=far.entries,
            bytes=far.bytes,
            evicted=near.evicted + far.evicted,
            expired=near.expired + far.expired,
            rejected=near.rejected + far.rejected,
            dropped=near.dropped + far.dropped,
            corrupt=near.corrupt + far.corrupt,
        )

    def close(self) -> None:
        """Write what is queued, and close both stores; a later call opens them again."""
        write_queued(self)
        self.front.close()
        self.back.close()

    def _note_asked(self, scope: Scope, now: float) -> None:
        """Note when the back was asked; the front keeps its epoch."""
        with self._lock:
            _, epoch = self._seen.get(scope.tag, (now, UNKNOWN_EPOCH))
            self._seen[scope.tag] = now, epoch

    def _renew(self, far: Scope, before: bytes, now: float) -> None:
        """Drop the entries that the front may not return any more, and note the epoch."""
        deleted: Sequence[bytes] | None = None
        with contextlib.suppress(Exception):  # if the keys are not known, all of the namespace
            deleted = self.back.deleted_since(far, before) if before else None
        with self._lock:
            _, epoch = self._seen.get(far.tag, (now, UNKNOWN_EPOCH))
            if far.epoch == epoch and epoch:  # another thread was here first
                return
            if deleted is None or epoch != before:
                self.front.clear(far.namespace)
            else:
                self.front.delete_many(far.renewed(), deleted)
            self._seen[far.tag] = now, far.epoch or UNKNOWN_EPOCH


def _parts(scope: Scope) -> tuple[Scope, Scope]:
    """Return a scope for each store, with its part of the epoch."""
    near, far = scope.renewed(), scope.renewed()
    if scope.epoch:
        end = 1 + scope.epoch[0]
        near.epoch, far.epoch = scope.epoch[1:end], scope.epoch[end:]
    elif scope.epoch is not None:
        near.epoch = far.epoch = UNKNOWN_EPOCH
    far.lease = scope.lease
    return near, far


def _both(near: Scope, far: bytes | None) -> bytes:
    """Return the epochs of both stores as one."""
    epoch = near.epoch or b""
    return b"".join((_LENGTHS[len(epoch)], epoch, far or UNKNOWN_EPOCH))
