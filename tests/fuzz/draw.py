"""Draws plans: everything of a plan follows from its seed."""

from __future__ import annotations

import random
from typing import Any

from fuzz.items import SHAPES
from fuzz.plan import HOOKS, LIST_CONTAINERS, Plan
from fuzz.rows import KINDS, LANGUAGES
from fuzz.rules import settle

DRIVERS = ("runner", "runner", "loop", "loop", "hand", "threads", "tasks", "served_tasks")
BATCHES = ("default", "default", "list", "tuple", "super", "dict", "numbers")
UNBATCHES = ("default", "default", "super", "columns", "namespace", "values", "generator")
CONTAINERS = (
    "list", "list", "stacked", "stacked", "tuple", "iterator", "columns", "keys", "characters",
)  # fmt: skip
LISTS = ("list", "list", "stacked", "one", "other")
PLACES = ("own", "own", "mixin", "base", "override", "instance")
CACHED = (("predict",),) * 6 + (("predict", "decode_request"), ("decode_request",))
STORES = (
    "memory", "memory", "memory", "tiny", "shared", "tiered", "failing", "redis",
)  # fmt: skip
CHANGES = (
    "add", "replace", "remove", "in_place", "holder", "by_batch", "by_unbatch", "put_by_batch",
    "put_by_unbatch",
)  # fmt: skip
OPTIONS = (
    "ttl", "key", "bypass_if", "refresh_if", "store_if", "names", "sha256", "version", "max_items",
)  # fmt: skip
WHERE = ("decode_request", "batch", "predict", "unbatch", "encode_response", "http", "short")
OTHERS = (
    "clear", "delete", "advance", "disabled", "fail", "warm", "again", "get", "setup", "during",
)  # fmt: skip


def draw(seed: int) -> Plan:
    """Return the plan of a seed."""
    rng = random.Random(seed)
    driver = rng.choice(DRIVERS)

    def maybe(chance: float = 0.25) -> bool:
        return rng.random() < chance

    def some(names: tuple[str, ...], chance: float) -> tuple[str, ...]:
        return tuple(name for name in dict.fromkeys(names) if rng.random() < chance)

    lists = rng.choice(LISTS) if maybe() else ""
    size = 1 if maybe(0.4) and driver != "loop" else rng.choice((2, 4, 8))
    plan = Plan(
        seed=seed, driver=driver, size=size, lists=lists,
        item=rng.choice(list(SHAPES)), row=rng.choice(list(KINDS)),
        container=rng.choice(LIST_CONTAINERS if lists else CONTAINERS),
        batch=rng.choice(BATCHES), unbatch=rng.choice(UNBATCHES),
        takes=some(HOOKS, 0.5) if maybe(0.4) else (), changes=some(CHANGES, 0.3),
        plain=some(("decode_request", "encode_response"), 0.3), place=rng.choice(PLACES),
        cached=rng.choice(CACHED), spoil_item=maybe(), spoil_output=maybe(0.5),
        reuse_item=maybe(0.15), reuse_output=maybe(0.2), pause=maybe(0.5), echo=maybe(0.1),
        consume=maybe(0.15), warm_up=maybe(0.1),
        options=some(OPTIONS, 0.12), store=rng.choice(STORES),
        overlap=maybe(0.5), isolate=maybe(0.75), bad=_bad(rng) if maybe(0.3) else (),
        steps=_steps(rng, lists=bool(lists)), trial=rng.choice((0, 0, 1, 4)),
        around=rng.choice(("", "", "dict", "tuple")) if lists else "",
    )  # fmt: skip
    return settle(plan)


def _bad(rng: random.Random) -> tuple[tuple[int, str], ...]:
    return tuple((n, rng.choice(WHERE)) for n in rng.sample(range(8), rng.choice((1, 1, 2))))


def _steps(rng: random.Random, *, lists: bool) -> tuple[tuple[Any, ...], ...]:
    known = rng.sample(range(8), rng.choice((2, 3, 5, 8)))
    languages = LANGUAGES[: rng.choice((1, 1, 2, 3))]

    def request() -> tuple[Any, ...]:
        if lists:
            count = rng.choice((0, 1, 2, 3, 5))
            return tuple(rng.choice(known) for _ in range(count)), rng.choice(languages)
        return rng.choice(known), rng.choice(languages)

    steps: list[tuple[Any, ...]] = []
    for _ in range(rng.choice((2, 3, 5, 8))):
        steps.append(("ask", *(request() for _ in range(rng.choice((1, 2, 3, 6, 12))))))
        if rng.random() < 0.3:
            n, language = rng.choice(known), rng.choice(languages)
            other = rng.choice(OTHERS)
            steps.append({
                "clear": ("clear",), "delete": ("delete", n, language), "advance": ("advance", 7.0),
                "disabled": ("disabled", *steps[-1][1:]), "fail": ("fail",),
                "warm": ("warm", n, language), "again": steps[-1],
                "get": ("get", n, language), "setup": ("setup",),
                "during": ("during", *steps[-1][1:]),
            }[other])  # fmt: skip
    return tuple(steps)
