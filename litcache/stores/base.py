"""What every store is: the interface, its entries and its scope."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

FORMAT = 1
"""The number of the format: how keys and entries are written. Raise it with any change of either.
It stands in the prefix of every key, in every frame, and in the names of what stores keep outside
the process: entries of another format are misses, and stay for those who can read them."""

UNKNOWN_EPOCH = b""
"""The epoch of a look-up that failed: what is computed then may not be stored, since whether the
namespace is cleared meanwhile cannot be told."""


class Entry(Protocol):
    """What is stored of one item's output; anything with these attributes is an entry."""

    @property
    def layout(self) -> bytes:
        """How to read the payload, and the container that rows came in."""

    @property
    def payload(self) -> bytes | memoryview:
        """The bytes of the output."""

    @property
    def expires(self) -> float | None:
        """When it stops being valid (wall clock, seconds); `None`: until evicted."""


class NewEntry(NamedTuple):
    """An entry on its way into a store."""

    layout: bytes
    payload: bytes | memoryview
    expires: float | None = None


class Scope:
    """Whose entries a call is about, and the epoch that its look-up saw.

    Args:
        namespace: The name under which `clear` finds the entries.
        version: Which model makes the entries.

    Attributes:
        namespace: The name under which `clear` finds the entries.
        version: Which model makes the entries. It is in their keys; stores may note it for people.
        tag: 8 bytes that stand for the namespace.
        epoch: Set by `Store.get_many`; `Store.set_many` drops entries whose epoch has passed.
            `None` before a look-up: the epoch at the time of writing. `b""` after a look-up that
            failed: nothing may be written, since nobody knows what is cleared meanwhile.

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
        entries: Entries held.
        bytes: Bytes accounted for them, keys and bookkeeping included.
        evicted: Entries dropped to make room.
        expired: Entries found past their expiry.
        rejected: Entries refused because they exceed the budget by themselves.
        dropped: Entries given up because the store was busy, full or cleared meanwhile.
        corrupt: Entries that did not verify.
    """

    entries: int = 0
    bytes: int = 0
    evicted: int = 0
    expired: int = 0
    rejected: int = 0
    dropped: int = 0
    corrupt: int = 0


class Store(ABC):
    """Where entries live; many at a time is the base operation.

    A store is thread-safe, pickles as its configuration (never its contents, locks or passwords),
    and opens lazily in the process that uses it, again after a fork. What it cannot do it raises as
    `StoreError`; litcache counts that and computes. `litcache.testing.StoreContract` is the suite
    that every store passes.

    Attributes:
        persistent: Whether entries outlive the process: namespace and version are then required.
        blocking: Whether calls may wait for I/O: async code then calls it in threads of its own.
        clock: The wall clock by which entries expire, in seconds.
    """

    persistent: ClassVar[bool] = False
    blocking: ClassVar[bool] = False
    clock: Callable[[], float] = staticmethod(time.time)

    @property
    def breaker_open(self) -> bool:
        """Whether this process leaves the store alone for the moment, since it fails."""
        return False

    @abstractmethod
    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look entries up, and note in `scope` the epoch of its namespace.

        Args:
            scope: Whose entries; its `epoch` is set.
            keys: The keys, 16 bytes each.

        Returns:
            One entry for each key, in order; `None` where there is none that is valid.

        Raises:
            StoreError: If the store cannot answer.
        """

    @abstractmethod
    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries, unless the namespace was cleared since the look-up of `scope`.

        Args:
            scope: Whose entries; its `epoch` is the one that the look-up saw.
            entries: The entries by key.

        Raises:
            StoreError: If the store cannot write.
        """

    @abstractmethod
    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries, and give up what is being computed for the namespace: that may be one.

        Args:
            scope: Whose entries.
            keys: The keys, 16 bytes each.

        Returns:
            How many there were.

        Raises:
            StoreError: If the store cannot write.
        """

    def deleted_since(self, scope: Scope, epoch: bytes) -> Sequence[bytes] | None:
        """Return which keys were deleted since a look-up noted an epoch.

        A tier in front drops these alone; where it is not known, all that it has of the namespace.

        Args:
            scope: Whose entries.
            epoch: What `get_many` noted in its scope.

        Returns:
            The keys; `None` if that is not known, or the namespace was cleared since.

        Raises:
            StoreError: If the store cannot answer.
        """
        return None

    @abstractmethod
    def clear(self, namespace: str | None = None) -> None:
        """Drop the entries of a namespace and whatever is being computed for it now.

        Args:
            namespace: Whose entries; `None` for all of this store's.

        Raises:
            StoreError: If the store cannot write.
        """

    @abstractmethod
    def info(self) -> StoreInfo:
        """Return what the store holds and did.

        Raises:
            StoreError: If the store cannot answer.
        """

    def close(self) -> None:  # noqa: B027 - most stores have nothing to close
        """Give back what this process holds open; a later call opens it again."""
