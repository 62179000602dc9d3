"""`litcache export`: write the entries of a store to a file."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from litcache.commands import archive
from litcache.commands.archive import Namespace, Writer
from litcache.commands.clear import require
from litcache.commands.progress import Progress
from litcache.commands.results import CORRUPT, OK, Result
from litcache.commands.targets import add_target, opened
from litcache.errors import StoreError
from litcache.sizes import format_bytes
from litcache.stores import base
from litcache.stores.frame import epoch_of, unframe
from litcache.stores.survey import Cursor, Page, Survey

SUFFIX = ".part"
TEXT = "write the entries of a store to a file, for litcache import"
DESCRIPTION = (
    f"{TEXT}. Services may use the store meanwhile. The file holds outputs without encryption. An "
    f"export that was interrupted leaves FILE{SUFFIX}; the same command goes on with it."
)


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    add_target(command)
    command.add_argument("file", metavar="FILE", help="the file; one that is there is replaced")
    command.add_argument("--namespace", help="only the entries of this namespace")


def run(options: Any) -> Result:
    """Export a store.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        StoreError: If there is no such store, it does not answer, or it was cleared meanwhile.
        ValueError: If the store has no such namespace.
        OSError: If the file cannot be written.
    """
    store = opened(options)
    part = Path(f"{options.file}{SUFFIX}")
    try:
        if options.namespace is not None:
            require(store, options.namespace)
        with open(part, "r+b" if part.exists() else "x+b", opener=_private) as file:
            found = _write(file, store.survey(), options.namespace, store.clock())
            if found is not None:
                file.flush()
                os.fsync(file.fileno())
        if found is None:
            part.unlink()
            raise StoreError(
                f"{store!r} was cleared while it was exported, and {options.file} is not written: "
                "run the command again"
            )
        part.replace(options.file)
    finally:
        store.close()
    return _result(found, repr(store), options.file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@dataclass
class _Found:
    """What is in the file so far.

    Attributes:
        header: What the file is an export of.
        spaces: The namespaces, by their numbers.
        counts: How many entries each has in the file.
        corrupt: How many entries of the store did not verify.
        seen: How many entries of the store were looked at.
        after: Where to go on in the store; `None` to begin.
        end: Where to go on in the file.
        chain: What to go on with in the file.
        resumed: How many entries an earlier command wrote.
    """

    header: list[Any]
    spaces: list[Namespace] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    corrupt: int = 0
    seen: int = 0
    after: Cursor | None = None
    end: int = 0
    chain: int = 0
    resumed: int = 0


def _write(file: BinaryIO, survey: Survey, only: str | None, now: float) -> _Found | None:
    """Write what the file lacks; return `None` if a namespace was cleared meanwhile."""
    # Before the entries: what is written of an epoch that ends meanwhile is not used.
    there = survey.spaces()
    spaces = [
        Namespace(space.name, space.versions, epoch)
        for epoch, space in there.items()
        if only in (None, space.name)
    ]
    name = None if only is None else only.encode("utf-8", "surrogatepass")
    found = _taken_up(file, [base.FORMAT, survey.identity(), name], set(there))
    file.seek(found.end)
    file.truncate()
    writer = Writer(file, found.chain)
    if not found.chain:
        writer.values(archive.HEADER, *found.header)
    known = {space.epoch for space in found.spaces}
    for space in spaces:
        if space.epoch not in known:
            writer.values(archive.NAMESPACE, *archive.packed(space))
            found.spaces.append(space)
            found.counts.append(0)
    expected = survey.expected()
    with Progress("entries exported") as progress:
        for page in survey.pages(found.after):
            _add(writer, found, page, now)
            file.flush()
            progress.show(sum(found.counts), found.seen / max(1, expected))
    if not {space.epoch for space in found.spaces} <= set(survey.spaces()):
        return None
    writer.values(archive.END, sum(found.counts))
    return found


def _taken_up(file: BinaryIO, header: list[Any], epochs: set[bytes]) -> _Found:
    """Return what an earlier export of the same entries has written, up to its last whole page."""
    best, found = _Found(header), _Found(header)
    with suppress(ValueError):  # a file of something else, or damaged: it is written anew
        for block in archive.blocks(file):
            if block.kind == archive.ENTRIES and block.body is not None:
                found.counts[block.number] += block.entries
                continue
            values = archive.values_of(block)
            if block.kind == archive.HEADER and values != header:
                break
            if block.kind == archive.NAMESPACE:
                found.spaces.append(archive.unpacked(values))
                found.counts.append(0)
                if found.spaces[-1].epoch not in epochs:  # it was cleared since
                    return _Found(header)
            elif block.kind == archive.CURSOR:
                after, corrupt, seen = values
                resumed = sum(found.counts)
                best = _Found(
                    header, list(found.spaces), list(found.counts), corrupt, seen, after,
                    block.end, block.chain, resumed,
                )  # fmt: skip
    return best


def _add(writer: Writer, found: _Found, page: Page, now: float) -> None:
    """Write the valid entries of a page, and where the page ends."""
    numbers = {space.epoch: number for number, space in enumerate(found.spaces)}
    parts: dict[int, list[tuple[bytes, bytes]]] = {}
    for key, data in page.entries:
        epoch = epoch_of(data)
        number = numbers.get(epoch)
        if number is None:  # it was cleared, or is of another namespace
            continue
        entry = unframe(data, epoch, key)
        if entry is not None and (entry.expires is None or entry.expires > now):
            parts.setdefault(number, []).append((key, data))
    for number, entries in parts.items():
        writer.entries(number, entries)
        found.counts[number] += len(entries)
    found.corrupt += page.corrupt
    found.seen += page.seen
    writer.values(archive.CURSOR, page.cursor, found.corrupt, found.seen)


def _result(found: _Found, store: str, file: str) -> Result:
    entries, size = sum(found.counts), Path(file).stat().st_size
    result = {
        "store": store,
        "file": file,
        "bytes": size,
        "entries": entries,
        "resumed": found.resumed,
        "corrupt": found.corrupt,
        "namespaces": [
            {"name": space.name, "versions": list(space.versions), "entries": count}
            for space, count in zip(found.spaces, found.counts, strict=True)
        ],
    }
    text = f"{store}: {entries:,} entries in {file}, {format_bytes(size)}"
    if found.resumed:
        text += f"; {found.resumed:,} of them were there from before"
    if found.corrupt:
        text += f"; {found.corrupt:,} others do not verify and were left out"
    return CORRUPT if found.corrupt else OK, result, text
