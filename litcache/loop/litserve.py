"""The internals of LitServe that the loop uses, and the check that they are there."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from litserve import LitAPI

from litcache.litapi.litserve import refuse, submission_faults

SENTINEL = (None, None, None, None)
"""What LitServe puts into a request queue to stop a loop."""

IDLE_SECONDS = 0.1
"""The longest that a loop waits for LitServe's queue at a time.

The queue hands a request to a worker that was killed while it waited, and the request is lost: for
as long as that worker would have waited.
"""

_missing: list[str] = []


def _find(module: str, name: str) -> Any:
    """Return a name of LitServe's; `None` if it is gone, so that importing litcache never fails."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        _missing.append(f"{module}.{name}")
        return None


BatchedLoop: Any = _find("litserve.loops", "BatchedLoop") or object
SingleLoop: Any = _find("litserve.loops", "SingleLoop")
EventTypes: Any = _find("litserve.callbacks", "EventTypes")
LitAPIStatus: Any = _find("litserve.utils", "LitAPIStatus")
LoopResponseType: Any = _find("litserve.utils", "LoopResponseType")
PickleableHTTPException: Any = _find("litserve.utils", "PickleableHTTPException")

# The methods that the loop overrides or calls, with their parameters by position.
_RUN = ("lit_api", "request_queue", "transport", "callback_runner", "lit_spec")
_CALL = (
    "lit_api", "device", "worker_id", "request_queue", "transport", "workers_setup_status",
    "callback_runner",
)  # fmt: skip
_METHODS = (
    ("BatchedLoop", "__call__", _CALL),
    ("BatchedLoop", "run_batched_loop", _RUN),
    ("BatchedLoop", "get_batch_requests", ("lit_api", "request_queue", "transport")),
    ("BatchedLoop", "put_response", (
        "transport", "response_queue_id", "uid", "response_data", "status", "response_type",
    )),
    ("BatchedLoop", "put_error_response", ("transport", "response_queue_id", "uid", "error")),
    ("BatchedLoop", "pre_setup", ("lit_api", "spec")),
    ("BatchedLoop", "kill", ()),
    ("SingleLoop", "run_single_loop", _RUN),
)  # fmt: skip


def check() -> None:
    """Refuse a LitServe that the loop does not know.

    Raises:
        UnsupportedLitServeError: If a name is gone, or a method has other parameters.
    """
    missing = list(_missing)
    for owner, name, expected in _METHODS:
        method = getattr(globals()[owner], name, None)
        if method is None or not _takes(method, expected):
            missing.append(f"{owner}.{name}({', '.join(expected)})")
    called = getattr(getattr(BatchedLoop.__call__, "__code__", None), "co_names", ())
    if "run_batched_loop" not in called:
        missing.append("BatchedLoop.__call__ calling run_batched_loop")
    if _find("litserve.loops.base", "_SENTINEL_VALUE") != SENTINEL:
        missing.append(f"the sentinel {SENTINEL}")
    missing += submission_faults()
    if missing:
        refuse(missing, "CachedBatchedLoop")


def count_workers(api: LitAPI, status: Mapping[str, Any]) -> int:
    """Return how many workers read the queue of an API.

    Args:
        api: The API.
        status: LitServe's dict of its workers, by `f"{endpoint}_{worker_id}"`.
    """
    endpoint = (api.api_path or "").split("/")[-1]
    return sum(name.rpartition("_")[0] == endpoint for name in status.keys())  # noqa: SIM118


def _takes(method: Any, expected: tuple[str, ...]) -> bool:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = tuple(parameter.name for parameter in parameters)
    more = parameters[len(expected) :]
    return names[: len(expected)] == expected and all(p.default is not p.empty for p in more)


def is_known(arrived: Any) -> bool:
    """Return whether an object from LitServe's queue is a request that the loop can read."""
    return (
        isinstance(arrived, tuple)
        and len(arrived) == len(SENTINEL)
        and isinstance(arrived[2], int | float)
    )
