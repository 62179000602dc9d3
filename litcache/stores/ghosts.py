"""What is remembered of evicted entries: 2 bytes each, so that one that returns is known."""

from __future__ import annotations

from array import array

# The least number of sets: below, a small store forgets before anything can return.
LEAST_SETS = 64


class Ghosts:
    """The worth of the entries that were evicted last, about as many as are held.

    A key's hash names a set of two places, of which the older ghost is overwritten. A ghost has one
    byte of its key, so up to one new key in 128 is taken for one that returns; that gives it a
    better place than it deserves, and nothing else. (S3-FIFO, Yang et al., SOSP '23, remembers keys
    of evicted entries so; here their worth stays, too.) The hash is Python's, as the dict has it at
    hand: it spreads any keys, and no other is as cheap. So which ghosts share a set depends on the
    process's hash seed.

    Concurrency: the caller holds a lock.

    Attributes:
        sets: How many sets there are; 0 until something is evicted: then `fit` comes first.
    """

    def __init__(self) -> None:
        self.sets = 0
        self._mask = -1
        self._ghosts = array("H")  # worth × 256 + the last byte of the key; below 256: no ghost

    def fit(self, entries: int) -> None:
        """Have places for 0.6 to 1.25 times as many ghosts as there are entries."""
        while self.sets < max(LEAST_SETS, entries * 5 // 16):
            # A key's ghost is found in its set among twice as many, whichever that is.
            self._ghosts = self._ghosts * 2 if self.sets else array("H", bytes(4 * LEAST_SETS))
            self.sets = len(self._ghosts) // 2
            self._mask = self.sets - 1
        while self.sets > max(LEAST_SETS, entries * 5 // 4):
            self.sets //= 2
            self._mask = self.sets - 1
            del self._ghosts[2 * self.sets :]

    def note(self, key: bytes, worth: int) -> None:
        """Remember the worth, 1 to 255, of an entry that is evicted."""
        ghosts, at = self._ghosts, (hash(key) & self._mask) * 2
        ghosts[at + 1] = ghosts[at]
        ghosts[at] = worth << 8 | key[-1]

    def take(self, key: bytes) -> int:
        """Return the worth that is remembered of a key, and forget it; 0 if there is none."""
        ghosts = self._ghosts
        at, tag = (hash(key) & self._mask) * 2, key[-1]
        ghost = ghosts[at]
        if ghost & 255 == tag:
            ghosts[at] = ghosts[at + 1]
        else:
            ghost = ghosts[at + 1]
            if ghost & 255 != tag:
                return 0
        ghosts[at + 1] = 0
        return ghost >> 8
