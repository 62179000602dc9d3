"""Whole responses, answered in the HTTP process before LitServe's queue.

    LIT_SERVER_API_KEY=secret python -m examples.http_cache

    curl -i localhost:8000/predict -H 'X-API-Key: secret' -H 'Content-Type: application/json' \\
        -d '{"text": "hello"}'

The first answer says `Cache-Status: litcache; fwd=miss; stored`. The next 16 are hits on trial:
LitServe answers them as well, and both answers are compared (`litcache; fwd=miss; detail=trial`).
From then on it says `litcache; hit; ttl=…`. LitServe refuses a client without the right key, as
ever: the middleware runs LitServe's own check before it gives a stored answer.
"""

import os

import litserve as ls

from examples.minilm import VERSION, MiniLM
from litcache import CacheMiddleware


class EmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()

    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        return self.model.encode(texts)

    def encode_response(self, vector):
        return {"embedding": vector.tolist()}


if __name__ == "__main__":
    cache = {"paths": ["/predict"], "ttl": 300, "version": VERSION}
    server = ls.LitServer(
        EmbeddingAPI(max_batch_size=32, batch_timeout=0.02),
        accelerator="cpu",
        # First in the list: middlewares before it do not see the requests that it answers.
        middlewares=[(CacheMiddleware, cache)],
    )
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
