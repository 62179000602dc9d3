"""Text embeddings: a hit waits neither for a batch nor for the model.

    python -m examples.cached_loop
    curl localhost:8000/predict -H 'content-type: application/json' -d '{"text": "hello"}'

A new text waits up to 50 ms for other texts that fill its batch. A text that was computed before is
answered at once, even while the model computes. If a text makes the model raise, it fails alone.
"""

import os

import litserve as ls
import numpy as np
from fastapi import HTTPException

from examples.minilm import VERSION, MiniLM
from litcache import CachedBatchedLoop, cached_predict


class TextEmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()

    def decode_request(self, request) -> str:
        if not isinstance(request.get("text"), str):
            raise HTTPException(422, "text must be a string")
        return request["text"]

    @cached_predict(max_bytes="512 MiB", version=VERSION)
    def predict(self, texts: list[str]) -> np.ndarray:
        return self.model.encode(texts)

    def encode_response(self, vector: np.ndarray) -> dict:
        return {"embedding": vector.tolist()}


if __name__ == "__main__":
    loop = CachedBatchedLoop(overlap=True)
    api = TextEmbeddingAPI(loop=loop, max_batch_size=32, batch_timeout=0.05)
    server = ls.LitServer(api, accelerator="cpu")
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
