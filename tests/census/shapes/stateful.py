"""Services that count, write, draw lots, or look something up."""

import datetime
import random
import sqlite3
import time
import uuid

import litserve as ls
import numpy as np

from census.models import PICTURES, TEXTS, ImageEncoder, TextEncoder, unpacked
from census.shape import service, zipf

users = zipf(lambda at, rng: {"user": at})
texts = zipf(lambda at, rng: {"text": TEXTS[at]})


class Features(ls.LitAPI):
    def setup(self, device):
        self.database = sqlite3.connect("features.db")
        self.database.execute("create table if not exists events (user, value)")

    def decode_request(self, request):
        return request["user"]


@service(
    "feature store",
    "reads rows that others write",
    "never",
    users,
    events={at: lambda at=at: write(at) for at in range(0, 96, 6)},
)
class ReadFeatures(Features):
    def predict(self, user):
        found = self.database.execute("select value from events where user = ?", (user,))
        values = [value for (value,) in found]
        return {"count": len(values), "sum": sum(values)}

    def encode_response(self, features):
        return features


def write(value):
    with sqlite3.connect("features.db") as database:
        database.execute("create table if not exists events (user, value)")
        database.executemany("insert into events values (?, ?)", [(u, value) for u in range(24)])
    database.close()


@service("feature store", "writes a row, whose number is in the answer", "never", users)
class WriteFeatures(Features):
    def predict(self, user):
        with self.database:
            done = self.database.execute("insert into events values (?, ?)", (user, 1))
        return {"stored": done.lastrowid}

    def encode_response(self, output):
        return output


@service("recommendations", "by what users did before, kept on `self`", "never", users)
class Recommend(ls.LitAPI):
    def setup(self, device):
        self.popular = np.zeros(24)

    def decode_request(self, request):
        return request["user"]

    def predict(self, user):
        self.popular[user] += 1
        return np.argsort(-self.popular, kind="stable")[:5]

    def encode_response(self, items):
        return {"items": items.tolist()}


@service("recommendations", "by fixed vectors of users and items", "cache", users)
class RecommendFixed(ls.LitAPI):
    def setup(self, device):
        rng = np.random.default_rng(0)
        self.users, self.items = rng.normal(size=(24, 8)), rng.normal(size=(50, 8))

    def decode_request(self, request):
        return request["user"]

    def predict(self, user):
        return np.argsort(-(self.items @ self.users[user]))[:5]

    def encode_response(self, items):
        return {"items": items.tolist()}


@service(
    "search",
    "an index on `self` that requests add to",
    "never",
    zipf(lambda at, rng: {"text": TEXTS[at], "add": rng.random() < 0.1}),
)
class Search(ls.LitAPI):
    def setup(self, device):
        self.model = TextEncoder()
        self.index = [self.model.encode([text])[0] for text in TEXTS[40:50]]

    def decode_request(self, request):
        if request["add"]:
            self.index.append(self.model.encode([request["text"]])[0])
        return request["text"]

    def predict(self, text):
        scores = np.stack(self.index) @ self.model.encode([text])[0]
        return {"best": int(scores.argmax()), "of": len(scores)}

    def encode_response(self, output):
        return output


@service(
    "face recognition",
    "a gallery on `self`",
    "never",
    zipf(lambda at, rng: {"image": PICTURES[at], "enrol": rng.random() < 0.1}),
)
class Faces(ls.LitAPI):
    def setup(self, device):
        self.model = ImageEncoder()
        self.gallery = {}

    def decode_request(self, request):
        return unpacked(request["image"]), request["enrol"]

    def predict(self, item):
        image, enrol = item
        vector = self.model.encode(image)
        if enrol:
            self.gallery[len(self.gallery)] = vector
        near = {name: float(known @ vector) for name, known in self.gallery.items()}
        return max(near, key=near.get) if near else -1

    def encode_response(self, name):
        return {"person": name}


@service("counters", "how many requests so far, in the answer", "never", texts)
class Counter(ls.LitAPI):
    def setup(self, device):
        self.count = 0

    def predict(self, request):
        self.count += 1
        return {"length": len(request["text"]), "served": self.count}


@service("counters", "a count made by `encode_response`", "cache", texts)
class CountingEncode(ls.LitAPI):
    def setup(self, device):
        self.count = 0

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return len(text)

    def encode_response(self, length):
        self.count += 1
        return {"length": length, "served": self.count}


@service("A/B tests", "one of two models at random", "never", texts, fresh=True)
class RandomModel(ls.LitAPI):
    def setup(self, device):
        self.models = [TextEncoder(0), TextEncoder(1)]

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return random.choice(self.models).encode([text])[0]

    def encode_response(self, vector):
        return {"embedding": vector.tolist()}


@service(
    "A/B tests",
    "a model by the user's number in the item",
    "cache",
    zipf(lambda at, rng: {"text": TEXTS[at % 8], "user": at}),
)
class ModelByUser(RandomModel):
    def decode_request(self, request):
        return request["text"], request["user"] % 2

    def predict(self, item):
        text, group = item
        return self.models[group].encode([text])[0]


@service("sentiment", "a uuid in the output", "never", texts, unique=("id",))
class WithUuid(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return {"id": str(uuid.uuid4()), "label": "good" if len(text) % 2 else "bad"}

    def encode_response(self, output):
        return output


@service("sentiment", "labels in a batch", "cache", texts, max_batch_size=8)
class Sentiment(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        return ["good" if len(text) % 2 else "bad" for text in texts]

    def encode_response(self, label):
        return {"label": label}


@service(
    "sentiment", "the hour in the answer, made by `encode_response`", "cache", texts, free=("at",)
)
class WithHour(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return len(text) / 80

    def encode_response(self, score):
        now = datetime.datetime.now(datetime.timezone.utc)
        return {"score": score, "at": now.isoformat()}


@service(
    "moderation", "seconds since `decode_request`, in the answer", "cache", texts, free=("seconds",)
)
class WithSeconds(ls.LitAPI):
    def decode_request(self, request):
        self.start = time.perf_counter()
        return request["text"]

    def predict(self, text):
        return {"flagged": len(text) > 60, "scores": {"spam": len(text) / 100}}

    def encode_response(self, output):
        return {**output, "seconds": time.perf_counter() - self.start}


@service("named entities", "a list of dicts with places", "cache", texts)
class Entities(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        words = text.split()
        return [
            {"word": word, "start": text.index(word), "end": text.index(word) + len(word)}
            for word in words
            if len(word) > 6
        ]

    def encode_response(self, entities):
        return {"entities": entities}
