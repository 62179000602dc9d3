"""Scripts that a Redis server runs as one step: store an entry, delete it for good, lease it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from litcache.stores.base import Lease
from litcache.stores.frame import EPOCH_AT, EPOCH_BYTES, EXPIRES_AT
from litcache.stores.redis.values import FORMAT_AT, PLACE_BYTES, PLACED, has_place, placed_value
from litcache.stores.redis.wire import Command

# The epoch of a look-up has three parts: the epoch, the token of the last delete, and its place.
PLACE_AT = 2 * EPOCH_BYTES

# A deleted entry leaves a list in its place. For a reader it is a miss. It stops a writer that
# looked up before the delete, even one that is killed before it could undo its write. Its first
# element is this text, the epoch and the token of the delete. Its second element is the place of
# the delete in the stream of deletes: a writer that has seen this place or a later one may write
# again. Its entry tells the place that it has seen, and so goes on stopping the others. For that it
# stays as long as the list would have, even if it expires before: then it is a miss that is there.
_MARK = "litcache"
# A lease is a list in the place of the entry that its holder computes: for a reader it is a miss,
# and storing the entry ends it. Its first element is this text, the epoch and the holder. If there
# is a second one, it is the place that an entry told which had expired and gave way to the lease.
_LEASE = "litlease"
# How long the list of a delete stays: longer than any computation.
_TOMBSTONE_MS = 600_000

# Whether a place in the stream of deletes is one that a writer has not seen.
_UNSEEN = """
local function unseen(place, seen)
  local ms, number = string.match(place or '', '^ *(%d+)-(%d+)$')
  local seen_ms, seen_number = string.match(seen, '^(%d+)-(%d+)$')
  if not (ms and seen_ms) then return true end
  ms, number = tonumber(ms), tonumber(number)
  seen_ms, seen_number = tonumber(seen_ms), tonumber(seen_number)
  return seen_ms < ms or (seen_ms == ms and seen_number < number)
end
"""

# The epoch of the entry under a name, and whether its writer has seen a delete that another one has
# not.
_HELD = f"""{_UNSEEN}
local function held(name, seen)
  local head = redis.call('GETRANGE', name, {FORMAT_AT}, {EPOCH_AT + EPOCH_BYTES - 1})
  return string.sub(head, {EPOCH_AT - FORMAT_AT + 1}), (string.byte(head) or 0) >= {PLACED}
    and unseen(redis.call('GETRANGE', name, -{PLACE_BYTES}, -1), seen)
end
"""

# Of a name under which there is an entry of another epoch, it tells that epoch.
_STORE = f"""{_HELD}
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind == 'list' then
  local left = redis.call('LRANGE', KEYS[1], 0, 1)
  local mark, token = string.sub(left[1], 1, 16), string.sub(left[1], 17)
  if ((mark == '{_MARK}' .. ARGV[2] and token ~= ARGV[3])
    or (mark == '{_LEASE}' .. ARGV[2] and left[2])) and unseen(left[2], ARGV[4]) then return 0 end
elseif kind == 'string' then
  local epoch, is_newer = held(KEYS[1], ARGV[4])
  if epoch ~= ARGV[2] and epoch ~= ARGV[6] then return epoch end
  if epoch == ARGV[2] and is_newer then return 0 end
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

# Two deletes may end in another order than they have in the stream of deletes. Each of them renews
# the token. Only a later place is noted: what the later delete left bars all who see the other.
_NOTE = f"""{_UNSEEN}
local place = ARGV[3]
local noted = string.sub(redis.call('HGET', KEYS[1], ARGV[1]) or '', {EPOCH_BYTES + 1})
if string.find(noted, '^%d+-%d+$') and string.find(place, '^%d+-%d+$') and unseen(noted, place) then
  place = noted
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. place)
return 1
"""

_REMOVE = f"""{_HELD}
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind == 'list' then return 0 end
if ARGV[1] ~= '' and kind == 'string' then
  local epoch, is_newer = held(KEYS[1], ARGV[2])
  if epoch ~= ARGV[1] or is_newer then return 0 end
end
redis.call('UNLINK', KEYS[1])
return 1
"""

# What the script below says of a name. Of a name that another process has leased, it tells the
# holder.
LEASED, THERE, UNCLEAR = b"", b"+", b"?"
_HOLDER_BYTES = 8

_TAKE = f"""
local answers = {{}}
for i, name in ipairs(KEYS) do
  local kind = redis.call('TYPE', name)['ok']
  local answer, free, place = '', kind == 'none', nil
  if kind == 'string' then
    local head = redis.call('GETRANGE', name, {FORMAT_AT}, {EPOCH_AT + EPOCH_BYTES - 1})
    if string.sub(head, {EPOCH_AT - FORMAT_AT + 1}) == ARGV[1] then
      local expires = struct.unpack('<d', head, {EXPIRES_AT - FORMAT_AT + 1})
      if string.byte(head) >= {PLACED} and expires <= tonumber(ARGV[5]) then
        place = redis.call('GETRANGE', name, -{PLACE_BYTES}, -1)
        redis.call('UNLINK', name)
        free = true
      else answer = '+' end
    elseif ARGV[4] == '1' then redis.call('UNLINK', name) free = true
    else answer = '?' end
  elseif kind == 'list' then
    local mark = redis.call('LINDEX', name, 0)
    if string.sub(mark, 1, 8) == '{_LEASE}' then
      if string.sub(mark, 9, 16) == ARGV[1] then
        if string.sub(mark, 17) == ARGV[2] then redis.call('PEXPIRE', name, ARGV[3])
        else answer = string.sub(mark, 17) end
      elseif ARGV[4] == '1' then redis.call('UNLINK', name) free = true
      else answer = '?' end
    end
  end
  if free then
    redis.call('RPUSH', name, '{_LEASE}' .. ARGV[1] .. ARGV[2])
    if place then redis.call('RPUSH', name, place) end
    redis.call('PEXPIRE', name, ARGV[3])
  end
  answers[i] = answer
end
return answers
"""

# A place that is under the lease stays, in a list as a delete leaves it.
_RELEASE = f"""
if redis.call('TYPE', KEYS[1])['ok'] == 'list' and redis.call('LINDEX', KEYS[1], 0) == ARGV[1] then
  local place = redis.call('LINDEX', KEYS[1], 1)
  redis.call('UNLINK', KEYS[1])
  if place then
    local mark = '{_MARK}' .. string.sub(ARGV[1], 9, 16) .. string.rep('-', {EPOCH_BYTES})
    redis.call('RPUSH', KEYS[1], mark, place)
    redis.call('PEXPIRE', KEYS[1], {_TOMBSTONE_MS})
  end
end
return 1
"""


def leased(
    names: Sequence[bytes], epoch: bytes, lease: Lease, now: float, *, sure: bool
) -> Command:
    """Return the command that leases names that have no entry.

    Args:
        names: The names; in a cluster, names of one slot.
        epoch: The epoch of their namespace.
        lease: Who asks, and for how long.
        now: The time by which entries expire.
        sure: Whether a look-up has just seen this epoch. Then what is of another epoch gives way.

    Returns:
        The command. For each name its answer is `LEASED`, `THERE` (an entry), `UNCLEAR` (something
        of another epoch), or the other process that holds a lease. A name that a delete has marked
        counts as leased, without a lease.
    """
    milliseconds = b"%d" % max(1, math.ceil(lease.seconds * 1000))
    arguments = epoch[:EPOCH_BYTES], lease.holder, milliseconds, b"1" if sure else b"0"
    return ("EVAL", _TAKE, len(names), *names, *arguments, repr(float(now)))


def is_holder(answer: object) -> bool:
    """Return whether an answer of `leased` is the holder of the lease of another process."""
    return isinstance(answer, bytes) and len(answer) == _HOLDER_BYTES


def released(name: bytes, epoch: bytes, lease: Lease) -> Command:
    """Return the command that ends a lease, if its holder still has it."""
    return ("EVAL", _RELEASE, 1, name, _LEASE.encode() + epoch[:EPOCH_BYTES] + lease.holder)


def stored(name: bytes, data: bytes, epoch: bytes, seconds: float | None, now: float) -> Command:
    """Return the command that stores an entry, unless it was deleted since a look-up.

    It was, too, if it is there again by a writer that has seen the delete.

    Args:
        name: Its name.
        data: Its frame.
        epoch: The epoch that the look-up noted.
        seconds: After how many seconds it expires, if it does.
        now: The time, in seconds. What was stored soon after a delete stays longer.

    Returns:
        The command. Its answer is 1; 0 if the entry was deleted; or the epoch of an entry that is
        in the way: nothing is stored until it is known which epoch is that of now.
    """
    seen = epoch[:EPOCH_BYTES], epoch[EPOCH_BYTES:PLACE_AT], epoch[PLACE_AT:]
    milliseconds = (
        b"" if seconds is None else b"%d" % math.ceil(max(seconds * 1000, _stay(seen[2], now)))
    )
    return ("EVAL", _STORE, 1, name, placed_value(data, seen[2]), *seen, milliseconds, b"")


def _stay(place: bytes, now: float) -> float:
    """Return for how many milliseconds an entry is needed that tells a place."""
    if not has_place(place):
        return 0.0
    began = place.partition(b"-")[0]
    if not began.isdigit():
        return _TOMBSTONE_MS
    return min(_TOMBSTONE_MS, int(began) + _TOMBSTONE_MS - now * 1000)


def over(store: Command, epoch: bytes) -> Command:
    """Return a command of `stored` before which an entry of another epoch gives way: of this one.

    After a clear in between there may be an entry of a newer one.
    """
    return (*store[:-1], epoch)


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


def marked(key: bytes, field: bytes, token: bytes, place: bytes) -> Command:
    """Return the command that notes the last delete of a namespace, if need be with a later place.

    Args:
        key: The hash of the epochs.
        field: Its field for the last delete of the namespace.
        token: The token of the delete.
        place: Its place in the stream of deletes; empty if it has none.
    """
    return ("EVAL", _NOTE, 1, key, field, token, place)


def removed(name: bytes, epoch: bytes = b"") -> Command:
    """Return the command that removes an entry, but not the list that a delete left.

    Args:
        name: Its name.
        epoch: The epoch that the look-up of its writer noted; the entry of another one stays.
    """
    return ("EVAL", _REMOVE, 1, name, epoch[:EPOCH_BYTES], epoch[PLACE_AT:])


def is_mark(value: object) -> bool:
    """Return whether the first element of a list shows that a delete left it, or is a lease."""
    return isinstance(value, bytes) and value.startswith((_MARK.encode(), _LEASE.encode()))


def _mark(epoch: bytes, token: bytes) -> bytes:
    return _MARK.encode() + epoch[:EPOCH_BYTES] + token
