"""What an API's class defines: its hooks, which methods are cached, which hooks take context."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import wrapt
from litserve import LitAPI

from litcache.functions import wants_context
from litcache.litapi.proxies import Acting
from litcache.policy import CachePolicy

_Parameter = inspect.Parameter

CACHEABLE = ("predict", "decode_request")
"""The hooks that can be cached. A cached method of another name is a helper of the user's hooks."""

STREAMS = (
    "it is a generator; of generators, only predict is cached. Let another method return a list of "
    "what it yields"
)
_HOOKS = "of LitServe's hooks, only predict and decode_request are cached"
_ONE_ITEM = (
    "put @cached_predict on predict, on decode_request, or on a method of a LitAPI that takes one "
    "item, as encode_image(self, image) does, with or without context"
)


def attribute_of(cls: type, name: str) -> Any:
    """Return an attribute of a class, exactly as the class that defines it holds it."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def policy_of(cls: type, name: str) -> CachePolicy | None:
    """Return the policy of a cached method of a class; `None` if the method is not cached."""
    method = attribute_of(cls, name)
    # By its type: what else stands in the class is the user's, and may do anything when asked.
    is_ours = issubclass(type(method), wrapt.FunctionWrapper)
    policy = getattr(method, "policy", None) if is_ours else None
    return policy if isinstance(policy, CachePolicy) else None


def encodes(cls: type) -> bool:
    """Return whether the responses to a class's predictions are cached (`result="response"`)."""
    policy = policy_of(cls, "predict")
    return policy is not None and policy.result == "response"


def cached_methods(cls: type) -> dict[str, CachePolicy]:
    """Return the policies of the cached methods of a class: of its hooks, then of its helpers."""
    found = {}
    for name in dict.fromkeys(_names(cls)):
        policy = policy_of(cls, name)
        if policy is not None:
            found[name_of(cls, attribute_of(cls, name))] = policy
    return found


def name_of(cls: type, method: Any) -> str:
    """Return the name of a method in a class, which may not be the name of its function."""
    for name in (*CACHEABLE, method.__name__, *_names(cls)):
        if any(base.__dict__.get(name) is method for base in cls.__mro__):
            return str(name)
    return str(method.__name__)


def _names(cls: type) -> Iterator[str]:
    """Yield the names of a class's attributes: its hooks first, those of its bases before its own.

    A name that stands in several of the classes comes several times.
    """
    yield from CACHEABLE
    for base in reversed(cls.__mro__):
        yield from base.__dict__


def is_generator(function: Any) -> bool:
    """Return whether a function is a generator, sync or async."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def is_async(function: Any) -> bool:
    """Return whether a function is `async def`."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def fault_of(name: str, function: Any) -> str | None:
    """Return why a function cannot be cached under a name, as far as the two show it."""
    if name in CACHEABLE:
        return None
    # LitServe looks for `authorize`, which LitAPI does not define; it must run for every request.
    if hasattr(LitAPI, name) or name == "authorize":
        return _HOOKS
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if not parameters or parameters[0].kind in (_Parameter.KEYWORD_ONLY, _Parameter.VAR_KEYWORD):
        return f"it takes no item after self; {_ONE_ITEM}"
    if parameters[0].kind is _Parameter.VAR_POSITIONAL or any(
        parameter.name != "context" for parameter in parameters[1:]
    ):
        names = ", ".join(map(str, parameters))
        return f"it takes more than an item ({names}); {_ONE_ITEM}"
    return None


def takes_context(function: Any) -> bool:
    """Return whether a hook has a parameter `context`, so that LitServe passes it the context."""
    if type(function) is Acting:
        function = function.__wrapped__
    is_bound = type(function) is MethodType
    plain: Any = function.__func__ if is_bound else function
    if type(plain) is FunctionType and not plain.__dict__:  # else it may have another signature
        bound = is_bound and plain.__code__.co_argcount > 0  # not: def batch(*inputs)
        return "context" in _names_of_parameters(plain.__code__)[bound:]
    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _names_of_parameters(code: CodeType) -> tuple[str, ...]:
    """Return what `inspect.signature` does of the parameters, which takes 20 times as long."""
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return code.co_varnames[:count]


def context_takers(cls: type, name: str) -> set[str]:
    """Return which of the hooks that take part in a method's output take `context`."""
    policy = policy_of(cls, name)
    in_batches = name == "predict" and (policy is None or policy.items == "request")
    names = ("predict", "batch", "unbatch") if in_batches else (name,)
    if policy is not None and policy.result == "response":
        names = (*names, "encode_response")
    return {n for n in names if takes_context(_users_function(cls, n))}


def has_default(cls: type, name: str) -> bool:
    """Return whether a class leaves a hook to LitServe's default."""
    own = getattr(LitAPI, name).__code__
    return getattr(_users_function(cls, name), "__code__", None) is own


def wants_contexts(cls: type, name: str, policy: CachePolicy) -> bool:
    """Return whether a hook or a function of the policy needs the contexts."""
    return (
        wants_context(policy.key, 1)
        or wants_context(policy.bypass_if, 1)
        or wants_context(policy.refresh_if, 1)
        or wants_context(policy.store_if, 2)
        or (callable(policy.ttl) and wants_context(policy.ttl, 2))
        or policy.outcome_in is not None
        or bool(context_takers(cls, name))
    )


def _users_function(cls: type, name: str) -> Any:
    """Return the user's function behind a hook of a class.

    A static or class method holds it as `__func__`. So does a hook that litcache has taken over;
    there it is `None` if the class inherits the hook.
    """
    for base in cls.__mro__:
        attribute = base.__dict__.get(name)
        function = getattr(attribute, "__func__", attribute)
        if function is not None:
            return function
    return None
