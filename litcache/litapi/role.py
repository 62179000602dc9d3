"""The role of a cached method in one class of API."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from litserve import LitAPI

from litcache.errors import UnsupportedMethodError
from litcache.litapi.classes import (
    STREAMS,
    attribute_of,
    context_takers,
    fault_of,
    has_default,
    is_async,
    is_generator,
    name_of,
    policy_of,
    takes_context,
    wants_contexts,
)
from litcache.litapi.proxies import WithContext
from litcache.observe.log import Reporter
from litcache.policy import CachePolicy
from litcache.trial_policy import trial_of


class Role:
    """The role of a cached method in one class, which is found out once and read at every call.

    Args:
        method: The method, as the class that defines it holds it.
        policy: The method's policy.
        cls: The class, which may be a subclass of that one.

    Attributes:
        name: The name of the method in the class: `predict`, `decode_request` or a helper's.
        passes: Whether the method does not cache here, because the class overrides it.
        is_overridden: Whether the override is not cached.
        is_async: Whether the method is `async def`.
        streams: Whether it is a generator.
        wants_context: Whether the method, or a function of its policy, needs the context.
        sees_context: Whether LitServe must pass the context.
        encodes: Whether its outputs are responses (`result="response"`).
        in_rows: Whether the items are the elements of lists (`items="list"`).
        batches_by_default: Whether the class leaves `batch` and `unbatch` to LitServe.
        qualified: The method's name for messages.
        shown: A function that looks as if it took `context`, so that LitServe passes it; `None` if
            the method takes it itself, or nobody wants it.
        answer: What answers a call with one item; `CachedMethod.role_in` sets it.
        reporter: Warns in the name of the method.
    """

    answer: Callable[..., Any]

    def __init__(self, method: Any, policy: CachePolicy, cls: type) -> None:
        name = self.name = name_of(cls, method)
        qualified = self.qualified = f"{cls.__qualname__}.{name}"
        if not issubclass(cls, LitAPI):
            raise UnsupportedMethodError(
                qualified,
                f"{cls.__qualname__} is no LitAPI, and its methods are called by no server",
            )
        fault = fault_of(name, method.__wrapped__)
        if fault is not None:
            raise UnsupportedMethodError(qualified, fault)
        if policy.items == "list" and name == "decode_request":
            raise UnsupportedMethodError(qualified, 'items="list" is not for decode_request')
        if policy.result == "response" and name != "predict":
            raise UnsupportedMethodError(qualified, 'result="response" is for predict alone')
        self.streams = is_generator(method.__wrapped__)
        if self.streams and name != "predict":
            raise UnsupportedMethodError(qualified, STREAMS)
        self.passes = attribute_of(cls, name) is not method
        self.is_overridden = policy_of(cls, name) is None
        self.is_async = is_async(method.__wrapped__)
        self.wants_context = wants_contexts(cls, name, policy)
        self.encodes = policy.result == "response"
        # What it reads is not in the key, but a trial needs it to encode what a hit would answer.
        shows = name == "predict" and bool(context_takers(cls, "encode_response"))
        self.sees_context = (
            self.wants_context
            # Who passes one is a loop: the user's own calls get predictions, not responses.
            or self.encodes
            or (shows and trial_of(policy.trial) is not None)
        )
        self.in_rows = policy.items == "list"
        self.batches_by_default = has_default(cls, "batch") and has_default(cls, "unbatch")
        self.reporter = Reporter(qualified)
        parameters = inspect.signature(method.__wrapped__).parameters
        names = list(parameters)[1:]
        self._item = names[0] if names else None
        self._second = names[1] if len(names) > 1 else None
        self._may_lack_context = (
            "context" not in names or parameters["context"].default is not inspect.Parameter.empty
        )
        hides_context = self.sees_context and not takes_context(method)
        self.shown = WithContext(method) if hides_context else None

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """Return the item and the context of a call; `None` if it has other arguments, too.

        A context is a dict, or a list of dicts: one for each item of a batch.
        """
        context, others = None, len(kwargs)
        if "context" in kwargs and self.sees_context:
            context = kwargs["context"]
            others -= 1
        if len(args) == 2 and self._second == "context":
            args, context = args[:1], args[1]
        if not args and self._item in kwargs:
            args = (kwargs[self._item],)
            others -= 1
        if len(args) != 1 or others:
            return None
        if context is None:
            return (args[0], None) if self._may_lack_context else None
        is_batch = type(context) is list and set(map(type, context)) <= {dict}
        return (args[0], context) if is_batch or isinstance(context, dict) else None
