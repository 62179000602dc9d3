"""A chat server with LitServe's OpenAISpec: `stock` or `ours`, and `sync` or `async`."""

import os
import sys

import litserve as ls
from litserve.specs.openai import OpenAISpec

from litcache import cached_predict


def words_of(messages, turn):
    """What the model says, which is another text each time it runs for a text with "sample"."""
    text = messages[-1].content
    suffix = f" {turn}" if "sample" in text else ""
    return [f"{word} " for word in (text + suffix).upper().split()]


class Chat(ls.LitAPI):
    def setup(self, device):
        self.turns = 0

    def predict(self, request):
        self.turns += 1
        words = words_of(request.messages, self.turns)
        if words[0] == "BROKEN ":
            yield {"role": "assistant", "content": "I "}
            raise RuntimeError("broken")
        for count, word in enumerate(words, start=1):
            usage = {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": 3 + count}
            yield {"role": "assistant", "content": word, **usage}


class AsyncChat(Chat):
    async def predict(self, request):
        for chunk in Chat.predict(self, request):
            yield chunk


class CachedChat(Chat):
    @cached_predict(trial=0, key=lambda request: [m.content for m in request.messages])
    def predict(self, request):
        yield from super().predict(request)


class CachedAsyncChat(AsyncChat):
    @cached_predict(trial=0, key=lambda request: [m.content for m in request.messages])
    async def predict(self, request):
        for chunk in Chat.predict(self, request):
            yield chunk


KINDS = {
    ("stock", "sync"): Chat, ("stock", "async"): AsyncChat,
    ("ours", "sync"): CachedChat, ("ours", "async"): CachedAsyncChat,
}  # fmt: skip

if __name__ == "__main__":
    kind = KINDS[sys.argv[1], sys.argv[2]]
    api = kind(spec=OpenAISpec(), enable_async=sys.argv[2] == "async")
    server = ls.LitServer(api, accelerator="cpu")
    server.run(port=int(os.environ["PORT"]), generate_client_file=False)
