"""Errors by which a model refuses a request: a hit would answer it all the same."""

from __future__ import annotations

from typing import Any

from litcache.trial.answers.compare import Difference, Frozen, freeze
from litcache.trial.answers.frozen import describe

OF_THE_MOMENT = frozenset({408, 425, 429})
"""The statuses of a service that is busy: they are said of this moment, not of the request."""
_FAULTS = 500


def refusal(error: BaseException | None, stored: Frozen) -> Difference | None:
    """Return how an error differs from what a hit would answer; `None` if it is no refusal.

    A refusal is an `HTTPException` whose status says that the client is at fault. Any other error
    may be one of the moment, and a hit is what helps against it.

    Args:
        error: What the model has raised.
        stored: What a hit would answer, frozen.

    Example:
        >>> refusal(ValueError("no"), freeze("yes")) is None
        True
    """
    status = _status_of(error)
    if status is None or status >= _FAULTS or status in OF_THE_MOMENT:
        return None
    detail = describe(freeze(getattr(error, "detail", "")).tree)
    return Difference("$", describe(stored.tree), f"{status} {detail}")


def _status_of(error: BaseException | None) -> int | None:
    """Return the status of an `HTTPException`, known by its name: FastAPI stands above this."""
    status: Any = getattr(error, "status_code", None)
    is_one = any(base.__name__ == "HTTPException" for base in type(error).__mro__)
    return status if is_one and isinstance(status, int) else None
