"""Runs a service of the zoo through LitServe's own loops, as it is and with the decorator."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import litserve as ls
from support.loops import running

from census.shape import Shape
from litcache import LitCacheError, Trial, cached_predict
from litcache.testing import APIRunner

SEED = 5


@dataclass
class Run:
    """What became of the requests.

    Attributes:
        requests: The requests, in order.
        answers: What the clients got, or the errors.
        served: How many items were answered from the cache.
        is_off: Whether the cache has ended caching.
        refusal: Why the decorator refused the class, if it did.
        disagreement: Why caching has ended.
    """

    requests: list[Any] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    served: int = 0
    is_off: bool = False
    refusal: str = ""
    disagreement: str = ""


def twin(shape: Shape) -> Run:
    """Run a service as its author wrote it."""
    with own_folder():
        return _run(shape, shape.api, {})


def cached(shape: Shape, *, option: bool = False) -> Run:
    """Run a service with the decorator, bare or with its option."""
    options = {**shape.bare, **(shape.option if option else {})}
    for name in [name for name, value in options.items() if value is None]:
        del options[name]
    method = (option and shape.option_method) or shape.method
    with own_folder():
        if shape.prepare:
            shape.prepare(options)
        try:
            cls = shape.dressed(method, cached_predict(**options))
            return _run(shape, cls, options, method)
        except (LitCacheError, TypeError, ValueError) as error:  # made, or prepared for a server
            return Run(refusal=f"{type(error).__name__}: {error}")


@contextmanager
def own_folder() -> Iterator[None]:
    """Run what reads and writes files in a new folder."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _run(shape: Shape, cls: type[ls.LitAPI], options: dict[str, Any], method: str = "") -> Run:
    rng = random.Random(SEED)
    groups = shape.groups(rng)
    random.seed()
    api = shape.made(cls)
    run = Run()
    with _asking(api, options) as ask:
        for group in groups:
            for number in range(len(run.requests), len(run.requests) + len(group)):
                if number in shape.events:
                    shape.events[number]()
            run.requests += group
            answers = ask(group)
            run.answers += map(shape.judge.reads, answers) if shape.judge.reads else answers
        if method:
            _note(run, getattr(api, method))
    return run


def _note(run: Run, method: Any) -> None:
    """Note what the cache of a method says of itself."""
    if not hasattr(method, "cache"):
        return
    info = method.cache.info()
    run.served = info.hits + info.coalesced
    # Versions before 0.5.0 have no state: they are always on.
    run.is_off = getattr(info, "state", "on") == "off"
    run.disagreement = getattr(info, "disagreement", "")


Ask = Callable[[list[Any]], list[Any]]


@contextmanager
def _asking(api: ls.LitAPI, options: dict[str, Any]) -> Iterator[Ask]:
    """Serve an API; requests that are given together arrive together.

    `APIRunner` makes exactly these batches, and collects streams; it ends LitServe's loop after
    each. Others are answered by one loop that runs on.
    """
    is_stock = type(api.loop).__module__.startswith("litserve.")
    if (api.max_batch_size > 1 and is_stock) or api.stream or api.enable_async:
        with APIRunner(api, trial=options.get("trial", Trial())) as runner:
            yield runner.run_batch
    else:
        with running(api, tried=True) as driven:
            yield lambda group: driven.get(*group)
