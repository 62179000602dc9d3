"""Stands in for a detection library such as ultralytics: it finds things by their colour.

It really looks: a thing is what has exactly the colour of its class. Like the libraries, it returns
objects of its own, which hold the image as well.
"""

import time

import numpy as np
from PIL import Image

VERSION = "colours 1"
SECONDS_AN_IMAGE = 0.04  # how long the stand-in waits for an image, as for an accelerator
COLOURS = {"car": (200, 30, 30), "person": (30, 160, 60), "bicycle": (40, 60, 200)}


class Results:
    """What was found in one image."""

    def __init__(self, image: Image.Image, boxes: dict[str, tuple[int, ...]]):
        self.orig_img = np.asarray(image)
        self.boxes = boxes

    def summary(self) -> list[dict]:
        return [{"name": name, "box": list(box)} for name, box in self.boxes.items()]


class Detector:
    def __call__(self, image: Image.Image) -> Results:
        time.sleep(SECONDS_AN_IMAGE)
        pixels, boxes = np.asarray(image), {}
        for name, colour in COLOURS.items():
            rows, columns = np.nonzero((pixels == colour).all(axis=2))
            if len(rows):
                corners = columns.min(), rows.min(), columns.max(), rows.max()
                boxes[name] = tuple(map(int, corners))
        return Results(image, boxes)
