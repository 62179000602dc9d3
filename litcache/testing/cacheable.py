"""Whether an API may be cached: its answers with the cache and without it, in many orders."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from litserve import LitAPI

from litcache.checks import check_number, told
from litcache.litapi.classes import cached_methods
from litcache.stores.memory import MemoryStore
from litcache.switches import disabled
from litcache.testing.checks import check_api, check_requests
from litcache.testing.runner import APIRunner
from litcache.trial.answers.compare import Frozen, differences, freeze, raised
from litcache.trial_policy import TOLERANCE, check_place, trial_of

_SHUFFLES = 3


def assert_cacheable(
    api: LitAPI,
    requests: Sequence[Any],
    *,
    tolerance: float = 0.01,
    ignore: Collection[str] = (),
) -> None:
    """Assert that a cached API answers requests as it does without the cache.

    This runs the requests without any cache, each alone; then with one: in order, again, in
    reverse, shuffled, and with `max_batch_size > 1` with changing neighbours. It uses a memory
    store of its own. Each run calls `setup`.

    Args:
        api: The API, with cached methods.
        requests: The arguments of `decode_request`. Give every option that your clients use, with
            inputs that repeat: what no request does is not seen.
        tolerance: The largest difference of floats, as a share of the largest magnitude in their
            array.
        ignore: Places of the answers that may differ, such as `"$.seconds"`, beside those that the
            trial of a cached method leaves out: `Trial(ignore=…)`.

    Raises:
        AssertionError: If an answer differs; the message names the request, and where.
        ValueError: If there are no requests, if a place to ignore is none, or if the tolerance is
            negative or not finite.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import litserve as ls
        >>> from litcache import cached_predict
        >>> class UpperAPI(ls.LitAPI):
        ...     @cached_predict
        ...     def predict(self, text):
        ...         return text.upper()
        >>> assert_cacheable(UpperAPI(), ["a", "b"])
    """
    check_api(api)
    check_requests(requests)
    check_number("tolerance", tolerance, TOLERANCE)
    if isinstance(ignore, str | bytes) or not isinstance(ignore, Collection):
        raise TypeError(told("ignore", ignore, 'a tuple of places such as "$.seconds"'))
    for place in ignore:
        check_place(place)
    trials = [trial_of(policy.trial) for policy in cached_methods(type(api)).values()]
    left_out = {*ignore, *(place for trial in trials if trial for place in trial.ignore)}

    def check(name: str, index: int, expected: Frozen, got: Frozen) -> None:
        if found := differences(expected, got, tolerance=tolerance, ignore=left_out, limit=1):
            raise AssertionError(
                f"request {index} of {len(requests)} is answered otherwise {name}: at "
                f"{found[0].path} {found[0].cached} is expected, and {found[0].model} is answered; "
                f"the request is {requests[index]!r:.200}"
            )

    alone = [(index,) for index in range(len(requests))]
    with disabled():
        expected = _answers(api, requests, alone)
        for index, answer in _answers(api, requests, alone[::-1]).items():
            check("when it is asked again, without a cache", index, expected[index], answer)
        if api.max_batch_size > 1:
            for name, batches in _neighbours(len(requests)):
                for index, answer in _answers(api, requests, batches).items():
                    check(f"{name}, without a cache", index, expected[index], answer)
    for name, batches in _orders(len(requests), batched=api.max_batch_size > 1):
        _each(
            api,
            requests,
            batches,
            lambda index, answer, name=name: check(  # type: ignore[misc]
                f"from the cache, {name}", index, expected[index], answer
            ),
        )


def _neighbours(count: int) -> Iterator[tuple[str, list[Sequence[int]]]]:
    order = list(range(count))
    yield "together with the others", [order]
    yield "together with the others in reverse", [order[::-1]]


def _orders(count: int, *, batched: bool) -> Iterator[tuple[str, list[Sequence[int]]]]:
    """Yield the runs with a cache: a name, and which requests are asked together."""
    order = list(range(count))
    yield "in order, twice", [(index,) for index in order * 2]
    yield "in order, then in reverse", [(index,) for index in order + order[::-1]]
    for seed in range(_SHUFFLES):
        shuffled = order * 2
        random.Random(seed).shuffle(shuffled)
        yield f"in a random order ({seed})", [(index,) for index in shuffled]
        if batched:
            size = 2 + seed
            groups = [shuffled[at : at + size] for at in range(0, len(shuffled), size)]
            yield f"with {size - 1} random neighbours", [*groups, order]


def _answers(
    api: LitAPI, requests: Sequence[Any], batches: Sequence[Sequence[int]]
) -> dict[int, Frozen]:
    """Return the last answer to each request."""
    answers: dict[int, Frozen] = {}
    _each(api, requests, batches, answers.__setitem__)
    return answers


def _each(
    api: LitAPI,
    requests: Sequence[Any],
    batches: Sequence[Sequence[int]],
    take: Callable[[int, Frozen], object],
) -> None:
    """Ask the requests in batches, and hand each answer on."""
    with APIRunner(api, store=MemoryStore()) as runner:
        for batch in batches:
            try:
                answers = [freeze(a) for a in runner.run_batch([requests[i] for i in batch])]
            except Exception as error:  # whatever the API raises is its answer
                answers = [raised(error)] * len(batch)
            for index, answer in zip(batch, answers, strict=True):
                take(index, answer)
