"""Send recordings of dialled numbers, some again and again; the right texts are known."""

import base64
import io
import random
import wave

import httpx
import numpy as np

from examples.speech.model import KEYS, RATE, STEP
from examples.traffic import arguments, measure

DIALLED = ["".join(random.Random(number).choices("0123456789", k=6)) for number in range(60)]


def recording(keys: str) -> str:
    """Return a WAV file in which keys are pressed, with a little noise, as base64."""
    times = np.arange(STEP) / RATE
    noise = np.random.default_rng(int(keys)).normal(0, 500, (len(keys), 2 * STEP))
    for row, key in zip(noise, keys, strict=True):
        row[:STEP] += sum(8000 * np.sin(2 * np.pi * hertz * times) for hertz in KEYS[key])
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(noise.astype(np.int16).tobytes())
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    options = arguments()
    recordings = {keys: recording(keys) for keys in DIALLED}
    with httpx.Client(base_url=options.url, timeout=60) as client:

        def transcribe(keys: str) -> str:
            response = client.post("/transcribe", json={"audio": recordings[keys]})
            response.raise_for_status()
            return response.json()["text"]

        print(f"{DIALLED[0]} was dialled, {transcribe(DIALLED[0])} was heard")
        measure(transcribe, DIALLED, options, expect=lambda dialled: dialled)
