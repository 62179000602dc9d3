"""The page of one cache: a small mapped file, in which its process counts."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import mmap
import os
import secrets
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litcache.observe.counters import NUMBERS, Labels, Sample

LAYOUT = 3
"""The number of the layout of pages. Raise it with every change of what stands where in one."""
SUFFIX = f".page{LAYOUT}"
"""The end of a page's name: a process of another version leaves pages of another layout alone."""

# A page holds the numbers of `Counters`, then those of the last sample, then words as JSON.
(ENTRIES, BYTES, EVICTED, EXPIRED, REJECTED, DROPPED, CORRUPT, BREAKER_OPEN,
 SAMPLED) = range(NUMBERS, NUMBERS + 9)  # fmt: skip
_WORDS = 8 * (SAMPLED + 1)
PAGE_BYTES = 3 * 4096
_LONGEST = 250  # characters of each word, so that all fit, however they are written


@dataclass(frozen=True)
class Page:
    """The counts of one cache, and of earlier caches that had the same page.

    Attributes:
        labels: The labels of the counts.
        numbers: The counts, at the places that `counters` and this module name.
        alive: Whether the process runs; if not, its last sample is out of date.
        words: The `about` of its last `Sample`, whether the store is `shared`, and the
            `disagreement` of its counters, if there is one.
    """

    labels: Labels
    numbers: list[float]
    alive: bool
    words: dict[str, Any]


class OwnPage:
    """A page in which this process counts, until it ends or forks.

    Args:
        folder: Where the pages are.
        labels: The labels of the counts.

    Attributes:
        labels: The labels of the counts.
        numbers: The memory for `Counters.share`.
        due: When to ask for the next sample.
        store_id: The `store_id` of the last sample.
        disagreement: The disagreement that the words tell.

    Raises:
        OSError: If no page can be written.
    """

    def __init__(self, folder: Path, labels: Labels) -> None:
        stem = hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]
        descriptor = _orphan(folder, stem)
        if descriptor is None:
            descriptor = _new_page(folder / f"{stem}-{secrets.token_hex(8)}{SUFFIX}", labels)
        # Closing it releases the lock, once forked children have closed it, too.
        weakref.finalize(self, os.close, descriptor)
        memory = memoryview(mmap.mmap(descriptor, PAGE_BYTES))
        self.numbers = memory[:_WORDS].cast("d")
        self._words = memory[_WORDS:]
        self.labels = labels
        self.store_id = 0
        self.disagreement = ""
        self.due = -math.inf
        self._noted: dict[str, Any] = {}
        self._base = list(self.numbers)
        for place in (ENTRIES, BYTES, BREAKER_OPEN, SAMPLED):
            self.numbers[place] = 0.0

    def note(self, sample: Sample, disagreement: str = "") -> None:
        """Write a sample into the page, and what differed if the cache was found to be wrong."""
        numbers, base, store = self.numbers, self._base, sample.store
        numbers[ENTRIES], numbers[BYTES] = store.entries, store.bytes
        numbers[EVICTED] = base[EVICTED] + store.evicted
        numbers[EXPIRED] = base[EXPIRED] + store.expired
        numbers[REJECTED] = base[REJECTED] + store.rejected
        numbers[DROPPED] = base[DROPPED] + store.dropped
        numbers[CORRUPT] = base[CORRUPT] + store.corrupt
        numbers[BREAKER_OPEN] = sample.breaker_open
        numbers[SAMPLED] = time.time()
        words = {**sample.about, "shared": sample.shared}
        self.disagreement = disagreement
        if disagreement:
            words["disagreement"] = disagreement
        if words != self._noted:
            self._words[:] = _in_words(self.labels, words)
            self._noted = words


def _orphan(folder: Path, stem: str) -> int | None:
    """Lock a page whose owner is gone, and return its descriptor; `None` if there is none."""
    for path in sorted(folder.glob(f"{stem}-*{SUFFIX}")):
        descriptor = os.open(path, os.O_RDWR)
        if flock(descriptor) and os.fstat(descriptor).st_size == PAGE_BYTES:
            return descriptor
        os.close(descriptor)
    return None


def _new_page(path: Path, labels: Labels) -> int:
    """Make a page, lock it, and return its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        flock(descriptor, wait=True)
        # Every byte is written: on a full disk, counting in a hole of a file kills the process.
        if os.write(descriptor, bytes(_WORDS) + _in_words(labels, {})) != PAGE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _in_words(labels: Labels, words: dict[str, Any]) -> bytes:
    """Return the words of a page, padded to its end."""
    short = {k: v[:_LONGEST] if isinstance(v, str) else v for k, v in words.items()}
    lines = ([label[:_LONGEST] for label in labels], short)
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    return text.encode("utf-8", "replace").ljust(PAGE_BYTES - _WORDS, b"\0")


def read(path: Path) -> Page | None:
    """Return a page; `None` if it is not complete yet."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.read(descriptor, PAGE_BYTES)
        alive = not flock(descriptor, shared=True)
    finally:
        os.close(descriptor)
    labels, _, rest = data[_WORDS:].rstrip(b"\0").partition(b"\n")
    if not rest or len(data) < PAGE_BYTES:
        return None
    numbers = list(memoryview(data[:_WORDS]).cast("d"))
    try:
        words = json.loads(rest)
    except ValueError:  # another process changes the words at this moment; the counts are right
        words, numbers[SAMPLED] = {}, 0.0
    return Page(Labels(*json.loads(labels)), numbers, alive, words)


def flock(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock a file for this process; return false if another process holds the lock."""
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
