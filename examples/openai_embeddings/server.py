"""OpenAI-compatible embeddings: each text of a request is an item, and the usage stays right.

`litcache.openai.EmbeddingSpec` is LitServe's `OpenAIEmbeddingSpec`, but lists of texts and dynamic
batching work together: the misses of concurrent requests reach `predict` in one call, each text
once. `predict` returns two columns, the vectors and the token counts. litcache stores both, so
`encode_response` can add up the counts of a request, hits included. An input may also be a list of
ids of MiniLM's own tokens.
"""

import os

import litserve as ls
import numpy as np
from fastapi import HTTPException

from examples.minilm import DIMENSIONS, VERSION, MiniLM
from litcache import cached_predict
from litcache.metrics import PrometheusLogger
from litcache.openai import EmbeddingRequest, EmbeddingSpec


class OpenAIEmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()

    def decode_request(self, request: EmbeddingRequest) -> str | list:
        if request.dimensions not in (None, DIMENSIONS):
            raise HTTPException(400, f"dimensions: this model's vectors have {DIMENSIONS}")
        return request.input

    @cached_predict(items="list", max_items=64, max_bytes="512 MiB", version=VERSION)
    def predict(self, inputs: list[str] | list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        ids = [self.model.tokens(item) if isinstance(item, str) else item for item in inputs]
        return self.model.embed(ids), np.array([len(tokens) for tokens in ids])

    def encode_response(self, output: tuple[np.ndarray, np.ndarray]) -> dict:
        vectors, counts = output
        tokens = int(counts.sum())
        return {"embeddings": vectors, "prompt_tokens": tokens, "total_tokens": tokens}


if __name__ == "__main__":
    api = OpenAIEmbeddingAPI(max_batch_size=32, batch_timeout=0.01, spec=EmbeddingSpec())
    server = ls.LitServer(api, accelerator="cpu", loggers=PrometheusLogger())
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
