"""Ask for the vectors of pictures and of labels, of some again and again."""

import base64
import io
import random

import httpx
from PIL import Image

from examples.traffic import arguments, measure

LABELS = [f"a photo of {thing}" for thing in ("a daisy", "a tulip", "a street", "the sea", "snow")]


def picture(number: int) -> str:
    """Return a JPEG file of its own, as base64."""
    noise = Image.frombytes("RGB", (8, 6), random.Random(number).randbytes(8 * 6 * 3))
    buffer = io.BytesIO()
    noise.resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    options = arguments()
    pictures = [{"image": picture(number)} for number in range(40)]
    labels = [{"text": label} for label in LABELS]
    inputs = [*pictures[:5], *labels, *pictures[5:]]
    with httpx.Client(base_url=options.url, timeout=60) as client:

        def embed(given: dict) -> list[float]:
            response = client.post("/embed", json=given)
            response.raise_for_status()
            # Torch's last digits depend on the size of the batch: compare four of them.
            return [round(number, 4) for number in response.json()["embedding"]]

        print(f"an image has {len(embed(inputs[0]))} numbers, a text {len(embed(labels[0]))}")
        measure(embed, inputs, options)
