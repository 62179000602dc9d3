"""The sequence of faults: a pure function of a seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from typing import NamedTuple

LASTING = ("stop a worker", "stop Valkey", "kill Valkey", "fill Valkey", "fill the disk")
"""Faults that begin, last for a while and end; never two of them at a time."""

AT_ONCE = ("kill a worker", "clear", "delete", "damage the files")
"""Faults that happen at once, within those that last too."""

SHORTEST, LONGEST = 0.3, 2.5
"""Seconds that a fault may last."""

PAUSES = (1.0, 3.0)
"""Seconds between two faults of one sort, from and to."""

_LARGEST = 1 << 30


class Fault(NamedTuple):
    """One fault.

    Attributes:
        at: When it begins, in seconds since the first request under faults.
        kind: One of `LASTING` or of `AT_ONCE`.
        seconds: How long it lasts; 0 if it happens at once.
        which: Which worker, texts or place in a file: a number, taken modulo how many there are.
    """

    at: float
    kind: str
    seconds: float
    which: int

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:7.1f} s  {self.kind}{lasts}"


def draw(seed: int) -> Iterator[Fault]:
    """Yield the faults of a seed in order, without an end.

    Example:
        >>> first, again = draw(7), draw(7)
        >>> [next(first) for _ in range(100)] == [next(again) for _ in range(100)]
        True
    """
    chains = (_chain(f"{seed} {kinds}", kinds) for kinds in (LASTING, AT_ONCE))
    return heapq.merge(*chains)


def _chain(seed: str, kinds: tuple[str, ...]) -> Iterator[Fault]:
    """Yield faults one after the other, each kind once before one comes again."""
    drawn, at = random.Random(seed), 0.0
    while True:
        for kind in drawn.sample(kinds, len(kinds)):
            at += drawn.uniform(*PAUSES)
            seconds = drawn.uniform(SHORTEST, LONGEST) if kind in LASTING else 0.0
            yield Fault(at, kind, seconds, drawn.randrange(_LARGEST))
            at += seconds
