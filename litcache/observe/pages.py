"""The counts of all processes of a server, in shared files that outlive the processes.

For each of its caches, a process maps a small file, a page, and counts in it. Every other process
can read the counts at once, and they stay if the process is killed. The next process that has a
cache with the same labels takes over the page and its counts. So sums never fall and count nothing
twice, and there are never more pages than there were caches at the same time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from litcache.forks import Forkable, begin_anew
from litcache.observe.counters import Labels, Source
from litcache.observe.page import SUFFIX, OwnPage, Page, flock, read
from litcache.stores.base import StoreInfo

logger = logging.getLogger("litcache")

VARIABLE = "LITCACHE_METRICS"
"""The environment variable that tells spawned processes of a server the folder of its pages."""

_PREFIX = "litcache-metrics-"
_SAMPLE_SECONDS = 1.0
# A question to a store that several processes use costs the others, too.
_SHARED_SAMPLE_SECONDS = 10.0
# A new folder is locked within this time.
_SECONDS_TO_LOCK = 60.0


class Pages(Forkable):
    """The pages of all processes of a server, and the caches of this process that count in them.

    Concurrency: safe in many threads. A forked child counts in new pages in the same folder.

    Args:
        folder: Where the pages are; `None`: caches count in their own memory until `share`.
        clock: The clock by which samples are due, in seconds.
        in_background: Whether a thread takes samples, too; if not, only `read` does.

    Attributes:
        folder: Where the pages are, or `None`.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        in_background: bool = True,
    ) -> None:
        self.folder = folder
        self._clock = clock
        self._in_background = in_background
        self._lock = threading.RLock()
        self._sources: weakref.WeakSet[Source] = weakref.WeakSet()
        self._owned: weakref.WeakKeyDictionary[Source, OwnPage] = weakref.WeakKeyDictionary()
        self._sampler: threading.Thread | None = None
        self._warned = False
        begin_anew(self)

    def enter(self, source: Source) -> None:
        """Make a source count in a page, now or as soon as this process shares its counts."""
        with self._lock:
            self._sources.add(source)
            if self.folder is not None:
                self._open_page(self.folder, source)
                self._start_sampler()

    def share(self) -> Path:
        """Share the counts of this process, and of all processes that it starts from now on.

        Returns:
            The folder of the pages: the folder of the parent if it shares, else a new one.

        Raises:
            OSError: If no folder for temporary files can be written.
        """
        with self._lock:
            if self.folder is None:
                self.folder = _new_folder(self)
                for source in list(self._sources):
                    self.enter(source)
            return self.folder

    def read(self) -> list[Page]:
        """Return the pages of all processes; before `share` there are none."""
        if self.folder is None:
            return []
        self.sample()
        pages = map(read, sorted(self.folder.glob(f"*{SUFFIX}")))
        return [page for page in pages if page is not None]

    def sample(self) -> None:
        """Ask the sources of this process whose samples are due."""
        with self._lock:
            owned = list(self._owned.items())
        told: set[tuple[Labels, int]] = set()
        for source, page in owned:
            differed = source.counters.disagreement
            if self._clock() >= page.due or differed != page.disagreement:
                sample = source.sample()
                seconds = _SHARED_SAMPLE_SECONDS if sample.shared else _SAMPLE_SECONDS
                page.due, page.store_id = self._clock() + seconds, sample.store_id
                # HTTP threads of one process often have one store, which counts once.
                if (page.labels, page.store_id) in told:
                    sample = replace(sample, store=StoreInfo(), breaker_open=False, shared=False)
                page.note(sample, differed)
            if page.store_id:
                told.add((page.labels, page.store_id))

    def after_fork_in_child(self) -> None:
        """Leave the pages to the parent; this child counts in its own."""
        self._lock = threading.RLock()
        self._sampler = None
        self._warned = False
        self._owned.clear()
        for source in list(self._sources):
            source.counters.reset()
            if self.folder is not None:
                self._open_page(self.folder, source)

    def _open_page(self, folder: Path, source: Source) -> None:
        """Make a source count in a page; without a page, it goes on in its own memory."""
        try:
            page = OwnPage(folder, source.labels)
            source.counters.share(page.numbers)
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "the metrics lack caches of process %d, as no page can be written in %s: %s",
                    os.getpid(), folder, error,
                )  # fmt: skip
        else:
            self._owned[source] = page

    def _start_sampler(self) -> None:
        if self._in_background and self._sampler is None:
            self._sampler = threading.Thread(
                target=self._sample_for_ever, name="litcache-metrics", daemon=True
            )
            self._sampler.start()

    def _sample_for_ever(self) -> None:
        while True:
            try:
                self.sample()
            except Exception:
                logger.warning("the metrics lack a sample", exc_info=True)
            time.sleep(_SAMPLE_SECONDS)


_here: list[Pages] = []


def of_this_process() -> Pages:
    """Return the pages of this process; the first call makes them.

    A process that `multiprocessing` has spawned uses the folder of its parent.
    """
    if not _here:
        pid, _, folder = os.environ.get(VARIABLE, "").partition(":")
        # A program that a server only runs has this environment, but is not one of its processes.
        # multiprocessing.parent_process() is not set while a spawned process imports its script.
        spawned = "--multiprocessing-fork" in sys.orig_argv and pid == str(os.getppid())
        _here.append(Pages(Path(folder) if spawned else None))
    return _here[0]  # if two threads made one at the same time, the first


def of_this_host() -> list[Page]:
    """Return the pages of all servers of this host that this user may read."""
    found: list[Page] = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/*{SUFFIX}")):
        with contextlib.suppress(OSError, ValueError):  # it belongs to another user, or is gone
            page = read(path)
            if page is not None:
                found.append(page)
    return found


def _new_folder(pages: Pages) -> Path:
    """Make a folder for this process and those that it spawns; it is removed with the pages."""
    if sys.platform == "win32":
        raise OSError("litcache.metrics needs POSIX file locks, which Windows does not have")
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # While a process holds this lock, a later server leaves the folder alone.
    held = os.open(folder, os.O_RDONLY)
    flock(held, shared=True)
    os.environ[VARIABLE] = f"{os.getpid()}:{folder}"
    weakref.finalize(pages, _remove, folder, held, os.getpid())  # or when the process ends
    return folder


def _remove(folder: Path, held: int, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child
        if os.environ.get(VARIABLE) == f"{pid}:{folder}":
            del os.environ[VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_abandoned() -> None:
    """Remove the folders of servers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it belongs to another user, or is gone
            if time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if flock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
