"""Look-ups in Redis: entries are read, verified, and leased where they are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from litcache.errors import StoreError, ValueEncodingError
from litcache.stores.base import UNKNOWN_EPOCH, Entry, Lease, Scope
from litcache.stores.frame import EPOCH_BYTES, unframe
from litcache.stores.redis.epochs import Epochs
from litcache.stores.redis.remote import Remote
from litcache.stores.redis.scripts import THERE, UNCLEAR, is_holder, leased, released, removed
from litcache.stores.redis.values import frame_in


class LookUps:
    """Asks a server for the entries of one store.

    Args:
        remote: The server.
        epochs: Which entries are valid.
        start: What the names of all entries begin with.
    """

    def __init__(self, remote: Remote, epochs: Epochs, start: bytes) -> None:
        self._remote = remote
        self._epochs = epochs
        self._start = start

    def names(self, scope: Scope, keys: Sequence[bytes]) -> list[bytes]:
        """Return the names of the entries of keys."""
        start = self._start + scope.tag
        return [start + key for key in keys]

    def get(self, scope: Scope, keys: Sequence[bytes], now: float) -> list[Entry | None]:
        """Return the entries of keys that are valid now, as `Store.get_many` does."""
        names, question = self.names(scope, keys), self._epochs.question(scope)
        scope.epoch = UNKNOWN_EPOCH
        answer, values = self._remote.ask(lambda nodes: nodes.look_up(question, names))
        return self._read(scope, keys, names, answer, values, now)

    def get_or_lease(
        self, scope: Scope, keys: Sequence[bytes], lease: Lease, now: float
    ) -> tuple[list[Entry | None], Mapping[bytes, bytes]]:
        """Return entries and the holders of leases, as `Store.get_or_lease_many` does."""
        seen = self._remote.epochs
        epoch = seen.get(scope.tag, UNKNOWN_EPOCH)
        entries, answers = self._get_and_lease(scope, keys, lease, epoch, now)
        seen[scope.tag] = current = (scope.epoch or b"")[:EPOCH_BYTES]
        missing = [n for n, entry in enumerate(entries) if entry is None]
        unclear = [n for n in missing if current != epoch or answers[n] in (THERE, UNCLEAR)]
        if unclear:
            again, there = scope.renewed(), [keys[n] for n in unclear]
            found, told = self._get_and_lease(again, there, lease, current, now, sure=True)
            for n, entry, answer in zip(unclear, found, told, strict=True):
                entries[n], answers[n] = entry, answer
        holders = {keys[n]: answers[n] for n in missing if entries[n] is None}
        return entries, {key: holder for key, holder in holders.items() if is_holder(holder)}

    def _get_and_lease(
        self,
        scope: Scope,
        keys: Sequence[bytes],
        lease: Lease,
        epoch: bytes,
        now: float,
        *,
        sure: bool = False,
    ) -> tuple[list[Entry | None], list[Any]]:
        """Return the entries of keys, and for each key what `leased` tells."""
        if not keys or epoch == UNKNOWN_EPOCH:
            return self.get(scope, keys, now), [UNCLEAR] * len(keys)
        names, question = self.names(scope, keys), self._epochs.question(scope)
        scope.epoch = UNKNOWN_EPOCH
        answer, values, told = self._remote.ask(
            lambda nodes: nodes.look_up_and_lease(
                question, names, lambda some: leased(some, epoch, lease, now, sure=sure)
            )
        )
        return self._read(scope, keys, names, answer, values, now), told

    def _read(
        self,
        scope: Scope,
        keys: Sequence[bytes],
        names: Sequence[bytes],
        answer: Any,
        values: list[Any],
        now: float,
    ) -> list[Entry | None]:
        """Return the entries in the answers to a look-up, and note the epoch."""
        scope.epoch = epoch = self._epochs.noted(answer) or self._epochs.made(scope, answer)
        if values.count(None) == len(values):  # all miss
            return values
        entries: list[Entry | None] = []
        spoiled, expired, current = [], 0, epoch[:EPOCH_BYTES]
        for index, (key, name) in enumerate(zip(keys, names, strict=True)):
            # Each value is freed as soon as it is copied, so that a large batch is not held twice.
            value, values[index] = values[index], None
            entry = None
            if type(value) is bytes:  # an error means that the key is not an entry
                try:
                    entry = unframe(frame_in(value), current, key)
                except ValueEncodingError:
                    spoiled.append(name)
                if entry is not None and entry.expires is not None and entry.expires <= now:
                    entry = None
                    expired += 1
            entries.append(entry)
        if spoiled or expired:
            self._remote.count(corrupt=len(spoiled), expired=expired)
            self.remove(spoiled)
        return entries

    def release(self, scope: Scope, keys: Sequence[bytes], lease: Lease) -> None:
        """End the leases of a holder, as `Store.release_many` does."""
        names, epoch = self.names(scope, keys), scope.epoch or UNKNOWN_EPOCH
        self._remote.send([released(name, epoch, lease) for name in names])

    def remove(self, names: Sequence[bytes], epoch: bytes = b"") -> None:
        """Try to remove entries that are not valid; with an epoch, those that are not newer."""
        if names:
            with contextlib.suppress(StoreError):
                self._remote.send([removed(name, epoch) for name in names])
