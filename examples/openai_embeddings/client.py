"""Ask for embeddings by the `openai` client: lists of passages, of which other lists hold some."""

from openai import OpenAI

from examples.traffic import arguments, measure

PASSAGES = [
    f"Article {number}: {rule}."
    for number in range(1, 21)
    for rule in ("who may open an account", "what a transfer costs", "how a card is blocked")
]
LISTS = [PASSAGES[start : start + 4] for start in range(len(PASSAGES) - 3)]

if __name__ == "__main__":
    options = arguments()
    with OpenAI(base_url=f"{options.url}/v1", api_key="unused") as client:

        def embed(texts: list[str]) -> tuple[list[list[float]], int]:
            answer = client.embeddings.create(model="minilm", input=texts)
            return [item.embedding for item in answer.data], answer.usage.total_tokens

        vectors, tokens = embed(["hello", "a text"])
        print(f"2 texts of {tokens} tokens: vectors of {len(vectors[0])} numbers")
        measure(embed, LISTS, options, items=len)
