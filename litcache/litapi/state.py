"""What litcache knows of LitServe: its hooks, when an API is served, and who asks for `context`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import wrapt
from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.keys.leaves import class_name
from litcache.observe import pages
from litcache.observe.counters import Labels
from litcache.policy import CachePolicy, wants_context
from litcache.stores.base import Store
from litcache.stores.memory import MemoryStore

CACHEABLE = ("predict", "decode_request")


class CachedMethod(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """A method under `@cached_predict`, as the class attribute that it replaces."""

    _self_policy: CachePolicy
    _self_name: str


class TakenOver:
    """What stands in the place of a hook of a class.

    Args:
        owner: The class.
        name: The hook's name.
        own: What the class itself defined there, or `None`.
    """

    def __init__(self, owner: type, name: str, own: Any) -> None:
        self.owner = owner
        self.name = name
        self.own = own


class Items:
    """The decoded items of a batch, on their way from `batch` to the wrapper of `predict`."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class Outputs:
    """The outputs of a batch, on their way from the wrapper of `predict` to `unbatch`."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


# ---------------------------------------------------------------------- one API, in one process


class ApiState:
    """What litcache keeps of one API instance in this process."""

    def __init__(self, api: LitAPI | None = None) -> None:
        self.api = api
        self.caches: dict[str, Cache] = {}
        self.ready = False
        self.store: Store | None = None
        self.on_model_call: Callable[[int | None], None] | None = None

    def __reduce__(self) -> tuple[type[ApiState], tuple[()]]:
        # A worker gets main's API pickled, and a copy of an API has entries of its own.
        return ApiState, ()


def state_of(api: LitAPI) -> ApiState:
    """Return what litcache keeps of an API."""
    attributes = api.__dict__
    state = attributes.get("_litcache")
    if state is None:
        state = attributes.setdefault("_litcache", ApiState(api))
    if state.api is not api:  # it came with a copy of another API's attributes
        state = attributes["_litcache"] = ApiState(api)
    return state  # type: ignore[no-any-return]


def is_served(api: LitAPI) -> bool:
    """Say whether a LitServer (or the APIRunner) has prepared an API and its `setup` has run."""
    return api.request_timeout is not None and state_of(api).ready


def is_elsewhere(api: LitAPI) -> bool:
    """Say whether a LitServer has prepared an API that other processes serve."""
    return api.request_timeout is not None and not state_of(api).ready


def serving_mode(api: LitAPI, name: str, policy: CachePolicy) -> str:
    """Return the mode in which an API serves a method."""
    if policy.items == "list":
        return "list"
    return "batch" if name == "predict" and api.max_batch_size > 1 else "single"


def cache_of(api: LitAPI, name: str) -> Cache:
    """Return the cache of a method of an API, made at first use."""
    state = state_of(api)
    cache = state.caches.get(name)
    if cache is None:
        cache = state.caches.setdefault(name, _make_cache(api, name, state.store))
    return cache


def _make_cache(api: LitAPI, name: str, store: Store | None) -> Cache:
    cls = type(api)
    policy = attribute_of(cls, name)._self_policy
    method = f"{cls.__qualname__}.{name}"
    if store is None:
        store = policy.store
        if store is None:
            store = MemoryStore(policy.max_bytes)
        elif not isinstance(store, Store):
            store = store(api)
            if not isinstance(store, Store):
                raise TypeError(f"{method}: store returned {store!r}; it must return a Store")
        try:
            policy.check_persistent(store)
        except ValueError as error:
            raise ValueError(f"{method}: {error}") from None
    namespace = policy.namespace or f"{class_name(cls)}.{name}{api.api_path}"
    cache = Cache(
        method, namespace, policy, store, api, reads_context=bool(context_takers(cls, name)),
        # A loop that looks items up by itself says so.
        labels=Labels(api.api_path or "", name, getattr(api.loop, "tier", "decorator")),
    )  # fmt: skip
    pages.of_this_process().enter(cache)
    return cache


# ---------------------------------------------------------------------- one class


def attribute_of(cls: type, name: str) -> Any:
    """Return a class attribute as it stands in the class that defines it."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def takes_context(function: Any) -> bool:
    """Say whether LitServe gives a hook the context: by a parameter of that name."""
    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def context_takers(cls: type, name: str) -> set[str]:
    """Return which of the hooks that make a method's output take `context`."""
    names = ("predict", "batch", "unbatch") if name == "predict" else (name,)
    return {n for n in names if takes_context(_user_function(cls, n))}


def _user_function(cls: type, name: str) -> Any:
    """Return the user's function behind a hook of a class."""
    for base in cls.__mro__:
        attribute = base.__dict__.get(name)
        if isinstance(attribute, TakenOver):
            if attribute.own is None:
                continue
            attribute = attribute.own
        if attribute is not None:
            function = attribute.__wrapped__ if isinstance(attribute, CachedMethod) else attribute
            return getattr(function, "__func__", function)
    return None


def has_default_batch(cls: type) -> bool:
    """Say whether LitServe's own `batch` makes the container that `predict` gets."""
    return getattr(_user_function(cls, "batch"), "__code__", None) is LitAPI.batch.__code__


def has_default_unbatch(api: LitAPI) -> bool:
    """Return whether LitServe's own `unbatch` cuts what `predict` returns."""
    if "unbatch" in api.__dict__:
        return False
    function = _user_function(type(api), "unbatch")
    return getattr(function, "__code__", None) is LitAPI.unbatch.__code__


def wants_contexts(cls: type, name: str, policy: CachePolicy) -> bool:
    """Say whether a method must be given contexts, for its hooks or for its policy's functions."""
    return (
        wants_context(policy.key, 1)
        or wants_context(policy.bypass_if, 1)
        or wants_context(policy.refresh_if, 1)
        or wants_context(policy.store_if, 2)
        or bool(context_takers(cls, name))
    )
