"""What a class of API defines: its hooks, which of its methods are cached, who takes context."""

from __future__ import annotations

import inspect
from typing import Any

from litserve import LitAPI

from litcache.policy import CachePolicy, wants_context

CACHEABLE = ("predict", "decode_request")


def attribute_of(cls: type, name: str) -> Any:
    """Return a class attribute as it stands in the class that defines it."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def policy_of(cls: type, name: str) -> CachePolicy | None:
    """Return the policy of a cached method of a class; `None` if the method is not cached."""
    policy = getattr(attribute_of(cls, name), "policy", None)
    return policy if isinstance(policy, CachePolicy) else None


def takes_context(function: Any) -> bool:
    """Return whether LitServe gives a hook the context: by a parameter of that name."""
    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def context_takers(cls: type, name: str) -> set[str]:
    """Return which of the hooks that make a method's output take `context`."""
    names = ("predict", "batch", "unbatch") if name == "predict" else (name,)
    return {n for n in names if takes_context(_users_function(cls, n))}


def has_default(cls: type, name: str) -> bool:
    """Return whether a hook of a class is LitServe's own."""
    own = getattr(LitAPI, name).__code__
    return getattr(_users_function(cls, name), "__code__", None) is own


def wants_contexts(cls: type, name: str, policy: CachePolicy) -> bool:
    """Return whether a method must be given contexts, for its hooks or its policy's functions."""
    return (
        wants_context(policy.key, 1)
        or wants_context(policy.bypass_if, 1)
        or wants_context(policy.refresh_if, 1)
        or wants_context(policy.store_if, 2)
        or bool(context_takers(cls, name))
    )


def _users_function(cls: type, name: str) -> Any:
    """Return the user's function behind a hook of a class.

    A static or class method has it as `__func__`, and so has a hook that is taken over, where it
    is `None` if the class inherits the hook.
    """
    for base in cls.__mro__:
        attribute = base.__dict__.get(name)
        function = getattr(attribute, "__func__", attribute)
        if function is not None:
            return function
    return None
