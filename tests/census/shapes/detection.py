"""Detection: images to boxes."""

import base64
import io
from collections import OrderedDict
from dataclasses import dataclass

import litserve as ls
import numpy as np
from fastapi import Response
from PIL import Image, ImageDraw

from census.models import PICTURES, Detector, unpacked
from census.shape import service, zipf

KIND = "detection"
pictures = zipf(lambda at, rng: {"image": PICTURES[at]})


def with_threshold(share):
    return zipf(
        lambda at, rng: {"image": PICTURES[at], "least": 0.5 if rng.random() < share else 0.25}
    )


def drawn(image, boxes):
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    for x, y, right, bottom, *_ in boxes:
        draw.rectangle((x, y, right - 1, bottom - 1), outline="red")
    return image


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class Detect(ls.LitAPI):
    def setup(self, device):
        self.model = Detector()

    def decode_request(self, request):
        return unpacked(request["image"]).convert("RGB")


class Results:
    """Like the results of a detection library: boxes beside the image, drawn when asked for."""

    def __init__(self, image, boxes):
        self.orig_img = np.asarray(image)
        self.boxes = boxes
        self.names = {0: "car", 1: "person", 2: "dog"}

    def summary(self):
        return [{"name": self.names[int(box[5])], "box": box[:4].tolist()} for box in self.boxes]


@service(
    KIND,
    "`Results` objects",
    "option",
    pictures,
    option={"result": "response"},
    option_text='result="response"',
)
class DetectResults(Detect):
    def predict(self, image):
        return [Results(image, self.model.boxes(image))]

    def encode_response(self, results):
        return {"objects": results[0].summary()}


@dataclass
class Box:
    box: tuple
    score: float
    label: int


@service(
    KIND,
    "dataclasses in a batch",
    "option",
    pictures,
    max_batch_size=4,
    option={"result": "response"},
    option_text='result="response"',
)
class DetectDataclasses(Detect):
    def predict(self, images):
        found = [self.model.boxes(image) for image in images]
        return [[Box(tuple(r[:4].tolist()), float(r[4]), int(r[5])) for r in f] for f in found]

    def encode_response(self, boxes):
        return {"objects": [[*box.box, box.score, box.label] for box in boxes]}


class ModelOutput(OrderedDict):
    """Like that of transformers: a mapping whose entries are attributes, too."""

    def __getattr__(self, name):
        return self[name]


@service(
    KIND,
    "a `ModelOutput`, processed by `encode_response`",
    "option",
    pictures,
    option={"result": "response"},
    option_text='result="response"',
)
class DetectModelOutput(Detect):
    def predict(self, image):
        boxes = self.model.boxes(image)
        return ModelOutput(logits=boxes[:, 4], pred_boxes=boxes[:, :4])

    def encode_response(self, output):
        keep = output.logits > 0.5
        return {"boxes": output.pred_boxes[keep].tolist()}


@service(KIND, "rows of numbers, a list of dicts as answer", "cache", pictures)
class DetectRows(Detect):
    def predict(self, image):
        return self.model.boxes(image)

    def encode_response(self, rows):
        return [{"box": row[:4].tolist(), "score": float(row[4])} for row in rows]


@service(KIND, "a batch, padded to as many boxes as the most", "cache", pictures, max_batch_size=4)
class DetectPadded(Detect):
    def predict(self, images):
        found = [self.model.boxes(image) for image in images]
        rows = np.zeros((len(found), 16, 6), np.float32)
        for row, boxes in zip(rows, found, strict=True):
            row[: len(boxes)] = boxes
        return rows

    def encode_response(self, rows):
        return {"boxes": rows[rows[:, 4] > 0].tolist()}


@service(KIND, "a threshold in the item", "cache", with_threshold(0.3))
class DetectThreshold(Detect):
    def decode_request(self, request):
        return {"image": unpacked(request["image"]), "least": request["least"]}

    def predict(self, item):
        return self.model.boxes(item["image"], item["least"]).tolist()

    def encode_response(self, boxes):
        return {"boxes": boxes, "count": len(boxes)}


@service(KIND, "the configuration on `self`, changed by requests", "never", with_threshold(0.05))
class DetectConfigOnSelf(Detect):
    def setup(self, device):
        self.model = Detector()
        self.config = {"least": 0.25, "classes": None}

    def decode_request(self, request):
        self.config.update(least=request["least"])
        return unpacked(request["image"])

    def predict(self, image):
        return self.model.boxes(image, self.config["least"])

    def encode_response(self, boxes):
        return {"boxes": boxes.tolist()}


@service(
    KIND,
    "the image on `self`, on which `encode_response` draws",
    "cache",
    zipf(lambda at, rng: {"image": PICTURES[at], "grey": rng.random() < 0.2}),
)
class DetectDrawnLater(Detect):
    def decode_request(self, request):
        image = unpacked(request["image"])
        self.image = image.convert("L") if request["grey"] else image
        return np.asarray(image.convert("L"))

    def predict(self, pixels):
        return self.model.boxes(Image.fromarray(pixels))

    def encode_response(self, boxes):
        return {"image": base64.b64encode(png(drawn(self.image, boxes))).decode()}


@service(
    KIND,
    "a drawn PIL image as output",
    "option",
    pictures,
    option={"result": "response"},
    option_text='result="response"',
)
class DetectDrawn(Detect):
    def predict(self, image):
        return drawn(image, self.model.boxes(image))

    def encode_response(self, image):
        return Response(content=png(image), media_type="image/png")


@service(KIND, "the result left on `self` by `predict`", "never", pictures)
class DetectResultOnSelf(Detect):
    def predict(self, image):
        self.boxes = self.model.boxes(image)
        return len(self.boxes)

    def encode_response(self, count):
        return {"count": count, "boxes": self.boxes.tolist()}


@service(KIND, "tracks across frames, kept on `self`", "never", pictures)
class DetectTracks(Detect):
    def setup(self, device):
        self.model = Detector()
        self.tracks = {}

    def predict(self, image):
        for box in self.model.boxes(image)[:3]:
            place = tuple(box[:2].astype(int).tolist())
            self.tracks[place] = self.tracks.get(place, 0) + 1
        return dict(self.tracks)

    def encode_response(self, tracks):
        return {"tracks": [[*place, age] for place, age in sorted(tracks.items())]}


@service(
    KIND,
    "frames of a film: a list of arrays",
    "cache",
    zipf(lambda at, rng: {"frames": PICTURES[at % 8 : at % 8 + 3]}),
    option={"items": "list"},
    option_text='items="list"',
)
class DetectFrames(Detect):
    def decode_request(self, request):
        return [np.asarray(unpacked(frame)) for frame in request["frames"]]

    def predict(self, frames):
        return [self.model.boxes(frame).tolist() for frame in frames]

    def encode_response(self, found):
        return {"frames": found}
