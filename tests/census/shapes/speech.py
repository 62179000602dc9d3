"""ASR: sound to text."""

import base64
import dataclasses
import io
import os
import tempfile
import time
from pathlib import Path

import litserve as ls
import numpy as np

from census.models import Recognizer
from census.models import sound as recording
from census.shape import service, zipf
from litcache import Trial, contents

KIND = "ASR"


def audio(at, rng):
    return {"audio": base64.b64encode(recording(at).tobytes()).decode()}


def with_language(share):
    def request(at, rng):
        return {**audio(at, rng), "language": "fr" if rng.random() < share else "en"}

    return zipf(request)


recordings = zipf(audio)


def samples(request):
    return np.frombuffer(base64.b64decode(request["audio"]), np.float32)


class Transcribe(ls.LitAPI):
    def setup(self, device):
        self.model = Recognizer()

    def encode_response(self, text):
        return {"text": text}


@service(KIND, "sound as an array", "cache", recordings)
class TranscribeArray(Transcribe):
    def decode_request(self, request):
        return samples(request)

    def predict(self, audio):
        return self.model.transcribe(audio)


@service(KIND, "arrays in a batch, a list of texts", "cache", recordings, max_batch_size=4)
class TranscribeBatch(Transcribe):
    def decode_request(self, request):
        return samples(request)

    def batch(self, inputs):
        return list(inputs)

    def predict(self, batch):
        return [self.model.transcribe(audio) for audio in batch]

    def unbatch(self, output):
        return output


@service(KIND, "bytes and options in a dict", "cache", with_language(0.3))
class TranscribeOptions(Transcribe):
    def decode_request(self, request):
        sound = base64.b64decode(request["audio"])
        return {"sound": sound, "language": request["language"], "beam": 3}

    def predict(self, item):
        audio = np.frombuffer(item["sound"], np.float32)
        return self.model.transcribe(audio, item["language"], item["beam"])


@service(KIND, "an upload as item: a file in memory", "cache", recordings)
class TranscribeUpload(Transcribe):
    def decode_request(self, request):
        return io.BytesIO(base64.b64decode(request["audio"]))

    def predict(self, file):
        return self.model.transcribe(np.frombuffer(file.read(), np.float32))


@service(
    KIND,
    "a new temporary file for each request, its path as item",
    "option",
    recordings,
    option={"key": contents},
    option_text="key=contents",
)
class TranscribeTemporary(Transcribe):
    def decode_request(self, request):
        with tempfile.NamedTemporaryFile(suffix=".wav", dir=".", delete=False) as file:
            file.write(base64.b64decode(request["audio"]))
        return file.name

    def predict(self, path):
        return self.model.transcribe(np.fromfile(path, np.float32))


@service(
    KIND,
    "one file written again and again, its path as item",
    "option",
    recordings,
    option={"key": contents},
    option_text="key=contents",
)
class TranscribeSamePath(Transcribe):
    def decode_request(self, request):
        Path("input.wav").write_bytes(base64.b64decode(request["audio"]))
        return "input.wav"

    def predict(self, path):
        return self.model.transcribe(np.fromfile(path, np.float32))


@service(KIND, "language kept on `self`, 30 % of the requests", "never", with_language(0.3))
class TranscribeLanguageOnSelf(Transcribe):
    def decode_request(self, request):
        self.language = request["language"]
        return samples(request)

    def predict(self, audio):
        return self.model.transcribe(audio, self.language)


@service(
    KIND,
    "the language of the batch's first request for all",
    "never",
    with_language(0.3),
    max_batch_size=4,
)
class TranscribeFirstLanguage(Transcribe):
    def decode_request(self, request):
        return {"audio": samples(request), "language": request["language"]}

    def predict(self, items):
        language = items[0]["language"]
        return [self.model.transcribe(item["audio"], language) for item in items]


@service(
    KIND,
    "segments from a generator",
    "option",
    recordings,
    option={"result": "response"},
    option_text='result="response"',
)
class TranscribeSegments(Transcribe):
    def decode_request(self, request):
        return samples(request)

    def predict(self, audio):
        return self.model.segments(audio), {"language": "en", "duration": len(audio) / 64}

    def encode_response(self, output):
        segments, info = output
        return {"text": " ".join(segments), **info}


@dataclasses.dataclass
class Segment:
    start: float
    end: float
    text: str


@service(
    KIND,
    "a list of dataclasses",
    "option",
    recordings,
    option={"result": "response"},
    option_text='result="response"',
)
class TranscribeDataclasses(Transcribe):
    def decode_request(self, request):
        return samples(request)

    def predict(self, audio):
        words = enumerate(self.model.segments(audio))
        return [Segment(at / 2, at / 2 + 0.5, word) for at, word in words]

    def encode_response(self, segments):
        return {"segments": [dataclasses.asdict(segment) for segment in segments]}


@service(
    KIND,
    "elapsed seconds in the output",
    "option",
    recordings,
    free=("seconds",),
    option={"trial": Trial(ignore=("$.seconds",))},
    option_text='trial=Trial(ignore=("$.seconds",))',
)
class TranscribeElapsed(Transcribe):
    def decode_request(self, request):
        return samples(request)

    def predict(self, audio):
        start = time.perf_counter()
        text = self.model.transcribe(audio)
        return {"text": text, "seconds": time.perf_counter() - start}

    def encode_response(self, output):
        return output


@service(
    KIND,
    "a file that `encode_response` deletes, its path as output",
    "option",
    recordings,
    option={"result": "response"},
    option_text='result="response"',
)
class TranscribeToFile(Transcribe):
    def decode_request(self, request):
        return samples(request)

    def predict(self, audio):
        with tempfile.NamedTemporaryFile("w", suffix=".srt", dir=".", delete=False) as file:
            file.write(self.model.transcribe(audio))
        return file.name

    def encode_response(self, path):
        text = Path(path).read_text()
        os.remove(path)
        return {"subtitles": text}


@service(KIND, "which parts hold speech: an array of times", "cache", recordings)
class FindSpeech(Transcribe):
    def decode_request(self, request):
        return samples(request)

    def predict(self, audio):
        loud = np.abs(audio.reshape(-1, 64)).mean(1) > 0.8
        return np.flatnonzero(loud) / 2

    def encode_response(self, times):
        return {"starts": times.tolist()}
