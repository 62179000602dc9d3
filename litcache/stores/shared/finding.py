"""What an index has of some keys, asked by the hashes of the keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from xxhash import xxh3_64_intdigest

from litcache.stores.frame import EPOCH_BYTES

TOKENS_BYTES = 2 * EPOCH_BYTES

# The tokens are in the same statement, so that it sees one state of them and of the entries. A
# place that no hash takes costs about as much as one that a hash takes: so there are many widths.
_MOST = 64
_WIDTHS = (1, *range(8, _MOST + 1, 8))
_FIND = {  # values take less than `IN`, which makes a table of its own; NULL finds nothing
    width: "SELECT NULL, tokens, NULL FROM spaces WHERE tag = ? UNION ALL SELECT hash, place, size "
    f"FROM (VALUES {', '.join(['(?)'] * width)}) CROSS JOIN entries ON hash = column1"
    for width in _WIDTHS
}
_WIDTH_OF = [min(w for w in _WIDTHS if w >= few) for few in range(_MOST + 1)]
_NO_HASHES = (None,) * _MOST

# By hash: the hash, the place and the size of a frame. By None: a namespace's tokens in the middle.
Rows = dict[int | None, tuple[int, int, int]]


def hashed(key: bytes) -> int:
    """Return the number that stands for a key in the index: 63 bits of its XXH3-64."""
    return xxh3_64_intdigest(key) >> 1


def hashes_of(keys: Iterable[bytes]) -> list[int]:
    """Return the number of each key."""
    return [xxh3_64_intdigest(key) >> 1 for key in keys]  # without a call for each


def find(db: sqlite3.Connection, tag: bytes, hashes: Sequence[int]) -> Rows:
    """Return the rows of the hashes that an index has, and the tokens of the namespace."""
    found: Rows = {}
    for start in range(0, len(hashes) or 1, _MOST):
        part = hashes[start : start + _MOST]
        few = len(part)
        width = _WIDTH_OF[few]
        rows = db.execute(_FIND[width], (tag, *part, *_NO_HASHES[few:width])).fetchall()
        # The tokens that were seen first: entries from after a clear are not of an older epoch.
        found = {row[0]: row for row in rows} | found
    return found


def tokens_in(rows: Rows) -> bytes | None:
    """Return the tokens among the rows found, if there are any."""
    tokens: object = rows.get(None, (None, None))[1]
    return tokens if isinstance(tokens, bytes) and len(tokens) == TOKENS_BYTES else None
