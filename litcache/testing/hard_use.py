"""How the contract uses a store: in every way, by many threads, and in forked processes."""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import sys
import threading
import warnings

from litcache.stores.base import Entry, NewEntry, Scope, Store

THREADS = 8
SECONDS = 60
"""What a thread or a forked process may take before it counts as hung."""


def key(number: int) -> bytes:
    """Return a key of 16 bytes."""
    return number.to_bytes(16, "big")


def parts(entry: Entry | None) -> NewEntry | None:
    """Return an entry as one that can be compared."""
    if entry is None:
        return None
    return NewEntry(bytes(entry.layout), bytes(entry.payload), entry.expires)


def mixed_use(store: Store, rng: random.Random, rounds: int) -> list[object]:
    """Use a store in every way, and return the entries that it gave but that nobody had set."""
    wrong: list[object] = []
    for _ in range(rounds):
        namespace, start = rng.choice([("shop", 100), ("blog", 200)])
        numbers = [start + rng.randrange(40) for _ in range(8)]
        scope = Scope(namespace)
        found = store.get_many(scope, [key(n) for n in numbers])
        for number, entry in zip(numbers, found, strict=True):
            if entry is not None and bytes(entry.payload) != bytes(entry.layout) * number:
                wrong.append((number, parts(entry)))
        mark = rng.randbytes(2)
        store.set_many(scope, {key(n): NewEntry(mark, mark * n) for n in numbers})
        choice = rng.random()
        if choice < 0.2:
            store.delete_many(scope, [key(n) for n in numbers[:2]])
        elif choice < 0.25:
            store.clear(namespace)
        store.info()
    return wrong


def used_by_threads(store: Store) -> list[object]:
    """Use a store in every way by many threads at once, and return what went wrong."""
    barrier = threading.Barrier(THREADS)
    wrong: list[object] = []

    def work(seed: int) -> None:
        try:
            barrier.wait(SECONDS)
            wrong.extend(mixed_use(store, random.Random(seed), rounds=150))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(THREADS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
    finally:
        sys.setswitchinterval(interval)
    return [*wrong, *(f"{thread.name} hangs" for thread in threads if thread.is_alive())]


def works_in_a_fork(store: Store) -> bool:
    """Return whether a forked process can set and get without hanging."""
    reading, writing = os.pipe()
    collects = gc.isenabled()
    # In the child, garbage of the parent's may wait in its destructor for threads that only the
    # parent has: a session of onnxruntime hangs there.
    gc.disable()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forks with threads: what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            store.set_many(Scope("fork"), {key(1): NewEntry(b"", b"payload")})
            (found,) = store.get_many(Scope("fork"), [key(1)])
            if parts(found) == NewEntry(b"", b"payload", None):
                os.write(writing, b"!")
        finally:
            os._exit(0)
    if collects:
        gc.enable()
    os.close(writing)
    try:
        answered, _, _ = select.select([reading], [], [], SECONDS)
        if not answered:
            os.kill(child, signal.SIGKILL)
        return bool(answered) and os.read(reading, 1) == b"!"
    finally:
        os.close(reading)
        os.waitpid(child, 0)
