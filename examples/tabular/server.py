"""Scores of rows of features: cheap for the model, so whole answers are cached as well.

`CacheMiddleware` answers requests that are equal byte for byte, without LitServe's queue. The
decorator finds equal rows in other requests: with another id, or the features in another order.
"""

import os

import litserve as ls
import numpy as np

from examples.tabular.model import FEATURES, VERSION, Forest
from litcache import CacheMiddleware, cached_predict
from litcache.metrics import PrometheusLogger


class ScoreAPI(ls.LitAPI):
    def setup(self, device):
        self.model = Forest()

    def decode_request(self, request) -> list[float]:
        # What the model reads, and no more: with the id, each request would be another item.
        return [float(request.get(name, "nan")) for name in FEATURES]

    @cached_predict(max_bytes="64 MiB", version=VERSION)
    def predict(self, rows: list[list[float]]) -> np.ndarray:
        return self.model.predict_proba(np.array(rows))

    def encode_response(self, probability: np.ndarray) -> dict:
        return {"probability": float(probability)}


if __name__ == "__main__":
    cache = {"paths": ["/score"], "ttl": "10m", "version": VERSION}
    server = ls.LitServer(
        ScoreAPI(max_batch_size=64, batch_timeout=0.002, api_path="/score"),
        accelerator="cpu",
        middlewares=[(CacheMiddleware, cache)],
        loggers=PrometheusLogger(),
    )
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
