"""A server of every tier, whose workers answer over LitServe's queues or over ZMQ.

LitServe 0.2.19 has ZMQ, but its `fast_queue` does nothing: it asks for
`TransportConfig(transport_config="zmq")`, and pydantic ignores a name that it does not know. And
the two addresses of the broker change places (issue #751). Both are mended here as in #752.
"""

import os

import litserve as ls
from litserve import server as of_litserve
from litserve.transport.factory import TransportConfig, create_transport_from_config
from litserve.transport.zmq_transport import ZMQTransport

from litcache import CachedBatchedLoop, CacheMiddleware, cached_predict
from litcache.metrics import PrometheusLogger


def config(transport_config):
    return TransportConfig(transport_type=transport_config)


def transport(of_config):
    made = create_transport_from_config(of_config)
    if isinstance(made, ZMQTransport):
        made.backend_address, made.frontend_address = made.frontend_address, made.backend_address
    return made


class OneAPI(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    @cached_predict(trial=0, version="1")
    def predict(self, text):
        return text.upper()

    def encode_response(self, output):
        return {"output": output, "pid": os.getpid()}


class BatchAPI(OneAPI):
    @cached_predict(trial=0, version="1")
    def predict(self, texts):
        return [text.upper() for text in texts]


def main():
    of_litserve.TransportConfig = config
    of_litserve.create_transport_from_config = transport
    batches = {"max_batch_size": 4, "batch_timeout": 0.001}
    server = ls.LitServer(
        [
            OneAPI(api_path="/one"),
            BatchAPI(api_path="/batch", **batches),
            BatchAPI(api_path="/loop", loop=CachedBatchedLoop(), **batches),
            BatchAPI(api_path="/overlap", loop=CachedBatchedLoop(overlap=True), **batches),
            OneAPI(api_path="/http"),
        ],
        accelerator="cpu",
        fast_queue=os.environ["TRANSPORT"] == "zmq",
        restart_workers=True,
        workers_per_device={"/one": 2},  # of the others, one each
        middlewares=[(CacheMiddleware, {"paths": ["/http"], "ttl": 300, "trial": 0})],
        loggers=[PrometheusLogger(path="/metrics")],
    )
    print("transport:", server.transport_config.transport_type, flush=True)
    port = int(os.environ["PORT"])
    # One HTTP process: a middleware has a store in each.
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False)


if __name__ == "__main__":
    main()
