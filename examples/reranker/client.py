"""Rank passages for questions: the same passages stand in many requests."""

import httpx

from examples.traffic import arguments, measure

PASSAGES = [
    "A lost card is blocked at once, at any hour, in the app or by telephone.",
    "Exchange rates are those of the day on which the payment is booked.",
    "A new PIN comes by post within five days.",
    "Transfers within the country cost nothing and take one day.",
    "The limit of a card can be raised in the app for one day.",
    "An account is closed free of charge at the end of a month.",
]
QUESTIONS = [
    f"{start} {end}?"
    for end in ("my lost card", "exchange rates", "a new PIN", "a transfer", "the limit")
    for start in ("What about", "How long does it take with", "What do I pay for")
]
REQUESTS = [
    {"query": question, "documents": PASSAGES[first : first + 4]}
    for first in range(3)
    for question in QUESTIONS
]

if __name__ == "__main__":
    options = arguments()
    with httpx.Client(base_url=options.url, timeout=60) as client:

        def rerank(request: dict) -> dict:
            response = client.post("/rerank", json=request)
            response.raise_for_status()
            return response.json()

        lost = {"query": "I lost my card", "documents": PASSAGES}
        print(f"I lost my card: {PASSAGES[rerank(lost)['ranking'][0]]}")
        measure(rerank, REQUESTS, options, items=lambda request: len(request["documents"]))
