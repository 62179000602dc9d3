"""The modes of a call whose outputs are the rows of containers; `lists.py` has that of lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, cast

from litcache.engine.call import Call, Misses, NotRowsError, Part, Place
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.contexts import Context
from litcache.stores.base import Entry, NewEntry
from litcache.values import codec
from litcache.values.containers import assemble, duplicate, own
from litcache.values.items import take
from litcache.values.layouts import Encoded, Payload
from litcache.values.rows import count_rows, encode_rows, merge_rows, row_at, row_value


class _Row(NamedTuple):
    """A row that cannot be stored."""

    value: Any


class RowCall(Call):
    """A call whose outputs are the rows of containers."""

    columns: ClassVar[bool]

    entries: list[Any]
    whole: Any = None
    """The method's own container, if it answers the whole call."""
    max_items: int | None = None
    """The largest number of items in one call of the method; `None`: any number."""
    is_whole = False
    """Whether the method computes all items at once, if any has to be computed."""
    unstored: Any = None
    """A container of the method's with a row that cannot be stored, if there is one."""

    def begin(self) -> None:
        self.entries = [None] * len(self.items)

    def put_back(self) -> None:
        """Make each context what it was before the method, or an entry, changed it."""

    def argument(self, request: int) -> Any:
        """Return what the method gets for all items of a request."""
        raise NotImplementedError

    def accept(self, entries: list[Any], api: Any) -> None:
        self.entries = entries

    def take(self, position: int, entry: Entry, device: Any) -> None:
        self.entries[position] = entry

    def read(self, layout: bytes, payload: Payload, device: Any) -> Any:
        return row_value(layout, payload, device)

    def joined(self, entries: Sequence[Entry], device: Any) -> Any:
        return merge_rows(entries, device)

    def hold(self) -> None:
        self.whole = None  # the entries have the rows

    def keep(
        self, position: int, entry: Entry | None, output: Any, index: int, device: Any
    ) -> None:
        if entry is not None:
            self.entries[position] = entry
        else:
            self.unstored = output
            self.entries[position] = _Row(own(self.output_at(output, index)))

    def keep_all(
        self, places: Sequence[Place], entries: Sequence[Entry], output: Any, device: Any
    ) -> None:
        if len(entries) == len(self.items):  # then they are in order
            self.entries = list(entries)
            return
        for (_, position), entry in zip(places, entries, strict=True):
            self.entries[position] = entry

    def encode(
        self, method: str, output: Any, places: Sequence[Place], store_as: str | None
    ) -> list[Encoded | ValueEncodingError]:
        count = self.check(method, output, places)
        if len(places) == len(self.items):
            ends = places[0][0].call, places[-1][0].call  # the items of one call adjoin
            if ends == (self, self):
                self.whole = output
        return encode_rows(output, columns=self.columns, store_as=store_as, count=count)

    def as_stored(
        self, output: Any, encoded: Sequence[Encoded | ValueEncodingError], device: Any
    ) -> Any:
        if not encoded:
            return output
        entries = [None if isinstance(pair, Exception) else NewEntry(*pair) for pair in encoded]
        if all(entries):
            stored = merge_rows(cast("list[Entry]", entries), device)
        else:
            rows = [
                self.output_at(output, at)
                if entry is None
                else row_value(entry.layout, entry.payload, device)
                for at, entry in enumerate(entries)
            ]
            stored = assemble(rows, output, columns=self.columns)
        if self.whole is output:
            self.whole = stored
        return stored

    def check(self, method: str, output: Any, places: Sequence[Place]) -> int:
        """Return how many rows an output has.

        Raises:
            BatchSizeError, NotRowsError: If it has not a row for each item.
        """
        count = count_rows(output, columns=self.columns)
        if count is None:
            raise NotRowsError(output, places)
        if count != len(places):
            raise BatchSizeError(method, len(places), count)
        return count

    def output_at(self, output: Any, index: int) -> Any:
        return row_at(output, index, columns=self.columns)

    def merge(self, start: int, stop: int, device: Any) -> Any:
        """Return some rows in the container that the method returns.

        Raises:
            ValueEncodingError: If they do not fit together.
        """
        entries = self.entries[start:stop]
        if self.unstored is None or not any(isinstance(entry, _Row) for entry in entries):
            return merge_rows(entries, device)
        rows = [
            entry.value
            if isinstance(entry, _Row)
            else row_value(entry.layout, entry.payload, device)
            for entry in entries
        ]
        return assemble(rows, self.unstored, columns=self.columns)


class Rows(RowCall):
    """The rows of a container that LitServe's own `batch` makes.

    Args:
        container: What `predict` was called with.
        items: Its rows.
        contexts: A context for each of them, if the method takes one.
    """

    mode = "row"
    columns = False
    _before: Sequence[Context] = ()  # without misses nothing changes the contexts

    def __init__(
        self, container: Any, items: Sequence[object], contexts: Sequence[Context] | None = None
    ) -> None:
        self.items = items
        self.contexts = contexts
        self.container = container

    def begin(self) -> None:
        self.entries = [None] * len(self.items)
        if self.contexts is not None:
            self._before = [duplicate(context) for context in self.contexts]

    def put_back(self) -> None:
        for context, before in zip(self.contexts or (), self._before, strict=False):
            context.clear()
            context.update(before)

    def argument(self, request: int) -> Any:
        self.restore()
        # What is taken of an array or a tensor is a copy.
        return self.items if type(self.container) is list else self.container

    def parts(self, group: Sequence[Misses]) -> Iterator[Part]:
        (misses,) = group
        positions = misses.to_compute
        places = [(misses, position) for position in positions]
        if len(positions) == len(self.items):
            yield Part(self.container, self.contexts, places)
        else:
            contexts = None
            if self.contexts is not None:
                contexts = [self.contexts[position] for position in positions]
            yield Part(take(self.container, positions), contexts, places)

    def result(self, device: Any) -> Any:
        if self.whole is not None and not codec.differs_from_stored(self.whole):
            return self.whole
        if self.unstored is None:
            return merge_rows(self.entries, device)
        return self.merge(0, len(self.items), device)
