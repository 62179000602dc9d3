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

    Example:
        >>> Scope("shop").tag == Scope("shop").tag != Scope("blog").tag
        True
    """

    __slots__ = ("epoch", "namespace", "tag", "version")

    def __init__(self, namespace: str, version: str = "") -> None:
        self.namespace = namespace
        self.version = version
        self.tag = hashlib.sha256(namespace.encode("utf-8", "surrogatepass")).digest()[:8]
        self.epoch: bytes | None = None

    def renewed(self) -> Scope:
        """Return a scope of the same namespace for another call."""
        scope = Scope.__new__(Scope)
        scope.namespace = self.namespace
        scope.version = self.version
        scope.tag = self.tag
        scope.epoch = None
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
