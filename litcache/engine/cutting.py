"""What is known of a method's outputs of several items: can they be cut into rows, and joined?

If not, the method has to answer the whole call. So a method whose last output was no rows gets the
whole call at once, equal items too. Where one that is not known gets a part, the items are copied
before, so that it may run again on items as they were; a batch of items that cannot be copied, such
as files, is not taken apart until it is known.
"""

from __future__ import annotations

from litcache.engine.call import COALESCED, HIT, Misses, NotRowsError
from litcache.engine.rows import RowCall, Rows
from litcache.values.containers import is_duplicable


class Cutting:
    """Whether the outputs of a method can be cut into rows, and joined with those of other calls.

    Attributes:
        cuts: Whether the last output could be cut; `None`: none has come.
        joins: Whether the last rows of several calls could be joined.
    """

    def __init__(self) -> None:
        self.cuts: bool | None = None
        self.joins = False

    def ask_for_whole(self, misses: Misses) -> None:
        """Have the method compute a whole call at once, if it may return no rows of a part."""
        call = misses.call
        if not isinstance(call, RowCall):
            return
        is_new = self.cuts is None and isinstance(call, Rows) and HIT not in misses.outcomes
        if self.cuts is False or (is_new and not all(map(is_duplicable, call.items))):
            call.is_whole = call.max_items is None or len(call.items) <= call.max_items

    def prepare(self, misses: Misses) -> None:
        """Get a call ready for the method: all its items, or copies if it may have to run again."""
        call = misses.call
        if not isinstance(call, RowCall):
            return
        waits = misses.waits and self.cuts is None  # what it waits for may be rows
        if call.is_whole and not (waits or misses.has_computed):
            _take_all(misses, call)
        elif not (self.cuts and (self.joins or len(misses.to_compute) == len(call.items))):
            call.protect()

    def note_joined(self, misses: Misses | None) -> None:
        """Note that the rows of a call could be joined."""
        if misses is not None and HIT in misses.outcomes:
            self.joins = True

    def note_fault(self, error: Exception) -> None:
        """Note that an output could not be cut, or that rows could not be joined."""
        if isinstance(error, NotRowsError):
            self.cuts = False
        else:
            self.joins = False


def _take_all(misses: Misses, call: RowCall) -> None:
    """Have the method compute every item, those too that hit, wait or are equal to others."""
    for positions in misses.equals.values():
        for position in positions:
            misses.keys[position], misses.outcomes[position] = None, COALESCED
    for position, outcome in enumerate(misses.outcomes):
        if outcome == HIT or position in misses.waits:
            misses.keys[position] = None
    misses.to_compute = list(range(len(misses.keys)))
    misses.waits.clear()
    misses.equals.clear()
    call.put_back()
