"""The policies and stores of plans."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from fuzz.items import SHAPES, Shape
from fuzz.plan import Plan
from litcache import MemoryStore, RedisStore, SharedStore, Store, TieredStore
from litcache.testing import FailingStore, FakeClock

TINY = 1 << 11
_namespaces = itertools.count()


def options(plan: Plan, store: Store, *, name: str) -> dict[str, Any]:
    """Return the options of a plan's policy, as keywords of `cached_predict`."""
    shape, asked = SHAPES[plan.item], set(plan.options)
    given: dict[str, Any] = {
        "store": store, "version": "1", "namespace": f"fuzz {next(_namespaces)} {name}",
        "trial": plan.trial,
    }  # fmt: skip
    if "ttl" in asked:
        given["ttl"] = 10.0
    if "sha256" in asked:
        given["digest"] = "sha256"
    if "version" in asked:
        given["version"] = lambda api: f"version {api.plan.seed}"
    if name != "predict":
        return given
    if plan.lists:
        given["items"] = "list"
        given["list_at"] = plan.list_at
        if "max_items" in asked:
            given["max_items"] = 2
    if plan.seed % 4 == 0:  # nobody reads it: it must change nothing
        given["outcome_in"] = "outcome"
    if "names" in asked:
        given["context"] = ("language",)
    if "key" in asked:
        given["key"] = _key_with_context(shape) if plan.reads_language else _key(shape)
    if "ttl" in asked and plan.seed % 2 and plan.item != "stream":
        given["ttl"] = _ttl(shape, may_be_zero="store_if" in asked)
    for option, remainder in (("bypass_if", 0), ("refresh_if", 1), ("store_if", 2)):
        if option in asked and plan.item != "stream":  # it would read what `predict` is to read
            given[option] = _predicate(shape, remainder, outputs=option == "store_if")
    return given


def _key(shape: Shape) -> Any:
    return lambda item: ("number", shape.read(item))


def _key_with_context(shape: Shape) -> Any:
    return lambda item, context: (shape.read(item), context["language"])


def _predicate(shape: Shape, remainder: int, *, outputs: bool) -> Any:
    """Return a function that is true of a third of the items."""
    if outputs:
        return lambda item, output: shape.read(item) % 3 != remainder
    return lambda item: shape.read(item) % 3 == remainder


def _ttl(shape: Shape, *, may_be_zero: bool) -> Any:
    """Return a function that says ten seconds in three ways, and for some items 0."""
    ways = ("10s", timedelta(seconds=10), 0 if may_be_zero else 10.0)
    return lambda item, output: ways[shape.read(item) % 3]


# ---------------------------------------------------------------------- stores


class Stores:
    """Makes the stores of plans, and ends what they stand on.

    Attributes:
        clock: What the stores of the plan that runs take for the time.
    """

    def __init__(self, redis_url: str | None = None) -> None:
        self.redis_url = redis_url
        self.clock = FakeClock()

    @contextmanager
    def of(self, plan: Plan) -> Iterator[Store]:
        """Make the store of a plan."""
        self.clock = clock = FakeClock()
        with ExitStack() as stack:
            store = self._make(plan.store, clock, stack)
            stack.callback(store.close)
            yield store

    def _make(self, name: str, clock: FakeClock, stack: ExitStack) -> Store:
        if name == "tiny":
            return MemoryStore(TINY, clock=clock)
        if name == "failing":
            store = FailingStore(MemoryStore(clock=clock), fail=("get", "set", "delete"))
            store.failing = False
            return store
        if name == "redis" and self.redis_url is not None:
            return RedisStore(self.redis_url, timeout=2.0)
        if name in ("shared", "tiered"):
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="litcache-fuzz-", ignore_cleanup_errors=True)
            )
            shared = SharedStore(Path(folder) / "store", "8 MiB", timeout=2.0, clock=clock)
            if name != "tiered":
                return shared
            return TieredStore(MemoryStore(1 << 14, clock=clock), shared)
        return MemoryStore(clock=clock)
