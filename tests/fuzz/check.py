"""One run: what an API answers to a plan's steps, beside its twin without the decorator."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fuzz.apis import build, undecorated
from fuzz.drivers import Answer, Caller, calling
from fuzz.facts import describe, difference
from fuzz.items import SHAPES
from fuzz.model import Fuzzed, new_context, numbers_in, put_around
from fuzz.plan import Plan
from fuzz.policies import Stores, options
from fuzz.rows import KINDS, stack
from litcache import cached_predict, disabled
from litcache.switches import is_disabled
from litcache.testing import FailingStore

NO_ROWS = ("keys", "characters", "iterator")


class Wrong(AssertionError):
    """An answer, or a count, that the undecorated twin would not have given."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep off the screen what is logged and warned of failures that are meant."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check(plan: Plan, stores: Stores) -> dict[str, int]:
    """Run a plan.

    Args:
        plan: The plan.
        stores: What makes its store.

    Returns:
        How many items were answered how.

    Raises:
        Wrong: If an answer differs from the twin's.
    """
    with quiet(), stores.of(plan) as store:
        cached = cached_predict(**options(plan, store, name="predict"))
        decode = cached_predict(**options(plan, store, name="decode_request"))
        api = build(plan, cached, decode, size=plan.size, twin=False)
        alone = 1 if plan.lists else plan.size
        twin = build(plan, undecorated, undecorated, size=alone, twin=True)
        whole = plan.driver in ("runner", "hand") and not plan.lists
        asked_as = plan.driver if plan.driver != "loop" else "runner"
        with calling(plan, twin, driver=asked_as) as other, calling(plan, api) as caller:
            run = Run(plan, caller, Twin(other, whole=whole), store, stores)
            for number, step in enumerate(plan.steps):
                run.number = number
                getattr(run, step[0])(*step[1:])
            return run.ended()


class Twin:
    """What the undecorated API answers: to a batch as a whole, or to each request by itself."""

    def __init__(self, caller: Caller, *, whole: bool) -> None:
        self.caller = caller
        self.whole = whole

    def ask(self, requests: Sequence[Any]) -> list[Answer]:
        if self.whole:
            return self.caller.ask(copy.deepcopy(requests))
        return [answer for r in requests for answer in self.caller.ask([copy.deepcopy(r)])]


def must_store(plan: Plan) -> bool:
    """Return whether nothing speaks against it that what was computed is hit at once."""
    odd = (
        plan.container in NO_ROWS
        or plan.unbatch in ("values", "generator")
        or plan.lists == "other"
        or plan.place == "instance"
        or "holder" in plan.changes  # what changed in it cannot be stored
        or plan.cached == ("decode_request",)
        or plan.trial
        or bool({"bypass_if", "refresh_if", "store_if"} & set(plan.options))
        or ("ttl" in plan.options and plan.spoil_item)  # it may read what `predict` has spoilt
        or (not plan.served and plan.size > 1 and not plan.lists)
    )
    return SHAPES[plan.item].keyable and plan.stored and plan.store == "memory" and not odd


class Run:
    """A plan on its way.

    Args:
        plan: The plan.
        caller: Who calls the API.
        twin: Who calls its twin.
        store: The store.
        stores: Who has the clock.
    """

    def __init__(self, plan: Plan, caller: Caller, twin: Twin, store: Any, stores: Stores) -> None:
        self.plan, self.caller, self.twin = plan, caller, twin
        self.api: Fuzzed = caller.api
        self.store, self.stores = store, stores
        self.number = self.serial = self.asked = 0
        self.failed = self.has_learned = False
        self.cleared = {i for i, step in enumerate(plan.steps) if step[0] == "during"}

    # ------------------------------------------------------------------ the steps

    def ask(self, *asked: Any) -> None:
        """Ask both; answers must be equal, and no item computed more often than by the twin."""
        requests = [self._request(*each) for each in asked]
        before, twin_before = self._computed(), sum(map(len, self.twin.caller.api.computed))
        expected = self.twin.ask(requests)
        got = self.caller.ask(requests)
        failed = {answer[0] for answer in expected} != {"ok"}
        allowed = {repr(a) for a in expected if a[0] != "ok"} if self._fails_together() else set()
        for place, (one, other) in enumerate(zip(expected, got, strict=True)):
            found = difference(one, other)
            if found and repr(other) not in allowed | self._own_errors(asked[place], other):
                self._wrong(f"answer {place} of {asked}: {found}")
        self.failed = self.failed or failed
        self.asked += len(list(numbers_in(asked)))
        if not failed and not isinstance(self.store, FailingStore):
            mine = self._computed() - before
            its = sum(map(len, self.twin.caller.api.computed)) - twin_before
            if mine > its and not self._learns():
                self._wrong(f"computed {mine} items for {asked}, the twin {its}")
            self._must_hit(asked)

    def _learns(self) -> bool:
        """Return whether litcache learns now that what is returned by hand is no rows."""
        first, self.has_learned = not self.has_learned, True
        return first and self.plan.driver in ("hand", "threads") and self.plan.container in NO_ROWS

    def disabled(self, *asked: Any) -> None:
        """Ask with the caches off."""
        with disabled():
            self.ask(*asked)
        self.asked -= len(list(numbers_in(asked)))

    def during(self, *asked: Any) -> None:
        """Ask, and clear before all is answered."""
        self.caller.meanwhile = self.clear
        self.ask(*asked)

    def setup(self) -> None:
        """Set both up again."""
        for api in (self.api, self.twin.caller.api):
            api.setup("cpu")

    def clear(self) -> None:
        if self.plan.place != "instance":
            self.handle.clear()

    def delete(self, n: int, language: str) -> None:
        item, contexts = self._item(n, language)
        if not getattr(self.store, "failing", False):
            self.handle.delete([item], contexts)

    def get(self, n: int, language: str) -> None:
        """What is stored must be what the model answers."""
        item, contexts = self._item(n, language)
        if getattr(self.store, "failing", False):
            return
        with suppress(KeyError):
            got = describe(self.handle.get(item, *(contexts or ())))
            if found := difference(describe(self._row(n, language)), got):
                self._wrong(f"the entry of {n}: {found}")

    def warm(self, n: int, language: str) -> None:
        """Store what the model would answer."""
        item, contexts = self._item(n, language)
        works = not getattr(self.store, "failing", False)
        if works and n not in dict(self.plan.bad):
            self.handle.warm([item], [self._row(n, language)], contexts)
            self.get(n, language)

    def advance(self, seconds: float) -> None:
        self.stores.clock.advance(seconds)

    def fail(self) -> None:
        """Let the store fail, or work again."""
        self.store.failing = not self.store.failing

    def ended(self) -> dict[str, int]:
        """Return the counters; what was asked and answered stands in one of them each."""
        if isinstance(self.store, FailingStore):
            self.store.failing = False
        if self.plan.place == "instance":
            return {}
        info = self.handle.info()
        if info.state == "off":
            self._wrong(f"the trial finds a disagreement: {info.disagreement}")
        outcomes = ("hits", "misses", "coalesced", "verified", "bypassed", "uncacheable")
        counted = {name: getattr(info, name) for name in outcomes}
        in_sight = self.plan.served and not (self.failed or self.plan.lists)
        in_sight = in_sight and "predict" in self.plan.cached and not self.plan.warm_up
        if in_sight and sum(counted.values()) != self.asked:
            self._wrong(f"{self.asked} items were asked for, counted are {counted}")
        return counted

    # ------------------------------------------------------------------ what they need

    @property
    def handle(self) -> Any:
        """The cache of the API's cached method."""
        return getattr(self.api, self.plan.cached[0]).cache

    def _row(self, n: int, language: str) -> Any:
        made = 0 if self.plan.item == "none" else n
        row = KINDS[self.plan.row].make(made, language if "predict" in self.plan.takes else "en")
        # Stacked, the row of an array has numpy's own byte order.
        return stack([row])[0] if self.plan.container == "stacked" else row

    def _request(self, n: Any, language: str) -> dict[str, Any]:
        self.serial += 1
        return {"n": n, "language": language, "serial": self.serial}

    def _item(self, n: int, language: str) -> tuple[Any, list[Any] | None]:
        """Return an item, and its context as the method finds it, if it reads one."""
        item = put_around(self.plan, self.api.shape.make(n), language)
        if not self.plan.reads_language:
            return item, None
        return item, [new_context(self.plan, language)]

    def _fails_together(self) -> bool:
        """Whether an innocent request may be answered the error of another in its batch."""
        pooled = self.plan.driver == "runner" and self.plan.lists and self.plan.size > 1
        stock = not self.plan.isolate or self.plan.place == "instance"
        return bool(pooled) or (self.plan.driver == "loop" and stock)

    def _own_errors(self, asked: tuple[Any, str], answer: Answer) -> set[str]:
        """Return what the items of a failed list answer alone.

        Where calls run beside each other, a list computes its own items before it waits for
        another call's: of two that fail the later may be heard of first.
        """
        numbers, language = asked
        beside = self.plan.driver in ("threads", "tasks", "served_tasks", "loop")
        if answer[0] == "ok" or not (beside and self.plan.lists):
            return set()
        alone = [self._request((n,), language) for n in numbers]
        return {repr(a) for request in alone for a in self.twin.ask([request]) if a[0] != "ok"}

    def _must_hit(self, asked: Sequence[Any]) -> None:
        """What was stored just now must be hit, where nothing speaks against it."""
        if is_disabled() or self.number in self.cleared or not must_store(self.plan):
            return
        before = self._computed()
        self.caller.ask([self._request(*each) for each in asked])
        self.asked += len(list(numbers_in(asked)))
        if self._computed() != before:
            self._wrong(f"asked {asked} again, it computes {self.api.computed[-3:]}")

    def _computed(self) -> int:
        return sum(map(len, self.api.computed))

    def _wrong(self, what: str) -> None:
        raise Wrong(f"step {self.number}, {self.plan.steps[self.number][0]}: {what}")
