"""Chat and other text that a language model writes."""

import time
import uuid

import litserve as ls
from litserve.specs.openai import ChatCompletionRequest, OpenAISpec

from census.models import TEXTS, LanguageModel
from census.shape import service, zipf

KIND = "chat"
prompts = zipf(lambda at, rng: {"prompt": TEXTS[at]})


def warm_or_not(at, rng):
    return {"prompt": TEXTS[at], "temperature": 0.8 if at % 3 == 1 else 0.0}


def is_sampled(request):
    return request["temperature"] > 0


class Chat(ls.LitAPI):
    def setup(self, device):
        self.model = LanguageModel()

    def decode_request(self, request):
        return request["prompt"]


class ChatWhole(Chat):
    def encode_response(self, text):
        return {"text": text}


@service(KIND, "a stream at temperature 0", "cache", prompts, stream=True)
class ChatStream(Chat):
    def predict(self, prompt):
        yield from self.model.words(prompt)

    def encode_response(self, words):
        for word in words:
            yield {"delta": word}


@service(KIND, "a stream at temperature 0.7", "never", prompts, stream=True, fresh=True)
class ChatStreamSampled(Chat):
    def predict(self, prompt):
        yield from self.model.words(prompt, temperature=0.7)

    def encode_response(self, words):
        for word in words:
            yield {"delta": word}


@service(KIND, "a stream, `async def`", "cache", prompts, stream=True, enable_async=True)
class ChatStreamAsync(ls.LitAPI):
    def setup(self, device):
        self.model = LanguageModel()

    async def decode_request(self, request):
        return request["prompt"]

    async def predict(self, prompt):
        for word in self.model.words(prompt):
            yield word

    async def encode_response(self, words):
        async for word in words:
            yield {"delta": word}


def messages(at, rng):
    said = [{"role": "user", "content": TEXTS[at]}]
    return ChatCompletionRequest(model="small", messages=said, temperature=0.0, stream=True)


@service(KIND, "LitServe's OpenAI spec, temperature 0", "cache", zipf(messages), spec=OpenAISpec)
class ChatOpenAI(ls.LitAPI):
    def setup(self, device):
        self.model = LanguageModel()

    def decode_request(self, request):
        return [(message.role, message.content) for message in request.messages]

    def predict(self, messages):
        yield from self.model.words(messages[-1][1])


@service(
    KIND, "OpenAI spec, usage counted with the last chunk", "cache", zipf(messages), spec=OpenAISpec
)
class ChatUsage(ls.LitAPI):
    def setup(self, device):
        self.model = LanguageModel()

    def predict(self, request):
        prompt = request.messages[-1].content
        for word in self.model.words(prompt):
            yield {"role": "assistant", "content": word}
        yield {
            "role": "assistant",
            "content": "",
            "prompt_tokens": len(prompt.split()),
            "completion_tokens": 6,
            "total_tokens": 6 + len(prompt.split()),
        }


@service(
    KIND,
    "temperature in the item, some above 0",
    "option",
    zipf(warm_or_not),
    stream=True,
    fresh_if=is_sampled,
    option={"bypass_if": is_sampled},
    option_text='bypass_if=lambda item: item["temperature"] > 0',
)
class ChatTemperature(Chat):
    def decode_request(self, request):
        return request

    def predict(self, item):
        yield from self.model.words(item["prompt"], temperature=item["temperature"])

    def encode_response(self, words):
        yield from words


@service(
    KIND,
    "temperature in `context`, some above 0",
    "option",
    zipf(warm_or_not),
    fresh_if=is_sampled,
    option={"bypass_if": lambda item, context: is_sampled(context)},
    option_text='bypass_if=lambda item, context: context["temperature"] > 0',
)
class ChatTemperatureInContext(ChatWhole):
    def decode_request(self, request, context):
        context["temperature"] = request["temperature"]
        return request["prompt"]

    def predict(self, prompt, context):
        return self.model.complete(prompt, temperature=context["temperature"])


@service(KIND, "whole answers, greedy", "cache", prompts)
class ChatGreedy(ChatWhole):
    def predict(self, prompt):
        return self.model.complete(prompt)


@service(KIND, "whole answers, sampled", "never", prompts, fresh=True)
class ChatSampled(ChatWhole):
    def predict(self, prompt):
        return self.model.complete(prompt, temperature=0.7)


@service(KIND, "the conversation kept on `self`", "never", prompts)
class ChatMemory(ChatWhole):
    def setup(self, device):
        self.model = LanguageModel()
        self.history = []

    def predict(self, prompt):
        self.history = [*self.history[-3:], prompt]
        return self.model.complete(" ".join(self.history))


@service(
    KIND,
    "a conversation of each session, kept on `self`",
    "never",
    zipf(lambda at, rng: {"prompt": TEXTS[at % 6], "session": rng.randrange(8)}),
)
class ChatSessions(ChatWhole):
    def setup(self, device):
        self.model = LanguageModel()
        self.sessions = {}

    def decode_request(self, request):
        return request

    def predict(self, request):
        said = self.sessions.setdefault(request["session"], [])
        said.append(request["prompt"])
        return self.model.complete(" ".join(said[-4:]))


@service(KIND, "an id made by `encode_response`", "cache", prompts, unique=("id",))
class ChatId(Chat):
    def predict(self, prompt):
        return self.model.complete(prompt)

    def encode_response(self, text):
        return {"id": f"chat-{uuid.uuid4()}", "text": text}


@service(
    KIND,
    "an id and the time made by `predict`",
    "never",
    prompts,
    unique=("id",),
    free=("created",),
)
class ChatIdInOutput(Chat):
    def predict(self, prompt):
        return {
            "id": f"chat-{uuid.uuid4()}",
            "created": int(time.time()),
            "text": self.model.complete(prompt),
        }

    def encode_response(self, output):
        return output


@service(
    "summaries",
    "a length in each item, in a batch",
    "cache",
    zipf(lambda at, rng: {"text": TEXTS[at], "words": 3 + at % 4}),
    max_batch_size=4,
)
class Summarize(ls.LitAPI):
    def setup(self, device):
        self.model = LanguageModel()

    def decode_request(self, request):
        return request["text"], request["words"]

    def predict(self, items):
        return [self.model.complete(text, words) for text, words in items]

    def encode_response(self, summary):
        return {"summary": summary}


@service(
    "summaries",
    "the longest length of the batch for all",
    "never",
    zipf(lambda at, rng: {"text": TEXTS[at], "words": 3 + at % 4}),
    max_batch_size=4,
)
class SummarizeLongest(Summarize):
    def predict(self, items):
        longest = max(words for _, words in items)
        return [self.model.complete(text, longest) for text, _ in items]


@service("captions", "an image to a text, `async def`", "cache", prompts, enable_async=True)
class Caption(ls.LitAPI):
    def setup(self, device):
        self.model = LanguageModel()

    async def predict(self, request):
        return {"caption": self.model.complete(request["prompt"], 4)}
