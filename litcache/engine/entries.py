"""Entries from the outputs of a method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from litcache.engine.call import BYPASSED, UNCACHEABLE, Misses, Place
from litcache.engine.files import FileWatch
from litcache.engine.modes import NoOutputError
from litcache.engine.predicates import Predicates
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import changes
from litcache.observe.log import Reporter
from litcache.stores.base import NewEntry
from litcache.trial.compare import freeze
from litcache.values import codec
from litcache.values.codec import Encoded

_ELEMENTS = frozenset(b"atAT")
"""How the layouts of arrays and tensors begin, which name no files."""


class Entries:
    """Makes entries of the outputs of a method.

    Args:
        method: The method's qualified name, for messages.
        seconds: How long an entry stays valid, or `None`.
        predicates: Decides which outputs are stored.
        reporter: Warns of outputs that cannot be stored.
        files: Tells which outputs name files.
        outcome_in: The entry of a context that is the cache's own, and not stored.
        advice: What to do about outputs that cannot be stored, as the end of a message.
    """

    def __init__(
        self,
        method: str,
        seconds: float | None,
        predicates: Predicates,
        reporter: Reporter,
        files: FileWatch,
        outcome_in: str | None,
        *,
        advice: str = "",
    ) -> None:
        self._method = method
        self._seconds = seconds
        self._predicates = predicates
        self._reporter = reporter
        self._files = files
        self._outcome_in = outcome_in
        self._unstored = f"an output cannot be stored and goes uncached{advice}"

    def keep(
        self, places: Sequence[Place], output: Any, device: Any, clock: Callable[[], float]
    ) -> None:
        """Give the calls of some items the outputs that a method returned for them.

        Args:
            places: The items that it was called with.
            output: What it returned.
            device: The device for tensors that must be read from their entries.
            clock: The store's clock, in seconds.

        Raises:
            BatchSizeError: If it did not return one output for each item.
            NotRowsError: If it did not return rows although rows are expected.
        """
        call = places[0][0].call
        encoded = call.encode(self._method, output, places)
        expires = None if self._seconds is None else clock() + self._seconds
        asks = self._predicates.asks_before_storing
        plain: NewEntry | None
        full: NewEntry | None
        for index, ((misses, position), pair) in enumerate(zip(places, encoded, strict=True)):
            key = misses.keys[position]
            if key is not None and type(pair) is tuple and pair[0][0] not in _ELEMENTS:
                pair = self._files.fault_of(call.output_at(output, index)) or pair
            requests = misses.call.requests
            request = requests[position] if requests else 0
            if type(pair) is tuple and not misses.snapshots:
                # NewEntry(...) is a Python function and takes twice as long.
                plain = full = tuple.__new__(NewEntry, (*pair, expires, request))
            else:
                plain, full = self._entries(misses, position, pair, (expires, request))
            misses.call.keep(position, plain, output, index, device)
            if key is None:
                tried = misses.tried.get(position)
                if tried is not None and not tried.at_encoding and type(pair) is not NoOutputError:
                    tried.fresh = freeze(misses.call.output_at(output, index))
                continue
            misses.published[key] = full
            if full is None:
                continue
            if asks:
                lifetime = self._predicates.lifetime(misses, position, output, index)
                if lifetime is None:
                    misses.outcomes[position] = UNCACHEABLE
                if lifetime is None or not lifetime.is_stored:
                    continue
                full = full._replace(expires=lifetime.ends(clock))
            misses.stored[key] = full

    def _entries(
        self,
        misses: Misses,
        position: int,
        encoded: Encoded | ValueEncodingError,
        rest: tuple[Any, ...],
    ) -> tuple[NewEntry | None, NewEntry | None]:
        """Return the entry of an output, and the same entry with the changes of its context."""
        plain = full = None
        changed: dict[str, object] = {}
        removed: list[str] = []
        before, context = misses.snapshots.get(position), misses.call.context(position)
        if before is not None and context is not None:
            changed, removed = changes(before, context, self._outcome_in)
            misses.call.change(position, changed, removed)
        try:
            if isinstance(encoded, ValueEncodingError):
                raise encoded
            plain = full = NewEntry(*encoded, *rest)
            if changed or removed:
                self._files.check_context(changed)
                full = NewEntry(*codec.with_context(*encoded, changed, removed), *rest)
        except NoOutputError:  # the client gets the user's own error
            return plain, None
        except ValueEncodingError as error:
            if misses.outcomes[position] != BYPASSED:
                self._reporter.swallow("encode", error, self._unstored)
                misses.outcomes[position] = UNCACHEABLE
            return plain, None
        return plain, full
