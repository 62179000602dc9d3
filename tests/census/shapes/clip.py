"""CLIP: images and texts in one space."""

import io

import litserve as ls
import numpy as np
import torch
from PIL import Image, ImageOps

from census.models import (
    PICTURES,
    TEXTS,
    BatchEncoding,
    ImageEncoder,
    TextEncoder,
    packed,
    picture,
    unpacked,
)
from census.shape import service, zipf
from litcache import CachedBatchedLoop

KIND = "CLIP"
pictures = zipf(lambda at, rng: {"image": PICTURES[at]})


def either(at, rng):
    return {"image": PICTURES[at]} if at % 2 else {"text": TEXTS[at]}


class Clip(ls.LitAPI):
    def setup(self, device):
        self.images = ImageEncoder()
        self.texts = TextEncoder()

    def encode_response(self, vector):
        return {"embedding": vector.tolist()}


@service(KIND, "an image or a text, a dict as item", "cache", zipf(either))
class ClipEither(Clip):
    def decode_request(self, request):
        if "image" in request:
            return {"kind": "image", "image": unpacked(request["image"])}
        return {"kind": "text", "text": request["text"]}

    def predict(self, item):
        if item["kind"] == "image":
            return self.images.encode(item["image"])
        return self.texts.encode([item["text"]])[0]


@service(KIND, "PIL images in a batch", "cache", pictures, max_batch_size=8)
class ClipBatch(Clip):
    def decode_request(self, request):
        return unpacked(request["image"])

    def predict(self, images):
        return np.stack([self.images.encode(image) for image in images])


@service(
    KIND, "tensors stacked to a batch, `torch`", "cache", pictures, max_batch_size=4, tolerance=1e-5
)
class ClipTensors(Clip):
    def decode_request(self, request):
        pixels = self.images.pixels(unpacked(request["image"]))
        return torch.from_numpy(pixels)

    def predict(self, pixels):
        vectors = pixels @ torch.from_numpy(self.images.weights)
        return torch.nn.functional.normalize(vectors, dim=1)


@service(KIND, "the output of a processor, a `BatchFeature`", "cache", pictures)
class ClipFeatures(Clip):
    def decode_request(self, request):
        pixels = self.images.pixels(unpacked(request["image"]))
        return BatchEncoding(pixel_values=pixels[None])

    def predict(self, features):
        return (features["pixel_values"] @ self.images.weights)[0]


@service(KIND, "helpers: `predict` calls `encode_image`, `encode_text`", "cache", zipf(either))
class ClipHelpers(Clip):
    def decode_request(self, request):
        return request

    def encode_image(self, image):
        return self.images.encode(unpacked(image))

    def encode_text(self, text):
        return self.texts.encode([text])[0]

    def predict(self, request):
        if "image" in request:
            return self.encode_image(request["image"])
        return self.encode_text(request["text"])


def labelled(at, rng):
    return {"image": PICTURES[at], "labels": rng.choices(TEXTS, k=6), "request": rng.random()}


@service(
    KIND,
    "known images, labels that never come again",
    "option",
    zipf(labelled),
    option_method="encode_image",
    option_text="`@cached_predict` on the helper `encode_image`",
)
class ClipZeroShot(Clip):
    def decode_request(self, request):
        return {"image": unpacked(request["image"]), "labels": request["labels"]}

    def encode_image(self, image):
        return self.images.encode(image)

    def predict(self, item):
        vector = self.encode_image(item["image"])
        return self.texts.encode(item["labels"]) @ vector


def turned(at, rng):
    exif = Image.Exif()
    exif[0x0112] = rng.choice([1, 1, 6])
    return {"image": packed(picture(at), "PNG", exif=exif)}


@service(KIND, "EXIF orientation, which the model applies", "cache", zipf(turned))
class ClipExif(Clip):
    def decode_request(self, request):
        return unpacked(request["image"])

    def predict(self, image):
        return self.images.encode(ImageOps.exif_transpose(image))


@service(KIND, "EXIF orientation kept on `self`", "never", zipf(turned))
class ClipExifOnSelf(Clip):
    def decode_request(self, request):
        image = unpacked(request["image"])
        self.orientation = image.getexif().get(0x0112, 1)
        return np.asarray(image.convert("RGB"))

    def predict(self, pixels):
        if self.orientation == 6:
            pixels = np.ascontiguousarray(np.rot90(pixels, -1))
        return self.images.encode(pixels)


@service(
    KIND,
    "pixels as arrays, `CachedBatchedLoop`",
    "cache",
    pictures,
    max_batch_size=4,
    batch_timeout=0.01,
    loop=CachedBatchedLoop,
)
class ClipPixels(Clip):
    def decode_request(self, request):
        return np.asarray(unpacked(request["image"]).convert("RGB"))

    def predict(self, images):
        return np.stack([self.images.encode(image) for image in images])


@service(KIND, "an upload as item: a file in memory", "cache", pictures)
class ClipUpload(Clip):
    def decode_request(self, request):
        return io.BytesIO(request["image"].encode())

    def predict(self, file):
        return self.images.encode(unpacked(file.read().decode()))


@service(KIND, "the best labels of an image, a dict of scores", "cache", pictures)
class Classify(Clip):
    def decode_request(self, request):
        return unpacked(request["image"]).convert("RGB")

    def predict(self, image):
        return self.images.classify(image)

    def encode_response(self, scores):
        best = max(scores, key=scores.get)
        return {"label": best, "scores": scores}


@service(
    KIND,
    "`top_k` kept on `self`, read by `encode_response` alone",
    "cache",
    zipf(lambda at, rng: {"image": PICTURES[at], "top_k": 1 if rng.random() < 0.1 else 3}),
)
class ClassifyTopK(Clip):
    def decode_request(self, request):
        self.top_k = request["top_k"]
        return unpacked(request["image"])

    def predict(self, image):
        return self.images.classify(image)

    def encode_response(self, scores):
        return {"labels": sorted(scores, key=scores.get, reverse=True)[: self.top_k]}
