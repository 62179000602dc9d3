"""The counts of every process of a server, in files that they share and that outlive them.

A process maps a page, one small file, for each of its caches, and counts in it: what was counted
is there for every other process at once, and stays when the process is killed. A page whose owner
is gone is taken over, with its counts, by the next process that has a cache of the same labels:
sums neither fall nor count anything twice, and there are never more pages than there were caches
at one time.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import json
import logging
import mmap
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from litcache.observe.counters import NUMBERS, Counters
from litcache.stores.base import StoreInfo

logger = logging.getLogger("litcache")

VARIABLE = "LITCACHE_METRICS"
"""The environment variable by which the processes of a server find the folder."""

# After the counters stands what is sampled, and then what is said in words, as JSON.
(ENTRIES, BYTES, EVICTED, EXPIRED, REJECTED, DROPPED, CORRUPT, BREAKER_OPEN,
 SAMPLED) = range(NUMBERS, NUMBERS + 9)  # fmt: skip
_NUMBERS = SAMPLED + 1
_WORDS = 8 * _NUMBERS
_PAGE = 8192
_LONGEST = 200
_PREFIX = "litcache-metrics-"
_SAMPLE_SECONDS = 1.0
# Between the making of a folder and its lock no more than this passes.
_SECONDS_TO_LOCK = 60.0
# To ask a store of several processes is work for others, too.
_SHARED_SAMPLE_SECONDS = 10.0


class Labels(NamedTuple):
    """Whose counts: those of equal labels add up."""

    api: str
    method: str
    tier: str


@dataclass(frozen=True)
class Sample:
    """What a source says when it is asked, once in a while.

    Attributes:
        store: What its store holds and did.
        breaker_open: Whether the store is left alone since it fails.
        shared: Whether other processes use the same store.
        store_id: Which store of this process; 0 if no other source has it.
        about: What is worth knowing of it in words: `version`, `namespace`, `store`.
    """

    store: StoreInfo
    breaker_open: bool = False
    shared: bool = False
    store_id: int = 0
    about: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """What has counts: a cache of any tier."""

    @property
    def labels(self) -> Labels:
        """Whose counts."""

    @property
    def counters(self) -> Counters:
        """The counts."""

    def sample(self) -> Sample:
        """Say what changes without being counted; never raises."""


@dataclass(frozen=True)
class Page:
    """The counts of one cache, of its process and of those before that had it.

    Attributes:
        labels: Whose counts.
        numbers: The counts, by the places that `stats` and this module name.
        alive: Whether the process runs; if not, what was sampled is of the past.
        words: The `about` of its last `Sample`, and whether the store is `shared`.
    """

    labels: Labels
    numbers: list[float]
    alive: bool
    words: dict[str, Any]


# ---------------------------------------------------------------------- joining


def enter(source: Source) -> None:
    """Have a source counted in, now or as soon as this process shares its counts."""
    with _lock:
        _sources.add(source)
        if _folder is not None:
            _share(source)
            _start_sampler()


def start() -> Path:
    """Share the counts of this process and of those that it starts from now on.

    Returns:
        The folder of the pages: that of the parent if it shares, else a new one.

    Raises:
        OSError: If no folder for temporary files can be written.
    """
    global _folder, _held
    with _lock:
        if _folder is None:
            if sys.platform == "win32":
                raise OSError("metrics of several processes need POSIX file locks")
            _remove_abandoned()
            _folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            # As long as anybody holds this, a later server leaves the folder alone.
            _held = os.open(_folder, os.O_RDONLY)
            _flock(_held, shared=True)
            os.environ[VARIABLE] = f"{os.getpid()}:{_folder}"
            atexit.register(_remove, _folder, os.getpid())
            for source in list(_sources):
                _share(source)
                _start_sampler()
        return _folder


def _inherited() -> Path | None:
    """Return the folder of the process that spawned this one, if it has one.

    Programs that a server merely runs have its environment, too, and are none of its processes.
    `multiprocessing.parent_process` does not know yet while a spawned process imports its script.
    """
    pid, _, folder = os.environ.get(VARIABLE, "").partition(":")
    spawned = "--multiprocessing-fork" in sys.orig_argv
    return Path(folder) if spawned and pid == str(os.getppid()) else None


def _share(source: Source) -> None:
    """Let a source count in a page; if there is none to be had, it counts by itself."""
    assert _folder is not None
    try:
        page = _Owned(_folder, source.labels)
        source.counters.share(page.numbers)
    except OSError as error:
        logger.warning("the metrics lack one process, which cannot write there: %s", error)
        return
    _owned[source] = page


class _Owned:
    """A page that this process counts in, until it ends or forks."""

    def __init__(self, folder: Path, labels: Labels) -> None:
        stem = hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]
        descriptor = next(_orphans(folder, stem), None)
        if descriptor is None:
            descriptor = _new_page(folder / f"{stem}-{secrets.token_hex(8)}.page", labels)
        # Closed, which takes the lock back, with the last reference; in a forked child, too.
        weakref.finalize(self, os.close, descriptor)
        memory = memoryview(mmap.mmap(descriptor, _PAGE))
        self.numbers = memory[:_WORDS].cast("d")
        self._words = memory[_WORDS:]
        self.labels = labels
        self.store_id = 0
        self._said: dict[str, Any] = {}
        self._base = list(self.numbers)
        self.due = 0.0
        for place in (ENTRIES, BYTES, BREAKER_OPEN, SAMPLED):
            self.numbers[place] = 0.0

    def note(self, sample: Sample) -> None:
        """Write a sample down."""
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
        if words != self._said:
            self._words[:] = _in_words(self.labels, words)
            self._said = words


def _orphans(folder: Path, stem: str) -> Iterator[int]:
    """Yield descriptors of pages whose owners are gone, each locked."""
    for path in sorted(folder.glob(f"{stem}-*.page")):
        descriptor = os.open(path, os.O_RDWR)
        if _flock(descriptor) and os.fstat(descriptor).st_size == _PAGE:
            yield descriptor
            return
        os.close(descriptor)


def _new_page(path: Path, labels: Labels) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _flock(descriptor, wait=True)
        # Written, not merely made longer: to count where the disk has no block left would kill.
        if os.write(descriptor, bytes(_WORDS) + _in_words(labels, {})) != _PAGE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _in_words(labels: Labels, words: dict[str, Any]) -> bytes:
    """Return what a page says in words, padded to its end."""
    short = {k: v[:_LONGEST] if isinstance(v, str) else v for k, v in words.items()}
    lines = ([label[:_LONGEST] for label in labels], short)
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    return text.encode("utf-8", "replace").ljust(_PAGE - _WORDS, b"\0")


def _flock(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock a file for this process; false if another one holds it."""
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# ---------------------------------------------------------------------- reading


def read() -> list[Page]:
    """Return the pages of all processes; none before `start`."""
    if _folder is None:
        return []
    sample()
    pages = [_read(path) for path in sorted(_folder.glob("*.page"))]
    return [page for page in pages if page is not None]


def _read(path: Path) -> Page | None:
    """Return a page; `None` for one that is being made."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.read(descriptor, _PAGE)
        alive = not _flock(descriptor, shared=True)
    finally:
        os.close(descriptor)
    labels, _, rest = data[_WORDS:].rstrip(b"\0").partition(b"\n")
    if not rest:
        return None
    numbers = list(memoryview(data[:_WORDS]).cast("d"))
    try:
        words = json.loads(rest)
    except ValueError:  # they are just being changed; its counts are right all the same
        words, numbers[SAMPLED] = {}, 0.0
    return Page(Labels(*json.loads(labels)), numbers, alive, words)


# ---------------------------------------------------------------------- sampling


def sample() -> None:
    """Ask the sources of this process whose samples are due."""
    with _lock:
        owned = list(_owned.items())
    told: set[tuple[Labels, int]] = set()
    for source, page in owned:
        if time.monotonic() >= page.due:
            said = source.sample()
            seconds = _SHARED_SAMPLE_SECONDS if said.shared else _SAMPLE_SECONDS
            page.due, page.store_id = time.monotonic() + seconds, said.store_id
            # HTTP threads of one process are often given one store, which counts once.
            if (page.labels, page.store_id) in told:
                said = replace(said, store=StoreInfo(), breaker_open=False, shared=False)
            page.note(said)
        if page.store_id:
            told.add((page.labels, page.store_id))


def _start_sampler() -> None:
    global _sampler
    if _sampler is None:
        _sampler = threading.Thread(target=_run_sampler, name="litcache-metrics", daemon=True)
        _sampler.start()


def _run_sampler() -> None:
    pause = threading.Event()
    while True:
        try:
            sample()
        except Exception:
            logger.warning("the metrics lack a sample", exc_info=True)
        pause.wait(_SAMPLE_SECONDS)


# ---------------------------------------------------------------------- beginnings and ends


def _remove(folder: Path, pid: int) -> None:
    """Remove the folder when the process that made it ends."""
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Remove the folders of servers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            if time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _flock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _after_fork() -> None:
    """Leave the parent's pages to it; what this child counts is its own."""
    global _lock, _sampler
    _lock = threading.RLock()
    _sampler = None
    _owned.clear()
    for source in list(_sources):
        source.counters.reset()
        if _folder is not None:
            _share(source)


_lock = threading.RLock()
_sources: weakref.WeakSet[Source] = weakref.WeakSet()
_owned: weakref.WeakKeyDictionary[Source, _Owned] = weakref.WeakKeyDictionary()
_sampler: threading.Thread | None = None
_folder = _inherited()
_held = -1

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
