"""The last deletes, noted in an index, so that stores in front drop only these keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from litcache.stores.base import Scope
from litcache.stores.frame import EPOCH_BYTES, new_epoch
from litcache.stores.shared.finding import find, tokens_in
from litcache.stores.shared.index import Index

_REMEMBERED = 500


def renew_deletes(
    db: sqlite3.Connection, scope: Scope, keys: Sequence[bytes]
) -> list[tuple[object, object]]:
    """Give a namespace a new token of deletes, in a transaction, and remember the deleted keys.

    Returns:
        Its tag and its tokens, unless it has none.
    """
    tokens = tokens_in(find(db, scope.tag, ()))
    if tokens is None:
        return []
    epoch, token = tokens[:EPOCH_BYTES], tokens[EPOCH_BYTES:]
    tokens = epoch + new_epoch()
    db.execute("UPDATE spaces SET tokens = ? WHERE tag = ?", (tokens, scope.tag))
    # The token is noted with the first key: if that is forgotten, some of the others may be, too.
    rows = [(scope.tag, None if number else token, key) for number, key in enumerate(keys)]
    db.executemany("INSERT INTO deleted(tag, token, key) VALUES (?, ?, ?)", rows)
    oldest = "(SELECT max(number) FROM deleted) - ?"
    db.execute(f"DELETE FROM deleted WHERE number <= {oldest}", (_REMEMBERED,))
    return [(scope.tag, tokens)]


def deleted_since(index: Index, tag: bytes, tokens: bytes) -> list[bytes] | None:
    """Return the keys deleted since a namespace had these tokens; `None` if they are not known."""
    since = "SELECT number FROM deleted WHERE tag = ? AND token = ?"
    later = f"SELECT key FROM deleted WHERE tag = ? AND number >= ({since})"
    with index.reading:
        now = tokens_in(find(index.reader, tag, ()))
        if now is None or now[:EPOCH_BYTES] != tokens[:EPOCH_BYTES]:
            return None
        rows = index.reader.execute(later, (tag, tag, tokens[EPOCH_BYTES:])).fetchall()
    return [key for (key,) in rows] or None
