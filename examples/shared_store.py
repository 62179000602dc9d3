"""Two workers share a store: what one computed, the other hits, also after a restart.

STORE=/var/cache/litcache python -m examples.shared_store      a folder of this host
STORE=redis://localhost:6379 python -m examples.shared_store   Redis or Valkey, behind a front
litcache info /var/cache/litcache                              what is in it
"""

import os
import tempfile

import litserve as ls

from examples.minilm import VERSION, MiniLM
from litcache import MemoryStore, RedisStore, SharedStore, TieredStore, Trial, cached_predict

STORE = os.environ.get("STORE", os.path.join(tempfile.gettempdir(), "litcache-example"))


def store(api):
    """Made in each process that uses it, at first use."""
    if "://" in STORE:
        return TieredStore(MemoryStore("64 MiB"), RedisStore(STORE, timeout=0.1))
    return SharedStore(STORE, "256 MiB")


# How much the model has computed is in each answer, and differs between hit and miss.
TRIAL = 0 if os.environ.get("TRIAL") == "0" else Trial(ignore=("$.computed",))


class EmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = MiniLM()
        self.computed = 0

    def decode_request(self, request):
        return request["text"]

    @cached_predict(store=store, namespace="minilm", version=VERSION, trial=TRIAL)
    def predict(self, texts):
        self.computed += len(texts)
        return self.model.encode(texts)

    def encode_response(self, vector):
        return {"embedding": vector.tolist(), "worker": os.getpid(), "computed": self.computed}


if __name__ == "__main__":
    api = EmbeddingAPI(max_batch_size=16, batch_timeout=0.005)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
