"""Image embeddings with torch: a hit neither decodes the image nor runs the model.

    python -m examples.image_embeddings

At /predict, `decode_request` only returns the bytes of the image, which are cheap to key. `batch`
decodes them, and runs on the misses alone. Prefer this layout.

At /decoded, `decode_request` decodes the image, as many existing APIs do. It has its own policy, so
it decodes each image once, too. A decoded image takes 150 kB of memory, a vector 5 kB.
"""

import base64
import os

import litserve as ls
import torch

from examples.efficientnet import VERSION, EfficientNet, decode
from litcache import cached_predict


class ImageEmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        self.model = EfficientNet(device)

    def decode_request(self, request) -> bytes:
        return base64.b64decode(request["image"])

    def batch(self, images: list[bytes]) -> torch.Tensor:
        return torch.stack([decode(image) for image in images])

    @cached_predict(max_bytes="512 MiB", version=VERSION)
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.encode(images)  # (n, 1280)

    def encode_response(self, vector: torch.Tensor) -> dict:
        return {"embedding": vector.tolist()}


class DecodedImageEmbeddingAPI(ImageEmbeddingAPI):
    @cached_predict(max_bytes="1 GiB", version="224 pixels, bicubic")
    def decode_request(self, request) -> torch.Tensor:
        return decode(super().decode_request(request))

    def batch(self, images: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(images)


if __name__ == "__main__":
    server = ls.LitServer(
        [
            ImageEmbeddingAPI(max_batch_size=16, batch_timeout=0.01),
            DecodedImageEmbeddingAPI(max_batch_size=16, batch_timeout=0.01, api_path="/decoded"),
        ]
    )
    server.run(port=int(os.environ.get("PORT", "8000")), generate_client_file=False)
