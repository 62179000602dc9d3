"""An async API: it computes equal requests that arrive together only once.

    python -m examples.async_api

LitServe runs the requests of an async API as tasks of one event loop. The first task that misses a
text computes it. Tasks that ask for the same text meanwhile wait for its output. Others do not
wait.
"""

import asyncio
import os

import litserve as ls
import numpy as np

from examples.minilm import VERSION, MiniLM
from litcache import cached_predict


class AsyncEmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()

    async def decode_request(self, request) -> str:
        return request["text"]

    @cached_predict(max_bytes="512 MiB", version=VERSION)
    async def predict(self, text: str) -> np.ndarray:
        (vector,) = await asyncio.to_thread(self.model.encode, [text])
        return vector

    async def encode_response(self, vector: np.ndarray) -> dict:
        return {"embedding": vector.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(AsyncEmbeddingAPI(enable_async=True), accelerator="cpu")
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
