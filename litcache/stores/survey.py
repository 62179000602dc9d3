"""A way through all entries of a store, page by page, while other processes use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from litcache.stores.namespaces import NamespaceInfo

PAGE_BYTES = 8 << 20
"""A page ends at the entry with which it holds so many bytes."""

Cursor = Sequence[int]
"""Where a page ends; only the survey that made it can read it."""


class Page(NamedTuple):
    """Some entries of a store, of any epoch.

    Attributes:
        entries: The keys and the frames, which were verified.
        corrupt: How many others did not verify.
        seen: How many entries the store was asked for.
        cursor: Where to go on behind it.
    """

    entries: list[tuple[bytes, bytes]]
    corrupt: int
    seen: int
    cursor: Cursor


class Survey(Protocol):
    """A way through all entries of a store that can be left and taken up again.

    An entry that is there from beginning to end comes at least once.
    """

    def spaces(self) -> dict[bytes, NamespaceInfo]:
        """Return the namespaces by their epochs of now, with no entries counted."""

    def identity(self) -> bytes:
        """Return what the store and its cursors are known by: others' cursors mean nothing."""

    def expected(self) -> int:
        """Return about how many entries there are."""

    def pages(self, after: Cursor | None = None) -> Iterator[Page]:
        """Yield pages.

        Args:
            after: The cursor of a page that was seen; `None` to begin with the first.
        """
