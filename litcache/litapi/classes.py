"""What an API's class defines: its hooks, which methods are cached, which hooks take context."""

from __future__ import annotations

import inspect
from typing import Any

from litserve import LitAPI

from litcache.policy import CachePolicy, wants_context

CACHEABLE = ("predict", "decode_request")


def attribute_of(cls: type, name: str) -> Any:
    """Return an attribute of a class, exactly as the class that defines it holds it."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def policy_of(cls: type, name: str) -> CachePolicy | None:
    """Return the policy of a cached method of a class; `None` if the method is not cached."""
    policy = getattr(attribute_of(cls, name), "policy", None)
    return policy if isinstance(policy, CachePolicy) else None


def takes_context(function: Any) -> bool:
    """Return whether a hook has a parameter `context`, so that LitServe passes it the context."""
    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def context_takers(cls: type, name: str) -> set[str]:
    """Return which of the hooks that take part in a method's output take `context`."""
    names = ("predict", "batch", "unbatch") if name == "predict" else (name,)
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
