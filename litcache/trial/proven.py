"""The differences of requests that are proven: hits of such requests need not be tried any more."""

from __future__ import annotations

DIRECTIONS = 64
"""How many bits a digest has, and so how many differences can be independent."""
_REST = (1 << DIRECTIONS) - 1
_BYTES = DIRECTIONS // 8


class Proven:
    """Which differences of requests have been proven to change no answer.

    A difference is the XOR of two digests. Digests are linear: the difference of two requests is
    the sum, in GF(2), of those of the fields that differ. So what is proven of some differences
    holds of all their sums, and of nothing else: a vector space. Gaussian elimination keeps a basis
    of it. A difference is proven if it is a sum of basis vectors each of which had a part in enough
    hits.

    An id that differs each time fills the few dimensions of its own field. The difference of
    another field stands outside of them, as long as they are not nearly all.

    Args:
        hits: In how many hits a basis vector must have had a part.
        directions: How many basis vectors differences can have.

    Attributes:
        is_open: Whether any difference is still wanted.

    Example:
        >>> proven = Proven(hits=1)
        >>> proven.note(0b01), proven.note(0b10)
        (None, None)
        >>> [proven.wants(unlike) for unlike in (0b01, 0b10, 0b11, 0b100)]
        [False, False, False, True]
    """

    def __init__(self, hits: int, directions: int = DIRECTIONS) -> None:
        self._hits = hits
        self._directions = directions
        self._basis: list[tuple[int, int]] = []  # a vector, and its highest bit
        self._counts: list[int] = []
        self._tables = _tables(self._basis)
        self._open = _REST if hits else 0
        self.is_open = hits > 0

    def wants(self, unlike: int) -> bool:
        """Return whether a difference is not proven yet; 0 is none."""
        a, b, c, d, e, f, g, h = unlike.to_bytes(_BYTES, "little")  # asked at each hit: no call
        t, u, v, w, x, y, z, last = self._tables
        found = t[a] ^ u[b] ^ v[c] ^ w[d] ^ x[e] ^ y[f] ^ z[g] ^ last[h]
        return found & self._open != 0

    def note(self, unlike: int) -> None:
        """Note that a hit is proven whose request was another one."""
        if not self.is_open or not unlike:
            return
        found = self._expand(unlike)
        if rest := found & _REST:
            self._basis.append((rest, 1 << rest.bit_length() - 1))
            self._counts.append(0)
            self._open |= 1 << DIRECTIONS + len(self._basis) - 1
            self._tables = _tables(self._basis)
            found = self._expand(unlike)
        for place in range(len(self._basis)):
            self._counts[place] += found >> DIRECTIONS + place & 1
            if self._counts[place] >= self._hits:
                self._open &= ~(1 << DIRECTIONS + place)
        if len(self._basis) == self._directions:
            self._open &= ~_REST
        self.is_open = self._open > 0

    def _expand(self, unlike: int) -> int:
        """Return what is left of a difference, and above it a bit for each basis vector in it."""
        found = 0
        for table, byte in zip(self._tables, unlike.to_bytes(_BYTES, "little"), strict=True):
            found ^= table[byte]
        return found


def _tables(basis: list[tuple[int, int]]) -> list[list[int]]:
    """Return for each byte of a difference, and each value of it, what it expands to."""
    tables = []
    for byte in range(_BYTES):
        table = [0]
        for bit in range(8 * byte, 8 * byte + 8):
            rest, parts = 1 << bit, 0
            for place, (vector, highest) in enumerate(basis):
                if rest & highest:
                    rest ^= vector
                    parts |= 1 << place
            found = rest | parts << DIRECTIONS
            table += [found ^ other for other in table]
        tables.append(table)
    return tables
