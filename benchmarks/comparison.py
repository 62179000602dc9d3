"""What other caches do in the cases that matter for a model: `python -m benchmarks.comparison`.

Each peer stands in front of a model of texts or arrays, used as its documentation says. What comes
out is written into docs/comparison.md. What a hit costs is measured by `benchmarks.hits`.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, note

PAGE = ROOT / "docs" / "comparison.md"
MARKED = re.compile(r"(<!-- measured:[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
Items = list[Any]
Cached = Callable[[Items], Any]


class Model:
    """Counts the items that reach it, call by call; a slow one holds its calls until all wait."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.gate: threading.Event | None = None

    def __call__(self, items: Items) -> np.ndarray:
        self.calls.append(len(items))
        if self.gate is not None:
            self.gate.wait(1.0)
        return np.array([[_number(item), 1.0] for item in items], np.float32)


def _number(item: Any) -> float:
    return float(item[2500]) if isinstance(item, np.ndarray) else float(len(item))


def with_litcache(model: Model) -> Cached:
    import litserve as ls

    from litcache import cached_predict

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, items: Items) -> Any:
            return model(items)

    return API(max_batch_size=64).predict


def with_lru_cache(model: Model) -> Cached:
    @lru_cache(maxsize=10_000)
    def embed(item: Any) -> Any:
        return model([item])[0]

    return lambda items: [embed(item) for item in items]


def with_diskcache(model: Model) -> Cached:
    import diskcache

    cache = diskcache.Cache(tempfile.mkdtemp())
    embed = cache.memoize()(lambda item: model([item])[0])
    return lambda items: [embed(item) for item in items]


def with_langchain(model: Model) -> Cached:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_core.embeddings import Embeddings
        from langchain_core.stores import InMemoryByteStore

    class Texts(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return model(texts).tolist()

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return CacheBackedEmbeddings.from_bytes_store(
        Texts(), InMemoryByteStore(), namespace="model", key_encoder="blake2b"
    ).embed_documents


PEERS = {
    "litcache": with_litcache,
    "`functools.lru_cache`": with_lru_cache,
    "diskcache": with_diskcache,
    "LangChain `CacheBackedEmbeddings`": with_langchain,
}


def misses_of_a_batch(make: Callable[[Model], Cached]) -> str:
    model = Model()
    cached = make(model)
    cached([f"text {n}" for n in range(32)])
    model.calls.clear()
    cached([f"text {n}" for n in range(64)])
    return f"{sum(model.calls)} items in {len(model.calls)} call{'s' * (len(model.calls) > 1)}"


def equal_items_of_a_batch(make: Callable[[Model], Cached]) -> str:
    model = Model()
    make(model)(["same"] * 8)
    return f"computed {sum(model.calls)} ×"


def eight_threads(make: Callable[[Model], Cached]) -> str:
    model = Model()
    cached = make(model)
    model.gate = threading.Event()
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        cached(["asked by all at once"])

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        threading.Event().wait(0.3)
        model.gate.set()
        for future in asked:
            future.result()
    return f"computed {sum(model.calls)} ×"


def an_answer_that_is_changed(make: Callable[[Model], Cached]) -> str:
    cached = make(Model())
    cached(["text"])
    answer = cached(["text"])
    answer[0][0] = -1.0
    return "stays right" if cached(["text"])[0][0] == 4.0 else "**is wrong from then on**"


def two_arrays(make: Callable[[Model], Cached]) -> str:
    first, second = np.zeros(5000), np.zeros(5000)
    second[2500] = 7.0
    cached = make(Model())
    try:
        answers = [cached([array])[0][0] for array in (first, second)]
    except Exception as error:  # whatever a peer raises is what a user meets
        return f"`{type(error).__name__}`"
    return "two answers" if answers == [0.0, 7.0] else "**one answer for both**"


CASES = {
    "64 items, 32 of them cached: the model gets": misses_of_a_batch,
    "8 equal items in one batch": equal_items_of_a_batch,
    "8 threads miss one item at once": eight_threads,
    "a caller changes the answer in place: the next hit": an_answer_that_is_changed,
    "two arrays of 5,000 numbers that differ in one": two_arrays,
}


def table() -> str:
    lines = ["| case | " + " | ".join(PEERS) + " |", "| --- " * (len(PEERS) + 1) + "|"]
    for name, case in CASES.items():
        lines.append(f"| {name} | " + " | ".join(case(make) for make in PEERS.values()) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    try:
        text = table()
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed: pip install -r requirements/bench.txt")
    write(PAGE, text)
    note(text)


def write(page: Path, text: str) -> None:
    page.write_text(MARKED.sub(lambda found: found[1] + text + found[2], page.read_text()))


if __name__ == "__main__":
    main()
