"""A store in Redis, Valkey or a Redis Cluster, shared by all hosts."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence

from litcache.checks import check_flag, check_seconds, check_text
from litcache.errors import StoreError
from litcache.functions import check_clocks
from litcache.stores import base
from litcache.stores.base import UNKNOWN_EPOCH, Entry, Lease, Scope, Store, StoreInfo
from litcache.stores.frame import EPOCH_BYTES, frame
from litcache.stores.namespaces import NamespaceInfo
from litcache.stores.queued import write_queued
from litcache.stores.redis.epochs import Epochs, is_pair
from litcache.stores.redis.look_ups import LookUps
from litcache.stores.redis.remote import Remote, code
from litcache.stores.redis.scan import RedisSurvey, counted, is_entry, verified
from litcache.stores.redis.scripts import over, stored
from litcache.stores.redis.wire import Command

# Redis takes strings of up to 512 MiB.
_LARGEST = 512 << 20

# Redis gets no expiry above this: it might not fit into milliseconds.
_LONGEST_SECONDS = 100 * 365 * 86_400.0

# `info` asks each node for about this number of names, and for the sizes of some of our keys.
_SAMPLED_KEYS = 2_000
_SAMPLED_SIZES = 100

# The bytes that Redis takes for an entry, beside its name and value.
_ENTRY_BYTES = 80


class RedisStore(Store):
    """Entries in Redis ≥ 6.2, in Valkey or in a Redis Cluster, shared by all hosts.

    All its keys begin with `prefix`, and it touches no others:

    * `<prefix>:e:<tag of the namespace><key>`: an entry in a frame, with an expiry of Redis. The
      frame holds the epoch of the namespace, and every read verifies it. A deleted entry leaves a
      list in its place for ten minutes. What is stored after a delete says so behind its frame, and
      stays until ten minutes after the delete, even if it expires before.
    * `<prefix>:epochs`: a hash with two fields for each namespace. `e<namespace>` is its epoch, a
      random one that the first look-up makes. `d<namespace>` describes its last delete.
    * `<prefix>:deleted:<namespace>`: a stream of the last deletes, for stores in front.
    * `<prefix>:notes`: a hash for `namespaces`, for people; nothing depends on it.

    Every look-up and every write reads these fields by one `HMGET`, in the same round trip. `clear`
    removes them, so that no older frame is valid any more. It takes constant time, also on a full
    server, and every process notices it at its next look-up. If the server evicts the hash, that
    clears everything, and no cleared entry comes back. Outputs that were being computed during a
    clear, or during a delete in their namespace, are not stored, not even by a process that is
    killed while it writes a deleted entry. On a full server that refuses writes, a delete clears
    the namespace.

    If the server has replicas, a clear or delete returns when one of them has it, and raises if
    none has it in time. A server that starts again from an older file has the older entries again:
    let the server write no file, or clear after such a start.

    If the server is dead or hangs, a call takes one timeout. After three failures in a row calls
    fail at once, apart from one probe now and then, at most 0.4 seconds apart. An exchange may take
    longer than the timeout only while it moves 8 MiB a second. Resolving the name of the host takes
    as long as the system allows, and each of several addresses takes a timeout: give one address if
    that matters.

    Concurrency: safe in many threads, with a connection for each running call. Connections,
    counters and the state of failures belong to one process; a forked process begins anew.

    Args:
        url: Any URL that redis-py takes: `redis://`, `rediss://`, `unix://`. `${NAME}` as the
            whole URL, or as its user name or password, is read from the environment.
        prefix: The start of all its keys.
        timeout: Seconds that an exchange with the server may take, with connecting; at most a
            year.
        cluster: Whether the URL is that of a node of a Redis Cluster.
        clock: The wall clock by which entries expire, in seconds.
        monotonic: The clock by which a failing server is probed, in seconds.

    Raises:
        ImportError: If redis-py is not installed.
        ValueError: If an option's value is not allowed. The message repeats no part of the URL.
        TypeError: If an option is of the wrong type.

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
        check_text("prefix", prefix)
        check_seconds("timeout", timeout)
        check_flag("cluster", cluster)
        check_clocks(clock=clock, monotonic=monotonic)
        self.prefix = prefix
        self.clock = clock
        self._remote = Remote(url, timeout, cluster=cluster, monotonic=monotonic)
        # Another format is never seen, nor removed. Epochs are of all of them.
        self._entries = f"{prefix}:e{base.FORMAT}:".encode()
        self._epochs = Epochs(self._remote, prefix)
        self._look_ups = LookUps(self._remote, self._epochs, self._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._remote)!r}, prefix={self.prefix!r})"

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Look up entries in one round trip to each node, and verify each of them."""
        return self._look_ups.get(scope, keys, self.clock())

    def get_or_lease_many(
        self, scope: Scope, keys: Sequence[bytes], lease: Lease
    ) -> tuple[list[Entry | None], Mapping[bytes, bytes]]:
        """Look up entries, and lease the keys without one, in one round trip to each node.

        It takes a second one when the epoch is new to this process, and where an entry of an older
        epoch is in the way.
        """
        return self._look_ups.get_or_lease(scope, keys, lease, self.clock())

    def release_many(self, scope: Scope, keys: Sequence[bytes], lease: Lease) -> None:
        """End leases in one round trip to each node."""
        self._look_ups.release(scope, keys, lease)

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Store entries in one round trip to each node; a full server drops them.

        It takes a second one where an entry of an older epoch is in the way, and one more to end
        the leases of entries that are not stored.

        Raises:
            StoreError: If the server does not answer, or refuses for any reason but lack of room.
        """
        if scope.epoch == UNKNOWN_EPOCH:
            self._remote.count(dropped=len(entries))
            return
        if scope.epoch is None:
            scope = scope.renewed()
            self.get_many(scope, ())
        stored, refusal = self._set(scope, entries)
        if scope.lease is not None and stored < len(entries):
            with contextlib.suppress(StoreError):
                self.release_many(scope, list(entries), scope.lease)
        if refusal is not None:
            raise refusal

    def _set(self, scope: Scope, entries: Mapping[bytes, Entry]) -> tuple[int, StoreError | None]:
        """Store entries; return how many are stored, and what to raise."""
        writes = self._writes(scope, entries)
        if not writes:
            return 0, None
        told = self._epochs.version_told(scope)
        question = self._epochs.question(scope)
        *answers, epoch = self._remote.send([*told, *writes, question])
        del answers[: len(told)]
        again = [over(w, a) for w, a in zip(writes, answers, strict=True) if type(a) is bytes]
        if again and self._epochs.noted(epoch) == scope.epoch:
            *more, epoch = self._remote.send([*again, question])
            answers = [answer for answer in answers if type(answer) is not bytes] + more
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        full = [error for error in errors if code(error) == "OOM"]
        self._remote.note_room(not full)
        if self._epochs.noted(epoch) != scope.epoch:
            self._remote.count(dropped=len(writes))
            self._look_ups.remove(self._look_ups.names(scope, list(entries)), scope.epoch or b"")
            return 0, None
        stored = answers.count(1)
        self._remote.count(dropped=len(answers) - stored)
        refusals = [error for error in errors if code(error) != "OOM"]
        return stored, self._remote.refused(refusals[0]) if refusals else None

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
        self._epochs.delete(scope, self._look_ups.names(scope, keys), keys)
        return there

    def deleted_since(self, scope: Scope, epoch: bytes) -> list[bytes] | None:
        """Return the keys that were deleted since, if they are among the last 500 or so."""
        return self._epochs.deleted_since(scope, epoch)

    def clear(self, namespace: str | None = None) -> None:
        """Drop entries in constant time.

        Raises:
            StoreError: If the server does not answer, or has replicas and none confirms in time.
        """
        self._epochs.clear(namespace)

    @property
    def grants_leases(self) -> bool:
        """True: one process at a time gets a lease, on whatever host."""
        return True

    @property
    def breaker_open(self) -> bool:
        """Whether this process leaves the server alone for a while, because it fails."""
        return self._remote.breaker_open

    def info(self) -> StoreInfo:
        """Return what is stored, estimated from a sample, and what this process did.

        Up to 2,000 keys on each node are counted exactly. Entries that are not valid any more count
        until Redis evicts them or others overwrite them.

        Raises:
            StoreError: If the server does not answer.
        """
        entries = 0
        names: list[bytes] = []
        page = ("SCAN", 0, "COUNT", _SAMPLED_KEYS)
        # The second page says which of these names are lists that deletes left.
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
        sample = random.SystemRandom().sample(names, min(len(names), _SAMPLED_SIZES))
        sizes = self._remote.send([("STRLEN", name) for name in sample])
        known = [size + len(sample[0]) + _ENTRY_BYTES for size in sizes if isinstance(size, int)]
        mean = sum(known) / len(known) if known else 0
        return StoreInfo(entries=entries, bytes=round(entries * mean), **self._remote.counted())

    def names(self) -> list[str]:
        """Return the names of the namespaces, sorted, without reading their entries."""
        return sorted(space.name for space in self._epochs.spaces().values())

    def namespaces(self) -> list[NamespaceInfo]:
        """Return what the server holds of each namespace; it reads all keys, page by page.

        Returns:
            The namespaces, by name.

        Raises:
            StoreError: If the server does not answer.
        """
        return counted(self._remote, self._entries, self._epochs.spaces())

    def verify(self) -> tuple[int, int]:
        """Read and verify every entry while other processes use the store; delete nothing.

        Returns:
            How many were read, and how many of them did not verify.

        Raises:
            StoreError: If the server does not answer.
        """
        return verified(self._remote, self._entries)

    def survey(self) -> RedisSurvey:
        """Return a way through all entries."""
        entries = self._entries
        return RedisSurvey(self._remote, self._epochs, entries, lambda: self.info().entries)

    def close(self) -> None:
        """Write what is queued, and close the idle connections; a later call opens new ones."""
        write_queued(self)
        self._remote.close()

    def _writes(self, scope: Scope, entries: Mapping[bytes, Entry]) -> list[Command]:
        """Return the commands that store entries, without entries that cannot be stored."""
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
                writes.append(stored(start + key, data, epoch, seconds, now))
        if rejected or expired:
            self._remote.count(rejected=rejected, expired=expired)
        return writes
