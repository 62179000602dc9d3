"""Who calls an API: a loop of LitServe's, `CachedBatchedLoop`, or a user by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException
from support.loops import running

from fuzz.facts import describe
from fuzz.model import Fuzzed, inject, new_context
from fuzz.plan import Plan
from litcache.testing import APIRunner

Answer = tuple[Any, ...]
"""`("ok", ...)` and what was answered, or what was raised: type, text, status."""

SECONDS = 30.0


def raised(error: BaseException) -> Answer:
    """Return what a client or caller can see of an error."""
    if isinstance(error, HTTPException):
        return "http", error.status_code, str(error.detail)
    return "error", type(error).__name__, str(error)


class Caller:
    """Asks an API.

    Args:
        api: The API.

    Attributes:
        meanwhile: What happens while the next requests are computed, if the caller can do so.
    """

    def __init__(self, api: Fuzzed) -> None:
        self.api = api
        self.meanwhile: Any = None

    def _do_meanwhile(self) -> None:
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()

    def ask(self, requests: Sequence[Any]) -> list[Answer]:
        """Return the answers to requests that come together."""
        raise NotImplementedError


class InRunner(Caller):
    """LitServe's own loop, in the APIRunner: each call is one batch."""

    runner: APIRunner

    def ask(self, requests: Sequence[Any]) -> list[Answer]:
        if self.api.max_batch_size > 1:
            return self._ask(requests)
        return [answer for request in requests for answer in self._ask([request])]

    def _ask(self, requests: Sequence[Any]) -> list[Answer]:
        try:
            return [("ok", *answer) for answer in self.runner.run_batch(requests)]
        except Exception as error:
            return [raised(error)] * len(requests)


class InLoop(Caller):
    """A loop in a thread of its own: requests come when they come."""

    driven: Any

    def ask(self, requests: Sequence[Any]) -> list[Answer]:
        uids = self.driven.ask(*requests)
        self._do_meanwhile()
        answers = self.driven.wait(*uids)
        return [raised(a) if isinstance(a, Exception) else ("ok", *a) for a in answers]


class ByHand(Caller):
    """A user who calls the methods."""

    def ask(self, requests: Sequence[Any]) -> list[Answer]:
        items, contexts = self._decoded(requests)
        if self.api.max_batch_size > 1 and not self.api.plan.lists:
            return [self._tried(lambda: self._batch(items, contexts))]
        pairs = zip(items, contexts, strict=True)
        return [self._tried(lambda pair=pair: self._one(*pair)) for pair in pairs]

    def _decoded(self, requests: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        contexts = [new_context(self.api.plan, request["language"]) for request in requests]
        return [self.api.decode(request, None) for request in requests], contexts

    def _tried(self, call: Any) -> Answer:
        try:
            return "ok", *call()
        except Exception as error:
            return raised(error)

    def _one(self, item: Any, context: Any) -> Answer:
        return self.api.encode(inject(self.api.predict, item, context), context)

    def _batch(self, items: list[Any], contexts: list[Any]) -> Answer:
        x = inject(self.api.batch, items, contexts)
        output = inject(self.api.predict, x, contexts)
        told = describe(output)
        rows = list(inject(self.api.unbatch, output, contexts))
        pairs = zip(rows, contexts, strict=True)
        return told, [self.api.encode(*pair) for pair in pairs]


class InThreads(ByHand):
    """Users in threads that call at the same time."""

    def ask(self, requests: Sequence[Any]) -> list[Answer]:
        answers: dict[int, list[Answer]] = {}
        barrier = threading.Barrier(len(requests))

        def work(place: int) -> None:
            barrier.wait(SECONDS)
            answers[place] = super(InThreads, self).ask([requests[place]])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(requests))]
        for thread in threads:
            thread.start()
        self._do_meanwhile()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a call by hand hangs"
        return [answer for place in range(len(requests)) for answer in answers[place]]


class InTasks(ByHand):
    """Users in tasks of one event loop."""

    def ask(self, requests: Sequence[Any]) -> list[Answer]:
        items, contexts = self._decoded(requests)

        async def one(item: Any, context: Any) -> Answer:
            try:
                output = await inject(self.api.predict, item, context)
                return "ok", *self.api.encode(output, context)
            except Exception as error:
                return raised(error)

        async def every() -> list[Answer]:
            pairs = zip(items, contexts, strict=True)
            gathered = asyncio.gather(*(one(*pair) for pair in pairs), self._later())
            return (await asyncio.wait_for(gathered, SECONDS))[:-1]

        return asyncio.run(every())

    async def _later(self) -> None:
        self._do_meanwhile()


@contextmanager
def calling(plan: Plan, api: Fuzzed, *, driver: str = "") -> Iterator[Caller]:
    """Set an API up and let somebody call it, as the plan says or as told."""
    driver = driver or plan.driver
    if driver == "runner":
        with APIRunner(api, trial=plan.trial) as runner:
            caller = InRunner(api)
            caller.runner = runner
            yield caller
    elif driver in ("loop", "served_tasks"):
        with running(api, tried=True) as driven:
            looped = InLoop(api)
            looped.driven = driven
            yield looped
    else:
        api.setup("cpu")
        api.device = "cpu"
        if api.max_batch_size > 1:
            api.pre_setup()  # `unbatch` needs it
        yield {"hand": ByHand, "threads": InThreads, "tasks": InTasks}[driver](api)
