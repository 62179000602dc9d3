"""The front door: `@cached_predict`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, overload

import wrapt
from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.engine.handle import CacheHandle
from litcache.engine.modes import Rows
from litcache.engine.run import caches_computing
from litcache.errors import UnsupportedMethodError
from litcache.litapi.answers import (
    answer_batch,
    answer_lists,
    answer_one,
    answer_one_async,
    answer_rows,
    answer_rows_async,
    list_of,
    pass_lists,
)
from litcache.litapi.facts import Facts
from litcache.litapi.hooks import take_over
from litcache.litapi.state import (
    CACHEABLE,
    CachedMethod,
    Items,
    Outputs,
    attribute_of,
    cache_of,
    has_default_unbatch,
    is_elsewhere,
    serving_mode,
    state_of,
    takes_context,
)
from litcache.policy import CachePolicy
from litcache.switches import is_disabled
from litcache.values.items import split

_F = TypeVar("_F", bound=Callable[..., Any])
_OVERRIDDEN = (
    "this override calls a cached method below it and is not decorated itself, so nothing is "
    "cached; put @cached_predict on the override"
)
_MORE_ARGUMENTS = "called with more than an item and its context: the call goes uncached"
_OPTIONS = tuple(field.name for field in fields(CachePolicy))


@overload
def cached_predict(function: _F, /) -> _F: ...
@overload
def cached_predict(*, policy: CachePolicy | None = None, **options: Any) -> Callable[[_F], _F]: ...
def cached_predict(
    function: Any = None, /, *, policy: CachePolicy | None = None, **options: Any
) -> Any:
    """Cache the outputs of `predict` or `decode_request` of a `LitAPI`.

    Used bare or with options, as the topmost decorator, on `def` and `async def`.

    Args:
        function: The method, when used bare.
        policy: All options at once.
        **options: The options of `CachePolicy`, as keywords.

    Returns:
        The method: same signature, kind and `__code__`, with `cache` as an attribute of
        `api.predict`.

    Raises:
        UnsupportedMethodError: If the method is of a kind that cannot be cached.
        ValueError: If an option's value is not allowed, or options contradict each other.
        TypeError: If an option is unknown or of the wrong type.

    Example:
        >>> import litserve as ls
        >>> class UpperAPI(ls.LitAPI):
        ...     @cached_predict(ttl=60)
        ...     def predict(self, text):
        ...         return text.upper()
        >>> api = UpperAPI()
        >>> api.predict("a"), api.predict("a"), api.predict.cache.info().hits
        ('A', 'A', 1)
    """
    if function is None:
        return lambda function: _decorate(function, policy, options)
    return _decorate(function, policy, options)


def _decorate(function: Any, policy: CachePolicy | None, options: dict[str, Any]) -> CachedMethod:
    name = getattr(function, "__qualname__", None) or repr(function)
    _check_function(function, name)
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise TypeError(
            f"{name}: unknown option {unknown[0]!r} (value {options[unknown[0]]!r}); "
            f"the options are {', '.join(_OPTIONS)}"
        )
    if policy is not None and (options or not isinstance(policy, CachePolicy)):
        raise TypeError(f"{name}: policy={policy!r} must be a CachePolicy, without other options")
    try:
        policy = policy or CachePolicy(**options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    if policy.items == "list":
        if function.__name__ == "decode_request":
            raise UnsupportedMethodError(name, 'items="list" is for predict only')
        if takes_context(function):
            raise UnsupportedMethodError(
                name,
                'with items="list", predict cannot take context: its items come from many '
                "requests. Return what belongs to an item as a column of the output",
            )
    return _CachedMethod(function, policy)


def _check_function(function: Any, name: str) -> None:
    """Refuse what the function alone shows that it cannot be cached."""
    if isinstance(function, staticmethod | classmethod):
        raise UnsupportedMethodError(name, f"it is a {type(function).__name__}, not a method")
    if inspect.ismethod(function):
        raise UnsupportedMethodError(name, "it is bound to an object; decorate it in its class")
    if isinstance(function, CachedMethod):
        raise UnsupportedMethodError(name, "it is decorated with @cached_predict already")
    if not inspect.isfunction(function):
        raise UnsupportedMethodError(name, f"it is no function but a {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UnsupportedMethodError(name, "it streams; only whole outputs are cached")
    if hasattr(LitAPI, function.__name__) and function.__name__ not in CACHEABLE:
        raise UnsupportedMethodError(name, "only predict and decode_request are cached")


class _BoundCachedMethod(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    """A cached method of one API."""

    @property
    def cache(self) -> CacheHandle:
        """The method's cache: its policy, counters and entries."""
        api, method = self._self_instance, self._self_parent
        if api is None:
            raise AttributeError("a cache belongs to an API, not to its class")
        name = method.facts_of(type(api)).name
        policy = attribute_of(type(api), name)._self_policy
        return CacheHandle(
            cache_of(api, name), serving_mode(api, name, policy), lambda: is_elsewhere(api)
        )

    @property
    def __func__(self) -> Any:
        """The function whose signature tells LitServe whether to pass the context."""
        method = self._self_parent
        return method.facts_of(type(self._self_instance)).shown or method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        api, method = self._self_instance, self._self_parent
        if api is None:  # called on the class, with the API as the first argument
            return method.__get__(args[0], type(args[0]))(*args[1:], **kwargs)
        facts = method._self_facts.get(type(api)) or method.facts_of(type(api))
        if facts.passes or is_disabled():
            if facts.overridden:
                facts.reporter.warn_once("override", _OVERRIDDEN)
            return self._pass(facts, args, kwargs)
        if len(args) == 1 and not kwargs:
            item, context = args[0], None
        else:
            bound = facts.bind(args, kwargs)
            if bound is None:
                facts.reporter.warn_once("arguments", _MORE_ARGUMENTS)
                return self._pass(facts, args, kwargs)
            item, context = bound
        attributes = api.__dict__
        state = attributes.get("_litcache")
        cache = state.caches.get(facts.name) if state is not None else None
        if cache is None or cache.api is not api:
            cache = cache_of(api, facts.name)
        if cache in caches_computing() or facts.name in attributes:
            return self._pass(facts, args, kwargs)
        if facts.in_rows or (api.max_batch_size > 1 and facts.name == "predict"):
            return self._answer_many(facts, api, cache, item, context)
        if facts.is_async:
            return answer_one_async(cache, self, item, context)
        return answer_one(cache, self, item, context)

    def _answer_many(self, facts: Facts, api: LitAPI, cache: Cache, item: Any, context: Any) -> Any:
        """Answer a batch, or a list of items."""
        if type(item) is Items:  # LitServe's batched loop: see hooks.Hook
            if facts.in_rows:
                return Outputs(answer_lists(cache, self, item.items))
            return Outputs(answer_batch(cache, api, self, item.items, context))
        if facts.in_rows:
            lists = list_of(item, cache.policy.max_items)
            if lists is None:
                return self._uncut(cache, item, context)
            if facts.is_async:
                return answer_rows_async(cache, self, lists, item)
            return answer_rows(cache, self, lists, item)
        default_batch = facts.default_batch and "batch" not in api.__dict__
        items = split(item) if default_batch and has_default_unbatch(api) else None
        if not items or (context is not None and len(context) != len(items)):
            return self._uncut(cache, item, context)
        return answer_rows(cache, self, Rows(item, items, context), item, context)

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Call the user's method with as many items as known."""
        self._note_call(items)
        if context is not None and self._self_parent._self_takes_context:
            return self.__wrapped__(item, context=context)
        return self.__wrapped__(item)

    def _note_call(self, items: int | None) -> None:
        """Count a call of the user's method, for the metrics and for the APIRunner."""
        name, state = self._self_parent._self_name, state_of(self._self_instance)
        if name in state.caches and not is_disabled():
            state.caches[name].counters.add_batch(1 if items is None else items)
        if state.on_model_call is not None and name == "predict":
            state.on_model_call(items)

    def _uncut(self, cache: Cache, item: Any, context: Any) -> Any:
        """Call the user's method with what cannot be cut into items."""
        if not (type(item) is list and not item):
            cache.reporter.warn_once("uncut", "its input cannot be cut into items: goes uncached")
            cache.counters.add(uncacheable=1)
            if cache.policy.items == "list":
                cache.counters.add_requests(empty=1)
        return self.compute(item, context)

    def _pass(self, facts: Facts, args: Any, kwargs: Any) -> Any:
        """Call the user's method as if it were not decorated."""
        if args and type(args[0]) is Items:  # see hooks.Hook: what LitServe would not pool itself
            api, policy = self._self_instance, self._self_parent._self_policy
            name = f"{type(api).__qualname__}.{facts.name}"
            device = getattr(api, "device", None)
            return Outputs(pass_lists(self, args[0].items, policy.max_items, name, device))
        if facts.shown is not None:
            kwargs.pop("context", None)
        if is_disabled():
            self._note_call(None)
        return self.__wrapped__(*args, **kwargs)


class _CachedMethod(CachedMethod):
    """A method under `@cached_predict`, in the class that defines it."""

    __bound_function_wrapper__ = _BoundCachedMethod

    def __init__(self, function: Any, policy: CachePolicy) -> None:
        super().__init__(function, _refuse)
        self._self_policy = policy
        self._self_name = function.__name__
        self._self_takes_context = takes_context(function)
        self._self_facts: dict[type, Facts] = {}

    def __set_name__(self, owner: type, name: str) -> None:
        if name in CACHEABLE:
            self._self_name = name
        take_over(owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedMethodError(
            self.__qualname__, "another decorator hides it; put @cached_predict on top"
        )

    def facts_of(self, cls: type) -> Facts:
        """Return what this method is to a class."""
        facts = self._self_facts.get(cls)
        if facts is None:
            take_over(cls)  # classes that were given the method after they were made
            facts = self._self_facts[cls] = Facts(self, cls)
        return facts


def _refuse(*_: Any) -> Any:
    """Stand in for wrapt's wrapper function: `_BoundCachedMethod` answers calls itself."""
    raise AssertionError
