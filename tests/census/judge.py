"""What became of a service with the decorator: every answer is compared with its twin's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from PIL import Image

from census.drive import Run
from census.shape import Judge, Shape

Outcome = Literal["right", "off", "uncached", "refused", "wrong"]


def outcome(shape: Shape, run: Run, twin: Run) -> Outcome:
    """Return what became of a service.

    Returns:
        `"wrong"`: an answer was wrong while the cache was on. Otherwise all were right, and
        `"refused"`: the decorator raised. `"off"`: a disagreement ended caching. `"uncached"`:
        nothing was answered from the cache. `"right"`: some were answered from the cache.
    """
    if run.refusal:
        return "refused"
    if wrong(shape.judge, run, twin):
        return "wrong"
    if run.is_off:
        return "off"
    return "right" if run.served else "uncached"


def wrong(judge: Judge, run: Run, twin: Run) -> list[int]:
    """Return the numbers of the requests whose answers are wrong."""
    if judge.fresh:
        return list(range(run.served))
    assert len(run.answers) == len(twin.answers) == len(run.requests), "not all are answered"
    found = []
    given: dict[str, list[Any]] = {}
    used: set[Any] = set()
    for number, (request, answer, right) in enumerate(
        zip(run.requests, run.answers, twin.answers, strict=True)
    ):
        if judge.fresh_if is not None and judge.fresh_if(request):
            before = given.setdefault(repr(request), [])
            is_right = not any(same(answer, earlier, 0) for earlier in before)
            before.append(answer)
        else:
            left_out = {*judge.free, *judge.unique}
            is_right = same(_without(answer, left_out), _without(right, left_out), judge.tolerance)
        values = [(name, answer[name]) for name in judge.unique]
        if not is_right or not used.isdisjoint(values):
            found.append(number)
        used.update(values)
    return found


def _without(answer: Any, names: set[str]) -> Any:
    if not names or not isinstance(answer, dict):
        return answer
    return {name: value for name, value in answer.items() if name not in names}


def same(one: Any, other: Any, tolerance: float) -> bool:
    """Return whether a client takes two answers for the same.

    This is written without a look at `litcache.trial.answers`, so that each checks the other.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and _all_same(one.values(), other.values(), tolerance)
    if isinstance(one, list | tuple):
        if one and all(type(part) is float for part in (*one, *other)):
            return len(one) == len(other) and _close(np.array(one), np.array(other), tolerance)
        return len(one) == len(other) and _all_same(one, other, tolerance)
    if type(one) is float:
        return _close(np.array([one]), np.array([other]), tolerance)
    if isinstance(one, np.ndarray):
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        is_float = one.dtype.kind == "f"
        return _close(one, other, tolerance) if is_float else bool((one == other).all())
    return _same_object(one, other, tolerance)


def _all_same(ones: Iterable[Any], others: Iterable[Any], tolerance: float) -> bool:
    return all(same(a, b, tolerance) for a, b in zip(ones, others, strict=True))


def _close(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    """Return whether floats are as near as allowed; without a tolerance their bits count."""
    if not tolerance:
        nan = np.isnan(one) & np.isnan(other)
        return bool((nan | ((one == other) & (np.signbit(one) == np.signbit(other)))).all())
    finite = other[np.isfinite(other)]
    most = float(np.abs(finite).max(initial=0.0))
    return np.allclose(one, other, rtol=0, atol=tolerance * most, equal_nan=True)


def _same_object(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, BaseException):
        return same(one.args, other.args, tolerance)
    if isinstance(one, Image.Image):
        return (one.size, one.tobytes()) == (other.size, other.tobytes())
    if hasattr(one, "body"):  # a response of Starlette's
        return (one.status_code, one.body) == (other.status_code, other.body)
    if hasattr(one, "model_dump"):
        return same(one.model_dump(), other.model_dump(), tolerance)
    if dataclasses.is_dataclass(one):
        return same(vars(one), vars(other), tolerance)
    return bool(one == other)
