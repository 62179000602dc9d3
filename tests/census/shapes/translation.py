"""Translation, and where a service keeps its language."""

import litserve as ls

from census.models import TEXTS, Translator
from census.shape import service, zipf

KIND = "translation"


def requests(share, **more):
    def request(at, rng):
        return {"text": TEXTS[at], "language": "fr" if rng.random() < share else "de"}

    return zipf(request, **more)


class Translate(ls.LitAPI):
    def setup(self, device):
        self.model = Translator()

    def encode_response(self, text):
        return {"text": text}


class OnSelf(Translate):
    """Its language on `self`: the classic."""

    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]


@service(KIND, "language on `self`, 30 % of the requests in another", "never", requests(0.3))
class TranslateOnSelf(OnSelf):
    def predict(self, text):
        return self.model.translate(text, self.language)


@service(KIND, "language on `self`, 3 % in another", "never", requests(0.03, count=300))
class TranslateRarelyOnSelf(OnSelf):
    def predict(self, text):
        return self.model.translate(text, self.language)


def numbered(at, rng):
    language = "fr" if rng.random() < 0.2 else "de"
    return {"text": TEXTS[at], "language": language, "id": rng.random()}


@service(
    KIND, "language on `self`, and each request with an id of its own", "never", zipf(numbered)
)
class TranslateNumberedOnSelf(OnSelf):
    def predict(self, text):
        return self.model.translate(text, self.language)


@service(KIND, "language on `self`, in a batch", "never", requests(0.2), max_batch_size=4)
class TranslateBatchOnSelf(OnSelf):
    def predict(self, texts):
        return [self.model.translate(text, self.language) for text in texts]


@service(KIND, "language set on the model by `decode_request`", "never", requests(0.2))
class TranslateOnModel(Translate):
    def setup(self, device):
        self.model = Translator()
        self.model.target = "de"

    def decode_request(self, request):
        self.model.target = request["language"]
        return request["text"]

    def predict(self, text):
        return self.model.translate(text, self.model.target)


@service(KIND, "language as part of the item", "cache", requests(0.3))
class TranslateItem(Translate):
    def decode_request(self, request):
        return request["text"], request["language"]

    def predict(self, item):
        return self.model.translate(*item)


@service(KIND, "language in `context`", "cache", requests(0.3))
class TranslateContext(Translate):
    def decode_request(self, request, context):
        context["language"] = request["language"]
        return request["text"]

    def predict(self, text, context):
        return self.model.translate(text, context["language"])


@service(KIND, "language in `context`, in a batch", "cache", requests(0.3), max_batch_size=4)
class TranslateBatchContext(Translate):
    def decode_request(self, request, context):
        context["language"] = request["language"]
        return request["text"]

    def predict(self, texts, context):
        languages = [entries["language"] for entries in context]
        return list(map(self.model.translate, texts, languages))


@service(KIND, "a batch, sorted by language", "cache", requests(0.3), max_batch_size=8)
class TranslateGroups(Translate):
    def decode_request(self, request):
        return request

    def predict(self, items):
        found = {}
        for language in sorted({item["language"] for item in items}):
            for at, item in enumerate(items):
                if item["language"] == language:
                    found[at] = self.model.translate(item["text"], language)
        return [found[at] for at in range(len(items))]


@service(KIND, "language on `self`, read by `encode_response` alone", "cache", requests(0.1))
class TranslateLabelOnSelf(OnSelf):
    def predict(self, text):
        return text.upper()

    def encode_response(self, text):
        return {"text": text, "language": self.language}


@service("language detection", "a tuple of label and score", "cache", requests(0.3))
class DetectLanguage(Translate):
    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return "en" if len(text) % 2 else "de", len(text) / 100

    def encode_response(self, output):
        label, score = output
        return {"label": label, "score": score}
