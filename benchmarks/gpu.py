"""What a GPU's services pay: hits while a kernel runs, and misses at 30,000 items a second.

    python -m benchmarks.gpu

Where torch finds no CUDA device it prints "no GPU" and ends. A hit is what the dispatcher of
`CachedBatchedLoop(overlap=True)` does with one: look up, read to the device, take it to a list. The
kernel is queued on the default stream and takes 100 ms. The model of the misses is a matrix product
that is repeated until a batch takes as long as 30,000 items a second allow.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import litserve as ls

from benchmarks.common import Row, note, report
from litcache import cached_predict
from litcache.values.devices import beside

BATCH, WIDTH = 512, 384
KERNEL_SECONDS = 0.1
ITEMS_A_SECOND = 30_000
TURNS = 50
FORMS = (None, "float16", "int8")


def api_of(form: Any, compute: Callable[[list[int]], Any]) -> ls.LitAPI:
    class VectorAPI(ls.LitAPI):
        @cached_predict(store_as=form)
        def predict(self, batch: list[int]) -> Any:
            return compute(batch)

    api = VectorAPI(max_batch_size=BATCH)
    api.device = "cuda:0"
    return api


def seconds_of(torch: Any, call: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def repeated(torch: Any, seconds: float, width: int) -> Callable[[], Any]:
    """Return a function that queues a matrix product so often that it takes so long."""
    left = torch.randn(width, width, device="cuda") / width**0.5
    right = torch.randn(BATCH, width, device="cuda")

    def queue(times: int) -> Any:
        made = right
        for _ in range(times):
            made = made @ left
        return made

    queue(8)
    one = seconds_of(torch, lambda: queue(64)) / 64
    return lambda: queue(max(1, int(seconds / one)))


def hits_table(torch: Any) -> list[Row]:
    kernel = repeated(torch, KERNEL_SECONDS, 4096)
    rows = []
    for form in FORMS:
        api = api_of(form, lambda batch: torch.randn(len(batch), WIDTH, device="cuda"))
        api.predict(list(range(BATCH)))
        taken: dict[str, list[float]] = {"in the stream of hits": [], "in the default stream": []}
        for turn in range(TURNS):
            for name, samples in taken.items():
                kernel()
                start = time.perf_counter()
                if name == "in the stream of hits":
                    with beside(api.device):
                        api.predict([turn]).tolist()
                else:
                    api.predict([turn]).tolist()
                samples.append(time.perf_counter() - start)
                torch.cuda.synchronize()
        for name, samples in taken.items():
            p99 = statistics.quantiles(samples, n=100)[-1] * 1e3
            rows.append(Row(f"a hit beside a kernel of 100 ms, {form}, {name}, p99", p99, "ms"))
    return rows


def misses_table(torch: Any) -> list[Row]:
    model = repeated(torch, BATCH / ITEMS_A_SECOND, 1024)
    numbers = iter(range(10**9))

    def compute(batch: list[int]) -> Any:
        return model()[: len(batch), :WIDTH].contiguous()

    def served(call: Callable[[list[int]], Any]) -> float:
        batches = [[next(numbers) for _ in range(BATCH)] for _ in range(TURNS)]
        seconds = seconds_of(torch, lambda: [call(batch).cpu() for batch in batches])
        return BATCH * TURNS / seconds

    served(compute)
    rows = [Row("without a cache", served(compute), "items/s", 1.0)]
    for form in FORMS:
        rate = served(api_of(form, compute).predict)
        rows.append(Row(f"all misses, {form}", rate, "items/s", rate / rows[0].value))
    return rows


def main() -> bool:
    logging.getLogger("litcache").disabled = True  # its lines would stand in the tables
    tables: dict[str, list[Row]] = {}
    try:
        import torch
    except ModuleNotFoundError:
        torch = None  # type: ignore[assignment]
    if torch is None or not torch.cuda.is_available():
        note("no GPU")
    else:
        tables = {"Hits": hits_table(torch), "All misses": misses_table(torch)}
    return report("gpu", tables)


if __name__ == "__main__":
    main()
