"""The tests of LitServe's that must fail with a cache, each with the reason."""

from __future__ import annotations

EXPECTED: dict[tuple[str, str], str] = {
    ("loop", "test_loops.py::test_inference_worker"): "mocks BatchedLoop.run_batched_loop",
    ("overlap", "test_loops.py::test_inference_worker"): "mocks BatchedLoop.run_batched_loop",
    ("middleware", "test_middlewares.py::test_middlewares_inputs"): "counts the middlewares",
}
"""By variant and test, without its folder and its parameters."""


def reason(variant: str, test: str) -> str:
    """Return why a test fails in a variant; an empty text if it must not."""
    name = test.rpartition("/")[2].partition("[")[0]
    return EXPECTED.get((variant, name), "")
