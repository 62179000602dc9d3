"""A process that asks for one item of a store that it shares with others."""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import litserve as ls

from litcache import RedisStore, SharedStore, cached_predict

SECONDS = 240


def work(where: str, lease: float, end: Connection, start: Event, go: Event) -> None:
    """Say when it is ready, and when its model begins; at the end say what came of it."""
    store = (
        RedisStore(where, timeout=5) if "://" in where else SharedStore(where, "16 MiB", timeout=5)
    )
    calls = []

    class API(ls.LitAPI):
        @cached_predict(store=store, namespace="shop", version="1", trial=0, lease=lease)
        def predict(self, item):
            calls.append(item)
            end.send("entered")
            assert go.wait(SECONDS)
            return [item] * 3

    api = API()
    api.predict.cache.info()  # opens the store
    end.send("ready")
    assert start.wait(SECONDS)
    answer = api.predict("a")
    info = api.predict.cache.info()
    end.send((answer, len(calls), info.hits + info.coalesced))
