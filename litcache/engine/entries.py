"""Entries from the outputs of a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from litcache.engine import aliases, trials
from litcache.engine.call import BYPASSED, UNCACHEABLE, Call, Misses, Place
from litcache.engine.contexts import OTHER_KIND
from litcache.engine.files import FileWatch
from litcache.engine.lists import Lists
from litcache.engine.modes import NoOutputError
from litcache.engine.predicates import Predicates
from litcache.errors import ValueEncodingError
from litcache.keys.contexts import Context, changes
from litcache.observe.log import Reporter
from litcache.stores.base import NewEntry
from litcache.stores.nodes import new_nodes
from litcache.trial.answers.compare import freeze
from litcache.values import codec
from litcache.values.layouts import Encoded

_ELEMENTS = frozenset(b"atAT")
"""How the layouts of arrays and tensors begin, which name no files."""
_REPLACED = "the method put an object of another type in the place of a context: put a dict there"


class Entries:
    """Makes entries of the outputs of a method.

    Args:
        method: The method's qualified name, for messages.
        seconds: How long an entry stays valid, or `None`.
        predicates: Decides which outputs are stored.
        reporter: Warns of outputs that cannot be stored.
        files: Tells which outputs name files.
        outcome_in: The entry of a context that is the cache's own, and not stored.
        store_as: The form in which floats are stored, and answered on a miss; `None`: in full.
        is_answer: Whether an output is the whole answer, so that nobody reads the context after.
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
        store_as: str | None = None,
        is_answer: bool = False,
        advice: str = "",
    ) -> None:
        self._method = method
        self._seconds = seconds
        self._predicates = predicates
        self._reporter = reporter
        self._files = files
        self._outcome_in = outcome_in
        self._store_as = store_as
        self._is_answer = is_answer
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
        encoded = self._encoded(places, output)
        if self._store_as is not None:
            output = call.as_stored(output, encoded, device)
        expires = None if self._seconds is None else clock() + self._seconds
        if self._keep_at_once(places, output, encoded, expires, device):
            return
        asks = self._predicates.asks_before_storing
        plain: NewEntry | None
        full: NewEntry | None
        for index, ((misses, position), pair) in enumerate(zip(places, encoded, strict=True)):
            key = misses.keys[position]
            if key is not None and type(pair) is tuple and pair[0][0] not in _ELEMENTS:
                pair = self._files.fault_of(call.output_at(output, index)) or pair
            request = misses.call.requests[position] if misses.call.requests else 0
            if type(pair) is tuple and not misses.snapshots:
                # NewEntry(...) is a Python function and takes twice as long.
                plain = full = tuple.__new__(NewEntry, (*pair, expires, request))
            else:
                plain, full = self._entries(misses, position, pair, (expires, request))
            misses.call.keep(position, plain, output, index, device)
            if key is None:
                tried = misses.tried.get(position)
                if isinstance(pair, NoOutputError):
                    trials.refused(places[index : index + 1], pair.__cause__, device)
                elif tried is not None:
                    tried.made = None if self._is_answer else full
                    if not tried.at_encoding:
                        tried.fresh = freeze(call.output_at(output, index))
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

    def _encoded(self, places: Sequence[Place], output: Any) -> list[Encoded | ValueEncodingError]:
        """Return an entry of each output, or the error that says why there is none."""
        call = places[0][0].call
        encoded = call.encode(self._method, output, places, self._store_as)
        is_alone = call.seen is None and call.contexts is None
        if is_alone or self._is_answer or isinstance(call, Lists):  # lists get copies of contexts
            return encoded
        for index, (misses, position) in enumerate(places):
            contexts = misses.call.seen if misses.call.contexts is None else misses.call.contexts
            if contexts is None or misses.keys[position] is None:
                continue
            if type(encoded[index]) is not tuple:  # an error
                continue
            fault = aliases.fault_of_output(call.output_at(output, index), contexts[position])
            if fault is not None:
                encoded[index] = fault
        return encoded

    def _keep_at_once(
        self,
        places: Sequence[Place],
        output: Any,
        encoded: Sequence[Encoded | ValueEncodingError],
        expires: float | None,
        device: Any,
    ) -> bool:
        """Take the arrays and tensors of one call; return false if more is to be done."""
        misses = places[0][0]
        call = misses.call
        if (
            misses.tried
            or misses.snapshots
            or self._predicates.asks_before_storing
            or places[-1][0] is not misses  # those of one call stand together
            or set(map(type, encoded)) != {tuple}
        ):
            return False
        pairs: Any = encoded
        for layout in set(map(itemgetter(0), pairs)):
            if layout[0] not in _ELEMENTS:
                return False
        keys: list[Any] = misses.keys
        if len(places) < len(keys):
            keys = [keys[position] for _, position in places]
        if not all(keys):
            return False
        requests: Iterable[int] = repeat(0)
        if call.requests:
            requests = [call.requests[position] for _, position in places]
        made = new_nodes(pairs, expires, requests)
        call.keep_all(places, made, output, device)
        by_key = dict(zip(keys, made, strict=True))
        misses.published.update(by_key)
        misses.stored.update(by_key)
        return True

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
        if before is OTHER_KIND:
            encoded = ValueEncodingError(_REPLACED, "$context", type(context))
        elif before is not None and context is not None:
            changed, removed = changes(before, context, self._outcome_in)
            misses.call.change(position, changed, removed)
        try:
            if isinstance(encoded, ValueEncodingError):
                raise encoded
            plain = full = NewEntry(*encoded, *rest)
            if changed or removed:
                self._check_changes(misses.call, context, changed)
                full = NewEntry(*codec.with_context(*encoded, changed, removed), *rest)
        except NoOutputError:  # the client gets the user's own error
            return plain, None
        except ValueEncodingError as error:
            if misses.outcomes[position] != BYPASSED:
                self._reporter.swallow("encode", error, self._unstored)
                misses.outcomes[position] = UNCACHEABLE
            return plain, None
        return plain, full

    def _check_changes(self, call: Call, context: Context | None, changed: Context) -> None:
        """Raise the reason why what was changed in a context would not be the same on a hit."""
        if context is not None and not (self._is_answer or isinstance(call, Lists)):
            fault = aliases.fault_of_changes(context, changed)
            if fault is not None:
                raise fault
        self._files.check_context(changed)
