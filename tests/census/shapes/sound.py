"""TTS: text to sound."""

import base64
import io

import litserve as ls
import numpy as np
from fastapi import Response

from census.models import TEXTS, Speaker
from census.shape import service, zipf

KIND = "TTS"


def spoken(at, rng):
    return {"text": TEXTS[at], "voice": ("anna", "ben")[at % 2]}


class Speak(ls.LitAPI):
    def setup(self, device):
        self.model = Speaker()

    def decode_request(self, request):
        return request

    def encode_response(self, wave):
        return {"audio": base64.b64encode(wave.tobytes()).decode()}


@service(KIND, "text and voice in the item", "cache", zipf(spoken))
class SpeakItem(Speak):
    def predict(self, item):
        return self.model.speak(item["text"], item["voice"])


@service(KIND, "waves of other lengths in a batch", "cache", zipf(spoken), max_batch_size=4)
class SpeakBatch(Speak):
    def predict(self, items):
        return [self.model.speak(item["text"], item["voice"]) for item in items]


@service(
    KIND,
    "the voice kept on `self`",
    "never",
    zipf(lambda at, rng: {"text": TEXTS[at], "voice": "ben" if rng.random() < 0.05 else "anna"}),
)
class SpeakVoiceOnSelf(Speak):
    def decode_request(self, request):
        self.voice = request["voice"]
        return request["text"]

    def predict(self, text):
        return self.model.speak(text, self.voice)


@service(
    KIND,
    "noise in each reading, of which one will do",
    "option",
    zipf(spoken),
    reads=lambda answer: np.frombuffer(base64.b64decode(answer["audio"]), np.float32),
    tolerance=0.5,
    option={"trial": 0},
    option_text="trial=0",
)
class SpeakNoise(Speak):
    def setup(self, device):
        self.model = Speaker()
        self.rng = np.random.default_rng()

    def predict(self, item):
        wave = self.model.speak(item["text"], item["voice"])
        return wave + self.rng.normal(0, 0.02, wave.shape).astype(np.float32)


@service(
    KIND,
    "a file in memory as output, sent as a response",
    "option",
    zipf(spoken),
    option={"result": "response"},
    option_text='result="response"',
)
class SpeakFile(Speak):
    def predict(self, item):
        file = io.BytesIO()
        file.write(self.model.speak(item["text"], item["voice"]).tobytes())
        file.seek(0)
        return file

    def encode_response(self, file):
        return Response(content=file.getvalue(), media_type="audio/wav")


@service(KIND, "bytes as output, sent as a response", "cache", zipf(spoken))
class SpeakBytes(Speak):
    def predict(self, item):
        return self.model.speak(item["text"], item["voice"]).tobytes()

    def encode_response(self, sound):
        return Response(content=sound, media_type="audio/wav", headers={"X-Rate": "8000"})


@service(KIND, "a stream of pieces of sound", "cache", zipf(spoken), stream=True)
class SpeakStream(Speak):
    def predict(self, item):
        wave = self.model.speak(item["text"], item["voice"])
        for at in range(0, len(wave), 64):
            yield wave[at : at + 64]

    def encode_response(self, pieces):
        for piece in pieces:
            yield base64.b64encode(piece.tobytes()).decode()
