"""The service of the stack: text embeddings by two workers that share their entries in Valkey."""

import os

import litserve as ls
import numpy as np

from examples.minilm import VERSION, MiniLM
from litcache import (
    CachedBatchedLoop,
    CacheMiddleware,
    MemoryStore,
    RedisStore,
    TieredStore,
    cached_predict,
)
from litcache.metrics import PrometheusLogger

VALKEY = os.environ.get("VALKEY_URL", "redis://127.0.0.1:6379/0")
WORKERS = 2


class EmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM(threads=max(1, (os.cpu_count() or 1) // WORKERS))

    def decode_request(self, request) -> str:
        return request["text"]

    @cached_predict(
        store=TieredStore(MemoryStore("128 MiB"), RedisStore(VALKEY)),
        namespace="embeddings",
        version=VERSION,
        ttl="7d",
    )
    def predict(self, texts: list[str]) -> np.ndarray:
        return self.model.encode(texts)

    def encode_response(self, vector: np.ndarray) -> dict:
        return {"embedding": vector.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(
        EmbeddingAPI(loop=CachedBatchedLoop(overlap=True), max_batch_size=32, batch_timeout=0.01),
        accelerator="cpu",
        workers_per_device=WORKERS,
        middlewares=[(CacheMiddleware, {"ttl": 60, "version": VERSION})],
        loggers=PrometheusLogger(),
    )
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    server.run(host=host, port=port, generate_client_file=False)
