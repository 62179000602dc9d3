"""Text embeddings in batches: a text that is in the cache does not reach the model.

If 30 texts of a batch of 32 requests are hits, `predict` gets the two others.
"""

import os

import litserve as ls
import numpy as np

from examples.minilm import VERSION, MiniLM
from litcache import cached_predict
from litcache.metrics import PrometheusLogger


class TextEmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()

    def decode_request(self, request) -> str:
        return request["text"]

    @cached_predict(max_bytes="512 MiB", version=VERSION)
    def predict(self, texts: list[str]) -> np.ndarray:
        return self.model.encode(texts)

    def encode_response(self, vector: np.ndarray) -> dict:
        return {"embedding": vector.tolist()}


if __name__ == "__main__":
    api = TextEmbeddingAPI(max_batch_size=32, batch_timeout=0.01)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2, loggers=PrometheusLogger())
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
