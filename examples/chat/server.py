"""Streamed chat with OpenAI's API: what was streamed once is streamed again, chunk by chunk.

What samples passes the cache: `bypass_if`. `decode_request` returns what the words depend on, and
no more: neither `user` nor `stream`.
"""

import os

import litserve as ls
from litserve.specs.openai import ChatCompletionRequest

from examples.chat.model import VERSION, LanguageModel
from litcache import cached_predict
from litcache.metrics import PrometheusLogger


def samples(item: dict) -> bool:
    return item["temperature"] > 0


class ChatAPI(ls.LitAPI):
    def setup(self, device):
        self.model = LanguageModel()

    def decode_request(self, request: ChatCompletionRequest) -> dict:
        messages = [(message.role, message.content) for message in request.messages]
        temperature = 1.0 if request.temperature is None else request.temperature
        return {"messages": messages, "temperature": temperature}

    @cached_predict(bypass_if=samples, ttl="1d", version=VERSION)
    def predict(self, item: dict):
        yield from self.model.stream(**item)


if __name__ == "__main__":
    server = ls.LitServer(
        ChatAPI(spec=ls.OpenAISpec()), accelerator="cpu", loggers=PrometheusLogger()
    )
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
