"""`litcache import`: store the entries of a file."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litcache.commands import archive
from litcache.commands.archive import Block, Namespace
from litcache.commands.progress import Progress
from litcache.commands.results import CORRUPT, FAILED, OK, Result
from litcache.commands.targets import StoreOfCommand, add_target, is_url, opened, size
from litcache.errors import StoreError, ValueEncodingError
from litcache.stores.base import NewEntry, Scope, Store
from litcache.stores.frame import EPOCH_BYTES, epoch_of, unframe
from litcache.stores.shared.store import SharedStore

TEXT = "store the entries of a file that litcache export wrote"
DESCRIPTION = (
    f"{TEXT}. Services may use the store meanwhile. Entries that it has stay as they are, so the "
    "same command goes on with an import that was interrupted."
)
_MOST_BYTES = 4 << 20  # that are written at a time


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    command.add_argument("file", metavar="FILE", help="the file")
    add_target(command)
    command.add_argument("--namespace", help="only the entries of this namespace")
    command.add_argument(
        "--max-bytes", type=size, help="make a SharedStore with this budget if there is none"
    )


def run(options: Any) -> Result:
    """Import a file.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        StoreError: If there is no such store, it does not answer, or it was cleared meanwhile.
        ValueError: If the file is none that `litcache export` wrote, or in another format.
        OSError: If the file cannot be read.
    """
    path = Path(options.file)
    with path.open("rb") as file:  # before a store is made
        whole, last = max(1, path.stat().st_size), None
        blocks = _checked(archive.blocks(file), options.file)
        store = _store(options)
        try:
            work = _Import(store, options.namespace)
            with Progress("entries imported") as progress:
                for last in blocks:
                    work.take(last)
                    progress.show(work.counts["read"], last.end / whole)
            work.add_counts()
        finally:
            store.close()
    if last is None or last.kind != archive.END:
        work.cut = True
    if options.namespace is not None and not work.spaces:
        raise ValueError(f"{options.file} has no namespace {options.namespace!r}")
    return work.result(options.file)


def _checked(blocks: Iterator[Block], file: str) -> Iterator[Block]:
    """Return the blocks behind the header; raise if it is not there or of another format."""
    try:
        header = next(blocks, None)
        if header is None or header.kind != archive.HEADER:
            raise ValueError("its beginning is damaged")
        archive.check_format(archive.values_of(header))
    except ValueError as error:
        raise ValueError(f"{file} cannot be imported: {error}") from None
    return blocks


def _store(options: Any) -> StoreOfCommand:
    if options.max_bytes is None or is_url(options.target):
        return opened(options)
    try:
        return opened(options)
    except StoreError:
        if list(Path(options.target).glob("*.db")):  # there is one, and something is wrong with it
            raise
    return SharedStore(options.target, options.max_bytes, timeout=options.timeout)


class _Import:
    """An import into a store, block by block.

    Attributes:
        spaces: The namespaces that are imported, by their numbers in the file.
        counts: What became of the entries.
        damaged: How many blocks do not verify.
        cut: Whether the end of the file is not there, or cannot be found.
    """

    def __init__(self, store: StoreOfCommand, only: str | None) -> None:
        self._store: Store = store
        self._only = only
        self._scopes: dict[int, _Target] = {}
        self._number = 0
        self.spaces: dict[int, Namespace] = {}
        self.counts: Counter[str] = Counter()
        self.damaged = 0
        self.cut = False

    def take(self, block: Block) -> None:
        """Import what is in a block."""
        self.damaged += block.body is None
        if block.kind == archive.NAMESPACE:
            number, self._number = self._number, self._number + 1
            if block.body is None:
                return  # its entries are nobody's
            space = archive.unpacked(archive.values_of(block))
            if self._only in (None, space.name):
                self.spaces[number] = space
                self._scopes[number] = _Target(self._store, space)
        elif block.kind == archive.ENTRIES:
            target = self._scopes.get(block.number)
            if target is not None and block.body is not None:
                self._store_all(target, block.body)
            elif target is not None or self._only is None:
                self.counts.update(read=block.entries, corrupt=block.entries)

    def _store_all(self, target: _Target, body: bytes) -> None:
        part: dict[bytes, NewEntry] = {}
        size, now = 0, self._store.clock()
        for key, data in archive.entries_of(body):
            self.counts["read"] += 1
            try:
                entry = unframe(data, epoch_of(data), key)
            except ValueEncodingError:
                entry = None
            if entry is None:
                self.counts["corrupt"] += 1
            elif entry.expires is not None and entry.expires <= now:
                self.counts["expired"] += 1
            else:
                part[key] = entry
                size += len(data)
                if size >= _MOST_BYTES:
                    self.counts["stored"] += target.store(part)
                    part, size = {}, 0
        if part:
            self.counts["stored"] += target.store(part)

    def add_counts(self) -> None:
        """Add what the store did with the entries."""
        info = self._store.info()
        lost = {name: getattr(info, name) for name in ("dropped", "rejected", "evicted")}
        self.counts.update(lost)
        self.counts["stored"] -= info.dropped + info.rejected
        known = ("stored", "corrupt", "expired", "dropped", "rejected")
        self.counts["there"] = self.counts["read"] - sum(self.counts[name] for name in known)

    def result(self, file: str) -> Result:
        """Return the exit code, and what programs and people are told."""
        counts, store = self.counts, repr(self._store)
        said = {
            "there": "were there already",
            "expired": "had expired",
            "corrupt": "do not verify and were left out",
            "rejected": "are too large for the store",
            "dropped": "were not stored, because it had no room or was busy",
            "evicted": "were evicted to make room",
        }
        text = [f"{store}: {counts['stored']:,} entries of {file} stored"]
        text += [f"{counts[name]:,} {what}" for name, what in said.items() if counts[name]]
        if self.damaged:
            text.append(f"blocks of {file} that are damaged: {self.damaged:,}")
        if self.cut:
            text.append(f"{file} is cut short, or cannot be read to its end")
        names = ("read", "stored", *said)
        result = {
            "store": store,
            "file": file,
            **{name: counts[name] for name in names},
            "whole": not (self.cut or self.damaged),
            "namespaces": [space.name for space in self.spaces.values()],
        }
        code = FAILED if counts["dropped"] else OK
        if counts["corrupt"] or self.damaged or self.cut:
            code = CORRUPT
        return code, result, "; ".join(text)


class _Target:
    """A namespace of the store, which must not be cleared while entries are imported."""

    def __init__(self, store: Store, space: Namespace) -> None:
        self._store = store
        self._scope = Scope(space.name, space.versions[0] if space.versions else "")
        self._untold = [Scope(space.name, version) for version in space.versions[1:]]
        self._epoch: bytes | None = None
        self._deleted: set[bytes] = set()

    def store(self, entries: dict[bytes, NewEntry]) -> int:
        """Store the entries that the store lacks; return how many these were."""
        scope = self._scope.renewed()
        found = self._store.get_many(scope, list(entries))
        self._check(scope)
        lacking = {
            key: entry
            for (key, entry), there in zip(entries.items(), found, strict=True)
            if there is None and key not in self._deleted
        }
        if lacking:
            self._store.set_many(scope, lacking)
            key = next(iter(lacking))
            for other in self._untold:  # a store notes the version of each write
                other.epoch = scope.epoch
                self._store.set_many(other, {key: lacking[key]})
            self._untold = []
        return len(lacking)

    def _check(self, scope: Scope) -> None:
        """Leave out what was deleted since the import began; raise if all of it was cleared."""
        epoch, self._epoch = self._epoch, scope.epoch
        if epoch is None or epoch == scope.epoch:
            return
        deleted = None
        if epoch[:EPOCH_BYTES] == (scope.epoch or b"")[:EPOCH_BYTES]:
            deleted = self._store.deleted_since(scope, epoch)
        if deleted is None:
            raise StoreError(
                f"{self._store!r}: namespace {scope.namespace!r} was cleared while entries were "
                "imported; to import them nevertheless, run the command again"
            )
        self._deleted.update(deleted)
