"""What a cached method is to one class of API: found out once, read at every call."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import wrapt
from litserve import LitAPI

from litcache.errors import UnsupportedMethodError
from litcache.litapi.state import (
    CACHEABLE,
    CachedMethod,
    attribute_of,
    has_default_batch,
    takes_context,
    wants_contexts,
)
from litcache.observe.log import Reporter


class Facts:
    """What a cached method is to one class: computed once, read at every call."""

    def __init__(self, method: CachedMethod, cls: type) -> None:
        name = self.name = method._self_name
        qualified = f"{cls.__qualname__}.{name}"
        if not issubclass(cls, LitAPI):
            raise UnsupportedMethodError(qualified, f"{cls.__qualname__} is no LitAPI")
        if name not in CACHEABLE:
            raise UnsupportedMethodError(qualified, "only predict and decode_request are cached")
        function = method.__wrapped__
        outermost = attribute_of(cls, name)
        self.passes = outermost is not method
        self.overridden = self.passes and not isinstance(outermost, CachedMethod)
        self.is_async = inspect.iscoroutinefunction(function)
        self.takes_context = takes_context(function)
        self.wants_context = wants_contexts(cls, name, method._self_policy)
        self.in_rows = method._self_policy.items == "list"
        self.default_batch = has_default_batch(cls)
        self.reporter = Reporter(qualified)
        parameters = list(inspect.signature(function).parameters)[1:]
        self._item = parameters[0] if parameters else None
        self._second = parameters[1] if len(parameters) > 1 else None
        self.shown = self._shown(method) if self.wants_context and not self.takes_context else None

    @staticmethod
    def _shown(method: CachedMethod) -> ShownFunction:
        """Return the function as LitServe must see it, to pass it the context."""
        signature = inspect.signature(method.__wrapped__)
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, default=None)
        parameters = list(signature.parameters.values())
        last = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
        parameters.insert(len(parameters) - last, context)
        return ShownFunction(method, signature.replace(parameters=parameters))

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """Return the item and the context of a call; `None` if there is more than these."""
        kwargs = dict(kwargs)
        context = kwargs.pop("context", None) if self.wants_context else None
        if len(args) == 2 and self._second == "context":
            args, context = args[:1], args[1]
        if not args and self._item in kwargs:
            args = (kwargs.pop(self._item),)
        return (args[0], context) if len(args) == 1 and not kwargs else None


class ShownFunction(wrapt.CallableObjectProxy):  # type: ignore[type-arg]
    """A function under another signature."""

    def __init__(self, function: Any, signature: inspect.Signature) -> None:
        super().__init__(function)
        self._self_signature = signature

    @property
    def __signature__(self) -> inspect.Signature:
        return self._self_signature
