"""What the trial costs once it is over: hits beside hits with `trial=0`, and what `verify` adds.

    python -m benchmarks.trial

Hits: each takes the way of LitServe's loops, from `decode_request` to `encode_response`. They look
at the signature of a hook before they call it; so does this. One table leaves that out, and shows
the hooks alone. Requests are the same each time, or carry an id of their own each time.

`verify`: how many items more reach a model at 80 % hits, and which share of its time that is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import litserve as ls
from litserve.loops.base import _inject_context

from benchmarks.common import Row, note, report, texts, timed
from litcache import Trial, cached_predict
from litcache.testing import APIRunner

BATCH = 64
TEXTS = texts(BATCH)
REQUESTS = 200_000
Call = Callable[..., Any]


class Untried(ls.LitAPI):
    def decode_request(self, request: dict[str, Any]) -> Any:
        return request["text"]

    @cached_predict(trial=0)
    def predict(self, texts: Any) -> Any:
        return answers(texts)

    def encode_response(self, output: Any) -> Any:
        return {"label": output}


class Tried(ls.LitAPI):
    def decode_request(self, request: dict[str, Any]) -> Any:
        return request["text"]

    @cached_predict
    def predict(self, texts: Any) -> Any:
        return answers(texts)

    def encode_response(self, output: Any) -> Any:
        return {"label": output}


def answers(texts: Any) -> Any:
    """Return what a model would."""
    return texts[:8] if isinstance(texts, str) else [text[:8] for text in texts]


def prepared(cls: type[ls.LitAPI], size: int, trial: Trial | None, requests: Requests) -> ls.LitAPI:
    """Return an API of which every request hits, and whose trial is over."""
    runner = APIRunner(cls(max_batch_size=size), trial=trial).__enter__()
    for _ in range(2 + 2 * 16):
        runner.run_batch(next(requests))
    del runner.api.encode_response  # what the runner looks at answers with
    info = runner.api.predict.cache.info()
    assert info.misses == BATCH, "these were not all hits"
    assert info.state == "on"
    return runner.api


Requests = Iterator[list[dict[str, Any]]]


def equal() -> Requests:
    """Yield requests of a usual size, the same each time."""
    while True:
        yield [{"text": text, "model": "small", "options": {"top": 5}} for text in TEXTS]


def with_ids() -> Requests:
    """Yield the same with an id of its own in each."""
    numbers = count()
    while True:
        yield [{**request, "id": str(next(numbers))} for request in next(equal())]


def direct(_: Any, hook: Call, argument: Any) -> Any:
    """Call a hook."""
    return hook(argument)


def single(api: ls.LitAPI, call: Call, requests: Requests) -> Callable[[], None]:
    """Return what the loop without batches does with 64 requests."""

    def answer() -> None:
        for request in next(requests):
            context: dict[str, Any] = {}
            decoded = call(context, api.decode_request, request)
            output = call(context, api.predict, decoded)
            call(context, api.encode_response, output)

    return answer


def batched(api: ls.LitAPI, call: Call, requests: Requests) -> Callable[[], None]:
    """Return what the batched loop does with a batch."""

    def answer() -> None:
        batch = next(requests)
        contexts: list[dict[str, Any]] = [{} for _ in batch]
        pairs = zip(contexts, batch, strict=True)
        decoded = [call(context, api.decode_request, request) for context, request in pairs]
        outputs = call(contexts, api.predict, call(contexts, api.batch, decoded))
        for context, output in zip(contexts, call(contexts, api.unbatch, outputs), strict=True):
            call(context, api.encode_response, output)

    return answer


def first_of(requests: Requests) -> Requests:
    """Yield batches of one request."""
    for batch in requests:
        yield batch[:1]


WAYS: dict[str, tuple[int, Callable[..., Any], int]] = {
    "one at a time": (1, single, BATCH),
    "a batch of 64": (BATCH, batched, BATCH),
    "a batch of one": (BATCH, batched, 1),
}


def table(call: Call, make: Callable[[], Requests], limit: float | None) -> list[Row]:
    """Time hits after the trial beside hits without one, in turns."""
    rows = []
    for way, (size, drive, per) in WAYS.items():
        calls: dict[str, Callable[[], object]] = {}
        for cls, trial in ((Untried, None), (Tried, Trial())):
            api = prepared(cls, size, trial, make())
            requests = make() if per == BATCH else first_of(make())
            calls["trial=0" if trial is None else "the trial is over"] = drive(api, call, requests)
        timings = timed(calls, repeats=101, seconds=0.003, per=per, floor="trial=0")
        for name, row in timings.items():
            row.name = f"{way}, {name}"
            if limit is not None and not name.endswith("0"):
                row.at_most(limit, of="ratio")
            rows.append(row)
    return rows


def verified() -> list[Row]:
    """Count the items that reach the model at 80 % hits, with `verify` and without."""
    rows, computed = [], {}
    for verify in (0.0, 0.001):
        with APIRunner(Tried(), trial=Trial(verify=verify)) as runner:
            api = runner.api
            del api.encode_response  # what the runner looks at answers with
            for number in range(REQUESTS):
                text = str(number) if number % 5 == 0 else TEXTS[number % BATCH]
                api.encode_response(api.predict(api.decode_request({"text": text})))
            info = api.predict.cache.info()
        assert info.state == "on"
        computed[verify] = info.misses + info.verified
        rows.append(Row(f"verify={verify:g}: of {REQUESTS:,}, computed", computed[verify], "items"))
    added = 100 * (computed[0.001] / computed[0.0] - 1)
    return [*rows, Row("model time that verify=0.001 adds", added, "%").at_most(0.5)]


def main() -> bool:
    logging.getLogger("litcache").disabled = True  # its lines would stand in the tables
    note("hits as LitServe's loops ask for them")
    tables = {
        "hits by the calls of LitServe's loops, an item": table(_inject_context, equal, 1.02),
        "each request with an id of its own": table(_inject_context, with_ids, None),
        "the hooks alone": table(direct, equal, None),
    }
    note("verify at 80 % hits")
    return report("trial", {**tables, "verify": verified()})


if __name__ == "__main__":
    main()
