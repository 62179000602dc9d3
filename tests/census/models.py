"""Small models in the place of real ones: quick, without weights, and the same in every process."""

from __future__ import annotations

import base64
import io
import random
import zlib
from collections import UserDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

WORDS = [
    "river", "stone", "light", "winter", "garden", "silver", "market", "window", "morning", "paper",
    "island", "bridge", "forest", "candle", "harbour", "summer", "letter", "travel", "kitchen",
    "mountain",
]  # fmt: skip
TEXTS = [" ".join(random.Random(f"text {n}").choices(WORDS, k=3 + 5 * n % 11)) for n in range(64)]


def number_of(text: str) -> int:
    """Return a number that a text has in every process."""
    return zlib.crc32(text.encode())


class Tokenizer:
    """Words to ids."""

    size = 499

    def ids(self, text: str) -> list[int]:
        return [number_of(word) % (self.size - 1) + 1 for word in text.split()] or [1]

    def padded(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and the mask of a batch, as long as its longest text."""
        rows = [self.ids(text) for text in texts]
        longest = max(map(len, rows))
        ids = np.array([row + [0] * (longest - len(row)) for row in rows])
        return ids, (ids > 0).astype(np.int64)


class TextEncoder:
    """Texts to vectors of length one."""

    def __init__(self, seed: int = 0, size: int = 32) -> None:
        self.tokenizer = Tokenizer()
        rng = np.random.default_rng(seed)
        self.table = rng.standard_normal((Tokenizer.size, size)).astype(np.float32)

    def pooled(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the mean of each row's words; what the mask leaves out does not count."""
        rows = [self.table[row[seen > 0]].mean(0) for row, seen in zip(ids, mask, strict=True)]
        return np.stack(rows)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = [self.table[self.tokenizer.ids(text)].mean(0) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows])


class BatchEncoding(UserDict):
    """Stands in for that of transformers, which is a `UserDict` as well."""


class Ranker:
    """Pairs of texts to scores."""

    def __init__(self, seed: int = 1) -> None:
        self.encoder = TextEncoder(seed)

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        scores = [float(np.dot(*self.encoder.encode(pair))) for pair in pairs]
        return np.array(scores, np.float32)


class ImageEncoder:
    """Images to vectors, and to what is seen in them."""

    labels = ("cat", "dog", "bird", "boat", "tree")

    def __init__(self, seed: int = 2, size: int = 32) -> None:
        self.weights = np.random.default_rng(seed).standard_normal((192, size)).astype(np.float32)

    def pixels(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB").resize((8, 8)), np.float32).ravel() / 255

    def encode(self, image: Image.Image | np.ndarray) -> np.ndarray:
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        return self.pixels(image) @ self.weights

    def classify(self, image: Image.Image) -> dict[str, float]:
        logits = np.exp(self.encode(image)[: len(self.labels)] / 8)
        return dict(zip(self.labels, (logits / logits.sum()).tolist(), strict=True))


class Detector:
    """Images to boxes: a row of each is x, y, x, y, score, class."""

    def boxes(self, image: Image.Image | np.ndarray, least: float = 0.25) -> np.ndarray:
        grey = np.asarray(
            (Image.fromarray(image) if isinstance(image, np.ndarray) else image).convert("L")
        )
        found = []
        for y in range(0, grey.shape[0] - 3, 4):
            for x in range(0, grey.shape[1] - 3, 4):
                score = float(grey[y : y + 4, x : x + 4].mean()) / 255
                if score >= least:
                    found.append([x, y, x + 4, y + 4, score, (x + y) // 4 % 3])
        return np.array(found, np.float32).reshape(-1, 6)


class Recognizer:
    """Sound to words."""

    def __init__(self) -> None:
        self.words = {"en": WORDS, "fr": [f"{word[::-1]}e" for word in WORDS]}

    def segments(self, audio: np.ndarray, language: str = "en", beam: int = 1) -> Iterator[str]:
        for at in range(0, len(audio), 64):
            energy = int(np.abs(audio[at : at + 64]).sum() * 100) + beam
            yield self.words[language][energy % len(WORDS)]

    def transcribe(self, audio: np.ndarray, language: str = "en", beam: int = 1) -> str:
        return " ".join(self.segments(audio, language, beam))


class Speaker:
    """Text to sound."""

    def __init__(self) -> None:
        self.pitches = {"anna": 220.0, "ben": 110.0}

    def speak(self, text: str, voice: str = "anna") -> np.ndarray:
        steps = np.arange(32 * len(text.split()), dtype=np.float32)
        tone = self.pitches[voice] + number_of(text) % 50
        return np.sin(steps * tone / 8000, dtype=np.float32)


class Translator:
    """Words of one language to those of another."""

    def translate(self, text: str, language: str = "de") -> str:
        return " ".join(f"{word[::-1]}-{language}" for word in text.split())


class LanguageModel:
    """Text to the words that follow; with a temperature they are drawn at random."""

    def words(self, prompt: str, count: int = 6, temperature: float = 0.0) -> Iterator[str]:
        last = prompt
        for _ in range(count):
            if temperature:
                last = random.choice(WORDS)
            else:
                last = WORDS[number_of(prompt + last) % len(WORDS)]
            yield last + " "

    def complete(self, prompt: str, count: int = 6, temperature: float = 0.0) -> str:
        return "".join(self.words(prompt, count, temperature))


class Painter:
    """A text and noise to an image."""

    def paint(self, prompt: str, noise: np.ndarray, steps: int = 4) -> np.ndarray:
        base = np.random.default_rng(number_of(prompt)).random((16, 16, 3))
        for _ in range(steps):
            noise = 0.5 * noise + 0.5 * base
        return (noise * 255).clip(0, 255).astype(np.uint8)


class Scorer:
    """Rows of numbers to the chance that something happens."""

    def __init__(self, features: int = 4, seed: int = 3) -> None:
        self.weights = np.random.default_rng(seed).standard_normal(features)

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        positive = np.array([1 / (1 + np.exp(-float(row @ self.weights))) for row in rows])
        return np.stack([1 - positive, positive], axis=1)


def picture(number: int, size: int = 16) -> Image.Image:
    """Return one of many images."""
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
    return Image.fromarray(pixels)


def packed(image: Image.Image, kind: str = "PNG", **options: Any) -> str:
    """Return an image as a request carries it: a file in base64."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def unpacked(text: str) -> Image.Image:
    """Return the image of a request."""
    return Image.open(io.BytesIO(base64.b64decode(text)))


PICTURES = [packed(picture(number)) for number in range(64)]


def sound(number: int) -> np.ndarray:
    """Return one of many recordings."""
    return np.random.default_rng(number).standard_normal(640).astype(np.float32)
