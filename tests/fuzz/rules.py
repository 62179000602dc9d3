"""What goes together in a plan, and what does not."""

from __future__ import annotations

import dataclasses
from typing import Any

from fuzz.items import SHAPES
from fuzz.plan import ASKS, HOOKS, LIST_CONTAINERS, Plan
from fuzz.rows import KINDS


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
    """`predict` of lists has one context for a call, and knows nothing of batches."""
    if not plan.lists:
        options = tuple(option for option in plan.options if option != "max_items")
        return {"options": options, "around": ""}
    of_call = tuple(c for c in plan.changes if "by_" not in c and c != "holder")
    changes: dict[str, Any] = {"changes": of_call, "echo": False, "reuse_item": False}
    if plan.lists == "other":
        changes["around"] = ""
    if plan.container not in LIST_CONTAINERS:
        changes["container"] = "list"
    if plan.item in ("int", "float", "none", "scalar", "decimal"):  # a list of numbers is one item
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
    if container == "keys" and plan.item == "none":  # equal keys of one dict
        changes["container"] = container = "list"
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
        changes["cached"] = ("predict",)
    return changes


def _contexts(plan: Plan) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    takers = set(plan.takes)
    reads = bool({"batch", "predict", "unbatch"} & takers)
    if not reads:
        changes["changes"] = ()
    elif "predict" not in takers or "names" not in plan.options or "key" in plan.options:
        changes["changes"] = tuple(change for change in plan.changes if change != "holder")
    if reads and plan.served:  # the language comes by decode_request
        changes["takes"] = tuple(hook for hook in HOOKS if hook in takers | {"decode_request"})
    if plan.echo:  # the output does not show the language
        changes["takes"] = tuple(h for h in changes.get("takes", plan.takes) if h != "unbatch")
    if "names" in plan.options and (not reads or "key" in plan.options):
        changes["options"] = tuple(option for option in plan.options if option != "names")
    return changes


def _ways(plan: Plan) -> dict[str, Any]:
    """What is asked of an API by `setup`, or of an instance that has a `predict` of its own."""
    changes: dict[str, Any] = {} if plan.cached else {"cached": ("predict",)}
    if not plan.served or plan.place == "instance":
        changes["trial"] = 0
    if plan.is_async or plan.bad:
        changes["warm_up"] = False
    if plan.place == "instance" and (plan.is_async or "predict" not in plan.cached):
        changes["place"] = "own"
    if not plan.served:
        changes["consume"] = False
    if plan.lists and plan.size > 1:  # it is the cached `predict` that pools lists
        changes["cached"] = tuple(dict.fromkeys(("predict", *plan.cached)))
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
        out |= {"disabled", "setup"}
    if "predict" not in plan.cached or plan.place == "instance":
        out |= {"delete", "warm", "get", "clear"}
    if plan.lists or plan.changes or plan.echo or plan.reuse_output or not plan.stored:
        out |= {"warm", "get"}
    if plan.container not in ("list", "tuple", "stacked", "namespace"):
        out |= {"warm", "get"}
    if not SHAPES[plan.item].keyable:
        out |= {"delete", "warm", "get"}
    steps = tuple(step for step in plan.steps if step[0] not in out)
    if plan.container == "keys":  # equal items would be one key of the dict
        steps = tuple(
            (step[0], *{r[0]: r for r in step[1:]}.values()) if step[0] in ASKS else step
            for step in steps
        )
    return {"steps": steps}


RULES = (
    _one_at_a_time, _without_batches, _lists, _containers, _buffers, _contexts, _ways,
    _failures, _steps_that_go,
)  # fmt: skip
