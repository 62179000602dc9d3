"""Batches of requests for the APIs of `apis`, and what an API answers to them."""


def undecorated(function):
    return function


def requests(*texts):
    return [{"text": text, "language": "de" if text.isupper() else "en"} for text in texts]


# Each a batch: new items, a repeat of all, a mixture with duplicates, all hits in another order.
BATCHES = [
    requests("hello", "a longer text"),
    requests("hello", "a longer text"),
    requests("new", "hello", "HELLO", "new", "new", "x"),
    requests("x", "new", "a longer text", "HELLO", "hello", "x"),
    requests("hello"),
]
DISTINCT = {text["text"] for batch in BATCHES for text in batch}


def answers(runner):
    """Answers and contexts of every batch, written out: 1 and True do not compare equal."""
    return [(repr(runner.run_batch(batch)), repr(runner.contexts)) for batch in BATCHES]
