"""What a method returned, made into entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from litcache.engine.call import ROWS, Call
from litcache.errors import BatchSizeError, ValueEncodingError
from litcache.keys.contexts import changes
from litcache.observe.log import Reporter
from litcache.stores.base import Entry, NewEntry
from litcache.values import codec
from litcache.values.rows import count_rows, encode_rows


class NotRows(Exception):
    """A method returned no container of rows."""


class OutputEncoder:
    """Makes entries of the outputs of a call's misses.

    Args:
        method: The method's qualified name, for messages.
        seconds: How long an entry stays valid, or `None`.
        reporter: What warns of outputs that cannot be stored.
    """

    def __init__(self, method: str, seconds: float | None, reporter: Reporter) -> None:
        self._method = method
        self._seconds = seconds
        self._reporter = reporter

    def entries(
        self, calls: Sequence[Call], outputs: Sequence[Any], clock: Callable[[], float]
    ) -> list[Entry | None]:
        """Make an entry for each of the misses of calls; `None` where that is impossible.

        Raises:
            BatchSizeError: If there is another number of outputs than of misses.
            NotRows: If rows are expected and a container is none.
        """
        mode = calls[0].mode
        misses = [(call, position) for call in calls for position in call.misses]
        self._check_size(mode, len(misses), outputs)
        if mode in ROWS:
            columns = mode == "list"
            encoded = [e for rows in outputs for e in encode_rows(rows, columns=columns)]
        else:
            encoded = codec.encode_many(outputs)
        expires = None if self._seconds is None else clock() + self._seconds
        return [
            self._entry(call, position, pair, expires)
            for (call, position), pair in zip(misses, encoded, strict=True)
        ]

    def _check_size(self, mode: str, expected: int, outputs: Sequence[Any]) -> None:
        actual = 0
        if mode not in ROWS:
            actual = len(outputs)
        else:
            for container in outputs:
                count = count_rows(container, columns=mode == "list")
                if count is None:
                    raise NotRows("the output is no list, array, tensor or columns of these")
                actual += count
        if actual != expected:
            raise BatchSizeError(self._method, expected, actual)

    def _entry(
        self,
        call: Call,
        position: int,
        encoded: tuple[bytes, bytes] | ValueEncodingError,
        expires: float | None,
    ) -> Entry | None:
        """Make an entry of an output and of what was written into its context."""
        try:
            if isinstance(encoded, ValueEncodingError):
                raise encoded
            context = call.context(position)
            if position in call.snapshots and context is not None:
                changed, removed = changes(call.snapshots[position], context)
                if changed or removed:
                    encoded = codec.with_context(*encoded, changed, removed)
        except ValueEncodingError as error:
            if position in call.bypassed:
                return None
            self._reporter.swallow("encode", error, "an output cannot be stored and goes uncached")
            call.uncacheable.add(position)
            return None
        return NewEntry(*encoded, expires)
