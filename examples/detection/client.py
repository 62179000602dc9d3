"""Send pictures of streets, some again and again; what is in them is known."""

import base64
import io
import random

import httpx
from PIL import Image, ImageDraw

from examples.detection.model import COLOURS
from examples.traffic import arguments, measure


def street(number: int) -> list[dict]:
    """Return which things are where in a picture."""
    rng = random.Random(number)
    names = list(COLOURS)[: rng.randint(1, len(COLOURS))]
    things = []
    for at, name in enumerate(names):  # each in a third of the picture, so that none hides another
        x, y = 100 * at + rng.randrange(40), rng.randrange(100)
        things.append({"name": name, "box": [x, y, x + rng.randint(9, 50), y + rng.randint(9, 90)]})
    return things


def drawn(things: list[dict]) -> str:
    """Return a picture as a PNG file, as base64."""
    image = Image.new("RGB", (320, 240), "lightgrey")
    for thing in things:
        ImageDraw.Draw(image).rectangle(thing["box"], COLOURS[thing["name"]])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    options = arguments()
    streets = [street(number) for number in range(60)]
    pictures = [drawn(things) for things in streets]
    with httpx.Client(base_url=options.url, timeout=60) as client:

        def detect(number: int) -> list[dict]:
            response = client.post("/detect", json={"image": pictures[number]})
            response.raise_for_status()
            return response.json()["objects"]

        print(f"found: {detect(0)}")
        measure(detect, range(len(streets)), options, expect=streets.__getitem__)
