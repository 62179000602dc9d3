"""What a process tells a shared store now and then, for whoever looks at it from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

# What was counted is told so often at most; versions are told at once.
_SECONDS = 10.0


class NamespaceInfo(NamedTuple):
    """What a shared store holds of one namespace.

    Attributes:
        name: The namespace.
        versions: The versions that wrote to it since it was last cleared, sorted.
        entries: Its entries; expired ones count until they are evicted.
        bytes: The bytes of their frames.
        hits: Keys that look-ups of all processes found in this store since it was last cleared,
            as far as they have told: each does every ten seconds that it writes, and when it asks
            for `info`.
        misses: Keys that they did not find.
    """

    name: str
    versions: tuple[str, ...]
    entries: int
    bytes: int
    hits: int
    misses: int


class Note(NamedTuple):
    """What a process has to tell of one epoch of a namespace."""

    tag: bytes
    epoch: bytes
    hits: int
    misses: int
    versions: tuple[str, ...]


class Notes:
    """What one process has yet to tell.

    Concurrency: safe in many threads; a forked process begins with notes of its own.

    Args:
        clock: Seconds that never go back.

    Example:
        >>> notes = Notes()
        >>> notes.looked_up(b"tag", b"epoch", hits=3, misses=1)
        >>> notes.wrote(b"tag", b"epoch", "v1")
        True
        >>> notes.take()
        [Note(tag=b'tag', epoch=b'epoch', hits=3, misses=1, versions=('v1',))]
        >>> notes.wrote(b"tag", b"epoch", "v1")
        False
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[bytes, bytes], list[int]] = {}
        self._versions: dict[tuple[bytes, bytes], set[str]] = {}
        self._told: set[tuple[bytes, bytes, str]] = set()
        self._due = clock() + _SECONDS

    def looked_up(self, tag: bytes, epoch: bytes, *, hits: int, misses: int) -> None:
        """Count a look-up.

        Args:
            tag: The tag of the namespace.
            epoch: Its epoch.
            hits: How many keys were found.
            misses: How many were not.
        """
        with self._lock:
            counts = self._counts.setdefault((tag, epoch), [0, 0])
            counts[0] += hits
            counts[1] += misses

    def wrote(self, tag: bytes, epoch: bytes, version: str) -> bool:
        """Note the version of a write.

        Args:
            tag: The tag of the namespace.
            epoch: Its epoch.
            version: What made the entries; `""` if it is not known.

        Returns:
            Whether it is time to tell: the version is new, or it has been a while.
        """
        new = bool(version) and (tag, epoch, version) not in self._told
        if new:
            with self._lock:
                self._versions.setdefault((tag, epoch), set()).add(version)
        return new or self._clock() >= self._due

    def take(self) -> list[Note]:
        """Return what is to be told; it counts as told."""
        with self._lock:
            counts, self._counts = self._counts, {}
            versions, self._versions = self._versions, {}
            self._told.update((*key, version) for key in versions for version in versions[key])
            self._due = self._clock() + _SECONDS
        notes = []
        for key in dict.fromkeys([*counts, *versions]):
            hits, misses = counts.get(key, (0, 0))
            notes.append(Note(*key, hits, misses, tuple(sorted(versions.get(key, ())))))
        return notes
