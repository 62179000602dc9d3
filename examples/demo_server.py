"""One of the two servers of the demo: `python -m examples.demo_server plain|cached PORT COUNTERS`.

After every batch the worker writes to the file COUNTERS what its model computed; the demo reads it.
"""

import json
import sys
import time
from pathlib import Path

import litserve as ls
import numpy as np

from examples.minilm import VERSION, MiniLM
from litcache import cached_predict


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
            counters |= {"hit_rate": info.hit_rate, "seconds_saved": info.seconds_saved}
        self.path.write_text(json.dumps(counters))


if __name__ == "__main__":
    kind, port, path = sys.argv[1:]
    api_class = {"plain": PlainAPI, "cached": CachedAPI}[kind]
    server = ls.LitServer(
        api_class(max_batch_size=16, batch_timeout=0.005),
        accelerator="cpu",
        callbacks=[WriteCounters(Path(path))],
    )
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False)
