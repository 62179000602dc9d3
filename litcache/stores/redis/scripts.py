"""Scripts that a Redis server runs as one step: store an entry, or delete it for good."""

from __future__ import annotations

import math

from litcache.stores.frame import EPOCH_BYTES
from litcache.stores.redis.wire import Command

# The epoch of a look-up has three parts: the epoch, the token of the last delete, and its place.
PLACE_AT = 2 * EPOCH_BYTES

# A deleted entry leaves a list in its place. For a reader it is a miss. It stops a writer that
# looked up before the delete, even one that is killed before it could undo its write. Its first
# element is this text, the epoch and the token of the delete. Its second element is the place of
# the delete in the stream of deletes: a writer that has seen this place or a later one may write
# again.
_MARK = "litcache"
# How long the list stays: longer than any computation.
_TOMBSTONE_MS = 600_000

_STORE = f"""
if redis.call('TYPE', KEYS[1])['ok'] == 'list' then
  local left = redis.call('LRANGE', KEYS[1], 0, 1)
  if string.sub(left[1], 1, 16) == '{_MARK}' .. ARGV[2] and string.sub(left[1], 17) ~= ARGV[3] then
    local ms, number = string.match(left[2] or '', '^(%d+)-(%d+)$')
    local seen_ms, seen_number = string.match(ARGV[4], '^(%d+)-(%d+)$')
    if not (ms and seen_ms) then return 0 end
    ms, number = tonumber(ms), tonumber(number)
    seen_ms, seen_number = tonumber(seen_ms), tonumber(seen_number)
    if seen_ms < ms or (seen_ms == ms and seen_number < number) then return 0 end
  end
end
if ARGV[5] == '' then redis.call('SET', KEYS[1], ARGV[1])
else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5]) end
return 1
"""

_DELETE = f"""
redis.call('UNLINK', KEYS[1])
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], {_TOMBSTONE_MS})
return 1
"""

_PLACE = """
if redis.call('TYPE', KEYS[1])['ok'] == 'list' and redis.call('LINDEX', KEYS[1], 0) == ARGV[1] then
  redis.call('RPUSH', KEYS[1], ARGV[2])
end
return 1
"""

_REMOVE = """
if redis.call('TYPE', KEYS[1])['ok'] ~= 'list' then redis.call('UNLINK', KEYS[1]) end
return 1
"""


def stored(name: bytes, data: bytes, epoch: bytes, seconds: float | None) -> Command:
    """Return the command that stores an entry, unless it was deleted since a look-up.

    Args:
        name: Its name.
        data: Its frame.
        epoch: The epoch that the look-up noted.
        seconds: After how many seconds it expires, if it does.

    Returns:
        The command; its answer is 1, or 0 if the entry was deleted.
    """
    seen = epoch[:EPOCH_BYTES], epoch[EPOCH_BYTES:PLACE_AT], epoch[PLACE_AT:]
    milliseconds = b"" if seconds is None else b"%d" % math.ceil(seconds * 1000)
    return ("EVAL", _STORE, 1, name, data, *seen, milliseconds)


def deleted(name: bytes, epoch: bytes, token: bytes) -> Command:
    """Return the command that deletes an entry.

    Args:
        name: Its name.
        epoch: The epoch of its namespace.
        token: The token of the delete.
    """
    return ("EVAL", _DELETE, 1, name, _mark(epoch, token))


def placed(name: bytes, epoch: bytes, token: bytes, place: bytes) -> Command:
    """Return the command that notes the place of a delete in the list that it left.

    Args:
        name: The entry's name.
        epoch: The epoch of its namespace.
        token: The token of the delete.
        place: Its place in the stream of deletes.
    """
    return ("EVAL", _PLACE, 1, name, _mark(epoch, token), place)


def removed(name: bytes) -> Command:
    """Return the command that removes an entry, but not the list that a delete left."""
    return ("EVAL", _REMOVE, 1, name)


def is_tombstone(value: object) -> bool:
    """Return whether the first element of a list shows that a delete left the list."""
    return isinstance(value, bytes) and value.startswith(_MARK.encode())


def _mark(epoch: bytes, token: bytes) -> bytes:
    return _MARK.encode() + epoch[:EPOCH_BYTES] + token
