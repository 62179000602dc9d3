"""`litcache plan`: the hit rate by the size of a store, from a log of requests."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from litcache.commands import log
from litcache.commands.curve import Entries, Point, accounted, curve, enough, sizes_of
from litcache.commands.picture import picture
from litcache.commands.progress import Progress
from litcache.commands.results import OK, Result, table
from litcache.commands.sample import Sample, sampled
from litcache.commands.targets import add_options, opened, seconds, size, whole_number
from litcache.errors import ValueEncodingError
from litcache.sizes import format_bytes
from litcache.stores.base import NewEntry
from litcache.stores.frame import epoch_of, unframe
from litcache.values.codec import encode

TEXT = "show the hit rate by the size of a MemoryStore, from a log of requests"
DESCRIPTION = (
    f"{TEXT}. Each line of the log is JSON, or plain text. The store itself is run on the "
    "requests; of a log with many items, on a sample of the items."
)
_MEASURED = 1_000
_VECTOR = NewEntry(b"384 float32", bytes(384 * 4))


def add(command: argparse.ArgumentParser) -> None:
    """Add what the command takes.

    Args:
        command: Its parser.
    """
    command.add_argument("file", metavar="FILE", help="the log")
    command.add_argument(
        "--item", default=log.WHOLE, metavar="PLACE",
        help='where a line holds its item, such as "text" or "messages.0.content"; "." for the '
        "whole line. Of a list there, each element is an item",
    )  # fmt: skip
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--entry-bytes", type=size, metavar="SIZE",
        help="what an entry takes: bytes through entries of CacheInfo (default: what a vector of "
        "384 float32 takes)",
    )  # fmt: skip
    how.add_argument(
        "--entries-of", dest="target", metavar="STORE", help="measure those of a store"
    )
    how.add_argument(
        "--outputs", metavar="FILE", help="measure outputs that are stored as JSON, one a line"
    )
    command.add_argument("--namespace", help="only entries of this namespace of STORE")
    command.add_argument(
        "--seconds-per-item", type=seconds, metavar="S", help="what the model takes for an item"
    )
    command.add_argument(
        "--sizes", type=_sizes, metavar="A,B,…", help="the sizes, such as 64MiB,1GiB"
    )
    command.add_argument(
        "--sample", type=whole_number, default=100_000, metavar="N",
        help="simulate so many items at most (default: 100,000)",
    )  # fmt: skip
    command.add_argument("--svg", metavar="FILE", help="draw a picture, too")
    add_options(command)


def _sizes(text: str) -> list[int]:
    return sorted({size(part) for part in text.split(",")})


def run(options: Any) -> Result:
    """Plan the size of a store.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit code, and what programs and people are told.

    Raises:
        ValueError: If the log has no items, or there are no entries to measure.
        StoreError: If there is no such store, or it does not answer.
        OSError: If a file cannot be read, or the picture cannot be written.
    """
    entries = Entries(_measured(options))
    path, skipped = Path(options.file), [0]
    with Progress("requests read") as progress:
        sample = sampled(_items(path, options.item, progress, skipped), options.sample)
    if not sample.requests:
        where = "no lines" if options.item == log.WHOLE else f"nothing at {options.item!r}"
        raise ValueError(f"{path} holds no items: {where}; see --item")
    sizes = options.sizes or sizes_of(sample, entries)
    with Progress("requests simulated") as progress:
        points = curve(sample, entries, sizes, progress.show)
    result = _described(sample, entries, points, options.seconds_per_item, skipped[0])
    told = (options.entry_bytes, options.outputs, options.target)
    result["assumed"] = all(way is None for way in told)
    if options.svg:
        Path(options.svg).write_text(picture(points, enough(points), path.name), encoding="utf-8")
    return OK, result, "\n".join(_lines(result, str(path), options.item))


def _items(path: Path, place: str, progress: Progress, skipped: list[int]) -> Iterator[bytes]:
    """Yield the items of all lines; count the lines without any."""
    whole, count = max(1, path.stat().st_size), 0
    for line in log.items(path, place):
        count += len(line.items)
        skipped[0] += not line.items
        yield from line.items
        progress.show(count, line.end / whole)


def _measured(options: Any) -> list[int]:
    """Return the sizes of some entries, as a `MemoryStore` accounts for them."""
    if options.entry_bytes is not None:
        return [options.entry_bytes]
    if options.outputs is None and options.target is None:
        return [accounted(_VECTOR)]
    if options.outputs is not None:
        values = (json.loads(line) for line, _ in log.lines(Path(options.outputs)))
        entries = [NewEntry(*encode(value)) for value in islice(values, _MEASURED)]
        where = options.outputs
    else:
        store = opened(options)
        try:
            entries = list(islice(_stored(store.survey(), options.namespace), _MEASURED))
        finally:
            store.close()
        where = repr(store)
    if not entries:
        raise ValueError(f"{where} has no entries to measure")
    return [accounted(entry) for entry in entries]


def _stored(survey: Any, namespace: str | None) -> Iterator[NewEntry]:
    """Yield the entries of a store."""
    spaces = survey.spaces()
    for page in survey.pages():
        for key, data in page.entries:
            space = spaces.get(epoch_of(data))
            if space is not None and namespace in (None, space.name):
                try:
                    entry = unframe(data, epoch_of(data), key)
                except ValueEncodingError:
                    continue
                if entry is not None:
                    yield entry


def _described(
    sample: Sample, entries: Entries, points: list[Point], cost: float | None, skipped: int
) -> dict[str, Any]:
    """Return what programs are told."""

    def row(point: Point) -> dict[str, Any]:
        saved = None if cost is None else point.hit_rate * sample.requests * cost
        return {
            "max_bytes": point.max_bytes,
            "entries": int(point.max_bytes / entries.mean),
            "hit_rate": point.hit_rate,
            "error": point.error,
            "seconds_saved": saved,
        }

    return {
        "requests": sample.requests,
        "items": round(sample.distinct / sample.rate),
        "sampled": sample.distinct,
        "skipped": skipped,
        "entry_bytes": entries.mean,
        "sizes": [row(point) for point in points],
        "enough": enough(points).max_bytes,
        "seconds": None if cost is None else cost * sample.requests,
    }


def _lines(result: dict[str, Any], path: str, place: str) -> list[str]:
    """Return what people are told."""
    about = "" if result["sampled"] == result["items"] else "about "
    lines = [
        f"{path}: {result['requests']:,} requests for {about}{result['items']:,} items, "
        f"{format_bytes(result['entry_bytes'])} an entry"
    ]
    if result["assumed"]:
        lines.append(
            "the size of an entry is that of a vector of 384 float32; tell yours by --entry-bytes, "
            "--outputs or --entries-of"
        )
    if result["skipped"]:
        lines.append(f"{result['skipped']:,} lines have nothing at {place!r}")
    head = ["size", "entries", "hit rate", "more", "model seconds saved"]
    rows, before = [head], 0.0
    for point in result["sizes"]:
        rate, error, saved = point["hit_rate"], point["error"], point["seconds_saved"]
        rows.append([
            format_bytes(point["max_bytes"]),
            f"{point['entries']:,}",
            f"{rate:.1%}" + (f" ± {100 * error:.1f}" if about else ""),
            f"{100 * (rate - before):+.1f}",
            "" if saved is None else f"{saved:,.0f}",
        ])  # fmt: skip
        before = rate
    kept = 4 if result["seconds"] is None else 5
    lines += table([tuple(row[:kept]) for row in rows], left=0)
    if about:
        lines.append(
            f"simulated were {result['sampled']:,} of the items; of 100 samples 95 are within ±"
        )
    chosen = next(p for p in result["sizes"] if p["max_bytes"] == result["enough"])
    text = f"{format_bytes(result['enough'])} are enough: {chosen['hit_rate']:.1%}"
    if chosen is not result["sizes"][-1]:
        text += "; the larger sizes add less than one point"
    if result["seconds"] is not None:
        text += (
            f"; it saves {chosen['seconds_saved']:,.0f} of {result['seconds']:,.0f} model seconds"
        )
    return [*lines, text]
