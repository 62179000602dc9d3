"""A server of the demo: `python -m examples.demo.server none|decorator|tiers PORT COUNTERS`.

After every batch the worker writes to the file COUNTERS what its model computed; the demo reads it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import litserve as ls
import numpy as np

from examples.minilm import VERSION, MiniLM
from litcache import CachedBatchedLoop, CacheMiddleware, cached_predict

BATCHES: dict[str, Any] = {"max_batch_size": 16, "batch_timeout": 0.005}


class PlainAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()
        self.model.encode(["The first run of a model is slower than all others."])
        self.items, self.seconds = 0, 0.0

    def decode_request(self, request) -> str:
        return request["text"]

    def predict(self, texts: list[str]) -> np.ndarray:
        start = time.perf_counter()
        vectors = self.model.encode(texts)
        self.seconds += time.perf_counter() - start
        self.items += len(texts)
        return vectors

    def encode_response(self, vector: np.ndarray) -> dict:
        return {"embedding": vector.tolist()}


class CachedAPI(PlainAPI):
    @cached_predict(max_bytes="64 MiB", version=VERSION)
    def predict(self, texts: list[str]) -> np.ndarray:
        return super().predict(texts)


class WriteCounters(ls.Callback):
    def __init__(self, path: Path):
        self.path = path

    def on_after_predict(self, lit_api: PlainAPI):
        counters = {"items": lit_api.items, "seconds": lit_api.seconds}
        if isinstance(lit_api, CachedAPI):
            info = lit_api.predict.cache.info()
            counters |= {"state": info.state, "verified": info.verified}
        written = self.path.with_suffix(".new")
        written.write_text(json.dumps(counters))
        os.replace(written, self.path)  # a reader never sees half of it


def server_of(kind: str, counters: Path) -> ls.LitServer:
    """Return the server without a cache, with the decorator, or with all tiers."""
    if kind == "none":
        api, middlewares = PlainAPI(**BATCHES), []
    elif kind == "decorator":
        api, middlewares = CachedAPI(**BATCHES), []
    else:
        api = CachedAPI(loop=CachedBatchedLoop(overlap=True), **BATCHES)
        middlewares = [(CacheMiddleware, {"ttl": 3600, "version": VERSION})]
    return ls.LitServer(
        api, accelerator="cpu", middlewares=middlewares, callbacks=[WriteCounters(counters)]
    )


if __name__ == "__main__":
    kind, port, path = sys.argv[1:]
    server_of(kind, Path(path)).run(host="127.0.0.1", port=int(port), generate_client_file=False)
