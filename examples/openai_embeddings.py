"""OpenAI-compatible embeddings: each text of a request is cached by itself, usage stays right.

    python -m examples.openai_embeddings

    from openai import OpenAI
    client = OpenAI(base_url="http://localhost:8000/v1", api_key="unused")
    client.embeddings.create(model="minilm", input=["a text", "another"]).usage.total_tokens

LitServe's `OpenAIEmbeddingSpec` takes a list of texts only without batching, so a batch is what one
request brings: with `items="list"`, `predict` gets its texts that are not in the cache. It returns
columns, a vector and a token count for each; the counts are cached beside the vectors, and
`encode_response` adds up those of the whole request, hits included.

Inputs may be ids of MiniLM's own tokens, too. LitServe 0.2.19 counts these wrongly and answers 500
unless its count happens to fit: `[id]`, one input of one token, passes and `[id, id]`, one of two,
does not; `[[…], […]]` passes if the first input has as many tokens as there are inputs. Texts, one
or many, always pass. What is cached is right either way.
"""

import os

import litserve as ls
import numpy as np
from fastapi import HTTPException
from litserve.specs.openai_embedding import EmbeddingRequest, OpenAIEmbeddingSpec

from examples.minilm import DIMENSIONS, VERSION, MiniLM
from litcache import cached_predict


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
    server = ls.LitServer(OpenAIEmbeddingAPI(spec=OpenAIEmbeddingSpec()), accelerator="cpu")
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
