"""Object detection: `result="response"`, because `Results` objects cannot be stored.

Stored is what `encode_response` makes of them: a hit runs neither the model nor the encoding. The
image itself is not stored; its key is a digest of its pixels.
"""

import base64
import io
import os

import litserve as ls
from PIL import Image

from examples.detection.model import VERSION, Detector, Results
from litcache import cached_predict
from litcache.metrics import PrometheusLogger


class DetectionAPI(ls.LitAPI):
    def setup(self, device):
        self.model = Detector()

    def decode_request(self, request) -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB")

    @cached_predict(result="response", version=VERSION)
    def predict(self, image: Image.Image) -> Results:
        return self.model(image)

    def encode_response(self, results: Results) -> dict:
        return {"objects": results.summary()}


if __name__ == "__main__":
    api = DetectionAPI(api_path="/detect")
    server = ls.LitServer(api, accelerator="cpu", loggers=PrometheusLogger())
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
