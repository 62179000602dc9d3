"""Metrics for Prometheus at /metrics: the counts of the caches of all workers.

    python -m examples.metrics
    curl localhost:8000/predict -H 'content-type: application/json' -d '{"text": "hello"}'
    curl localhost:8000/metrics

Two workers compute, and two processes answer HTTP. Each of these gives the sums of all processes.
"""

import os

import litserve as ls

from examples.text_embeddings.server import TextEmbeddingAPI
from litcache.metrics import PrometheusLogger

if __name__ == "__main__":
    server = ls.LitServer(
        TextEmbeddingAPI(max_batch_size=32, batch_timeout=0.01),
        accelerator="cpu",
        workers_per_device=2,
        loggers=PrometheusLogger(),
    )
    port = int(os.environ.get("PORT", "8000"))
    server.run(port=port, num_api_servers=2, generate_client_file=False)
