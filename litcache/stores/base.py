"""The interface of every store: `Store`, its entries and its scopes."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

FORMAT = 3
"""The number of the format: how keys and entries are written. Raise it with any change of either.
It stands in the prefix of every key, in every frame, and in the names of what stores keep outside
the process: entries of another format are misses, and stay for those who can read them."""

UNKNOWN_EPOCH = b""
"""The epoch of a look-up that failed: what is computed then may not be stored, since whether the
namespace is cleared meanwhile cannot be told."""


class Entry(Protocol):
    """What is stored of one item's output; any object with these attributes is an entry."""

    @property
    def layout(self) -> bytes:
        """How to read the payload, and the container that rows came in."""

    @property
    def payload(self) -> bytes | memoryview:
        """The bytes of the output."""

    @property
    def expires(self) -> float | None:
        """When it expires (wall clock, seconds); `None`: it stays until it is evicted."""


class NewEntry(NamedTuple):
    """An entry on its way into a store."""

    layout: bytes
    payload: bytes | memoryview
    expires: float | None = None
    request: int = 0
    """A digest of the request whose output it is, 8 bytes; 0 if that is not known. An entry that a
    store returns need not have it."""


class Lease(NamedTuple):
    """What a process asks for with a look-up: to be the only one that computes what it misses.

    Attributes:
        holder: 8 bytes that stand for the process that asks. Who asks again has its lease renewed.
        seconds: How long the lease lasts, unless it is released before.
    """

    holder: bytes
    seconds: float


class Scope:
    """The namespace of the entries of a call, and the epoch that its look-up saw.

    Args:
        namespace: Whose entries; `clear` drops the entries of one namespace.
        version: Which model makes the entries.

    Attributes:
        namespace: Whose entries; `clear` drops the entries of one namespace.
        version: Which model makes the entries. The keys hold it; a store may note it for people.
        tag: 8 bytes that stand for the namespace.
        epoch: `Store.get_many` sets it, and `Store.set_many` drops entries of an older epoch. It is
            `None` before a look-up; then the epoch at the time of the write counts. It is `b""`
            after a look-up that failed; then nothing may be written, because nobody knows whether
            the namespace was cleared meanwhile.
        lease: The lease that the look-up asked for; `Store.set_many` releases it for the entries
            that it stores, in the same step.
        seconds: About how many seconds the model takes for an item of the namespace; 0: that is not
            known. A store of several namespaces may keep those longer whose items take longer.

    Example:
        >>> Scope("shop").tag == Scope("shop").tag != Scope("blog").tag
        True
    """

    __slots__ = ("epoch", "lease", "namespace", "seconds", "tag", "version")

    def __init__(self, namespace: str, version: str = "") -> None:
        self.namespace = namespace
        self.version = version
        self.tag = hashlib.sha256(namespace.encode("utf-8", "surrogatepass")).digest()[:8]
        self.epoch: bytes | None = None
        self.lease: Lease | None = None
        self.seconds = 0.0

    def renewed(self) -> Scope:
        """Return a scope of the same namespace for another call."""
        scope = Scope.__new__(Scope)
        scope.namespace = self.namespace
        scope.version = self.version
        scope.tag = self.tag
        scope.epoch = None
        scope.lease = None
        scope.seconds = self.seconds
        return scope

    def copy(self) -> Scope:
        """Return a scope that stays as this one is now, whatever a later look-up notes in this."""
        scope = self.renewed()
        scope.epoch, scope.lease = self.epoch, self.lease
        return scope


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds, and what it did in this process.

    Attributes:
        entries: Entries that the store holds.
        bytes: Bytes that it accounts for them, with keys and bookkeeping.
        evicted: Entries that it dropped to make room.
        expired: Entries that it found past their ttl.
        rejected: Entries that it refused because each is larger than the whole budget.
        dropped: Entries that it gave up because it was busy, full or cleared meanwhile.
        corrupt: Entries that were damaged.
    """

    entries: int = 0
    bytes: int = 0
    evicted: int = 0
    expired: int = 0
    rejected: int = 0
    dropped: int = 0
    corrupt: int = 0


class Store(ABC):
    """Where entries live. Every operation handles many keys at a time.

    A store is thread-safe. A pickled store holds its configuration, but no contents, locks or
    passwords. A store opens in the process that uses it, at first use and again after a fork. If it
    cannot do what it was asked to, it raises `StoreError`; litcache counts that, and computes.
    `litcache.testing.StoreContract` holds the tests that every store passes.

    Attributes:
        persistent: Whether entries outlive the process; then namespace and version are required.
        blocking: Whether calls may wait for I/O; then async code calls them in litcache's threads.
        clock: The wall clock by which entries expire, in seconds.
    """

    persistent: ClassVar[bool] = False
    blocking: ClassVar[bool] = False
    clock: Callable[[], float] = staticmethod(time.time)

    @property
    def breaker_open(self) -> bool:
        """Whether this process leaves the store alone for a while, because it fails.

        A store that leaves itself alone logs that.
        """
        return False

    @property
    def grants_leases(self) -> bool:
        """Whether `get_or_lease_many` grants a lease to one process at a time."""
        return False

    @abstractmethod
    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look up entries, and note the epoch of the namespace in `scope`.

        Args:
            scope: Whose entries; its `epoch` is set.
            keys: The keys, 16 bytes each.

        Returns:
            One entry for each key, in order; `None` for a key that has no valid entry.

        Raises:
            StoreError: If the store cannot answer.
        """

    def get_at_once(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None] | None:
        """Look up entries without waiting for I/O, as `get_many` does.

        Async code asks this first, in the thread of its event loop.

        Args:
            scope: Whose entries; its `epoch` is set.
            keys: The keys, 16 bytes each.

        Returns:
            One entry for each key, in order; `None` if `get_many` has to be asked instead.
        """
        return None if self.blocking else self.get_many(scope, keys)

    def get_or_lease_many(
        self, scope: Scope, keys: Sequence[bytes], lease: Lease
    ) -> tuple[list[Entry | None], Mapping[bytes, bytes]]:
        """Look up entries, and take a lease on each key that has none.

        A lease keeps no entry out: whoever computes may store. It ends with its time, when it is
        released, when the namespace is cleared or the key deleted, and when the process stores an
        entry with `scope.lease` set. By default, every lease is granted.

        Args:
            scope: Whose entries; its `epoch` is set.
            keys: The keys, 16 bytes each.
            lease: Who asks, and for how long.

        Returns:
            What `get_many` returns; and for each key without an entry that another process has a
            lease on, the holder of that lease. All other keys without an entry are leased to the
            one who asks. If that is in doubt, a key counts as leased to the one who asks.

        Raises:
            StoreError: If the store cannot answer.
        """
        return self.get_many(scope, keys), {}

    def release_many(  # noqa: B027 - by default there are no leases
        self, scope: Scope, keys: Sequence[bytes], lease: Lease
    ) -> None:
        """End the leases of one holder, because it does not compute these keys any more.

        Args:
            scope: Whose entries; its `epoch` is that of the look-up.
            keys: The keys, 16 bytes each; those that others hold stay leased.
            lease: Who has held them.

        Raises:
            StoreError: If the store cannot answer; then the leases end with their time.
        """

    @abstractmethod
    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries, unless the namespace was cleared after the look-up that set `scope.epoch`.

        Args:
            scope: Whose entries; its `epoch` is that of the look-up.
            entries: The entries by key.

        Raises:
            StoreError: If the store cannot write.
        """

    @abstractmethod
    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries; outputs that are being computed for the namespace now are not stored.

        Args:
            scope: Whose entries.
            keys: The keys, 16 bytes each.

        Returns:
            How many of them were stored.

        Raises:
            StoreError: If the store cannot write.
        """

    def deleted_since(self, scope: Scope, epoch: bytes) -> Sequence[bytes] | None:
        """Return the keys that were deleted after a look-up noted an epoch.

        A store in front of this one drops only these keys. If they are not known, it drops all its
        entries of the namespace.

        Args:
            scope: Whose entries.
            epoch: The epoch that `get_many` noted in its scope.

        Returns:
            The keys; `None` if they are not known, or the namespace was cleared.

        Raises:
            StoreError: If the store cannot answer.
        """
        return None

    @abstractmethod
    def clear(self, namespace: str | None = None) -> None:
        """Drop the entries of a namespace; outputs that are being computed for it are not stored.

        Args:
            namespace: Whose entries; `None` for all entries of the store.

        Raises:
            StoreError: If the store cannot write.
        """

    @abstractmethod
    def info(self) -> StoreInfo:
        """Return what the store holds, and what it did in this process.

        Raises:
            StoreError: If the store cannot answer.
        """

    def close(self) -> None:  # noqa: B027 - most stores have nothing to close
        """Close everything that this process has open; a later call opens it again."""
