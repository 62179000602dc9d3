"""OCR: images of documents to text."""

import json
import uuid
from pathlib import Path

import litserve as ls
import numpy as np
from PIL import Image

from census.models import PICTURES, WORDS, packed, picture, unpacked
from census.shape import service, zipf
from litcache import contents

KIND = "OCR"
pages = zipf(lambda at, rng: {"image": PICTURES[at]})


class Reader:
    """Images to lines: the box and the text of each."""

    def lines(self, image):
        grey = np.asarray(image.convert("L").resize((16, 16)), int)
        return [
            ((0, y, 16, y + 4), WORDS[grey[y : y + 4].sum() % len(WORDS)], float(grey[y, 0]) / 255)
            for y in range(0, 16, 4)
        ]

    def text(self, image):
        return " ".join(word for _, word, _ in self.lines(image))


class Ocr(ls.LitAPI):
    def setup(self, device):
        self.model = Reader()

    def decode_request(self, request):
        return unpacked(request["image"])

    def encode_response(self, output):
        return {"result": output}


@service(KIND, "an image to boxes, texts, scores in tuples", "cache", pages)
class OcrLines(Ocr):
    def predict(self, image):
        return self.model.lines(image)


@service(
    KIND,
    "images of other sizes in a batch, with language",
    "cache",
    zipf(lambda at, rng: {"image": packed(picture(at, 8 + at % 3 * 4)), "upper": at % 2 == 0}),
    max_batch_size=4,
)
class OcrBatch(Ocr):
    def decode_request(self, request):
        return np.asarray(unpacked(request["image"])), request["upper"]

    def predict(self, items):
        texts = [self.model.text(Image.fromarray(pixels)) for pixels, _ in items]
        return [
            text.upper() if upper else text for text, (_, upper) in zip(texts, items, strict=True)
        ]


@service(
    KIND,
    "several pages of one document: a list of images",
    "cache",
    pages,
    option={"items": "list"},
    option_text='items="list"',
)
class OcrPages(Ocr):
    def decode_request(self, request):
        first = unpacked(request["image"])
        return [first, first.rotate(90), first.rotate(180)]

    def predict(self, pages):
        return [self.model.text(page) for page in pages]


@service(
    KIND,
    "a question about a document, dict of image and text",
    "cache",
    zipf(lambda at, rng: {"image": PICTURES[at % 8], "question": WORDS[at % 5]}),
)
class OcrQuestion(Ocr):
    def decode_request(self, request):
        return {"image": unpacked(request["image"]), "question": request["question"]}

    def predict(self, item):
        text = self.model.text(item["image"])
        return {"answer": text.split()[len(item["question"]) % 4], "score": 0.5}


def save_pages(first=0):
    for at in range(24):
        picture(at + first).save(f"page{at}.png")


paths = zipf(lambda at, rng: {"path": f"page{at}.png"})


@service(
    KIND, "items that name files which stay as they are", "cache", paths, events={0: save_pages}
)
class OcrFiles(Ocr):
    def decode_request(self, request):
        return request["path"]

    def predict(self, path):
        with Image.open(path) as image:
            return self.model.text(image)


def scan_again():
    save_pages(100)


@service(
    KIND,
    "items that name files which change",
    "option",
    paths,
    events={0: save_pages, 12: scan_again, 24: save_pages, 60: scan_again},
    option={"key": contents},
    option_text="key=contents",
)
class OcrChangingFiles(Ocr):
    def decode_request(self, request):
        return request["path"]

    def predict(self, path):
        with Image.open(path) as image:
            return self.model.text(image)


SITE = {}


def publish(first=0):
    SITE.update({f"https://example.com/{at}.png": picture(at + first) for at in range(24)})


def fetched(url):
    """Stand in for a download."""
    return SITE[url]


@service(
    KIND,
    "items that name pages of a site which change",
    "never",
    zipf(lambda at, rng: {"url": f"https://example.com/{at}.png"}),
    events={0: publish, 24: lambda: publish(50), 48: lambda: publish(100)},
)
class OcrUrl(Ocr):
    def decode_request(self, request):
        return request["url"]

    def predict(self, url):
        return self.model.text(fetched(url))


def read_and_note(answer):
    return json.loads(Path(answer["result"]).read_text())


@service(
    KIND,
    "the path of one result file, written again and again, as output",
    "never",
    pages,
    reads=read_and_note,
)
class OcrResultFile(Ocr):
    def predict(self, image):
        Path("result.json").write_text(json.dumps(self.model.lines(image)))
        return "result.json"


@service(KIND, "a new result file each time, its path as output", "never", pages, fresh=True)
class OcrNewFile(Ocr):
    def predict(self, image):
        path = Path(f"{uuid.uuid4()}.json")
        path.write_text(json.dumps(self.model.lines(image)))
        return str(path)
