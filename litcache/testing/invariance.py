"""Whether an item's output depends on its neighbours in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litserve import LitAPI

from litcache.checks import check_number
from litcache.switches import disabled
from litcache.testing.checks import check_api, check_requests
from litcache.testing.compare import difference
from litcache.testing.runner import APIRunner
from litcache.trial_policy import TOLERANCE


def assert_batch_invariant(
    api: LitAPI, requests: Sequence[Any], rtol: float = 0.0, atol: float = 0.0
) -> None:
    """Assert that an item's output does not depend on its neighbours in a batch.

    Only then litcache may split a batch into hits and misses. This runs the requests without any
    cache: all together, in reverse order, and each alone. It compares the outputs of `unbatch`.

    Args:
        api: An API with `max_batch_size > 1`.
        requests: Requests of different sizes: the arguments of `decode_request`.
        rtol: The allowed difference, as a share of the output of the item alone.
        atol: The allowed difference, in addition.

    Raises:
        AssertionError: If an output differs; the message names the item.
        ValueError: If `max_batch_size` is 1, there are no requests, or a tolerance is negative
            or not finite.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import litserve as ls
        >>> class LengthAPI(ls.LitAPI):
        ...     def predict(self, texts):
        ...         return [len(text) for text in texts]
        >>> assert_batch_invariant(LengthAPI(max_batch_size=8), ["a", "bc"])
    """
    check_api(api)
    check_requests(requests)
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        check_number(name, tolerance, TOLERANCE)
    if api.max_batch_size < 2:
        raise ValueError(f"max_batch_size={api.max_batch_size}: there are no batches to compare")
    with APIRunner(api) as runner, disabled():

        def outputs(indices: Sequence[int]) -> dict[int, Any]:
            runner.run_batch([requests[index] for index in indices])
            return dict(zip(indices, runner.outputs, strict=True))

        order = list(range(len(requests)))
        alone = {index: outputs([index])[index] for index in order}
        for neighbours, together in (
            ("together with the others", outputs(order)),
            ("together with the others in reverse", outputs(order[::-1])),
        ):
            for index in order:
                found = difference(alone[index], together[index], rtol=rtol, atol=atol)
                if found:
                    raise AssertionError(
                        f"item {index} of {len(requests)} depends on its neighbours: alone and "
                        f"{neighbours}, {found} (rtol={rtol}, atol={atol}); the request is "
                        f"{requests[index]!r:.200}"
                    )
