"""The whole zoo: what becomes of each service."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import census.shapes  # noqa: F401 - puts the services into the zoo
from census.drive import Run, cached, twin
from census.judge import Outcome, outcome
from census.shape import SHAPES, Shape


@dataclass(frozen=True)
class Found:
    """What became of one service.

    Attributes:
        shape: The service.
        bare: What became of it with the bare decorator.
        with_option: The same with its option, if it has one.
        run: The run with the bare decorator.
        option_run: The run with the option.
    """

    shape: Shape
    bare: Outcome
    with_option: Outcome | None
    run: Run
    option_run: Run | None


def found(shape: Shape, *, options: bool = True) -> Found:
    """Run a service beside its twin: with the bare decorator, and with its option."""
    with quiet():
        right, bare = twin(shape), cached(shape)
        if not (options and shape.has_option):
            return Found(shape, outcome(shape, bare, right), None, bare, None)
        best = cached(shape, option=True)
        return Found(shape, outcome(shape, bare, right), outcome(shape, best, right), bare, best)


def shapes() -> list[Shape]:
    """Return all services of the zoo, by kind."""
    kinds = list(dict.fromkeys(shape.kind for shape in SHAPES))
    return sorted(SHAPES, key=lambda shape: kinds.index(shape.kind))


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what LitServe and litcache would tell a person about services as odd as these."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
