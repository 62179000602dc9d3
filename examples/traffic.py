"""Traffic for the gallery's clients: skewed requests of several threads, checked and counted."""

import argparse
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

CLIENTS = 8  # threads that send at the same time


@dataclass
class Report:
    """What the clients saw, and what the server's metrics say.

    Args:
        requests: How many were sent.
        right: How many had the answer that is expected of their input.
        requests_per_second: Of all clients together.
        p50_ms: The median time of a request.
        computed: Items that the model computed.
        cached: Items that were answered without the model; `None`: the cache is off.
    """

    requests: int
    right: int
    requests_per_second: float
    p50_ms: float
    computed: int
    cached: int | None

    def __str__(self) -> str:
        found = "cache off" if self.cached is None else f"{self.cached} from the cache"
        return (
            f"{self.requests} requests: {self.requests_per_second:.0f} requests/s, "
            f"p50 {self.p50_ms:.1f} ms; {self.right} of {self.requests} answers right; "
            f"items: {self.computed} computed by the model, {found}"
        )


def arguments() -> argparse.Namespace:
    """Read the options that all clients have."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the server")
    parser.add_argument("--requests", type=int, default=200, help="how many to send")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), metavar=("K", "OF"))
    parser.add_argument("--json", type=Path, help="a file for the report")
    return parser.parse_args()


def measure(
    send: Callable[[Any], Any],
    inputs: Sequence[Any],
    options: argparse.Namespace,
    *,
    expect: Callable[[Any], Any] | None = None,
    items: Callable[[Any], int] = lambda given: 1,
) -> Report:
    """Send inputs, a few of them often and most of them seldom, and print a closing line.

    Args:
        send: Sends one input and returns its answer.
        inputs: Different inputs; the first ones are asked for most.
        options: Those of `arguments`.
        expect: Input to its right answer; without it, an input's first answer is the right one,
            if no other input has the same.
        items: How many items an input has.
    """
    part, parts = options.part
    drawn = _zipf(len(inputs), options.requests)
    drawn = drawn[len(drawn) * part // parts : len(drawn) * (part + 1) // parts]
    before = _counted(options.url)

    def ask(index: int) -> tuple[Any, float]:
        start = time.perf_counter()
        return send(inputs[index]), time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers, times = zip(*clients.map(ask, drawn), strict=True)
    seconds = time.perf_counter() - start
    computed, cached = (now - then for now, then in zip(_counted(options.url), before, strict=True))
    is_on = computed or cached
    expected = [expect(inputs[index]) for index in drawn] if expect else _first(drawn, answers)
    report = Report(
        requests=len(drawn),
        right=sum(answer == right for answer, right in zip(answers, expected, strict=True)),
        requests_per_second=len(drawn) / seconds,
        p50_ms=1000 * statistics.median(times),
        computed=computed if is_on else sum(items(inputs[index]) for index in drawn),
        cached=cached if is_on else None,
    )
    if options.json:
        options.json.write_text(json.dumps({**asdict(report), "seconds": seconds, "times": times}))
    print(report)
    return report


def _zipf(count: int, draws: int) -> list[int]:
    """Return positions; the n-th of them comes about 1/n times as often as the first."""
    weights = [1 / (position + 1) for position in range(count)]
    return random.Random(0).choices(range(count), weights, k=draws)


def _first(drawn: Sequence[int], answers: Sequence[Any]) -> list[Any]:
    """Return the first answer of each one's input; `None` if it is that of another input, too."""
    first: dict[int, Any] = {}
    for index, answer in zip(drawn, answers, strict=True):
        first.setdefault(index, answer)
    inputs_of = Counter(map(repr, first.values()))
    return [first[index] if inputs_of[repr(first[index])] == 1 else None for index in drawn]


def _counted(url: str) -> tuple[int, int]:
    """Read how many items were computed and how many were not, in all tiers."""
    computed = cached = 0.0
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            if sample.name == "litcache_model_batch_items_sum":
                computed += sample.value
            elif sample.labels.get("outcome") in ("hit", "coalesced"):
                cached += sample.value
    return round(computed), round(cached)
