"""A shape: a small service, the requests that show its nature, and what should become of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import litserve as ls

Expected = Literal["cache", "option", "never"]
Requests = Callable[[random.Random], list[Any]]
COUNT = 96
DISTINCT = 24


@dataclass(frozen=True)
class Judge:
    """Which answers of a service are right.

    Args:
        tolerance: The largest difference of floats, as a share of the largest of their array.
        free: Keys of an answer that may hold anything: what a client does not rely on.
        unique: Keys of an answer that never hold what they held before.
        fresh: Whether no answer may come from a cache.
        fresh_if: Of which requests the answer may not be one that was given before.
        reads: What a client makes of an answer when it has come, such as reading a file.
    """

    tolerance: float = 0.0
    free: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    fresh: bool = False
    fresh_if: Callable[[Any], bool] | None = None
    reads: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Shape:
    """One service of the zoo.

    Args:
        api: The class, as its author wrote it: without a cache.
        kind: The kind of service.
        shows: What is particular of it.
        expected: `"cache"`: should be cached, right with the bare decorator. `"option"`: right with
            one option. `"never"`: should not be cached.
        requests: Makes the sequence of requests.
        judge: Which answers are right.
        arguments: Those of the class. A loop or a spec is a class: each API has one of its own.
        bare: What the decorator is given even without the option: what the shape is about.
        option: The option; none for what is right without, or never.
        method: The method that is decorated.
        option_method: The method that is decorated with the option.
        events: What happens before a request, by its number.
        prepare: What happens before the service starts, with the options of its decorator.
    """

    api: type[ls.LitAPI]
    kind: str
    shows: str
    expected: Expected
    requests: Requests
    judge: Judge = Judge()
    arguments: dict[str, Any] = field(default_factory=dict)
    bare: dict[str, Any] = field(default_factory=dict)
    option: dict[str, Any] = field(default_factory=dict)
    option_text: str = ""
    method: str = "predict"
    option_method: str = ""
    events: dict[int, Callable[[], None]] = field(default_factory=dict)
    prepare: Callable[[dict[str, Any]], None] | None = None

    @property
    def name(self) -> str:
        return self.api.__name__

    @property
    def has_option(self) -> bool:
        return bool(self.option_text)

    def dressed(self, method: str, cache: Callable[[Any], Any]) -> type[ls.LitAPI]:
        """Return the class as it is with the decorator above one method."""
        cls = self.api
        body = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
        body[method] = cache(getattr(cls, method))
        return type(cls)(cls.__name__, cls.__bases__, body)

    def made(self, cls: type[ls.LitAPI]) -> ls.LitAPI:
        """Return an API with the arguments of this shape."""
        given = dict(self.arguments)
        for name in given.keys() & {"loop", "spec"}:
            given[name] = given[name]()
        return cls(**given)

    def groups(self, rng: random.Random) -> list[list[Any]]:
        """Return the requests as they arrive together: one, or as many as a batch may hold."""
        most = self.arguments.get("max_batch_size", 1)
        if self.arguments.get("enable_async"):
            most = 4
        requests, groups = self.requests(rng), []
        while requests:
            size = rng.randint(1, most)
            groups.append(requests[:size])
            requests = requests[size:]
        return groups


SHAPES: list[Shape] = []


def service(
    kind: str, shows: str, expected: Expected, requests: Requests, **given: Any
) -> Callable[[type[ls.LitAPI]], type[ls.LitAPI]]:
    """Put a class into the zoo; what is no field of `Shape` or `Judge` is the API's."""
    judged = {k: given.pop(k) for k in given.keys() & Judge.__dataclass_fields__.keys()}
    fields = {k: given.pop(k) for k in given.keys() & Shape.__dataclass_fields__.keys()}

    def put(cls: type[ls.LitAPI]) -> type[ls.LitAPI]:
        SHAPES.append(Shape(cls, kind, shows, expected, requests, Judge(**judged), given, **fields))
        return cls

    return put


def zipf(
    make: Callable[[int, random.Random], Any], *, distinct: int = DISTINCT, count: int = COUNT
) -> Requests:
    """Return a maker of requests: the item of rank `n` comes a `n`-th as often as the first.

    Args:
        make: Makes a request from the rank of its item, and what changes beside it at random.
        distinct: How many items there are.
        count: How many requests.
    """
    weights = [1 / rank for rank in range(1, distinct + 1)]

    def requests(rng: random.Random) -> list[Any]:
        return [make(at, rng) for at in rng.choices(range(distinct), weights, k=count)]

    return requests


def in_turn(*makers: Requests) -> Requests:
    """Return a maker of requests that come of several makers, one phase after another."""

    def requests(rng: random.Random) -> Sequence[Any]:
        return [request for make in makers for request in make(rng)]

    return requests
