"""Other caches, each used for batches of texts as its documentation says.

A peer that is not installed is left out, and said so: `pip install -r requirements/bench.txt`.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks.common import note

Model = Callable[[list[str]], Any]  # n texts → (n, d) float32
Cached = Callable[[list[str]], Any]  # the same, from a cache

ENTRIES = 100_000


def functools_lru(model: Model) -> Cached:
    @lru_cache(maxsize=ENTRIES)
    def embed(text: str) -> Any:
        return model([text])[0]

    return lambda texts: np.stack([embed(text) for text in texts])


def cachetools_cached(model: Model) -> Cached:
    from cachetools import LRUCache, cached

    @cached(LRUCache(maxsize=ENTRIES))
    def embed(text: str) -> Any:
        return model([text])[0]

    return lambda texts: np.stack([embed(text) for text in texts])


def cachebox_cached(model: Model) -> Cached:
    from cachebox import LRUCache, cached

    @cached(LRUCache(maxsize=ENTRIES))
    def embed(text: str) -> Any:
        return model([text])[0]

    return lambda texts: np.stack([embed(text) for text in texts])


def moka_cached(model: Model) -> Cached:
    from moka_py import cached

    @cached(maxsize=ENTRIES)
    def embed(text: str) -> Any:
        return model([text])[0]

    return lambda texts: np.stack([embed(text) for text in texts])


def dogpile_multi(model: Model) -> Cached:
    from dogpile.cache import make_region

    region = make_region().configure("dogpile.cache.memory")

    @region.cache_multi_on_arguments()
    def embed(*texts: str) -> Any:
        return list(model(list(texts)))

    return lambda texts: np.stack(embed(*texts))


def langchain_backed(model: Model) -> Cached:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_core.embeddings import Embeddings
        from langchain_core.stores import InMemoryByteStore

    class Model(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return model(texts).tolist()

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    embeddings = CacheBackedEmbeddings.from_bytes_store(
        Model(), InMemoryByteStore(), namespace="model", key_encoder="blake2b"
    )
    return lambda texts: np.array(embeddings.embed_documents(texts), np.float32)


def joblib_memory(model: Model) -> Cached:
    from joblib import Memory

    folder = tempfile.TemporaryDirectory()
    embed = Memory(folder.name, verbose=0).cache(model)

    def cached(texts: list[str], folder: Any = folder) -> Any:  # which lives as long as this
        return embed(texts)

    return cached


PEERS = {
    "functools.lru_cache by item + np.stack": functools_lru,
    "cachetools.cached by item + np.stack": cachetools_cached,
    "cachebox.cached by item + np.stack": cachebox_cached,
    "moka_py.cached by item + np.stack": moka_cached,
    "dogpile.cache multi + np.stack": dogpile_multi,
    "LangChain CacheBackedEmbeddings + np.array": langchain_backed,
    "joblib.Memory, the batch as one (on disk)": joblib_memory,
}


def made(name: str, model: Model) -> Cached | None:
    """Return a peer in front of a model; `None` if it is not installed."""
    try:
        return PEERS[name](model)
    except ModuleNotFoundError as error:
        note(f"left out, {error.name} is not installed: {name}")
        return None


def installed(model: Model) -> dict[str, Cached]:
    """Return the peers that are installed, each a cache of its own in front of a model."""
    found = {name: made(name, model) for name in PEERS}
    return {name: cached for name, cached in found.items() if cached is not None}
