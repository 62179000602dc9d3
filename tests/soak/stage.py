"""Brings faults about, on the processes, files and the Valkey of a running soak."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from support import disks
from support.redis_servers import Server as Valkey

from litcache.errors import StoreError
from soak.faults import Fault
from soak.judge import Ledger
from soak.processes import roles
from soak.traffic import texts

DELETED = 50
"""How many texts one delete draws, of which few are popular."""

DAMAGED_BYTES = 256
REFUSING_SECONDS = 20.0
"""A clear or delete that a store refuses is asked for again, at most so long."""

VALKEY = ("--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru")
DISK = "16m"

End = Callable[[], None]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small disk on a folder; yield whether that was allowed."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(disks.mounted(folder, DISK))
        except BaseException as refused:  # pytest's skip is none of Exception
            if type(refused).__name__ != "Skipped":
                raise
            print(f"the disk is not filled: {refused}")
            yield False
        else:
            yield True


class Stage:
    """What the faults act on.

    Args:
        folder: The files of the processes; `disk` in it holds those of the store.
        valkey: The server of the tiered store.
        caches: The caches of the APIs: `predict.cache` of each.
        ledger: Is told of kills, clears and deletes.
        has_disk: Whether the disk is a small one.
    """

    def __init__(
        self, folder: Path, valkey: Valkey, caches: Iterable[Any], ledger: Ledger, *, has_disk: bool
    ) -> None:
        self._folder = folder
        self._valkey = valkey
        self._caches = list(caches)
        self._ledger = ledger
        self._has_disk = has_disk
        self._pause = threading.Event()

    def begin(self, fault: Fault) -> End:
        """Begin a fault; return what ends it."""
        method: Callable[[int], End | None] = getattr(self, fault.kind.replace(" ", "_").lower())
        return method(fault.which) or (lambda: None)

    def _worker(self, which: int) -> int:
        known = roles(self._folder).items()
        workers = sorted((role, pid) for pid, role in known if role.startswith("worker"))
        return workers[which % len(workers)][1]

    # --------------------------------------------------------------- faults that last

    def stop_a_worker(self, which: int) -> End:
        """Stop a worker, wherever it is: it may hold the lock of the files."""
        pid = self._worker(which)
        os.kill(pid, signal.SIGSTOP)
        return lambda: _signal(pid, signal.SIGCONT)

    def stop_valkey(self, which: int) -> End:
        """Stop Valkey: its sockets hang."""
        self._valkey.pause()
        return self._valkey.resume

    def kill_valkey(self, which: int) -> End:
        """Kill Valkey, which starts again without any entry."""
        self._valkey.kill()
        return self._valkey.start

    def fill_valkey(self, which: int) -> End:
        """Let Valkey refuse all writes for want of memory."""
        self._configure(("maxmemory-policy", "noeviction"), ("maxmemory", "1"))
        return lambda: self._configure(("maxmemory", VALKEY[1]), ("maxmemory-policy", VALKEY[3]))

    def _configure(self, *settings: tuple[str, str]) -> None:
        with self._valkey.client() as client:
            for name, value in settings:
                client.config_set(name, value)

    def fill_the_disk(self, which: int) -> End | None:
        """Write a file until the disk is full."""
        if not self._has_disk:
            return None
        ballast = self._folder / "disk" / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        return ballast.unlink

    # --------------------------------------------------------------- faults at once

    def kill_a_worker(self, which: int) -> None:
        """Kill a worker; LitServe starts another one."""
        pid = self._worker(which)
        self._ledger.killed.append(time.monotonic())
        _signal(pid, signal.SIGKILL)

    def clear(self, which: int) -> None:
        """Clear all namespaces, so that only answers of a new revision are right."""
        revision = self._ledger.revisions.begin()
        for cache in self._caches:
            self._insist(cache.clear)
        self._ledger.revisions.end(revision, time.monotonic())

    def delete(self, which: int) -> None:
        """Delete texts, so that of these only answers of a new revision are right."""
        revision, wanted = self._ledger.revisions.begin(), texts(random.Random(which), DELETED)
        for cache in self._caches:
            self._insist(lambda cache=cache: cache.delete(wanted))
        self._ledger.revisions.end(revision, time.monotonic(), wanted)

    def _insist(self, remove: Callable[[], object]) -> None:
        until = time.monotonic() + REFUSING_SECONDS
        while (refused := _refusal(remove)) is not None:
            if time.monotonic() > until:
                self._ledger.failed.append(f"a clear or delete: {refused}")
                return
            self._pause.wait(0.1)

    def damage_the_files(self, which: int) -> None:
        """Write noise somewhere into one of the files of the shared store."""
        drawn = random.Random(which)
        found = sorted((self._folder / "disk" / "entries").glob("litcache-*"))
        files = [path for path in found if path.suffix in (".db", ".ring")]
        if not files:
            return
        path = drawn.choice(files)
        with path.open("r+b") as file:
            file.seek(drawn.randrange(max(1, path.stat().st_size - DAMAGED_BYTES)))
            file.write(drawn.randbytes(DAMAGED_BYTES))


def _refusal(remove: Callable[[], object]) -> StoreError | None:
    try:
        remove()
    except StoreError as refused:
        return refused
    return None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
