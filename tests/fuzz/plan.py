"""What one run of the fuzz does: an API, its policy, a store, a loop and a stream of requests."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from fuzz.items import SHAPES
from fuzz.rows import KINDS, LANGUAGES

DRIVERS = ("runner", "runner", "loop", "loop", "hand", "threads", "tasks", "served_tasks")
BATCHES = ("default", "default", "list", "tuple", "super", "dict", "numbers")
UNBATCHES = ("default", "default", "super", "columns", "namespace", "values", "generator")
CONTAINERS = (
    "list", "list", "stacked", "stacked", "tuple", "iterator", "columns", "keys", "characters",
)  # fmt: skip
LIST_CONTAINERS = ("list", "list", "stacked", "columns", "columns_tuple")
LISTS = ("list", "list", "stacked", "one", "other")
PLACES = ("own", "own", "mixin", "base", "override")
STORES = (
    "memory", "memory", "memory", "tiny", "shared", "tiered", "failing", "redis",
)  # fmt: skip
HOOKS = ("decode_request", "batch", "predict", "unbatch", "encode_response")
CHANGES = ("add", "replace", "remove", "in_place", "by_batch", "by_unbatch")
OPTIONS = (
    "ttl", "key", "bypass_if", "refresh_if", "store_if", "names", "sha256", "version", "max_items",
)  # fmt: skip
ASKS = ("ask", "disabled")
WHERE = ("decode_request", "batch", "predict", "unbatch", "encode_response", "http", "short")


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run, complete: equal plans do the same.

    Attributes:
        seed: What it was drawn from.
        driver: Who calls the API.
        size: `max_batch_size`.
        lists: What a request of `items="list"` is; empty: items are requests.
        item: The shape of items.
        row: The kind of outputs.
        container: What `predict` returns of a batch or a list.
        batch, unbatch: The two hooks.
        takes: The hooks that take `context`.
        changes: What the hooks change in it.
        plain: The async API's hooks that are plain functions.
        place: In which class the decorated method stands.
        cached_decode: Whether `decode_request` is cached too.
        spoil_item, spoil_output: Whether `predict` and `encode_response` change what they get.
        reuse_item, reuse_output: Whether one buffer is used again and again.
        pause: Whether the async `predict` gives other tasks a turn.
        echo: Whether `predict` returns its argument.
        options: The options of the policy.
        store: The store.
        overlap, isolate: The options of `CachedBatchedLoop`.
        bad: Numbers of items that fail, and where.
        steps: What happens, in order.
    """

    seed: int = 0
    driver: str = "runner"
    size: int = 1
    lists: str = ""
    item: str = "text"
    row: str = "text"
    container: str = "list"
    batch: str = "default"
    unbatch: str = "default"
    takes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    place: str = "own"
    cached_decode: bool = False
    spoil_item: bool = False
    spoil_output: bool = False
    reuse_item: bool = False
    reuse_output: bool = False
    pause: bool = False
    echo: bool = False
    options: tuple[str, ...] = ()
    store: str = "memory"
    overlap: bool = False
    isolate: bool = True
    bad: tuple[tuple[int, str], ...] = ()
    steps: tuple[tuple[Any, ...], ...] = ()

    @property
    def is_async(self) -> bool:
        """Whether the API is `async def`."""
        return self.driver in ("tasks", "served_tasks")

    @property
    def served(self) -> bool:
        """Whether a loop of LitServe's calls the API."""
        return self.driver in ("runner", "loop", "served_tasks")

    @property
    def reads_language(self) -> bool:
        """Whether the output depends on the context."""
        return bool({"batch", "predict", "unbatch"} & set(self.takes))

    def changed(self, **values: Any) -> Plan:
        """Return a plan that differs in some attributes, and is possible."""
        return settle(dataclasses.replace(self, **values))

    def __str__(self) -> str:
        """Return the plan as it is written in code, without its defaults."""
        given = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"Plan({', '.join(given)})"


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
        cached_decode=maybe(0.2), spoil_item=maybe(), spoil_output=maybe(0.5),
        reuse_item=maybe(0.15), reuse_output=maybe(0.2), pause=maybe(0.5), echo=maybe(0.1),
        options=some(OPTIONS, 0.12), store=rng.choice(STORES),
        overlap=maybe(0.5), isolate=maybe(0.75), bad=_bad(rng) if maybe(0.3) else (),
        steps=_steps(rng, lists=bool(lists)),
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
        steps.append(("ask", *(request() for _ in range(rng.choice((1, 2, 3, 6))))))
        if rng.random() < 0.3:
            n, language = rng.choice(known), rng.choice(languages)
            other = rng.choice(("clear", "delete", "advance", "disabled", "fail", "warm", "again"))
            steps.append({
                "clear": ("clear",), "delete": ("delete", n, language), "advance": ("advance", 7.0),
                "disabled": ("disabled", *steps[-1][1:]), "fail": ("fail",),
                "warm": ("warm", n, language), "again": steps[-1],
            }[other])  # fmt: skip
    return tuple(steps)


def settle(plan: Plan) -> Plan:
    """Return the plan with what does not go together taken out."""
    for rule in RULES:
        changes = rule(plan)
        if changes:
            plan = dataclasses.replace(plan, **changes)
    return plan


def _one_at_a_time(plan: Plan) -> dict[str, Any]:
    """Async APIs have no batches; without batches there are no hooks for them."""
    changes: dict[str, Any] = {}
    if plan.is_async:
        changes["size"] = 1
    else:
        changes["plain"] = ()
        changes["pause"] = False
    if plan.driver == "loop" and plan.size == 1:
        changes["size"] = 4
    if plan.driver != "loop":
        changes |= {"overlap": False, "isolate": True}
    return changes


def _without_batches(plan: Plan) -> dict[str, Any]:
    if plan.size > 1 and not plan.lists:
        return {}
    takes = tuple(hook for hook in plan.takes if hook not in ("batch", "unbatch"))
    changes: dict[str, Any] = {"batch": "default", "unbatch": "default", "takes": takes}
    changes["bad"] = tuple(b for b in plan.bad if b[1] not in ("batch", "unbatch", "short"))
    if not plan.lists:
        changes["container"] = "list"
    return changes


def _lists(plan: Plan) -> dict[str, Any]:
    """`predict` of lists knows nothing of requests."""
    if not plan.lists:
        options = tuple(option for option in plan.options if option != "max_items")
        return {"options": options}
    takes = tuple(hook for hook in plan.takes if hook != "predict")
    changes: dict[str, Any] = {"takes": takes, "echo": False, "reuse_item": False}
    if plan.container not in LIST_CONTAINERS:
        changes["container"] = "list"
    if plan.item in ("int", "float", "none", "scalar"):  # a list of numbers is one item
        changes["item"] = "dict"
    if plan.lists == "one" and plan.item not in ("text", "tokens"):
        changes["item"] = "text"
    if plan.lists == "stacked" and SHAPES[changes.get("item", plan.item)].stacks not in (
        "array", "tensor",
    ):  # fmt: skip
        changes["item"] = "array"
    changes["bad"] = tuple(b for b in plan.bad if b[1] in ("decode_request", "predict", "http"))
    return changes


def _containers(plan: Plan) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    row, container, unbatch = plan.row, plan.container, plan.unbatch
    if container == "stacked" and not KINDS[row].stacks:
        changes["row"] = row = "array"
    if plan.size > 1 and not plan.lists:
        if unbatch in ("columns", "namespace", "values", "generator"):
            changes["container"] = container = "columns" if unbatch == "columns" else unbatch
        elif container in ("columns", "namespace", "values", "generator"):
            changes["container"] = container = "list"
        if SHAPES[plan.item].stacks == "fails" and plan.batch in ("default", "super"):
            changes["batch"] = "list"
        if plan.echo and not (plan.batch == unbatch == "default"):
            changes["echo"] = False
    if container in ("columns", "columns_tuple", "keys", "characters"):
        changes["reuse_output"] = False
    return changes


def _buffers(plan: Plan) -> dict[str, Any]:
    """One buffer for all works only where an answer is encoded before the next is computed."""
    changes: dict[str, Any] = {}
    together = plan.driver == "threads" or "encode_response" in plan.plain
    if together or plan.echo or KINDS[plan.row].fill is None or plan.container == "iterator":
        changes["reuse_output"] = False
    if plan.size > 1 and not plan.lists and plan.container not in ("stacked", "list"):
        changes["reuse_output"] = False
    if plan.size > 1 and plan.container == "list":
        changes["reuse_output"] = False
    if plan.lists and plan.container != "stacked":
        changes["reuse_output"] = False
    in_line = plan.size == 1 and not plan.lists and plan.driver in ("runner", "served_tasks")
    if not in_line or SHAPES[plan.item].fill is None or "decode_request" in plan.plain:
        changes["reuse_item"] = False
    if plan.echo and plan.is_async:
        changes["reuse_item"] = False
    if plan.echo:
        changes["spoil_item"] = False
    if plan.driver in ("hand", "threads", "tasks"):
        changes["cached_decode"] = False
    return changes


def _contexts(plan: Plan) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    takers = set(plan.takes)
    reads = bool({"batch", "predict", "unbatch"} & takers)
    if not reads:
        changes["changes"] = ()
    if reads and plan.served:  # the language comes by decode_request
        changes["takes"] = tuple(hook for hook in HOOKS if hook in takers | {"decode_request"})
    if plan.echo:  # the output does not show the language
        changes["takes"] = tuple(h for h in changes.get("takes", plan.takes) if h != "unbatch")
    if "names" in plan.options and (not reads or "key" in plan.options):
        changes["options"] = tuple(option for option in plan.options if option != "names")
    return changes


def _failures(plan: Plan) -> dict[str, Any]:
    bad = plan.bad
    if plan.item == "none":
        bad = tuple(b for b in bad if b[1] == "decode_request")
    if not plan.served:  # by hand only `predict` is called
        bad = tuple(b for b in bad if b[1] in ("predict", "http"))
    if plan.container in ("iterator", "generator", "characters"):
        bad = tuple(b for b in bad if b[1] != "short")
    return {"bad": bad}


def _steps_that_go(plan: Plan) -> dict[str, Any]:
    out = set()
    if plan.store != "failing":
        out.add("fail")
    if plan.driver != "runner":  # it holds for this thread alone
        out.add("disabled")
    shape = SHAPES[plan.item]
    if plan.lists or plan.changes or plan.echo or not (shape.keyable and KINDS[plan.row].stored):
        out.add("warm")
    if not shape.keyable:
        out.add("delete")
    steps = tuple(step for step in plan.steps if step[0] not in out)
    if plan.container == "keys":  # equal items would be one key of the dict
        steps = tuple(
            (step[0], *{r[0]: r for r in step[1:]}.values()) if step[0] in ASKS else step
            for step in steps
        )
    return {"steps": steps}


RULES = (
    _one_at_a_time, _without_batches, _lists, _containers, _buffers, _contexts, _failures,
    _steps_that_go,
)  # fmt: skip
