"""Classes of APIs, made as users write them: hooks with and without `context`, in any class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fuzz.model import Fuzzed, in_turn
from fuzz.plan import Plan
from litcache import CachedBatchedLoop

Decorator = Callable[[Any], Any]


def undecorated(function: Any) -> Any:
    return function


def build(
    plan: Plan, decorate: Decorator, decorate_decode: Decorator, *, size: int, twin: bool
) -> Fuzzed:
    """Return the API of a plan.

    Args:
        plan: The plan.
        decorate: The decorator of `predict`.
        decorate_decode: The decorator of `decode_request`, if the plan wants it cached.
        size: `max_batch_size`, which is another one for a twin that is asked one by one.
        twin: Whether it is the twin, which has LitServe's own loop.

    Returns:
        The API, not set up.
    """
    hooks = _hooks(plan, decorate_decode)
    predict = _named(_predict(plan), "predict")
    if "predict" not in plan.cached:
        decorate = undecorated
    if plan.place in ("own", "instance"):
        cls = type("API", (Fuzzed,), {**hooks, "predict": decorate(predict)})
    elif plan.place == "mixin":
        mixin = type("Mixin", (), {"predict": decorate(predict)})
        cls = type("API", (mixin, Fuzzed), hooks)
    else:
        base = type("Base", (Fuzzed,), {"predict": decorate(predict)})
        more = {"predict": decorate(_override(plan))} if plan.place == "override" else {}
        cls = type("API", (base,), {**hooks, **more})
    cls.plan = plan
    arguments: dict[str, Any] = {"max_batch_size": size, "enable_async": plan.is_async}
    if plan.driver == "loop" and not twin:
        loop = CachedBatchedLoop(overlap=plan.overlap, isolate_errors=plan.isolate)
        arguments |= {"loop": loop, "batch_timeout": 0.002}
    return cls(**arguments)


def _named(function: Any, name: str) -> Any:
    function.__name__, function.__qualname__ = name, f"API.{name}"
    return function


def _hooks(plan: Plan, decorate_decode: Decorator) -> dict[str, Any]:
    plain_async = [hook for hook in ("decode_request", "encode_response") if plan.is_async]
    hooks = {
        "decode_request": _hook(Fuzzed.decode, plan, "decode_request"),
        "encode_response": _hook(Fuzzed.encode, plan, "encode_response"),
    }
    for name in plain_async:
        if name not in plan.plain:
            hooks[name] = _as_async(hooks[name], plan, name)
    for name, function in hooks.items():
        _named(function, name)
    if "decode_request" in plan.cached:
        hooks["decode_request"] = decorate_decode(hooks["decode_request"])
    if plan.batch != "default":
        hooks["batch"] = _named(_batch(plan), "batch")
    if plan.unbatch != "default":
        hooks["unbatch"] = _named(_unbatch(plan), "unbatch")
    return hooks


def _hook(act: Any, plan: Plan, name: str) -> Any:
    if name in plan.takes:

        def with_context(self: Fuzzed, request: Any, context: Any) -> Any:
            return act(self, request, context)

        return with_context

    def without(self: Fuzzed, request: Any) -> Any:
        return act(self, request, None)

    return without


def _as_async(hook: Any, plan: Plan, name: str) -> Any:
    if name in plan.takes:

        async def with_context(self: Fuzzed, request: Any, context: Any) -> Any:
            return hook(self, request, context)

        return with_context

    async def without(self: Fuzzed, request: Any) -> Any:
        return hook(self, request)

    return without


def _batch(plan: Plan) -> Any:
    if "batch" in plan.takes:

        def with_context(self: Fuzzed, inputs: Any, context: Any) -> Any:
            return self.make_batch(inputs, context, super(Fuzzed, self).batch)

        return with_context

    def without(self: Fuzzed, inputs: Any) -> Any:
        return self.make_batch(inputs, None, super(Fuzzed, self).batch)

    return without


def _unbatch(plan: Plan) -> Any:
    if "unbatch" in plan.takes:

        def with_context(self: Fuzzed, output: Any, context: Any) -> Any:
            return self.open_batch(output, context, super(Fuzzed, self).unbatch)

        return with_context

    def without(self: Fuzzed, output: Any) -> Any:
        return self.open_batch(output, None, super(Fuzzed, self).unbatch)

    return without


def _predict(plan: Plan) -> Any:
    takes = "predict" in plan.takes
    if plan.is_async:
        if takes:

            async def async_with_context(self: Fuzzed, x: Any, context: Any) -> Any:
                return await in_turn(self, x, context)

            return async_with_context

        async def async_without(self: Fuzzed, x: Any) -> Any:
            return await in_turn(self, x, None)

        return async_without
    if takes:

        def with_context(self: Fuzzed, x: Any, context: Any) -> Any:
            return self.answer(x, self.read(x), context)

        return with_context

    def without(self: Fuzzed, x: Any) -> Any:
        return self.answer(x, self.read(x), None)

    return without


def _override(plan: Plan) -> Any:
    """Return an override that calls the method below it."""
    takes = "predict" in plan.takes
    if plan.is_async:
        if takes:

            async def async_with_context(self: Fuzzed, x: Any, context: Any) -> Any:
                return await super(type(self), self).predict(x, context=context)

            below: Any = async_with_context
        else:

            async def async_without(self: Fuzzed, x: Any) -> Any:
                return await super(type(self), self).predict(x)

            below = async_without
    elif takes:

        def with_context(self: Fuzzed, x: Any, context: Any) -> Any:
            return super(type(self), self).predict(x, context=context)

        below = with_context
    else:

        def without(self: Fuzzed, x: Any) -> Any:
            return super(type(self), self).predict(x)

        below = without
    return _named(below, "predict")
