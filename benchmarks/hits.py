"""What a hit costs: 64 real short texts that are all in the cache, and one by itself.

    python -m benchmarks.hits

The floor is what no cache of arrays by content can do without: a reused msgpack `Packer`, BLAKE2b
by copied state, `dict.get`, and one join into a writable array, all bare.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any

import litserve as ls
import msgpack
import numpy as np

from benchmarks import peers
from benchmarks.common import Row, note, report, served, texts, timed
from litcache import cached_predict
from litcache.litapi.state import cache_of
from litcache.stores.base import FORMAT
from litcache.testing import APIRunner

BATCH, WIDTH = 64, 384
TEXTS = texts(BATCH)
LONGER = [" ".join([text] * (170 // len(text))) for text in TEXTS]
VECTORS = dict(
    zip(
        TEXTS + LONGER,
        np.random.default_rng(7).random((2 * BATCH, WIDTH), dtype=np.float32),
        strict=True,
    )
)


def model(batch: list[str]) -> Any:
    """Return `(n, 384)` float32, as a model would."""
    return np.stack([VECTORS[text] for text in batch])


class VectorAPI(ls.LitAPI):
    @cached_predict
    def predict(self, batch: list[str]) -> Any:
        return model(batch)


class TtlAPI(ls.LitAPI):
    @cached_predict(ttl=3600)
    def predict(self, batch: list[str]) -> Any:
        return model(batch)


class ContextAPI(ls.LitAPI):
    @cached_predict
    def predict(self, batch: list[str], context: Any) -> Any:
        return model(batch)


class DictAPI(ls.LitAPI):
    @cached_predict
    def predict(self, batch: list[str]) -> Any:
        return [{"label": text[:8], "score": len(text) / 7} for text in batch]


class TensorAPI(ls.LitAPI):
    @cached_predict
    def predict(self, batch: list[str]) -> Any:
        import torch

        return torch.from_numpy(model(batch))


class OneAPI(ls.LitAPI):
    @cached_predict
    def predict(self, text: str) -> Any:
        return VECTORS[text].copy()


class OneDictAPI(ls.LitAPI):
    @cached_predict
    def predict(self, text: str) -> Any:
        return {"label": text[:8], "score": len(text) / 7}


def floor(api: ls.LitAPI, mode: str, known: list[str]) -> Callable[[list[str]], Any]:
    """Return the bare floor, with the state that an API's keys begin with and a filled dict."""
    start = hashlib.blake2b(digest_size=16)
    namespace = cache_of(api, "predict").scope.namespace
    start.update(msgpack.packb([FORMAT, namespace, mode, ""]))
    pack, copy = msgpack.Packer().pack, start.copy
    stored: dict[bytes, bytes] = {}

    def filled(batch: list[str]) -> None:
        for text in batch:
            state = copy()
            state.update(pack(text))
            stored[state.digest()] = VECTORS[text].tobytes()

    def look_up(batch: list[str]) -> Any:
        rows: list[bytes] = []
        append, get = rows.append, stored.__getitem__
        for text in batch:
            state = copy()
            state.update(pack(text))
            append(get(state.digest()))
        return np.frombuffer(bytearray().join(rows), np.float32).reshape(len(rows), WIDTH)

    filled(known)
    return look_up


def checked(call: Callable[[], Any], batch: list[str]) -> Callable[[], Any]:
    """Fill the cache, and check that a hit is what the model gives: the same, writable."""
    call()
    hit = call()
    assert type(hit) is np.ndarray
    assert hit.dtype == np.float32
    assert hit.flags.writeable
    assert np.array_equal(hit, model(batch))
    return call


def batch_table(batch: list[str]) -> list[Row]:
    api, ttl = VectorAPI(max_batch_size=BATCH), TtlAPI(max_batch_size=BATCH)
    bare = floor(api, "row", batch)
    calls = {
        "the floor": checked(lambda: bare(batch), batch),
        "litcache": checked(lambda: api.predict(batch), batch),
        "litcache, ttl=3600": checked(lambda: ttl.predict(batch), batch),
    }
    rows = timed(calls, repeats=151, seconds=0.005, per=BATCH, floor="the floor")
    rows["litcache"].at_most(1.5, of="ratio").name = f"litcache, {mean_length(batch)} characters"
    assert api.predict.cache.info().misses == BATCH, "these were not all hits"
    return list(rows.values())


def peers_table() -> list[Row]:
    api = VectorAPI(max_batch_size=BATCH)
    bare = floor(api, "row", TEXTS)
    calls = {"the floor": lambda: bare(TEXTS), "litcache": lambda: api.predict(TEXTS)}
    for name, cached in peers.installed(model).items():
        calls[name] = lambda cached=cached: cached(TEXTS)
    for call in calls.values():
        checked(call, TEXTS)
    return list(timed(calls, repeats=51, seconds=0.005, per=BATCH, floor="the floor").values())


def fresh_table() -> list[Row]:
    """Time texts that are new objects at each call, less the time to make them."""
    api = VectorAPI(max_batch_size=BATCH)
    bare = floor(api, "row", TEXTS)
    raw = [text.encode() for text in TEXTS]
    cached = {"the floor": bare, "litcache": lambda texts: api.predict(texts)}
    cached |= {name: call for name, call in peers.installed(model).items() if "by item" in name}
    calls: dict[str, Callable[[], Any]] = {"making": lambda: [data.decode() for data in raw]}
    for name, call in cached.items():
        calls[name] = lambda call=call: call([data.decode() for data in raw])
        calls[name]()
    rows = timed(calls, repeats=51, seconds=0.005, per=BATCH)
    making = rows.pop("making").value
    for row in rows.values():
        row.value -= making
        row.ratio = row.value / rows["the floor"].value
    return list(rows.values())


def shapes_table() -> list[Row]:
    """Time other outputs and LitServe's own hooks, against the same floor."""
    api = VectorAPI(max_batch_size=BATCH)
    bare = floor(api, "row", TEXTS)
    dicts = DictAPI(max_batch_size=BATCH)
    prepared = APIRunner(VectorAPI(max_batch_size=BATCH)).__enter__().api
    by_litserve = served(prepared)
    calls: dict[str, Callable[[], Any]] = {
        "the floor": lambda: bare(TEXTS),
        "array of rows": lambda: api.predict(TEXTS),
        "array of rows, by LitServe's batch, predict, unbatch": lambda: by_litserve(TEXTS),
        "list of small dicts": lambda: dicts.predict(TEXTS),
    }
    try:
        tensors = TensorAPI(max_batch_size=BATCH)
        tensors.predict(TEXTS)
        calls["tensor of rows"] = lambda: tensors.predict(TEXTS)
    except ModuleNotFoundError:
        note("left out, torch is not installed: tensors")
    for call in calls.values():
        call()
    prepared.predict.cache.get(TEXTS[0])  # in the mode of batches: the hooks were in use
    return list(timed(calls, repeats=51, seconds=0.005, per=BATCH, floor="the floor").values())


def context_table() -> list[Row]:
    """Time hits of methods with a context against those of one without.

    A server gets its contexts from LitServe, so the time to make them here is subtracted.
    """
    plain, with_context = VectorAPI(max_batch_size=BATCH), ContextAPI(max_batch_size=BATCH)
    contexts = {
        "an empty context each": [{}] * BATCH,
        "a context of one entry each, 7 different": [{"tenant": n % 7} for n in range(BATCH)],
    }
    calls: dict[str, Callable[[], Any]] = {"without a context": lambda: plain.predict(TEXTS)}
    for name, each in contexts.items():
        calls[f"making: {name}"] = lambda each=each: list(map(dict.copy, each))
        calls[name] = lambda each=each: with_context.predict(
            TEXTS, context=list(map(dict.copy, each))
        )
    for call in calls.values():
        call()
    rows = timed(calls, repeats=101, seconds=0.005, per=BATCH, floor="without a context")
    for name in contexts:
        rows[name].value -= rows.pop(f"making: {name}").value
        rows[name].ratio = rows[name].value / rows["without a context"].value
        rows[name].at_most(1.5, of="ratio")
    assert with_context.predict.cache.info().misses == 2 * BATCH, "these were not all hits"
    return list(rows.values())


def one_table() -> list[Row]:
    api, dicts = OneAPI(), OneDictAPI()
    text = TEXTS[0]
    bare = floor(api, "single", TEXTS)
    lru = peers.functools_lru(model)
    calls: dict[str, Callable[[], Any]] = {
        "the floor": lambda: bare([text]),
        "functools.lru_cache + np.stack": lambda: lru([text]),
        "litcache, a small dict": lambda: dicts.predict(text),
        "litcache, a vector": lambda: api.predict(text),
    }
    for call in calls.values():
        call()
    rows = timed(calls, repeats=101, seconds=0.002, floor="the floor")
    hit = Row("litcache, a vector: the least of 2,000 samples", least(calls["litcache, a vector"]))
    return [*rows.values(), hit.at_most(7)]


def mean_length(batch: list[str]) -> int:
    return round(sum(map(len, batch)) / len(batch))


def least(call: Callable[[], object], samples: int = 2_000, calls: int = 20) -> float:
    """Return the µs of a call while nobody else had the processor: the least of short samples."""
    taken = []
    for _ in range(samples):
        start = time.thread_time()
        for _ in range(calls):
            call()
        taken.append(time.thread_time() - start)
    return min(taken) / calls * 1e6


def main() -> bool:
    logging.getLogger("litcache").disabled = True  # its lines would stand in the tables
    return report(
        "hits",
        {
            **{
                f"All hits: {BATCH} texts of {mean_length(batch)} characters → writable "
                f"({BATCH}, {WIDTH}) float32, an item": batch_table(batch)
                for batch in (TEXTS, LONGER)
            },
            "All hits, beside the peers, an item": peers_table(),
            "All hits, texts that are new objects each time, an item": fresh_table(),
            "All hits, other outputs and ways, an item": shapes_table(),
            "All hits of a method with a context, an item": context_table(),
            "One hit": one_table(),
        },
    )


if __name__ == "__main__":
    main()
