"""The demo's traffic: real short texts, some of them asked for again and again."""

import random
import re
from pydoc_data.topics import topics  # comes with Python


def traffic(count: int) -> tuple[list[str], str]:
    """Return texts in the order in which they are sent, and what they are."""
    prose = re.split(r"(?<=[.!?])\s+|\n\n", "\n\n".join(topics.values()))
    joined = (" ".join(sentence.split()) for sentence in prose)
    sentences = [s for s in dict.fromkeys(joined) if re.fullmatch(r"[A-Z].{19,99}\.", s)]
    generator = random.Random(7)
    generator.shuffle(sentences)
    weights = [1 / rank for rank in range(1, len(sentences) + 1)]
    chosen = generator.choices(sentences, weights, k=count)
    return chosen, "sentences of Python's manual; how often each is asked for follows Zipf's law"
