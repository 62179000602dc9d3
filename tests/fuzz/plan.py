"""What one run of the fuzz does: an API, its policy, a store, a loop and a stream of requests."""

from __future__ import annotations

import dataclasses
from typing import Any

from fuzz.items import SHAPES
from fuzz.rows import KINDS

HOOKS = ("decode_request", "batch", "predict", "unbatch", "encode_response")
ASKS = ("ask", "disabled", "during")
"""The steps that are requests."""

LIST_CONTAINERS = ("list", "stacked", "columns", "columns_tuple")
"""What `predict` may return of a list of items."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run, complete: equal plans do the same.

    Attributes:
        seed: What it was drawn from.
        driver: Who calls the API.
        size: `max_batch_size`.
        lists: What a request of `items="list"` is; empty: items are requests.
        around: What stands around the list: nothing, a dict or a tuple, which say the language.
        item: The shape of items.
        row: The kind of outputs.
        container: What `predict` returns of a batch or a list.
        batch, unbatch: The two hooks.
        takes: The hooks that take `context`.
        changes: What the hooks change in it.
        plain: The async API's hooks that are plain functions.
        place: In which class the decorated method stands.
        cached: What is cached: `predict`, `decode_request`, or both.
        spoil_item, spoil_output: Whether `predict` and `encode_response` change what they get.
        reuse_item, reuse_output: Whether one buffer is used again and again.
        pause: Whether the async `predict` gives other tasks a turn.
        echo: Whether `predict` returns its argument.
        consume: Whether `decode_request` takes what it reads out of the request.
        warm_up: Whether `setup` calls `predict`.
        options: The options of the policy.
        store: The store.
        overlap, isolate: The options of `CachedBatchedLoop`.
        bad: Numbers of items that fail, and where.
        steps: What happens, in order.
        trial: How many first hits are proven; 0: there is no trial.
    """

    seed: int = 0
    driver: str = "runner"
    size: int = 1
    lists: str = ""
    around: str = ""
    item: str = "text"
    row: str = "text"
    container: str = "list"
    batch: str = "default"
    unbatch: str = "default"
    takes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    place: str = "own"
    cached: tuple[str, ...] = ("predict",)
    spoil_item: bool = False
    spoil_output: bool = False
    reuse_item: bool = False
    reuse_output: bool = False
    pause: bool = False
    echo: bool = False
    consume: bool = False
    warm_up: bool = False
    options: tuple[str, ...] = ()
    store: str = "memory"
    overlap: bool = False
    isolate: bool = True
    bad: tuple[tuple[int, str], ...] = ()
    steps: tuple[tuple[Any, ...], ...] = ()
    trial: int = 0

    @property
    def is_async(self) -> bool:
        """Whether the API is `async def`."""
        return self.driver in ("tasks", "served_tasks")

    @property
    def served(self) -> bool:
        """Whether a loop of LitServe's calls the API."""
        return self.driver in ("runner", "loop", "served_tasks")

    @property
    def list_at(self) -> str | int | None:
        """Where the list stands."""
        return {"dict": "items", "tuple": 0}.get(self.around)

    @property
    def reads_language(self) -> bool:
        """Whether the output depends on the context."""
        return bool({"batch", "predict", "unbatch"} & set(self.takes))

    @property
    def stored(self) -> bool:
        """Whether the outputs can be stored."""
        return SHAPES[self.item].stored if self.echo else KINDS[self.row].stored

    def __str__(self) -> str:
        """Return the plan as it is written in code, without its defaults."""
        given = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"Plan({', '.join(given)})"
