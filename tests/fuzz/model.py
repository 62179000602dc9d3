"""The hooks of a random API: what its plan says, written once for the API and for its twin."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import types
from collections.abc import Iterator, Sequence
from typing import Any

import litserve as ls
import numpy as np
from fastapi import HTTPException

from fuzz.facts import describe, spoil
from fuzz.items import SHAPES
from fuzz.plan import Plan
from fuzz.rows import KINDS, stack


class Refused(Exception):
    """What a hook raises for an item that is bad."""


class Numbers(list[int]):
    """The numbers of the items that `predict` got.

    Args:
        option: The language that stood around their list, if anything did.
        container: The kind of what `predict` got.
    """

    def __init__(self, option: str, container: str) -> None:
        super().__init__()
        self.option = option
        self.container = container


class Fuzzed(ls.LitAPI):
    """An API whose hooks do what a plan says.

    Attributes:
        plan: The plan.
        computed: The numbers of the items that reached `predict`, call by call.
    """

    plan: Plan

    def setup(self, device: str) -> None:
        self.computed: list[list[int]] = []
        self.shape, self.kind = SHAPES[self.plan.item], KINDS[self.plan.row]
        self.bad = dict(self.plan.bad)
        self.kept_item = self.shape.make(0)
        self.kept_output: Any = None
        self.kept_rows: Any = None
        if self.plan.place == "instance":
            self.predict = functools.partial(self.predict)
        if self.plan.warm_up:
            self.warm_up()
        encoded = [n for n, where in self.plan.bad if where == "encode_response"]
        self.refused = [
            describe(self.kind.make(n, language))
            for n in encoded
            for language in ("en", "de", "fr")
        ]

    def warm_up(self) -> None:
        """Call `predict` as users do before the first request."""
        items = [self.shape.make(0), self.shape.make(1)]
        contexts: Any = [new_context(self.plan, "en") for _ in items]
        if self.plan.lists:
            x: Any = put_around(self.plan, items, "en")
            contexts = contexts[0]
        elif self.max_batch_size > 1:
            x = inject(self.batch, items, contexts)
        else:
            x, contexts = items[0], contexts[0]
        inject(self.predict, x, contexts)

    # ------------------------------------------------------------------ decode_request

    def decode(self, request: Any, context: Any) -> Any:
        """Make the item, or the list of items, that a request asks for."""
        if context is not None:
            context |= new_context(self.plan, request["language"])
            if "names" in self.plan.options:
                context["trace"] = request["serial"]
        numbers = request.pop("n") if self.plan.consume else request["n"]
        if not self.plan.lists:
            return self.decode_one(numbers)
        items = [self.decode_one(n) for n in numbers]
        if self.plan.lists == "other":
            return {"items": items}
        listed: Any = items
        if self.plan.lists == "one":
            listed = items[0] if items else []
        elif self.plan.lists == "stacked" and items:
            listed = stack(items)
        return put_around(self.plan, listed, request["language"])

    def decode_one(self, n: int) -> Any:
        self.refuse([n], "decode_request")
        if self.plan.reuse_item and self.shape.fill is not None:
            self.shape.fill(self.kept_item, n)
            return self.kept_item
        return self.shape.make(n)

    def refuse(self, numbers: Sequence[int], where: str) -> None:
        """Raise if one of the numbers is bad in this hook."""
        for n in numbers:
            if self.bad.get(n) == where:
                raise Refused(f"{where} refuses {n}")
            if where == "predict" and self.bad.get(n) == "http":
                raise HTTPException(418, f"no {n}")

    # ------------------------------------------------------------------ batch

    def make_batch(self, items: list[Any], contexts: Any, default: Any) -> Any:
        """Make what `predict` gets of a batch."""
        for place, context in enumerate(contexts or ()):
            if "by_batch" in self.plan.changes:
                context["batched"] = [context["language"]]
            if "put_by_batch" in self.plan.changes:
                contexts[place] = {**context, "put": [context["language"]]}
        if any(where == "batch" for where in self.bad.values()):
            self.refuse([self.shape.read(copy.copy(item)) for item in items], "batch")
        kind = self.plan.batch
        if kind == "super":
            return default(items)
        if kind == "numbers":
            return np.array([self.shape.read(item) for item in items])
        return {"list": list, "tuple": tuple, "dict": lambda i: {"items": i}}[kind](items)

    # ------------------------------------------------------------------ predict

    def read(self, x: Any) -> Numbers:
        """Read the numbers of what `predict` got, and spoil it."""
        listed = {"dict": lambda: x["items"], "tuple": lambda: x[0]}
        option = {"dict": lambda: x["language"], "tuple": lambda: x[1][0]}
        around = self.plan.around
        items = listed[around]() if around else x
        read = Numbers(option[around]() if around else "", type(items).__name__)
        read += self.read_items(items)
        if around and self.plan.spoil_item:
            spoil(x)
        return read

    def read_items(self, x: Any) -> list[int]:
        if not self.plan.lists and self.max_batch_size == 1:
            items: Any = [x]
        elif type(x) is dict and set(x) == {"items"}:
            items = x["items"]
        elif self.plan.lists == "one" and self.plan.item == "tokens" and x and type(x[0]) is int:
            items = [x]
        else:
            items = [x] if type(x) is str else x
        if self.plan.batch == "numbers":
            return [int(n) for n in items]
        numbers = [self.shape.read(item) for item in items]
        if self.plan.spoil_item:
            spoil(x)
        return numbers

    def answer(self, x: Any, numbers: Numbers, contexts: Any) -> Any:
        """Compute what `predict` returns."""
        self.computed.append(numbers)
        self.numbers = numbers
        self.refuse(numbers, "predict")
        single = not self.plan.lists and self.max_batch_size == 1
        if self.plan.lists:
            languages = self.of_list(numbers, contexts)
        else:
            contexts = [contexts] if single and contexts is not None else contexts
            languages = [c["language"] for c in contexts] if contexts else ["en"] * len(numbers)
            for n, context in zip(numbers, contexts or (), strict=False):
                self.change(n, context)
        if self.plan.echo:
            return x
        answered = [n for n in numbers if self.bad.get(n) != "short"]
        if self.plan.reuse_output:
            return self.refill(numbers, languages, single=single)
        rows = [self.kind.make(n, each) for n, each in zip(answered, languages, strict=False)]
        if (
            self.plan.lists in ("list", "stacked") and self.plan.row == "text"
        ):  # as the client sees what came in
            rows = [f"{row} {numbers.container}" for row in rows]
        return rows[0] if single else self.contain(rows, answered)

    def of_list(self, numbers: Numbers, context: Any) -> list[str]:
        """Return the languages of a list, and change its context: what is written is of no item."""
        language = numbers.option or (context or {}).get("language", "en")
        if context is not None:
            self.change(0, context)
        return [language] * len(numbers)

    def change(self, n: int, context: dict[str, Any]) -> None:
        for change in self.plan.changes:
            if change == "add":
                context["tokens"] = {"n": n, "language": context["language"]}
            elif change == "replace":
                context["language"] = context["language"].upper()
            elif change == "remove":
                context.pop("scratch", None)
            elif change == "in_place":
                context["trail"].append(n)
            elif change == "holder":
                context["holder"].n = n

    def refill(self, numbers: list[int], languages: list[str], *, single: bool) -> Any:
        """Write the outputs into the buffer that all calls share."""
        assert self.kind.fill is not None
        if self.kept_output is None:
            row = self.kind.make(0, "en")
            self.kept_output = row
            self.kept_rows = stack([row] * 64)
        if single:
            self.kind.fill(self.kept_output, numbers[0], languages[0])
            return self.kept_output
        for place, (n, language) in enumerate(zip(numbers, languages, strict=True)):
            self.kind.fill(self.kept_rows[place], n, language)
        return self.kept_rows[: len(numbers)]

    def contain(self, rows: list[Any], numbers: list[int]) -> Any:
        """Put rows into the container of the plan."""
        kind = self.plan.container
        if kind == "stacked":
            return stack(rows) if rows else []
        if kind == "columns":
            return {"row": rows, "n": np.array(numbers)}
        if kind == "columns_tuple":
            return rows, [n * 2 for n in numbers]
        if kind == "keys":
            return {
                f"{n} {describe(row)!r:.500}": None for n, row in zip(numbers, rows, strict=True)
            }
        if kind == "characters":
            return "".join(chr(97 + n) for n in numbers)
        if kind in ("namespace", "values", "generator"):
            return types.SimpleNamespace(rows=rows)
        return {"list": list, "tuple": tuple, "iterator": iter}[kind](rows)

    # ------------------------------------------------------------------ unbatch

    def open_batch(self, output: Any, contexts: Any, default: Any) -> Any:
        """Cut the output of a batch."""
        for place, context in enumerate(contexts or ()):
            if "by_unbatch" in self.plan.changes:
                context["unbatched"] = context.pop("scratch", None)
            if "put_by_unbatch" in self.plan.changes:
                contexts[place] = {"language": context["language"], "last": "trail" in context}
        self.refuse(self.numbers, "unbatch")
        kind = self.plan.unbatch
        if kind == "columns":
            rows = zip(output["row"], output["n"], strict=True)
            return [{"row": row, "n": int(n)} for row, n in rows]
        if kind == "values":
            return dict(enumerate(output.rows)).values()
        if kind == "generator":
            return (row for row in output.rows)
        return output.rows if kind == "namespace" else default(output)

    # ------------------------------------------------------------------ encode_response

    def encode(self, output: Any, context: Any) -> Any:
        """Tell everything of an output and its context, then spoil both."""
        told = describe(output)
        if told in self.refused:
            raise Refused(f"encode_response refuses {told!r:.60}")
        answer = told, self.tell(context)
        if self.plan.spoil_output:
            spoil(output)
            if context is not None:
                spoil(context)
        return answer

    def tell(self, context: Any) -> Any:
        """Tell what stands in a context, in any order; a trace is another for each request."""
        if context is None:
            return None
        shown = context.keys() - {"trace", "outcome"}  # only what is cached has an outcome
        return {key: describe(value) for key, value in context.items() if key in shown}


def put_around(plan: Plan, listed: Any, language: str) -> Any:
    """Return a list, or one item, as the plan hands it on."""
    if plan.around == "dict":
        return {"language": language, "items": listed, "more": [1, {"deep": 2.0}]}
    return (listed, [language]) if plan.around == "tuple" else listed


def new_context(plan: Plan, language: str) -> dict[str, Any]:
    """Return a context as `predict` finds it."""
    context = {"language": language, "trail": [], "scratch": [1]}
    return context | ({"holder": types.SimpleNamespace()} if "holder" in plan.changes else {})


def inject(hook: Any, value: Any, context: Any) -> Any:
    """Call a hook as LitServe does."""
    if "context" in inspect.signature(hook).parameters:
        return hook(value, context=context)
    return hook(value)


async def in_turn(api: Fuzzed, x: Any, context: Any) -> Any:
    """Do what an async `predict` does: read, perhaps give others a turn, and answer at once."""
    numbers = api.read(x)
    if api.plan.pause:
        await asyncio.sleep(0)
    return api.answer(x, numbers, context)


def numbers_in(requests: Sequence[Any]) -> Iterator[int]:
    """Iterate the numbers of requests."""
    for n, _ in requests:
        yield from n if isinstance(n, tuple) else (n,)
