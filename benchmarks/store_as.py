"""What `store_as` saves and costs: bytes, hit rates on real traces, hits, misses, cosines.

    python -m benchmarks.store_as

Hit rates are those of one budget: what 5 % of the items of a trace take as float32. Cosines are of
real vectors (MiniLM, int8, ONNX) of real texts to the same vectors as they come from the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import litserve as ls
import numpy as np

from benchmarks.common import Row, note, report, retail, texts, timed, web12, zipf
from benchmarks.hits import BATCH, TEXTS, WIDTH, floor, model
from litcache import cached_predict
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore
from litcache.values import codec
from litcache.values.rows import encode_rows, merge_rows

FORMS = (None, "float16", "bfloat16", "int8")
SHARE = 0.05
COMPARED = 500
BYTES = {"float16": 1_090, "int8": 710}
HIT_RATES = {
    ("web12", "float16"): 0.695, ("web12", "int8"): 0.74,
    ("retail", "float16"): 0.44, ("retail", "int8"): 0.58,
}  # fmt: skip


def api_of(form: Any) -> ls.LitAPI:
    class VectorAPI(ls.LitAPI):
        @cached_predict(store_as=form)
        def predict(self, batch: list[str]) -> Any:
            return model(batch)

    return VectorAPI(max_batch_size=BATCH)


def name_of(form: str | None) -> str:
    return form or "float32, in full"


def bytes_table() -> list[Row]:
    rows = []
    for form in FORMS:
        api = api_of(form)
        api.predict(TEXTS)
        info = api.predict.cache.info()
        row = Row(name_of(form), info.bytes / info.entries, "bytes")
        rows.append(row.at_most(BYTES[form]) if form in BYTES else row)
    return rows


def hits_table() -> list[Row]:
    bare = floor(api_of(None), "row", TEXTS)
    calls: dict[str, Callable[[], Any]] = {"the floor, of float32": lambda: bare(TEXTS)}
    for form in FORMS:
        api = api_of(form)
        calls[name_of(form)] = lambda api=api: api.predict(TEXTS)
        miss, hit = api.predict(TEXTS), api.predict(TEXTS)
        assert miss.dtype == hit.dtype == np.float32
        assert miss.tobytes() == hit.tobytes()
        assert np.array_equal(hit, model(TEXTS)) is (form is None)
        assert api.predict.cache.info().hits == BATCH
    rows = timed(calls, repeats=201, seconds=0.005, per=BATCH, floor="the floor, of float32")
    rows["float16"].at_most(1.6, of="ratio")
    return list(rows.values())


def misses_table() -> list[Row]:
    """Time what a miss does to its output: into entries, and with a form out of them again."""
    vectors = model(TEXTS)
    calls: dict[str, Callable[[], Any]] = {}
    for form in FORMS:

        def as_rows(form: Any = form) -> Any:
            entries = encode_rows(vectors, columns=False, store_as=form)
            return form and merge_rows([NewEntry(*entry) for entry in entries])  # type: ignore[misc]

        def one_by_one(form: Any = form, outputs: Sequence[Any] = tuple(vectors)) -> Any:
            entries = codec.encode_many(outputs, form)
            return form and codec.decode_many([NewEntry(*entry) for entry in entries])  # type: ignore[misc]

        calls[f"{name_of(form)}, rows of an array"] = as_rows
        calls[f"{name_of(form)}, an array each"] = one_by_one
    return list(timed(calls, repeats=51, seconds=0.005, per=BATCH).values())


def hit_rate(trace: Sequence[int], form: Any, budget: int) -> float:
    """Return how much of a trace hits in a `MemoryStore` of vectors that are stored in a form."""
    vector = np.random.default_rng(7).standard_normal((1, WIDTH), dtype=np.float32)
    (made,) = encode_rows(vector, columns=False, store_as=form)
    assert not isinstance(made, Exception)
    entry, scope, store, found = NewEntry(*made), Scope("trace"), MemoryStore(budget), 0
    for item in trace:
        key = item.to_bytes(16, "big")
        if store.get_many(scope, [key])[0] is not None:
            found += 1
        else:
            store.set_many(scope, {key: entry})
    return found / len(trace)


def hit_rates() -> dict[str, list[Row]]:
    pages, sales = web12(), retail()
    traces = {"zipf": zipf(100_000, 10_000)}
    if pages is not None and sales is not None:
        traces = {"web12": pages, "retail": sales.sold}
    else:
        note("no real traces here (LITCACHE_DATA): a seeded Zipf trace instead")
    size = bytes_table()[0].value
    tables = {}
    for name, trace in traces.items():
        budget = int(len(set(trace)) * SHARE * size)
        rows = []
        for form in FORMS:
            note(f"{name}, {name_of(form)} …")
            row = Row(name_of(form), hit_rate(trace, form, budget), "hit rate")
            target = HIT_RATES.get((name, str(form)))
            rows.append(row if target is None else row.at_least(target))
        tables[f"Hit rate, {name}, {len(trace):,} requests, 5 % of the float32 budget"] = rows
    return tables


def cosines_table() -> list[Row]:
    try:
        from examples.minilm import MiniLM

        encoder = MiniLM(1)
    except ModuleNotFoundError as error:
        note(f"left out, {error.name} is not installed: cosines of MiniLM's vectors")
        return []
    questions = texts(COMPARED)
    batches = [questions[at : at + 50] for at in range(0, COMPARED, 50)]
    vectors = np.concatenate([encoder.encode(batch) for batch in batches])
    rows = []
    for form in FORMS[1:]:
        entries = encode_rows(vectors, columns=False, store_as=form)
        stored = merge_rows([NewEntry(*entry) for entry in entries])  # type: ignore[misc]
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(stored, axis=1)
        least = float(((vectors * stored).sum(axis=1) / lengths).min())
        row = Row(f"{form}, the least of {COMPARED:,} vectors", least, "cosine")
        rows.append(row.at_least(0.999) if form == "int8" else row)
        same = np.mean([_nearest(vectors, at) == _nearest(stored, at) for at in range(COMPARED)])
        rows.append(Row(f"{form}, the nearest neighbour is the same", float(same) * 100, "%"))
    return rows


def _nearest(vectors: Any, at: int) -> int:
    scores = vectors @ vectors[at]
    scores[at] = -1
    return int(scores.argmax())


def main() -> bool:
    logging.getLogger("litcache").disabled = True  # its lines would stand in the tables
    tables = {
        f"An entry with a vector of {WIDTH} float32, in a MemoryStore": bytes_table(),
        f"All hits: {BATCH} texts → writable ({BATCH}, {WIDTH}) float32, an item": hits_table(),
        "What a miss does to its output, an item": misses_table(),
        **hit_rates(),
        "Vectors of MiniLM, beside those of float32": cosines_table(),
    }
    return report("store_as", {title: rows for title, rows in tables.items() if rows})


if __name__ == "__main__":
    main()
