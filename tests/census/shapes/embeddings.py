"""Text embeddings that a cache gets right."""

import base64

import litserve as ls
import numpy as np
import torch
from litserve.specs.openai_embedding import EmbeddingRequest, OpenAIEmbeddingSpec

from census.models import TEXTS, BatchEncoding, TextEncoder
from census.shape import service, zipf
from litcache import CachedBatchedLoop

KIND = "text embeddings"
texts = zipf(lambda at, rng: {"text": TEXTS[at]})


@service(KIND, "one text a request", "cache", texts)
class EmbedOne(ls.LitAPI):
    def setup(self, device):
        self.model = TextEncoder()

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return self.model.encode([text])[0]

    def encode_response(self, vector):
        return {"embedding": vector.tolist()}


@service(KIND, "texts in a batch, an array of rows", "cache", texts, max_batch_size=8)
class EmbedBatch(EmbedOne):
    def predict(self, texts):
        return self.model.encode(texts)


@service(
    KIND,
    "texts in a batch, `CachedBatchedLoop`",
    "cache",
    texts,
    max_batch_size=8,
    batch_timeout=0.01,
    loop=CachedBatchedLoop,
)
class EmbedInCachedLoop(EmbedOne):
    def predict(self, texts):
        return self.model.encode(texts)


@service(
    KIND,
    "texts in a batch, `CachedBatchedLoop(overlap=True)`",
    "cache",
    texts,
    max_batch_size=8,
    batch_timeout=0.01,
    loop=lambda: CachedBatchedLoop(overlap=True),
)
class EmbedInOverlap(EmbedOne):
    def predict(self, texts):
        return self.model.encode(texts)


@service(KIND, "`async def`", "cache", texts, enable_async=True)
class EmbedAsync(ls.LitAPI):
    def setup(self, device):
        self.model = TextEncoder()

    async def decode_request(self, request):
        return request["text"]

    async def predict(self, text):
        return self.model.encode([text])[0].tolist()

    async def encode_response(self, vector):
        return {"embedding": vector}


def openai_request(at, rng):
    text = TEXTS[at]
    several = [text, *rng.choices(TEXTS[:6], k=2)]
    return EmbeddingRequest(model="small", input=text if at % 2 else several)


@service(
    KIND,
    "LitServe's OpenAI spec: a text or a list",
    "cache",
    zipf(openai_request),
    spec=OpenAIEmbeddingSpec,
    option={"items": "list"},
    option_text='items="list"',
)
class EmbedOpenAI(ls.LitAPI):
    def setup(self, device):
        self.model = TextEncoder()

    def predict(self, inputs):
        return self.model.encode(inputs if isinstance(inputs, list) else [inputs])

    def encode_response(self, output):
        return {"embeddings": output.tolist(), "prompt_tokens": 3, "total_tokens": 3}


@service(
    KIND,
    "OpenAI spec, tokens counted in `context`",
    "cache",
    zipf(openai_request),
    spec=OpenAIEmbeddingSpec,
)
class EmbedCounted(ls.LitAPI):
    def setup(self, device):
        self.model = TextEncoder()

    def predict(self, inputs, context):
        inputs = inputs if isinstance(inputs, list) else [inputs]
        tokens = sum(len(text.split()) for text in inputs)
        context["prompt_tokens"] = context["total_tokens"] = tokens
        return self.model.encode(inputs)


def text_list(at, rng):
    return {"texts": [TEXTS[at], *rng.choices(TEXTS[:8], k=at % 3)]}


@service(
    KIND,
    "a list of texts a request",
    "cache",
    zipf(text_list),
    option={"items": "list"},
    option_text='items="list"',
)
class EmbedList(ls.LitAPI):
    def setup(self, device):
        self.model = TextEncoder()

    def decode_request(self, request):
        return request["texts"]

    def predict(self, texts):
        return self.model.encode(texts)

    def encode_response(self, vectors):
        return {"embeddings": vectors.tolist()}


@service(KIND, "`BatchEncoding` items, padded with a mask", "cache", texts, max_batch_size=8)
class EmbedEncodings(ls.LitAPI):
    def setup(self, device):
        self.model = TextEncoder()

    def decode_request(self, request):
        ids = np.array(self.model.tokenizer.ids(request["text"]))
        return BatchEncoding(input_ids=ids, attention_mask=np.ones_like(ids))

    def batch(self, inputs):
        longest = max(len(item["input_ids"]) for item in inputs)
        padded = [
            [np.pad(item[name], (0, longest - len(item[name]))) for item in inputs]
            for name in ("input_ids", "attention_mask")
        ]
        return tuple(map(np.stack, padded))

    def predict(self, batch):
        return self.model.pooled(*batch)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, vector):
        return {"embedding": vector.tolist()}


@service(KIND, "tensors, normalised, `torch`", "cache", texts, max_batch_size=8, tolerance=1e-5)
class EmbedTorch(ls.LitAPI):
    def setup(self, device):
        torch.manual_seed(0)
        self.tokenizer = TextEncoder().tokenizer
        self.model = torch.nn.EmbeddingBag(self.tokenizer.size, 32, mode="mean")
        self.head = torch.nn.Linear(32, 32)

    def decode_request(self, request):
        return request["text"]

    @torch.inference_mode()
    def predict(self, texts):
        rows = [self.model(torch.tensor([self.tokenizer.ids(text)])) for text in texts]
        return torch.nn.functional.normalize(self.head(torch.cat(rows)), dim=1)

    def encode_response(self, vector):
        return {"embedding": vector.tolist()}


@service(
    KIND,
    "noise of bfloat16 between batch sizes",
    "cache",
    texts,
    max_batch_size=8,
    tolerance=0.01,
)
class EmbedHalf(EmbedTorch):
    def predict(self, texts):
        with torch.inference_mode():
            rows = [self.model(torch.tensor([self.tokenizer.ids(text)])) for text in texts]
            # The kernel of a batch of one sums in another order than that of a larger one.
            batch = torch.cat(rows).to(torch.bfloat16)
            split = 16 if len(texts) == 1 else 32
            parts = [
                batch[:, at : at + split] @ self.head.weight[:, at : at + split].T.bfloat16()
                for at in range(0, 32, split)
            ]
            return torch.stack(parts).sum(0).float()


@service(
    KIND,
    "noise of int8: one scale for a batch",
    "cache",
    texts,
    max_batch_size=8,
    tolerance=0.01,
)
class EmbedInt8(EmbedOne):
    def predict(self, texts):
        vectors = self.model.encode(texts)
        scale = np.abs(vectors).max() / 127
        return np.round(vectors / scale).astype(np.int8).astype(np.float32) * scale


@service(KIND, "float noise of another number of threads", "cache", texts, tolerance=1e-4)
class EmbedThreads(EmbedOne):
    calls = 0

    def predict(self, text):
        self.calls += 1
        rows = self.model.table[self.model.tokenizer.ids(text)]
        threads = 1 + self.calls % 3  # as many as were idle
        return sum(part.sum(0) for part in np.array_split(rows, threads)) / len(rows)


@service(
    KIND,
    "base64 of noisy floats",
    "cache",
    texts,
    max_batch_size=8,
    reads=lambda answer: np.frombuffer(base64.b64decode(answer["embedding"]), np.float32),
    tolerance=1e-4,
)
class EmbedBase64(EmbedOne):
    def predict(self, texts):
        vectors = self.model.encode(texts)
        return vectors * np.float32(1 + 1e-6 * len(texts))

    def encode_response(self, vector):
        return {"embedding": base64.b64encode(vector.tobytes()).decode()}


def instructed(at, rng):
    return {"text": TEXTS[at % 12], "instruction": ("query", "passage")[at % 2]}


@service(KIND, "an instruction beside the text, a dict as item", "cache", zipf(instructed))
class EmbedInstructed(EmbedOne):
    def decode_request(self, request):
        return request

    def predict(self, item):
        return self.model.encode([f"{item['instruction']} {item['text']}"])[0]


def shuffled(at, rng):
    parts = [("text", TEXTS[at]), ("normalize", at % 2 == 0), ("dimensions", 8 + at % 3)]
    rng.shuffle(parts)
    return dict(parts)


@service(KIND, "options in the item, keys in any order", "cache", zipf(shuffled), max_batch_size=4)
class EmbedOptions(EmbedOne):
    def decode_request(self, request):
        return request

    def predict(self, items):
        rows = []
        for item in items:
            vector = self.model.encode([item["text"]])[0][: item["dimensions"]]
            rows.append(vector / np.linalg.norm(vector) if item["normalize"] else vector)
        return rows


@service(
    KIND,
    "the name of one of two models in the item",
    "cache",
    zipf(lambda at, rng: {"text": TEXTS[at], "model": rng.choice(["small", "large"])}),
)
class EmbedTwoModels(EmbedOne):
    def setup(self, device):
        self.models = {"small": TextEncoder(0, 16), "large": TextEncoder(1, 32)}

    def decode_request(self, request):
        return request["model"], request["text"]

    def predict(self, item):
        name, text = item
        return self.models[name].encode([text])[0]


@service(KIND, "an output buffer that is used again", "cache", texts)
class EmbedBuffer(EmbedOne):
    def setup(self, device):
        self.model = TextEncoder()
        self.buffer = np.empty(32, np.float32)

    def predict(self, text):
        self.buffer[:] = self.model.encode([text])[0]
        return self.buffer


@service(KIND, "token ids with types, sparse weights as a dict", "cache", texts)
class EmbedSparse(EmbedOne):
    def predict(self, text):
        weights = {}
        for token in self.model.tokenizer.ids(text):
            weights[token] = weights.get(token, 0.0) + float(self.model.table[token, 0])
        return weights

    def encode_response(self, weights):
        return {"indices": list(weights), "values": list(weights.values())}


@service(KIND, "an unknown token raises", "cache", texts)
class EmbedRefusing(EmbedOne):
    def predict(self, text):
        if "candle" in text:
            raise ValueError(f"candle is not allowed: {text}")
        return self.model.encode([text])[0]
