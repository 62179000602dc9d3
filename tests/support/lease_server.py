"""A server of two workers that share a store and leases; its model waits for files."""

import os
import time
from pathlib import Path

import litserve as ls

from litcache import CachedBatchedLoop, SharedStore, cached_predict

FOLDER = Path(os.environ["FOLDER"])


class WordAPI(ls.LitAPI):
    def setup(self, device):
        self.device = device

    def decode_request(self, request):
        (FOLDER / f"got-{request['word']}-{os.getpid()}").touch()
        return request["word"]

    @cached_predict(
        store=SharedStore(FOLDER / "store", timeout=5),
        namespace="words", version="1", trial=0, lease=3600,
    )  # fmt: skip
    def predict(self, words):
        for word in words:
            (FOLDER / f"{word}-{os.getpid()}").touch()
            while word.startswith("slow") and not (FOLDER / "go").exists():
                time.sleep(0.01)
        return [word.upper() for word in words]

    def encode_response(self, output):
        return {"word": output, "worker": os.getpid()}


if __name__ == "__main__":
    api = WordAPI(max_batch_size=4, batch_timeout=0.0, loop=CachedBatchedLoop())
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(port=int(os.environ["PORT"]), generate_client_file=False)
