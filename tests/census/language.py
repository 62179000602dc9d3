"""A language kept on `self`, which some requests change: how soon is it found, what goes wrong?"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import litserve as ls

from census.models import WORDS, Translator
from litcache import Trial, cached_predict
from litcache.testing import APIRunner

SHARES = (0.30, 0.10, 0.03, 0.01)
REQUESTS = 1000
DISTINCT = 200
CHUNK = 50
"""After so many requests the state is asked for. Once it is off, no answer can be wrong."""
SENTENCES = [f"{WORDS[at % len(WORDS)]} of number {at}" for at in range(DISTINCT)]


@dataclass(frozen=True)
class Row:
    """What was found with one share of requests in another language.

    Attributes:
        ids: Whether each request carries an id of its own.
        share: The share of the requests that are in the other language.
        verify: The share of the later hits that are compared.
        seeds: How many sequences of requests were tried.
        ended: In how many of them a disagreement ended caching.
        wrong: How many answers were wrong, of all sequences.
        wrong_seeds: In how many sequences an answer was wrong.
    """

    ids: bool
    share: float
    verify: float
    seeds: int
    ended: int
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


def rows(seeds: int, *, ids: bool = False, verifies: Sequence[float] = (0.0,)) -> Iterator[Row]:
    """Yield what was found with each share and each `verify`."""
    for share in SHARES:
        for verify in verifies:
            found = [one(seed, share, Trial(verify=verify), ids=ids) for seed in range(seeds)]
            wrong = [count for count, _ in found]
            ended = sum(is_off for _, is_off in found)
            yield Row(ids, share, verify, seeds, ended, sum(wrong), sum(map(bool, wrong)))


def one(seed: int, share: float, trial: Trial, *, ids: bool) -> tuple[int, bool]:
    """Run one sequence of requests; return how many answers were wrong, and if caching ended."""
    requests = sequence(random.Random(f"{seed} {share}"), share, ids=ids)
    wrong = 0
    random.seed(seed)  # which hits are verified
    with APIRunner(TranslateAPI(), trial=trial) as runner:
        for at in range(0, REQUESTS, CHUNK):
            asked = requests[at : at + CHUNK]
            right = [Translator().translate(each["text"], each["language"]) for each in asked]
            wrong += sum(map(str.__ne__, runner.run_batch(asked), right))
            if runner.api.predict.cache.info().state == "off":
                return wrong, True
    return wrong, False


def sequence(rng: random.Random, share: float, *, ids: bool) -> list[dict[str, str]]:
    """Return Zipf-like requests of which a share is in another language."""
    weights = [1 / rank for rank in range(1, DISTINCT + 1)]
    requests = [
        {"text": text, "language": "fr" if rng.random() < share else "de"}
        for text in rng.choices(SENTENCES, weights, k=REQUESTS)
    ]
    return [{"id": str(at), **each} for at, each in enumerate(requests)] if ids else requests
