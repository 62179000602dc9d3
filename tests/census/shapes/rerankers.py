"""Rerankers: a query and documents to scores."""

import litserve as ls
import numpy as np

from census.models import TEXTS, Ranker
from census.shape import service, zipf

KIND = "reranker"


def query(at, rng):
    return {"query": TEXTS[at], "documents": TEXTS[at % 5 : at % 5 + 4]}


queries = zipf(query)


class Rerank(ls.LitAPI):
    def setup(self, device):
        self.model = Ranker()

    def decode_request(self, request):
        return request


@service(
    KIND,
    "a dict with the documents",
    "cache",
    queries,
    option={"items": "list", "list_at": "documents"},
    option_text='items="list", list_at="documents"',
)
class RerankDict(Rerank):
    def predict(self, request):
        return self.model.score([(request["query"], text) for text in request["documents"]])

    def encode_response(self, scores):
        return {"scores": scores.tolist()}


@service(KIND, "pairs", "cache", queries, option={"items": "list"}, option_text='items="list"')
class RerankPairs(Rerank):
    def decode_request(self, request):
        return [(request["query"], text) for text in request["documents"]]

    def predict(self, pairs):
        return self.model.score(pairs)

    def encode_response(self, scores):
        return {"scores": scores.tolist()}


@service(KIND, "documents sorted by score", "cache", queries)
class RerankSorted(Rerank):
    def predict(self, request):
        scores = self.model.score([(request["query"], text) for text in request["documents"]])
        return [
            {"index": int(at), "score": float(scores[at]), "text": request["documents"][at]}
            for at in np.argsort(-scores)
        ]

    def encode_response(self, results):
        return {"results": results}


@service(KIND, "scores between the least and the most of the list", "cache", queries)
class RerankScaled(Rerank):
    def predict(self, request):
        scores = self.model.score([(request["query"], text) for text in request["documents"]])
        return (scores - scores.min()) / (np.ptp(scores) + 1e-6)

    def encode_response(self, scores):
        return {"scores": [round(float(score), 4) for score in scores]}


@service(
    KIND,
    "pairs in a batch of requests",
    "cache",
    zipf(lambda at, rng: {"query": TEXTS[at % 4], "document": TEXTS[at]}),
    max_batch_size=8,
)
class RerankBatch(Rerank):
    def predict(self, items):
        return self.model.score([(item["query"], item["document"]) for item in items])

    def encode_response(self, score):
        return {"score": float(score)}


@service(
    KIND,
    "`top_k` kept on `self`",
    "never",
    zipf(lambda at, rng: {**query(at, rng), "top_k": rng.choice([2, 2, 2, 3])}),
)
class RerankTopK(Rerank):
    def decode_request(self, request):
        self.top_k = request.pop("top_k")
        return request

    def predict(self, request):
        scores = self.model.score([(request["query"], text) for text in request["documents"]])
        return np.argsort(-scores)[: self.top_k]

    def encode_response(self, order):
        return {"order": order.tolist()}


@service(
    KIND,
    "the documents kept on `self` for the answer",
    "never",
    zipf(lambda at, rng: {"query": TEXTS[at], "documents": rng.sample(TEXTS[:9], 3)}),
)
class RerankDocumentsOnSelf(Rerank):
    def decode_request(self, request):
        self.documents = request["documents"]
        return request["query"]

    def predict(self, query):
        return self.model.score([(query, text) for text in self.documents])

    def encode_response(self, scores):
        order = np.argsort(-scores)
        return {"documents": [self.documents[at] for at in order]}
