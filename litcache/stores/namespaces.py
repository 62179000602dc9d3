"""What a store holds of each namespace, for people who use the command line."""

from __future__ import annotations

from typing import NamedTuple

_MOST = 1_000


class NamespaceInfo(NamedTuple):
    """What a shared store holds of one namespace.

    Attributes:
        name: The namespace.
        versions: The versions that wrote to it since it was last cleared, sorted.
        entries: Its entries; expired ones count until they are evicted.
        bytes: The bytes of their frames.
    """

    name: str
    versions: tuple[str, ...]
    entries: int
    bytes: int


class Told:
    """The versions that this process has noted in a store: each once in an epoch.

    Concurrency: safe in many threads.

    Example:
        >>> told = Told()
        >>> told.lacks(b"epoch", "v1")
        True
        >>> told.add(b"epoch", "v1")
        >>> told.lacks(b"epoch", "v1")
        False
    """

    def __init__(self) -> None:
        self._versions: set[tuple[bytes, str]] = set()

    def lacks(self, epoch: bytes, version: str) -> bool:
        """Return whether a version is not noted yet.

        Args:
            epoch: The epoch of the namespace.
            version: Which model made the entries; `""` if it is not known.
        """
        return bool(version) and (epoch, version) not in self._versions

    def add(self, epoch: bytes, version: str) -> None:
        """Remember that a version was noted.

        Args:
            epoch: The epoch of the namespace.
            version: Which model made the entries.
        """
        if len(self._versions) >= _MOST:
            self._versions = set()
        self._versions.add((epoch, version))
