"""What a cached method is to one class of API."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from litserve import LitAPI

from litcache.errors import UnsupportedMethodError
from litcache.litapi.classes import (
    CACHEABLE,
    attribute_of,
    has_default,
    policy_of,
    takes_context,
    wants_contexts,
)
from litcache.litapi.proxies import WithContext
from litcache.observe.log import Reporter
from litcache.policy import CachePolicy


class Role:
    """What a cached method is to one class: found out once, read at every call.

    Args:
        method: The method, as it stands in the class that defines it.
        policy: Its policy.
        cls: The class.

    Attributes:
        name: Under which of LitServe's names the class has it.
        passes: Whether the method does not cache, another one being the outermost of that name.
        is_overridden: Whether that other one is not cached.
        is_async: Whether it is `async def`.
        wants_context: Whether LitServe must give it the context.
        in_rows: Whether its items are those of a list.
        batches_by_default: Whether LitServe's own `batch` makes what it gets and its `unbatch`
            cuts what it returns.
        qualified: The method's name for messages.
        shown: The function as LitServe must see it to pass it the context it does not take itself.
        reporter: Warns in its name.
    """

    def __init__(self, method: Any, policy: CachePolicy, cls: type) -> None:
        name = self.name = _name_in(cls, method)
        qualified = self.qualified = f"{cls.__qualname__}.{name}"
        if not issubclass(cls, LitAPI):
            raise UnsupportedMethodError(
                qualified,
                f"{cls.__qualname__} is no LitAPI, and its methods are called by no server",
            )
        if name not in CACHEABLE:
            raise UnsupportedMethodError(qualified, "only predict and decode_request are cached")
        if policy.items == "list" and name != "predict":
            raise UnsupportedMethodError(qualified, 'items="list" is for predict only')
        self.passes = attribute_of(cls, name) is not method
        self.is_overridden = policy_of(cls, name) is None
        self.is_async = inspect.iscoroutinefunction(method.__wrapped__)
        self.wants_context = wants_contexts(cls, name, policy)
        self.in_rows = policy.items == "list"
        self.batches_by_default = has_default(cls, "batch") and has_default(cls, "unbatch")
        self.reporter = Reporter(qualified)
        parameters = list(inspect.signature(method.__wrapped__).parameters)[1:]
        self._item = parameters[0] if parameters else None
        self._second = parameters[1] if len(parameters) > 1 else None
        hides_context = self.wants_context and not takes_context(method)
        self.shown = WithContext(method) if hides_context else None

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """Return the item and the context of a call; `None` if there is more than these."""
        kwargs = dict(kwargs)
        context = kwargs.pop("context", None) if self.wants_context else None
        if len(args) == 2 and self._second == "context":
            args, context = args[:1], args[1]
        if not args and self._item in kwargs:
            args = (kwargs.pop(self._item),)
        return (args[0], context) if len(args) == 1 and not kwargs else None


def _name_in(cls: type, method: Any) -> str:
    """Return the name under which a class has a method, whatever its function is called."""
    for name in CACHEABLE:
        if any(base.__dict__.get(name) is method for base in cls.__mro__):
            return name
    return str(method.__name__)
