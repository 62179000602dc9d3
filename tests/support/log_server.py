"""A server whose spec makes LitServe call `logging.info`, behind a middleware that caches, too."""

import os

import litserve as ls
import numpy as np

from litcache import CacheMiddleware, SharedStore, cached_predict


class EmbeddingAPI(ls.LitAPI):
    def decode_request(self, request):
        return request.input

    @cached_predict(store=SharedStore(os.environ["FOLDER"]), namespace="n", version="1", trial=0)
    def predict(self, text):
        return np.full(8, len(text), np.float32)

    def encode_response(self, vector):
        return {"embeddings": [vector.tolist()], "prompt_tokens": 1, "total_tokens": 1}


if __name__ == "__main__":
    options = {"paths": ["/v1/embeddings"], "max_bytes": "128 MiB", "trial": 0}
    server = ls.LitServer(
        EmbeddingAPI(spec=ls.OpenAIEmbeddingSpec()),
        accelerator="cpu",
        middlewares=[(CacheMiddleware, options)],
    )
    server.run(port=int(os.environ["PORT"]), generate_client_file=False)
