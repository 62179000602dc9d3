"""Ask questions by the `openai` client and read the streams; some come again and again."""

from openai import OpenAI

from examples.traffic import arguments, measure

THINGS = (
    "card",
    "account",
    "transfer",
    "PIN",
    "statement",
    "loan",
    "limit",
    "app",
    "fee",
    "branch",
)
QUESTIONS = [f"{start} my {thing}?" for start in ("What about", "Where is") for thing in THINGS]

if __name__ == "__main__":
    options = arguments()
    with OpenAI(base_url=f"{options.url}/v1", api_key="unused") as client:

        def ask(question: str, temperature: float = 0.0) -> list[str]:
            messages = [{"role": "user", "content": question}]
            stream = client.chat.completions.create(
                model="chain", messages=messages, temperature=temperature, stream=True
            )
            return [chunk.choices[0].delta.content or "" for chunk in stream]

        print(f"at temperature 0: {''.join(ask(QUESTIONS[0]))}")
        print(f"sampled:          {''.join(ask(QUESTIONS[0], temperature=1.0))}")
        measure(ask, QUESTIONS, options)
