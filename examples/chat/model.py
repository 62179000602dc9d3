"""Stands in for a language model at temperature 0: equal messages get equal words.

The words are those of a chain that depends on all messages, so each conversation goes on in its
own way. Above temperature 0 it takes them at random, as a model that samples.
"""

import random
import time
from collections.abc import Iterator, Sequence

VERSION = "chain of words 1"
SECONDS_A_TOKEN = 0.005  # how long the stand-in waits for a token, as for an accelerator
SUBJECTS = ("the card", "your account", "a transfer", "the new PIN", "this statement")
VERBS = ("comes by post", "is free of charge", "takes one day", "needs your consent")


class LanguageModel:
    def stream(self, messages: Sequence[tuple[str, str]], temperature: float) -> Iterator[str]:
        """Yield the tokens of an answer."""
        rng = random.Random(None if temperature else repr(messages))
        for sentence in range(3):
            words = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)}".split()
            for place, word in enumerate(words):
                time.sleep(SECONDS_A_TOKEN)
                start = (" " if sentence else "") if place == 0 else " "
                end = "." if place == len(words) - 1 else ""
                yield f"{start}{word.capitalize() if place == 0 else word}{end}"
