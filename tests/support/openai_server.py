"""An OpenAI-compatible server: `stock` with LitServe's spec, unbatched; `ours`, batched."""

import os
import sys

import litserve as ls
import numpy as np
from fastapi import HTTPException
from litserve.specs.openai_embedding import EmbeddingRequest, OpenAIEmbeddingSpec

from litcache import cached_predict
from litcache.metrics import PrometheusLogger
from litcache.openai import EmbeddingSpec


class EmbeddingAPI(ls.LitAPI):
    def decode_request(self, request: EmbeddingRequest):
        if request.dimensions not in (None, 8):
            raise HTTPException(400, "dimensions: 8")
        return request.input

    @cached_predict(items="list", version="1", trial=0)
    def predict(self, inputs):
        inputs = inputs if isinstance(inputs, list) else [inputs]
        texts = [item if isinstance(item, str) else " ".join(map(str, item)) for item in inputs]
        if "refused" in texts:
            raise HTTPException(422, "refused")
        if "broken" in texts:
            raise RuntimeError("broken")
        seeds = [list(text.encode()) or [0] for text in texts]
        vectors = np.stack([np.random.default_rng(seed).random(8, np.float32) for seed in seeds])
        return vectors, np.array([len(text.split()) for text in texts])

    def encode_response(self, output):
        vectors, counts = output
        tokens = int(counts.sum())
        return {"embeddings": vectors, "prompt_tokens": tokens, "total_tokens": tokens}


if __name__ == "__main__":
    if sys.argv[1] == "stock":
        api = EmbeddingAPI(spec=OpenAIEmbeddingSpec())
    else:
        # A batch is complete with four requests; until then it may wait longer than a test does.
        spec = EmbeddingSpec(max_inputs=64)
        api = EmbeddingAPI(max_batch_size=4, batch_timeout=float(sys.argv[2]), spec=spec)
    server = ls.LitServer(api, accelerator="cpu", loggers=PrometheusLogger())
    server.run(port=int(os.environ["PORT"]), generate_client_file=False)
