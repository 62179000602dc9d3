"""A store in Redis, Valkey or a Redis Cluster, shared by all hosts."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence

from litcache.errors import StoreError, ValueEncodingError
from litcache.stores import base
from litcache.stores.base import UNKNOWN_EPOCH, Entry, Scope, Store, StoreInfo
from litcache.stores.frame import EPOCH_BYTES, frame, unframe
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.redis.epochs import Epochs, is_pair
from litcache.stores.redis.remote import Remote, code
from litcache.stores.redis.scan import counted, is_entry, verified
from litcache.stores.redis.scripts import removed, stored
from litcache.stores.redis.wire import Command

# Redis takes strings of up to 512 MiB.
_LARGEST = 512 << 20

# Beyond this Redis is not told of an expiry: it may not fit its milliseconds.
_LONGEST_SECONDS = 100 * 365 * 86_400.0

# `info` asks each node for the names of about so many keys, and for the sizes of some of ours.
_SAMPLED_KEYS = 2_000
_SAMPLED_SIZES = 100

# What Redis takes for an entry beside its name and value.
_ENTRY_BYTES = 80


class RedisStore(Store):
    """Entries in Redis ≥ 6.2, in Valkey or in a Redis Cluster, shared by all hosts.

    All keys begin with `prefix`; nothing else is touched:

    * `<prefix>:e:<tag of the namespace><key>`: an entry, framed, with Redis' own expiry. A frame
      holds the epoch of its namespace and is verified at every read. A deleted entry leaves a list
      in its place for ten minutes.
    * `<prefix>:epochs`: a hash of two fields a namespace. `e<namespace>` is its epoch, random, made
      by the first look-up that finds none. `d<namespace>` is of its last delete.
    * `<prefix>:deleted:<namespace>`: a stream of the last deletes, for the tiers in front.
    * `<prefix>:notes`: a hash of what `namespaces` tells people; nothing depends on it.

    One `HMGET` of these fields rides along with every look-up and every write, in the same round
    trip. `clear` removes them, so that no entry framed before is valid: in constant time, for every
    process at its next look-up, also on a full server. An evicted hash clears everything and
    revives nothing. What was computed while its namespace was cleared, or any of its entries
    deleted, is not stored: not even by a process that is killed as it writes a deleted one. On a
    full server that refuses writes, a delete clears the namespace.

    A server with replicas confirms clears and deletes once one of them has them; if none has in
    time, they raise. A server that is started again from an older file has the older entries again:
    let it write none, or clear after that.

    With the server dead or hanging, a call takes one timeout; after three failures in a row calls
    fail at once, but for one probe now and then, at most 0.4 seconds apart. An answer that drips is
    as good as none: beyond its timeout an exchange may go on as long as it moves 8 MiB a second.
    Resolving the host's name takes what the system allows it, and each of several addresses a
    timeout: give one address where that matters.

    Concurrency: safe in many threads, with a connection for each call under way. Connections,
    counters and the state of failures are of one process; a forked one begins anew.

    Args:
        url: Any URL that redis-py takes: `redis://`, `rediss://`, `unix://`. `${NAME}` as the
            whole of it, or as its user name or password, is read from the environment.
        prefix: What all its keys begin with.
        timeout: Seconds that an exchange with the server may take, connecting included.
        cluster: Whether the URL is that of a node of a Redis Cluster.
        clock: The wall clock by which entries expire, in seconds.
        monotonic: The clock by which a failing server is probed, in seconds.

    Raises:
        ImportError: If redis-py is not installed.
        ValueError: If the URL or the timeout is none.

    Example:
        >>> RedisStore("redis://user:secret@cache.internal:6379/0")
        RedisStore('redis://cache.internal:6379/0', prefix='litcache')
    """

    persistent = True
    blocking = True

    def __init__(
        self,
        url: str,
        prefix: str = "litcache",
        timeout: float = 0.05,
        *,
        cluster: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout={timeout!r} must be a positive number of seconds")
        self.prefix = prefix
        self.clock = clock
        self._remote = Remote(url, timeout, cluster=cluster, monotonic=monotonic)
        # Another format is never seen, nor removed. Epochs are of all of them.
        self._entries = f"{prefix}:e{base.FORMAT}:".encode()
        self._epochs = Epochs(self._remote, prefix)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._remote)!r}, prefix={self.prefix!r})"

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look entries up in one round trip to each node, and verify each."""
        scope.epoch = UNKNOWN_EPOCH
        names = self._names(scope, keys)
        question = self._epochs.question(scope)
        answer, values = self._remote.ask(lambda nodes: nodes.look_up(question, names))
        scope.epoch = epoch = self._epochs.noted(answer) or self._epochs.made(scope, answer)
        entries: list[Entry | None] = []
        spoiled, expired, now, current = [], 0, self.clock(), epoch[:EPOCH_BYTES]
        for index, (key, name) in enumerate(zip(keys, names, strict=True)):
            # Given up as soon as it is copied, so that a large batch is not held twice.
            value, values[index] = values[index], None
            entry = None
            if type(value) is bytes:  # errors stand where there is something else
                try:
                    entry = unframe(value, current, key)
                except ValueEncodingError:
                    spoiled.append(name)
                if entry is not None and entry.expires is not None and entry.expires <= now:
                    entry = None
                    expired += 1
            entries.append(entry)
        if spoiled or expired:
            self._remote.count(corrupt=len(spoiled), expired=expired)
            self._remove(spoiled)
        return entries

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries in one round trip to each node; a full server drops them.

        Raises:
            StoreError: If the server does not answer, or refuses for another reason than lack of
                room.
        """
        if scope.epoch == UNKNOWN_EPOCH:
            self._remote.count(dropped=len(entries))
            return
        if scope.epoch is None:
            scope = scope.renewed()
            self.get_many(scope, ())
        writes = self._writes(scope, entries)
        if not writes:
            return
        told = self._epochs.version_told(scope)
        *answers, epoch = self._remote.send([*told, *writes, self._epochs.question(scope)])
        del answers[: len(told)]
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        full = [error for error in errors if code(error) == "OOM"]
        self._remote.note_room(not full)
        if self._epochs.noted(epoch) != scope.epoch:
            self._remote.count(dropped=len(writes))
            self._remove(self._names(scope, list(entries)))
            return
        self._remote.count(dropped=len(errors) + answers.count(0))
        for error in errors:
            if code(error) != "OOM":
                raise self._remote.refused(error)

    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Delete entries, and return how many valid ones there were.

        Raises:
            StoreError: If the server does not answer, or has replicas and none confirms in time.
        """
        if not keys:
            return 0
        keys = list(dict.fromkeys(keys))
        scope = scope.renewed()
        there = sum(entry is not None for entry in self.get_many(scope, keys))
        self._epochs.delete(scope, self._names(scope, keys), keys)
        return there

    def deleted_since(self, scope: Scope, epoch: bytes) -> list[bytes] | None:
        """Return which keys were deleted since, as far as they are among the last 500 or so."""
        return self._epochs.deleted_since(scope, epoch)

    def clear(self, namespace: str | None = None) -> None:
        """Drop entries in constant time.

        Raises:
            StoreError: If the server does not answer, or has replicas and none confirms in time.
        """
        self._epochs.clear(namespace)

    @property
    def breaker_open(self) -> bool:
        """Whether this process leaves the server alone for the moment, since it fails."""
        return self._remote.breaker_open

    def info(self) -> StoreInfo:
        """Return what is stored, estimated from a sample, and what this process did.

        Up to 2,000 keys a node are counted exactly. Entries that are no longer valid count until
        Redis evicts them or they are overwritten.

        Raises:
            StoreError: If the server does not answer.
        """
        entries = 0
        names: list[bytes] = []
        page = ("SCAN", 0, "COUNT", _SAMPLED_KEYS)
        # The second page is of the same names: what deletes left in the place of entries.
        look: list[Command] = [("DBSIZE",), page, (*page, "TYPE", "list")]
        for size, first, second in self._remote.ask(lambda nodes: nodes.each(look)):
            for answer in (size, first, second):
                if isinstance(answer, Exception):
                    raise self._remote.refused(answer)
            if not (is_pair(first) and is_pair(second)):
                raise self._remote.error("does not answer as Redis does")
            (cursor, seen), lists = first, set(second[1])
            ours = [n for n in seen if is_entry(n, self._entries) and n not in lists]
            share = len(ours) / len(seen) if seen else 0
            entries += len(ours) if int(cursor) == 0 else round(size * share)
            names += ours
        sample = random.sample(names, min(len(names), _SAMPLED_SIZES))
        sizes = self._remote.send([("STRLEN", name) for name in sample])
        known = [size + len(sample[0]) + _ENTRY_BYTES for size in sizes if isinstance(size, int)]
        mean = sum(known) / len(known) if known else 0
        return StoreInfo(entries=entries, bytes=round(entries * mean), **self._remote.counted())

    def names(self) -> list[str]:
        """Return the names of the namespaces, sorted, without a look at their entries."""
        return sorted(space.name for space in self._epochs.spaces().values())

    def namespaces(self) -> list[NamespaceInfo]:
        """Return what there is of each namespace: asks for all keys of the server, page by page.

        Returns:
            The namespaces, by name.

        Raises:
            StoreError: If the server does not answer.
        """
        return counted(self._remote, self._entries, self._epochs.spaces())

    def verify(self) -> tuple[int, int]:
        """Read and verify every entry, while others use the store; nothing is deleted.

        Returns:
            How many were read, and how many of them did not verify.

        Raises:
            StoreError: If the server does not answer.
        """
        return verified(self._remote, self._entries)

    def close(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        self._remote.close()

    def _names(self, scope: Scope, keys: Sequence[bytes]) -> list[bytes]:
        start = self._entries + scope.tag
        return [start + key for key in keys]

    def _writes(self, scope: Scope, entries: Mapping[bytes, Entry]) -> list[Command]:
        """Return the commands that store entries, without those that cannot be stored."""
        writes: list[Command] = []
        rejected, expired, now = 0, 0, self.clock()
        epoch = scope.epoch or b""
        start = self._entries + scope.tag
        for key, entry in entries.items():
            left = math.inf if entry.expires is None else entry.expires - now
            data = frame(entry, epoch[:EPOCH_BYTES], key)
            if len(data) > _LARGEST:
                rejected += 1
            elif left <= 0:
                expired += 1
            else:
                seconds = None if left > _LONGEST_SECONDS else left
                writes.append(stored(start + key, data, epoch, seconds))
        if rejected or expired:
            self._remote.count(rejected=rejected, expired=expired)
        return writes

    def _remove(self, names: Sequence[bytes]) -> None:
        """Remove what is not valid, if it can be done: it is never answered anyway."""
        if names:
            with contextlib.suppress(StoreError):
                self._remote.send([removed(name) for name in names])
