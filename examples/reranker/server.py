"""A reranker: each (query, document) pair is an item, in whatever request it comes.

A request is a list of pairs, and a batch holds several requests. With `items="list"`, the misses of
all requests reach `predict` together, each pair once.

The score is the cosine of MiniLM's vectors of query and document: a bi-encoder. A cross-encoder,
which reads both texts together, can stand in its place in `predict`.
"""

import os

import litserve as ls
import numpy as np

from examples.minilm import VERSION, MiniLM
from litcache import cached_predict
from litcache.metrics import PrometheusLogger


class RerankerAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()

    def decode_request(self, request) -> list[tuple[str, str]]:
        return [(request["query"], document) for document in request["documents"]]

    @cached_predict(items="list", max_items=64, max_bytes="64 MiB", version=f"cosine of {VERSION}")
    def predict(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        queries = self.model.encode([query for query, _ in pairs])
        documents = self.model.encode([document for _, document in pairs])
        return (queries * documents).sum(axis=1)  # (n,)

    def encode_response(self, scores: np.ndarray) -> dict:
        ranking = np.argsort(-scores, kind="stable")
        return {"scores": scores.tolist(), "ranking": ranking.tolist()}


if __name__ == "__main__":
    api = RerankerAPI(max_batch_size=8, batch_timeout=0.01, api_path="/rerank")
    server = ls.LitServer(api, accelerator="cpu", loggers=PrometheusLogger())
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
