"""Text embeddings that pass something by the cache."""

import numpy as np

from census.models import TEXTS, TextEncoder
from census.shape import service, zipf
from census.shapes.embeddings import KIND, EmbedOne, texts
from litcache import SharedStore, cached_predict, fingerprint
from litcache.testing import APIRunner


@service(KIND, "padding without a mask: neighbours count", "never", texts, max_batch_size=4)
class EmbedUnmasked(EmbedOne):
    def predict(self, texts):
        ids, mask = self.model.tokenizer.padded(texts)
        return self.model.pooled(ids, np.ones_like(mask))


@service(
    KIND,
    "options of the batch's first request for all",
    "never",
    zipf(lambda at, rng: {"text": TEXTS[at], "normalize": at % 3 > 0}),
    max_batch_size=6,
)
class EmbedFirstOptions(EmbedOne):
    def decode_request(self, request):
        return request["text"], request["normalize"]

    def batch(self, inputs):
        return [text for text, _ in inputs], inputs[0][1]

    def predict(self, batch):
        texts, normalize = batch
        vectors = self.model.encode(texts)
        return vectors if normalize else vectors * 3

    def unbatch(self, output):
        return list(output)


@service(
    KIND,
    "an option kept on `self`: normalize",
    "never",
    zipf(lambda at, rng: {"text": TEXTS[at], "normalize": rng.random() < 0.8}),
)
class EmbedNormalizeOnSelf(EmbedOne):
    def decode_request(self, request):
        self.normalize = request["normalize"]
        return request["text"]

    def predict(self, text):
        vector = self.model.encode([text])[0]
        return vector if self.normalize else vector * 2


@service(
    KIND,
    "`self.setup(other_model)` in a hook",
    "never",
    zipf(lambda at, rng: {"text": TEXTS[at], "model": "large" if rng.random() < 0.1 else "small"}),
)
class EmbedSetupAgain(EmbedOne):
    name = "small"

    def setup(self, device):
        self.model = TextEncoder(seed=len(self.name))

    def decode_request(self, request):
        if request["model"] != self.name:
            self.name = request["model"]
            self.setup(self.device)
        return request["text"]


def taught(at, rng):
    return {"text": TEXTS[at], "teach": rng.random() < 0.05}


@service(KIND, "weights changed in place by a request", "never", zipf(taught))
class EmbedLearning(EmbedOne):
    def decode_request(self, request):
        if request["teach"]:
            self.model.table *= np.float32(1.5)
            self.model.table[:, 0] += 1
        return request["text"]


class EmbedOlder(EmbedOne):
    def setup(self, device):
        self.model = TextEncoder(seed=7)


def fill(options):
    """Fill the files of the store, as last week's model did."""
    cached = {"predict": cached_predict(**options)(EmbedOne.predict)}
    api = type("EmbedOlder", (EmbedOlder,), cached)()
    with APIRunner(api) as runner:
        for text in TEXTS[:24]:
            runner.run({"text": text})


@service(
    KIND,
    "a `SharedStore` that another model filled: a forgotten version",
    "option",
    texts,
    bare={"store": lambda api: SharedStore("cache"), "namespace": "embeddings", "version": "1"},
    option={"version": lambda api: fingerprint({"table": api.model.table})},
    prepare=fill,
    option_text="version=lambda api: fingerprint(api.model)",
)
class EmbedShared(EmbedOne):
    def predict(self, text):
        return self.model.encode([text])[0]


@service(
    KIND,
    "a `key=` that leaves out the user whom the output names",
    "option",
    zipf(lambda at, rng: {"text": TEXTS[at], "user_id": rng.randrange(3)}),
    bare={"key": lambda item: item["text"]},
    option={"key": None},
    option_text="no `key`",
)
class EmbedForUser(EmbedOne):
    def decode_request(self, request):
        return request

    def predict(self, item):
        return {"user": item["user_id"], "vector": self.model.encode([item["text"]])[0].tolist()}

    def encode_response(self, output):
        return output


@service(KIND, "dropout left on", "never", texts, fresh=True)
class EmbedDropout(EmbedOne):
    def setup(self, device):
        self.model = TextEncoder()
        self.rng = np.random.default_rng()

    def predict(self, text):
        kept = self.rng.random(32) > 0.1
        return self.model.encode([text])[0] * kept.astype(np.float32)
