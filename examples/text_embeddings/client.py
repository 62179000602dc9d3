"""Ask for the vectors of questions, of some again and again."""

import httpx

from examples.traffic import arguments, measure

VERBS = ("open", "close", "block", "find", "renew", "change", "cancel", "lose", "order", "top up")
THINGS = ("account", "card", "PIN", "transfer", "loan", "statement", "standing order", "app")
QUESTIONS = [f"How do I {verb} my {thing}?" for thing in THINGS for verb in VERBS]

if __name__ == "__main__":
    options = arguments()
    with httpx.Client(base_url=options.url, timeout=60) as client:

        def embed(text: str) -> list[float]:
            response = client.post("/predict", json={"text": text})
            response.raise_for_status()
            return response.json()["embedding"]

        print(f"hello: {[round(number, 3) for number in embed('hello')[:4]]} …")
        measure(embed, QUESTIONS, options)
