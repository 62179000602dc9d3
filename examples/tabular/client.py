"""Ask for the scores of customers, of some again and again, every third time with an id."""

import itertools
import random

import httpx

from examples.tabular.model import FEATURES
from examples.traffic import arguments, measure


def customer(number: int) -> dict:
    rng = random.Random(number)
    return {name: round(rng.gauss(0, 1), 2) for name in FEATURES}


if __name__ == "__main__":
    options = arguments()
    customers = [customer(number) for number in range(100)]
    counter = itertools.count()
    with httpx.Client(base_url=options.url, timeout=60) as client:

        def score(row: dict) -> float:
            number = next(counter)
            given = {**row, "id": number} if number % 3 == 0 else row
            response = client.post("/score", json=given)
            response.raise_for_status()
            return response.json()["probability"]

        print(f"probability: {score(customers[0]):.3f}")
        measure(score, customers, options)
