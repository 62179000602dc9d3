"""A server on trial: answers of which one depends on who asks, and chat with LitServe's spec."""

import os
from contextvars import ContextVar
from typing import Annotated

import litserve as ls
from fastapi import Header
from pydantic import BaseModel, Field

from litcache import CacheMiddleware, SharedStore
from litcache.metrics import PrometheusLogger

USER = ContextVar("user", default="nobody")


class Asked(BaseModel):
    text: str
    user: str = Field(default_factory=USER.get)


class PersonalAPI(ls.LitAPI):
    """Knows its users by a context variable, which no key of a request holds."""

    async def authorize(self, x_user: Annotated[str, Header()] = "nobody"):
        USER.set(x_user)

    def decode_request(self, request: Asked):
        return f"{request.text} for {request.user}"

    def predict(self, text):
        return text

    def encode_response(self, output):
        return {"answer": output}


class ChatAPI(ls.LitAPI):
    def predict(self, request):
        yield request.messages[-1].content.upper()


if __name__ == "__main__":
    cache = {
        "paths": ["/personal", "/v1/chat/completions"],
        "store": SharedStore(os.environ["STORE"], timeout=5),
        "namespace": "trial",
        "version": "1",
    }
    server = ls.LitServer(
        [PersonalAPI(api_path="/personal"), ChatAPI(spec=ls.OpenAISpec())],
        accelerator="cpu",
        workers_per_device=2,
        middlewares=[(CacheMiddleware, cache)],
        loggers=[PrometheusLogger()],
    )
    server.run(
        port=int(os.environ["PORT"]),
        num_api_servers=2,
        api_server_worker_type="process",
        generate_client_file=False,
    )
