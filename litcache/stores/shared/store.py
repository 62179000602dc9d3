"""A store on the disk of one host, shared by its processes and kept over restarts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from litcache.checks import check_seconds
from litcache.errors import StoreError, ValueEncodingError
from litcache.functions import check_clocks
from litcache.sizes import parse_bytes
from litcache.stores.base import UNKNOWN_EPOCH, Entry, Lease, Scope, Store, StoreInfo
from litcache.stores.frame import EPOCH_BYTES, frame, unframe
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.queued import write_queued
from litcache.stores.shared.database import BusyError, NoRoomError, StalledError
from litcache.stores.shared.deletes import deleted_since
from litcache.stores.shared.finding import TOKENS_BYTES, hashed
from litcache.stores.shared.folder import Folder
from litcache.stores.shared.generations import folder_path
from litcache.stores.shared.leasing import Leasing
from litcache.stores.shared.places import LAP
from litcache.stores.shared.reading import look_up, look_up_at_once
from litcache.stores.shared.ring import ClearedError, Ring
from litcache.stores.shared.scan import RingSurvey, namespaces, verify
from litcache.stores.shared.sizes import LEAST_BYTES

# Deletes and clears wait longer for the lock: entries that they fail to remove would be served.
_PATIENCE = 20  # times the timeout
_LEAST_PATIENCE = 6.0

T = TypeVar("T")


class SharedStore(Store):
    """Entries on the disk of one host, shared by its processes and kept over restarts.

    `path` is a folder, on a local disk or tmpfs. It holds a ring of framed entries, in the order of
    writing, an SQLite index with their places, and a sketch of the index, which tells what is
    surely not in it. The oldest entry is evicted first, unless it was hit since it was written;
    then it is written again (FIFO-reinsertion). The files, SQLite's WAL included, take at most 1.1
    of the budget. An entry that is larger than a twentieth of the budget is rejected, and an older
    entry under its key is removed.

    Every read verifies the entry. A damaged entry is a miss, and is deleted and counted. `clear`
    renews the epoch of a namespace in constant time; entries of older epochs are never served, and
    in time they are evicted. Outputs that are being computed for a namespace during a delete are
    not stored.

    A write that does not get the lock within `timeout`, or finds no room, is dropped and counted;
    look-ups go on. After three such writes in a row, no write waits until the lock is free again:
    so a stopped process delays nobody. A delete or clear waits longer: at least six seconds, or
    three if the holder of the lock does nothing. Then a delete raises. A clear that a stopped
    process or a full disk prevents begins with empty files, with a warning; other namespaces lose
    their entries, too. Only a clear or delete waits for the disk.

    A damaged store is replaced by an empty one with a warning, at most every five seconds. After
    any other error the files stay as they are: one warning is logged, calls raise `StoreError` at
    once, and the store is tried again every 0.4 seconds. Processes that share a folder must run on
    one host. If a process gives another budget than those before it, its first write changes the
    budget; entries that fit stay.

    Concurrency: safe in many threads and processes. Each process makes its own connections at first
    use. They are closed before a fork, and both processes make new ones.

    Args:
        path: The folder. It is made, for this user alone, if it does not exist. A folder that
            others own or can write to is refused. `~` stands for the home of the user.
        max_bytes: The budget: bytes, or a string such as `"1 GiB"`; at least 4 MiB. If the disk has
            less room, the store uses less, with a warning, until there is room.
        timeout: Seconds that a write waits for its turn, at most a year.
        clock: The wall clock by which entries expire, in seconds.
        monotonic: The clock by which a failing folder is tried again, and leases end, in seconds;
            one clock for all processes.

    Attributes:
        path: The folder, absolute.
        max_bytes: The budget in bytes.
        timeout: Seconds that a write waits for its turn.

    Raises:
        ValueError: If `path`, `max_bytes` or `timeout` is not allowed.
        TypeError: If an option is of the wrong type.

    Example:
        >>> import tempfile
        >>> from litcache.stores.base import NewEntry
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = SharedStore(folder.name, "16 MiB")
        >>> store.set_many(Scope("shop"), {b"k" * 16: NewEntry(b"layout", b"payload")})
        >>> SharedStore(folder.name, "16 MiB").get_many(Scope("shop"), [b"k" * 16])
        [NewEntry(layout=b'layout', payload=b'payload', expires=None, request=0)]
        >>> store.close()
        >>> folder.cleanup()
    """

    persistent = True
    blocking = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int | str = "1 GiB",
        timeout: float = 0.05,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = folder_path(path)
        self.max_bytes = parse_bytes(max_bytes, name="max_bytes")
        if not LEAST_BYTES <= self.max_bytes <= LAP:
            raise ValueError(
                f"max_bytes={max_bytes!r} must be at least {LEAST_BYTES >> 20} MiB and at most "
                f"{LAP >> 40} TiB"
            )
        check_seconds("timeout", timeout)
        check_clocks(clock=clock, monotonic=monotonic)
        self.timeout = timeout
        self.clock = clock
        self._monotonic = monotonic
        self._open()

    def _open(self) -> None:
        self._folder = Folder(self.path, self.max_bytes, self._monotonic)
        self._leasing = Leasing(self._folder, self._monotonic, self.timeout)

    @classmethod
    def existing(cls, path: str | os.PathLike[str], *, timeout: float = 0.05) -> SharedStore:
        """Return the store in a folder, to look at it and clear it; it makes and repairs nothing.

        Args:
            path: The folder.
            timeout: Seconds that a write waits for its turn.

        Returns:
            The store, with the budget that it was made for.

        Raises:
            StoreError: If there is none, or it is damaged.

        Example:
            >>> SharedStore.existing("/nowhere")  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            ...
            litcache.errors.StoreError: SharedStore: /nowhere cannot be used: [Errno 2] no store ...
        """
        store = cls(path, timeout=timeout)
        store._folder = Folder(store.path, None, store._monotonic)
        store.max_bytes = store._run(lambda ring: ring.index.max_bytes)
        return store

    def __getstate__(self) -> dict[str, Any]:
        names = ("path", "max_bytes", "timeout", "clock", "_monotonic")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {self.max_bytes})"

    @property
    def breaker_open(self) -> bool:
        """Whether this process leaves the folder alone, or drops writes for a stopped process."""
        return self._folder.is_left_alone

    @property
    def grants_leases(self) -> bool:
        """True: one process of the host at a time gets a lease."""
        return True

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look up entries, and verify each of them."""
        return look_up(self._folder, scope, keys, self._now(), self.timeout)[0]

    def get_at_once(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Answer for keys that surely have no entries; `None` if the files have to be read."""
        return look_up_at_once(self._folder, scope, keys)

    def get_or_lease_many(
        self, scope: Scope, keys: Sequence[bytes], lease: Lease
    ) -> tuple[list[Entry | None], Mapping[bytes, bytes]]:
        """Look up entries, and lease the keys without one; a key counts as leased if locks fail."""
        entries, found = look_up(self._folder, scope, keys, self._now(), self.timeout)
        if all(entries) or scope.epoch == UNKNOWN_EPOCH:
            return entries, {}
        places = {
            key: at and at[1]
            for key, at, entry in zip(keys, found, entries, strict=True)
            if entry is None
        }
        written, others = self._leasing.take(scope, places, lease)
        if written:
            known = dict(zip(written, self.get_many(scope.renewed(), written), strict=True))
            pairs = zip(keys, entries, strict=True)
            entries = [known.get(key) if entry is None else entry for key, entry in pairs]
        return entries, others

    def release_many(self, scope: Scope, keys: Sequence[bytes], lease: Lease) -> None:
        """End leases; without the lock in time, they end with their time."""
        self._leasing.release(keys, lease)

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries; those for which there is no lock or no room are dropped."""
        if not entries:
            return
        self._folder.resize()
        tokens = scope.epoch
        with contextlib.suppress(BusyError, NoRoomError):
            if tokens is None:
                tokens = self._folder.run(lambda ring: ring.tokens(scope, self.timeout))
        if tokens is None or len(tokens) != TOKENS_BYTES:
            self._folder.count(dropped=len(entries))
            return
        epoch, known = tokens[:EPOCH_BYTES], tokens
        frames = [(key, frame(entry, epoch, key)) for key, entry in entries.items()]
        self._run(lambda ring: self._set(ring, scope, known, frames))

    def _set(
        self, ring: Ring, scope: Scope, tokens: bytes, frames: Sequence[tuple[bytes, bytes]]
    ) -> None:
        largest = ring.sizes.largest
        fitting = [(key, data) for key, data in frames if len(data) <= largest]
        rejected = [hashed(key) for key, data in frames if len(data) > largest]
        written = evicted = 0
        with contextlib.suppress(BusyError, NoRoomError, ClearedError):
            if rejected:
                ring.forget(rejected, self.timeout)
            for chunk in ring.sizes.chunks(fitting):
                evicted += ring.write(scope, tokens, chunk, self.timeout)
                written += len(chunk)
        if scope.lease is not None and written < len(frames):
            self._leasing.release([key for key, _ in frames], scope.lease)
        self._folder.count(rejected=len(rejected), evicted=evicted, dropped=len(fitting) - written)

    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries, on the disk, too, when this returns; return how many were valid."""
        distinct = list(dict.fromkeys(keys))
        if not distinct:
            return 0
        now, valid = self._now(), 0
        patience = max(_PATIENCE * self.timeout, _LEAST_PATIENCE)
        tokens, found = self._run(lambda ring: ring.delete(scope, distinct, patience), newest=True)
        if tokens is None:
            return 0
        for key, at in zip(distinct, found, strict=True):
            with contextlib.suppress(ValueEncodingError):
                entry = unframe(at[2], tokens[:EPOCH_BYTES], key) if at is not None else None
                if entry is not None and (entry.expires is None or entry.expires > now):
                    valid += 1
        return valid

    def deleted_since(self, scope: Scope, epoch: bytes) -> list[bytes] | None:
        """Return the keys that were deleted since, if they are among the last 500."""
        return self._run(lambda ring: deleted_since(ring.index, scope.tag, epoch))

    def clear(self, namespace: str | None = None) -> None:
        """Drop entries, on the disk, too, when this returns; as the last resort, begin anew."""
        scope = None if namespace is None else Scope(namespace)
        patience = max(_PATIENCE * self.timeout, _LEAST_PATIENCE)
        try:
            self._folder.run(lambda ring: ring.clear(scope, patience), newest=True)
        except (StalledError, NoRoomError) as error:
            self._folder.purge(f"it cannot be cleared ({error})")
        except BusyError as error:
            raise StoreError(str(error), type(self).__name__) from error

    def info(self) -> StoreInfo:
        """Return what the store holds, entries of older epochs included, and did in this process.

        Raises:
            StoreError: If the store cannot be read.
        """
        entries, size = self._run(Ring.totals)
        return StoreInfo(entries=entries, bytes=size, **self._folder.counts)

    def close(self) -> None:
        """Write what is queued, and close the files in this process; a later call opens them."""
        write_queued(self)
        self._folder.close()

    def names(self) -> list[str]:
        """Return the names of the namespaces, sorted, without reading their entries."""
        return sorted(space.name for space in self.survey().spaces().values())

    def namespaces(self) -> list[NamespaceInfo]:
        """Return what the store holds of each namespace; it reads all of the store.

        Returns:
            The namespaces, by name.

        Raises:
            StoreError: If the store cannot be read.
        """
        return self._run(namespaces, repair=False)

    def verify(self) -> tuple[int, int]:
        """Read and verify every entry while other processes use the store; delete nothing.

        Returns:
            How many were read, and how many of them did not verify.

        Raises:
            StoreError: If the store cannot be read.
        """
        return self._run(verify, repair=False)

    def survey(self) -> RingSurvey:
        """Return a way through all entries."""
        return RingSurvey(lambda operation: self._run(operation, repair=False))

    def _now(self) -> float:
        now = self.clock()
        if not isinstance(now, int | float):
            raise StoreError(f"clock() returned {now!r}, no number of seconds", "SharedStore")
        return now

    def _run(
        self, operation: Callable[[Ring], T], *, repair: bool = True, newest: bool = False
    ) -> T:
        """Run an operation on the ring; raise `StoreError` if it finds no lock or room."""
        try:
            return self._folder.run(operation, repair=repair, newest=newest)
        except (BusyError, NoRoomError) as error:
            raise StoreError(str(error), type(self).__name__) from error
