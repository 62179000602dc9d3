"""The counts of every process of a server, in files that they share and that outlive them.

A process maps one small file, a page, for each of its caches, and counts in it. Every other process
can read the counts at once, and they stay when the process is killed. The next process that has a
cache of the same labels takes such a page over, with its counts. So sums neither fall nor count
anything twice, and there are never more pages than there were caches at one time.
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
from litcache.observe.page import OwnPage, Page, flock, read
from litcache.stores.base import StoreInfo

logger = logging.getLogger("litcache")

VARIABLE = "LITCACHE_METRICS"
"""The environment variable that tells spawned processes of a server the folder of its pages."""

_PREFIX = "litcache-metrics-"
_SAMPLE_SECONDS = 1.0
# Asking a store that several processes use is work for the others, too.
_SHARED_SAMPLE_SECONDS = 10.0
# A new folder is locked sooner than this.
_SECONDS_TO_LOCK = 60.0


class Pages(Forkable):
    """The pages of all processes of a server, and the caches of this one that count in them.

    Concurrency: safe in many threads. A forked child counts in new pages in the same folder.

    Args:
        folder: Where the pages are; `None`: caches count by themselves until `share` is called.
        clock: The clock by which samples are due, in seconds.
        in_background: Whether a thread takes samples, too; else `read` alone does.

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
        """Let a source count in a page, now or as soon as this process shares its counts."""
        with self._lock:
            self._sources.add(source)
            if self.folder is not None:
                self._open_page(self.folder, source)
                self._start_sampler()

    def share(self) -> Path:
        """Share the counts of this process and of those that it starts from now on.

        Returns:
            The folder of the pages: that of the parent if it shares, else a new one.

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
        """Return the pages of all processes; none before `share`."""
        if self.folder is None:
            return []
        self.sample()
        pages = map(read, sorted(self.folder.glob("*.page")))
        return [page for page in pages if page is not None]

    def sample(self) -> None:
        """Ask those sources of this process whose samples are due."""
        with self._lock:
            owned = list(self._owned.items())
        told: set[tuple[Labels, int]] = set()
        for source, page in owned:
            if self._clock() >= page.due:
                sample = source.sample()
                seconds = _SHARED_SAMPLE_SECONDS if sample.shared else _SAMPLE_SECONDS
                page.due, page.store_id = self._clock() + seconds, sample.store_id
                # HTTP threads of one process are often given one store, which counts once.
                if (page.labels, page.store_id) in told:
                    sample = replace(sample, store=StoreInfo(), breaker_open=False, shared=False)
                page.note(sample)
            if page.store_id:
                told.add((page.labels, page.store_id))

    def after_fork_in_child(self) -> None:
        """Leave the parent's pages to it: what this child counts is its own."""
        self._lock = threading.RLock()
        self._sampler = None
        self._warned = False
        self._owned.clear()
        for source in list(self._sources):
            source.counters.reset()
            if self.folder is not None:
                self._open_page(self.folder, source)

    def _open_page(self, folder: Path, source: Source) -> None:
        """Let a source count in a page; if none can be had, it goes on counting by itself."""
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
    """Return the pages that the caches of this process count in; at the first call, make them.

    A process that `multiprocessing` spawned takes the folder of its parent.
    """
    if not _here:
        pid, _, folder = os.environ.get(VARIABLE, "").partition(":")
        # A program that a server merely runs has its environment, too, but is no process of it.
        # multiprocessing.parent_process() is not set while a spawned process imports its script.
        spawned = "--multiprocessing-fork" in sys.orig_argv and pid == str(os.getppid())
        _here.append(Pages(Path(folder) if spawned else None))
    return _here[0]  # of two that threads made at once, the first


def _new_folder(pages: Pages) -> Path:
    """Make a folder, and tell the processes that this one spawns; it goes with the pages."""
    if sys.platform == "win32":
        raise OSError("litcache.metrics needs POSIX file locks, which Windows does not have")
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # As long as a process holds this, a later server leaves the folder alone.
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
        with contextlib.suppress(OSError):  # another user's, or gone
            if time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if flock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
