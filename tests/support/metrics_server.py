"""A server of two APIs and, in each HTTP process, a tier of its own, all counted by one logger."""

import os
import sys

import litserve as ls

from litcache import SharedStore, cached_predict
from litcache.metrics import PrometheusLogger
from litcache.observe import pages
from litcache.observe.counters import Counters, Labels, Sample
from litcache.stores.base import StoreInfo


class TextAPI(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    @cached_predict(version="words 1", trial=0, bypass_if=lambda text: text == "bypass")
    def predict(self, texts):
        return [text.upper() for text in texts]

    def encode_response(self, output):
        return {"output": output, "pid": os.getpid()}


def shared_store(api):
    return SharedStore(os.environ["STORE"], max_bytes="8 MiB")


class ListAPI(ls.LitAPI):
    def decode_request(self, request):
        return request["texts"]

    @cached_predict(
        items="list",
        max_items=4,
        store=shared_store,
        namespace="lists",
        version="words 2",
        trial=0,
    )
    def predict(self, texts):
        return [text.upper() for text in texts]

    def encode_response(self, output):
        return {"output": output}


class Tier:
    """A middleware that counts what passes, as a cache in the HTTP process does."""

    def __init__(self, app):
        self.app = app
        self.labels = Labels("/predict", "POST", "http")
        self.counters = Counters()
        pages.of_this_process().enter(self)

    def sample(self):
        return Sample(StoreInfo(entries=1), about={"version": "3", "store": "MemoryStore"})

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/predict":
            self.counters.add(misses=1)
        await self.app(scope, receive, send)


if __name__ == "__main__":
    server = ls.LitServer(
        [TextAPI(max_batch_size=4, batch_timeout=0.001), ListAPI(api_path="/lists")],
        accelerator="cpu",
        workers_per_device=2,
        restart_workers=True,
        middlewares=[Tier],
        loggers=[PrometheusLogger(path="/metrics")],
    )
    server.run(
        port=int(os.environ["PORT"]),
        # Two in one process set each other's asyncio events, which may hang (LitServe 0.2.17-19).
        num_api_servers=2 if sys.argv[1] == "process" else 1,
        api_server_worker_type=sys.argv[1],
        generate_client_file=False,
    )
