"""A language kept on `self`, which some requests change: how soon is it found, what goes wrong?"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import litserve as ls
from census.models import WORDS, Translator

from litcache import Trial, cached_predict
from litcache.testing import APIRunner

SHARES = (0.30, 0.10, 0.03, 0.01)
VERIFIES = (0.0, 0.001, 0.01)
REQUESTS = 1000
DISTINCT = 200
CHUNK = 50
"""After so many requests the state is asked for. Once it is off, no answer can be wrong."""
NUMBERED = [(at, WORDS[at % len(WORDS)]) for at in range(DISTINCT)]


@dataclass(frozen=True)
class Row:
    """What was found with one share of requests in another language.

    Attributes:
        share: The share of the requests that are in the other language.
        verify: The share of the later hits that are compared.
        seeds: How many sequences of requests were tried.
        ended: In how many of them a disagreement ended caching.
        median: The median of the requests until then; 0 if it never came.
        wrong: How many answers were wrong, of all sequences.
        wrong_seeds: In how many sequences an answer was wrong.
    """

    share: float
    verify: float
    seeds: int
    ended: int
    median: int
    wrong: int
    wrong_seeds: int


class TranslateAPI(ls.LitAPI):
    def setup(self, device):
        self.model = Translator()

    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model.translate(text, self.language)


def rows(seeds: int, verifies: tuple[float, ...] = VERIFIES) -> Iterator[Row]:
    """Yield what was found with each share and each `verify`."""
    for share in SHARES:
        for verify in verifies:
            found = [one(seed, share, Trial(verify=verify)) for seed in range(seeds)]
            ends = [end for _, end in found if end]
            wrong = [count for count, _ in found]
            median = int(statistics.median(ends)) if ends else 0
            yield Row(share, verify, seeds, len(ends), median, sum(wrong), sum(map(bool, wrong)))


def one(seed: int, share: float, trial: Trial) -> tuple[int, int]:
    """Run one sequence of requests; some texts come in both languages, as they do.

    Returns:
        How many answers were wrong, and after how many requests caching ended; 0 if it did not.
    """
    rng = random.Random(f"{seed} {share}")
    requests = sequence(rng, share)
    wrong = end = 0
    random.seed(seed)  # which hits are verified
    with APIRunner(TranslateAPI(), trial=trial) as runner:
        for at in range(0, REQUESTS, CHUNK):
            asked = requests[at : at + CHUNK]
            right = [Translator().translate(each["text"], each["language"]) for each in asked]
            wrong += sum(map(str.__ne__, runner.run_batch(asked), right))
            if runner.api.predict.cache.info().state == "off":
                end = at + CHUNK
                break
    return wrong, end


def sequence(rng: random.Random, share: float) -> list[dict[str, str]]:
    """Return Zipf-like requests of which a share is in another language."""
    weights = [1 / rank for rank in range(1, DISTINCT + 1)]
    texts = rng.choices([f"{word} of number {at}" for at, word in NUMBERED], weights, k=REQUESTS)
    return [{"text": text, "language": "fr" if rng.random() < share else "de"} for text in texts]
