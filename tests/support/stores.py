"""Stores for tests."""

import asyncio
import threading
from dataclasses import replace

from litcache import MemoryStore


class HeldStore(MemoryStore):
    """A store whose operations wait until they are let go."""

    blocking = True

    def __init__(self):
        super().__init__()
        self.held = set()
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def _hold(self, operation):
        if operation in self.held:
            self.entered.release()
            assert self.go.wait(30)

    def get_many(self, scope, keys):
        self._hold("get")
        return super().get_many(scope, keys)

    def set_many(self, scope, entries):
        self._hold("set")
        super().set_many(scope, entries)


class GatedStore(MemoryStore):
    """A store of which each write waits for a permit, so that a test decides when it happens."""

    blocking = True

    def __init__(self):
        super().__init__()
        self.permits = threading.Semaphore(0)

    def set_many(self, scope, entries):
        assert self.permits.acquire(timeout=30)
        super().set_many(scope, entries)


async def entered(store):
    """Wait until a thread is inside the store, with the event loop running on."""
    while not store.entered.acquire(blocking=False):
        await asyncio.sleep(0)


class FullStore(MemoryStore):
    """A store that may wait for I/O, and says at each question that it has evicted again."""

    blocking = True

    def __init__(self):
        super().__init__()
        self.is_full = True
        self.evicted = 0

    def info(self):
        self.evicted += self.is_full
        return replace(super().info(), evicted=self.evicted)
