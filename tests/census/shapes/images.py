"""Images as answers: segmentation, depth, diffusion."""

import base64
import io
import time

import litserve as ls
import numpy as np
import torch
from fastapi import Response
from PIL import Image

from census.models import PICTURES, TEXTS, Painter, packed, unpacked
from census.shape import service, zipf

SEGMENTATION = "segmentation"
DIFFUSION = "diffusion"
pictures = zipf(lambda at, rng: {"image": PICTURES[at]})


class Segment(ls.LitAPI):
    def setup(self, device):
        self.level = 120

    def decode_request(self, request):
        return np.asarray(unpacked(request["image"]).convert("L"))


@service(SEGMENTATION, "a mask as an array", "cache", pictures)
class SegmentMask(Segment):
    def predict(self, grey):
        return (grey > self.level).astype(np.uint8)

    def encode_response(self, mask):
        return {"mask": base64.b64encode(mask.tobytes()).decode(), "shape": list(mask.shape)}


@service(SEGMENTATION, "run lengths in a batch, dicts", "cache", pictures, max_batch_size=4)
class SegmentRuns(Segment):
    def predict(self, images):
        return [
            {"size": list(grey.shape), "counts": np.diff(np.flatnonzero(np.diff(flat))).tolist()}
            for grey in images
            for flat in [(grey.ravel() > self.level).astype(int)]
        ]

    def encode_response(self, runs):
        return runs


@service(
    SEGMENTATION,
    "a PIL image as output",
    "option",
    pictures,
    option={"result": "response"},
    option_text='result="response"',
)
class SegmentImage(Segment):
    def predict(self, grey):
        return Image.fromarray((grey > self.level).astype(np.uint8) * 255)

    def encode_response(self, mask):
        return {"mask": packed(mask)}


def pointed(at, rng):
    return {"image": PICTURES[at], "points": [[at % 16, rng.randrange(3)]]}


@service(SEGMENTATION, "image and points in the item", "cache", zipf(pointed))
class SegmentPoints(Segment):
    def decode_request(self, request):
        grey = np.asarray(unpacked(request["image"]).convert("L"))
        return {"image": grey, "points": request["points"]}

    def predict(self, item):
        levels = [int(item["image"][y, x]) for x, y in item["points"]]
        return np.stack([np.abs(item["image"].astype(int) - level) < 40 for level in levels])

    def encode_response(self, masks):
        return {"areas": masks.sum((1, 2)).tolist()}


@service(
    SEGMENTATION,
    "the image set on the predictor by `decode_request`",
    "never",
    zipf(lambda at, rng: {"image": PICTURES[rng.randrange(3)], "points": [[at % 6, 0]]}),
)
class SegmentImageOnSelf(Segment):
    def decode_request(self, request):
        self.image = np.asarray(unpacked(request["image"]).convert("L"), int)
        return request["points"]

    def predict(self, points):
        ((x, y),) = points
        return int((np.abs(self.image - self.image[y, x]) < 40).sum())

    def encode_response(self, area):
        return {"area": area}


@service("depth", "a float16 tensor as output", "cache", pictures)
class Depth(Segment):
    def predict(self, grey):
        return torch.from_numpy(grey / 255).half()

    def encode_response(self, depth):
        return {"depth": depth.tolist()}


@service("super-resolution", "an array four times as large", "cache", pictures)
class Enlarge(Segment):
    def predict(self, grey):
        return np.kron(grey, np.ones((2, 2), np.uint8))

    def encode_response(self, pixels):
        return Response(content=pixels.tobytes(), media_type="application/octet-stream")


def prompt(at, rng):
    return {"prompt": TEXTS[at], "seed": at % 3, "steps": 2 + at % 2}


class Paint(ls.LitAPI):
    def setup(self, device):
        self.model = Painter()

    def decode_request(self, request):
        return request

    def encode_response(self, pixels):
        return {"image": base64.b64encode(pixels.tobytes()).decode()}


@service(DIFFUSION, "a seed in the item, pixels as output", "cache", zipf(prompt))
class PaintSeeded(Paint):
    def predict(self, item):
        noise = np.random.default_rng(item["seed"]).random((16, 16, 3))
        return self.model.paint(item["prompt"], noise, item["steps"])


@service(
    DIFFUSION,
    "a seed in the item, a PIL image as output",
    "option",
    zipf(prompt),
    option={"result": "response"},
    option_text='result="response"',
)
class PaintImage(Paint):
    def predict(self, item):
        noise = np.random.default_rng(item["seed"]).random((16, 16, 3))
        return Image.fromarray(self.model.paint(item["prompt"], noise, item["steps"]))

    def encode_response(self, image):
        file = io.BytesIO()
        image.save(file, "PNG")
        return Response(content=file.getvalue(), media_type="image/png")


@service(DIFFUSION, "no seed", "never", zipf(lambda at, rng: {"prompt": TEXTS[at]}), fresh=True)
class PaintUnseeded(Paint):
    def predict(self, item):
        noise = torch.rand(16, 16, 3).numpy()
        return self.model.paint(item["prompt"], noise)


def maybe_seeded(at, rng):
    return {"prompt": TEXTS[at], "seed": None if at % 4 == 1 else at}


@service(
    DIFFUSION,
    "a seed in some requests, the others differ each time",
    "option",
    zipf(maybe_seeded),
    fresh_if=lambda request: request["seed"] is None,
    option={"bypass_if": lambda item: item["seed"] is None},
    option_text='bypass_if=lambda item: item["seed"] is None',
)
class PaintSomeSeeded(Paint):
    def predict(self, item):
        noise = np.random.default_rng(item["seed"]).random((16, 16, 3))
        return self.model.paint(item["prompt"], noise)


@service(
    DIFFUSION,
    "the seed taken from the clock",
    "never",
    zipf(lambda at, rng: {"prompt": TEXTS[at]}),
    fresh=True,
)
class PaintClockSeed(Paint):
    def predict(self, item):
        seed = time.time_ns()
        noise = np.random.default_rng(seed).random((16, 16, 3))
        return self.model.paint(item["prompt"], noise)


@service(
    DIFFUSION,
    "the size kept on `self`",
    "never",
    zipf(lambda at, rng: {**prompt(at, rng), "size": rng.choice([16, 16, 16, 8])}),
)
class PaintSizeOnSelf(Paint):
    def decode_request(self, request):
        self.size = request.pop("size")
        return request

    def predict(self, item):
        noise = np.random.default_rng(item["seed"]).random((16, 16, 3))
        return self.model.paint(item["prompt"], noise)[: self.size, : self.size]
