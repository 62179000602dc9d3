"""Model seconds that one store saves of audio and texts, beside SIEVE and the store without costs.

    python -m benchmarks.costs

Two methods share a `MemoryStore`: one transcribes clips (a second or so, a few hundred bytes), one
embeds texts (6 ms, 384 floats). Clips are asked for as the pages of `web12`, texts as the titles of
the retail trace. Seconds are those that the hits would have taken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

from benchmarks.common import Row, note, report, retail, timed, web12, zipf
from benchmarks.sieve import Sieve
from litcache.stores.base import NewEntry, Scope
from litcache.stores.memory import MemoryStore
from litcache.stores.nodes import ENTRY_BYTES

SHARES = (0.05, 0.10, 0.30, 0.50)
BUDGETS = (0.02, 0.05, 0.10)
TARGET = 1.2
REQUESTS = 100_000
TEXT_SECONDS, TEXT_BYTES = 0.0062, 4 * 384
KEY_BYTES = 16
BATCH = 64


class Request(NamedTuple):
    """One item.

    Attributes:
        namespace: Which method is asked.
        key: The item's key.
        seconds: What its model takes.
        size: The bytes of its output.
    """

    namespace: str
    key: bytes
    seconds: float
    size: int


def clip(number: int) -> Request:
    """Return a request for a clip of 5 to 30 seconds of speech: 15 bytes of text each."""
    length = random.Random(number).uniform(5, 30)
    key = b"clip" + number.to_bytes(KEY_BYTES - 4, "big")
    return Request("audio", key, 0.2 + 0.05 * length, round(15 * length))


def text(number: int) -> Request:
    return Request("text", number.to_bytes(KEY_BYTES, "big"), TEXT_SECONDS, TEXT_BYTES)


def requests(share: float) -> list[Request]:
    """Return requests of which such a share are for clips."""
    pages, sales = web12(), retail()
    clips = zipf(REQUESTS, 10_000) if pages is None else pages
    texts = zipf(REQUESTS, 4_000, seed=8) if sales is None else sales.sold
    chosen, known = random.Random(7), {}
    clips_left, texts_left = iter(clips), iter(texts)
    trace = []
    for _ in range(REQUESTS):
        make, number = (
            (clip, next(clips_left)) if chosen.random() < share else (text, next(texts_left))
        )
        if (make, number) not in known:
            known[make, number] = make(number)
        trace.append(known[make, number])
    return trace


def taken(request: Request) -> int:
    """Return the bytes that a store accounts for the entry of a request."""
    return ENTRY_BYTES + KEY_BYTES + request.size


def memory(budget: int, seconds: dict[str, float]) -> Callable[[Request], bool]:
    """Return a `MemoryStore` that is told what an item of each namespace takes."""
    store = MemoryStore(budget)
    scopes = {name: Scope(name) for name in ("audio", "text")}
    for name, told in seconds.items():
        scopes[name].seconds = told

    def access(request: Request) -> bool:
        scope = scopes[request.namespace]
        if store.get_many(scope, [request.key])[0] is not None:
            return True
        store.set_many(scope, {request.key: NewEntry(b"", bytes(request.size))})
        return False

    return access


def saved(access: Callable[[Request], bool], trace: Sequence[Request]) -> float:
    return sum(request.seconds for request in trace if access(request))


def mixed(share: float) -> dict[str, list[Row]]:
    trace, tables = requests(share), {}
    whole = sum(taken(request) for request in set(trace))
    seconds = sum(request.seconds for request in trace)
    told = {"audio": clip(0).seconds, "text": TEXT_SECONDS}
    for part in BUDGETS:
        budget = int(whole * part)
        note(f"{share:.0%} clips, {part:.0%} of the bytes …")
        sieve = saved(Sieve(budget, taken), trace)
        alike = saved(memory(budget, {}), trace)
        weighed = saved(memory(budget, told), trace)
        row = Row(f"{share:.0%} clips, budget {part:.0%}", weighed / seconds, "of all")
        row.ratio = weighed / sieve
        tables[f"{share:.0%} of the items are clips, a store of {part:.0%} of all bytes"] = [
            row.at_least(TARGET, of="ratio") if part == 0.05 else row,
            Row("MemoryStore without costs", alike / seconds, "of all", alike / sieve),
            Row("SIEVE", sieve / seconds, "of all", 1.0),
        ]
    return tables


def inserts(seconds: float) -> Callable[[], object]:
    """Return a function that inserts a batch into a full store, which is told so many seconds."""
    store, scope = MemoryStore("4 MiB"), Scope("text")
    scope.seconds = seconds
    entry, numbers = NewEntry(b"", bytes(TEXT_BYTES)), count()

    def insert() -> None:
        keys = [next(numbers).to_bytes(KEY_BYTES, "big") for _ in range(BATCH)]
        store.set_many(scope, dict.fromkeys(keys, entry))

    return insert


def times() -> dict[str, list[Row]]:
    calls = {"insert, no seconds": inserts(0.0), "insert, seconds told": inserts(TEXT_SECONDS)}
    rows = timed(calls, repeats=201, per=BATCH, floor="insert, no seconds")
    rows["insert, seconds told"].at_most(1.05, of="ratio")
    return {"one namespace, an item of 64": list(rows.values())}


def main() -> bool:
    tables: dict[str, list[Row]] = {}
    for share in SHARES:
        tables |= mixed(share)
    return report("costs", tables | times())


if __name__ == "__main__":
    main()
