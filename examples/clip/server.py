"""Images and texts: a hit neither decodes the image nor runs the model.

Two real encoders stand in for the two towers of a CLIP model, at their cost: EfficientNet-lite0
for images and MiniLM for texts. Unlike CLIP's, their vectors are not of one space.
"""

import base64
import os

import litserve as ls
import torch

from examples import efficientnet, minilm
from litcache import cached_predict
from litcache.metrics import PrometheusLogger


class ClipAPI(ls.LitAPI):
    def setup(self, device):
        self.images = efficientnet.EfficientNet(device)
        self.texts = minilm.MiniLM()

    def decode_request(self, request) -> dict:
        if "image" in request:
            return {"image": base64.b64decode(request["image"])}  # bytes are cheap to key
        return {"text": request["text"]}

    @cached_predict(max_bytes="512 MiB", version=f"{efficientnet.VERSION}; {minilm.VERSION}")
    def predict(self, items: list[dict]) -> list:
        vectors = [None] * len(items)
        if images := [at for at, item in enumerate(items) if "image" in item]:
            pixels = torch.stack([efficientnet.decode(items[at]["image"]) for at in images])
            for at, vector in zip(images, self.images.encode(pixels), strict=True):
                vectors[at] = vector.cpu().numpy()
        if texts := [at for at, item in enumerate(items) if "text" in item]:
            encoded = self.texts.encode([items[at]["text"] for at in texts])
            for at, vector in zip(texts, encoded, strict=True):
                vectors[at] = vector
        return vectors

    def encode_response(self, vector) -> dict:
        return {"embedding": vector.tolist()}


if __name__ == "__main__":
    api = ClipAPI(max_batch_size=8, batch_timeout=0.01, api_path="/embed")
    server = ls.LitServer(api, accelerator="cpu", loggers=PrometheusLogger())
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
