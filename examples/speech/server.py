"""Speech to text: `result="response"`, because segments come from a generator.

The output of `predict` is a generator of dataclasses, which cannot be stored. The answer that
`encode_response` makes of it can: a hit runs neither of them.
"""

import base64
import dataclasses
import io
import os
import wave

import litserve as ls
import numpy as np

from examples.speech.model import VERSION, Recognizer
from litcache import cached_predict
from litcache.metrics import PrometheusLogger


class SpeechAPI(ls.LitAPI):
    def setup(self, device):
        self.model = Recognizer()

    def decode_request(self, request) -> np.ndarray:
        # The samples are the item, and not the name of a file that holds them.
        with wave.open(io.BytesIO(base64.b64decode(request["audio"]))) as file:
            return np.frombuffer(file.readframes(file.getnframes()), np.int16)

    @cached_predict(result="response", version=VERSION)
    def predict(self, samples: np.ndarray):
        return self.model.transcribe(samples)

    def encode_response(self, output) -> dict:
        segments = [dataclasses.asdict(segment) for segment in output[0]]
        return {"text": "".join(s["text"] for s in segments), "segments": segments, **output[1]}


if __name__ == "__main__":
    api = SpeechAPI(api_path="/transcribe")
    server = ls.LitServer(api, accelerator="cpu", loggers=PrometheusLogger())
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
