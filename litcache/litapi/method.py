"""The method that `@cached_predict` makes, unbound and bound."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import wrapt
from litserve import LitAPI

from litcache.engine import outcomes
from litcache.engine.cache import Cache
from litcache.engine.call import BYPASSED
from litcache.engine.handle import CacheHandle
from litcache.engine.inside import caches_computing
from litcache.engine.rows import Rows
from litcache.errors import UnsupportedMethodError
from litcache.litapi.answers import (
    answer_batch,
    answer_one,
    answer_one_async,
    answer_rows,
    answer_rows_async,
    answer_tried,
    answer_tried_async,
    list_of,
    note_uncut,
)
from litcache.litapi.classes import policy_of, takes_context
from litcache.litapi.encoding import AsyncEncoding, Encoding
from litcache.litapi.hooks import call_users, is_encoded_for_loop, take_over
from litcache.litapi.own import warn_of_own
from litcache.litapi.pools import answer_lists, pass_lists
from litcache.litapi.proxies import ANNOTATIONS, copy_by_name, reduce_by_name
from litcache.litapi.role import Role
from litcache.litapi.state import cache_of, is_elsewhere, serving_mode, state_of
from litcache.litapi.streams import BATCHED, answer_stream, answer_stream_async
from litcache.litapi.tokens import Answer, Items, Outputs
from litcache.policy import CachePolicy
from litcache.switches import is_disabled
from litcache.values.items import split

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R", covariant=True)

_OVERRIDDEN = (
    "this override calls a cached method below it and is not decorated itself, so nothing is "
    "cached; put @cached_predict on the override"
)
_NOT_FROM_LOOP = (
    'result="response" caches what one of LitServe\'s loops asks for; this call of predict is of '
    "other code, or of a loop that passes no context, and goes uncached"
)
_MORE_ARGUMENTS = "called with more than an item and its context, a dict: the call goes uncached"


class BoundCachedMethod(
    wrapt.BoundFunctionWrapper,  # type: ignore[type-arg]
    Generic[_P, _R],
):
    """A cached method of one API."""

    __annotations__ = ANNOTATIONS

    @property
    def cache(self) -> CacheHandle:
        """The method's cache: its policy, counters and entries."""
        api = self._self_instance
        if api is None:
            raise AttributeError("a cache belongs to an API, not to its class")
        name = self._self_parent.role_in(type(api)).name
        policy = policy_of(type(api), name)
        if policy is None:
            raise AttributeError(f"{type(api).__qualname__}.{name}: {_OVERRIDDEN}")
        return CacheHandle(
            cache_of(api, name), serving_mode(api, name, policy), lambda: is_elsewhere(api)
        )

    @property
    def __func__(self) -> Any:
        """The function by whose signature LitServe decides whether to pass the context."""
        if self._self_instance is None:
            raise AttributeError("__func__")  # like any function of a class
        method = self._self_parent
        return method.role_in(type(self._self_instance)).shown or method

    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduce_by_name(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy_by_name(self, memo)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        api, method = self._self_instance, self._self_parent
        if api is None:  # called on the class, with the API as the first argument
            if not args:
                return self.__wrapped__(**kwargs)  # which says that self is missing
            return method.__get__(args[0], type(args[0]))(*args[1:], **kwargs)
        cls = type(api)
        role = method._self_roles.get(id(cls)) or method.role_in(cls)
        if role.passes or is_disabled():
            return self._pass(role, args, kwargs)
        if len(args) == 1 and not kwargs:
            item, seen = args[0], None
        else:
            bound = role.bind(args, kwargs)
            if bound is None:
                role.reporter.warn_once("arguments", _MORE_ARGUMENTS)
                return self._pass(role, args, kwargs)
            item, seen = bound
        context = seen if role.wants_context else None
        attributes = api.__dict__
        state = attributes.get("_litcache")
        cache = state.answering.get(role.name) if state is not None else None
        if cache is None or cache.api is not api:
            # A warm-up in setup: its argument need not be an item or a batch.
            if state_of(api).is_setting_up:
                return self._pass(role, args, kwargs)
            cache = cache_of(api, role.name)
        if cache in caches_computing():
            return self._pass(role, args, kwargs)
        if role.name in attributes:
            warn_of_own(cache, api, role.name)
            return self._pass(role, args, kwargs)
        if role.in_rows or role.encodes or (role.name == "predict" and api.max_batch_size > 1):
            return self._answer_many(role, api, cache, item, context, seen)
        if type(seen) is list:  # the contexts of several items, by a call of the user's own
            return self._uncut(cache, item, seen)
        return role.answer(cache, self, item, context, None if seen is None else (seen,))

    if TYPE_CHECKING:

        def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            """Answer a call, from the cache or by the user's method."""
            ...
    else:
        __call__ = _call

    def _answer_encoded(self, role: Role, cache: Cache, item: Any, context: Any, seen: Any) -> Any:
        """Answer a loop with responses; the user's own calls get what the method returns."""
        api = self._self_instance
        if type(item) is Items and not item.is_opened:
            encoding = Encoding(api, self)
            responses = answer_batch(cache, api, encoding, item.items, context, seen)
            return Outputs(list(map(Answer, responses)))
        if api.max_batch_size == 1 and seen is not None and is_encoded_for_loop(api):
            if role.is_async:
                return self._answer_encoded_async(cache, item, context)
            return Answer(answer_one(cache, Encoding(api, self), item, context))
        if not warn_of_own(cache, api, role.name) and is_encoded_for_loop(api):
            cache.reporter.warn_once("encoded", _NOT_FROM_LOOP)
            cache.counters.add(uncacheable=1)
        return self.compute(item.open() if type(item) is Items else item, seen)

    async def _answer_encoded_async(self, cache: Cache, item: Any, context: Any) -> Answer:
        encoding = AsyncEncoding(self._self_instance, self)
        return Answer(await answer_one_async(cache, encoding, item, context))

    def _answer_many(
        self, role: Role, api: LitAPI, cache: Cache, item: Any, context: Any, seen: Any
    ) -> Any:
        """Answer a batch, a list of items, or an item whose response is cached."""
        if role.streams:
            role.reporter.warn_once("batched stream", BATCHED)
            return self.compute(item, context)
        if role.encodes:
            return self._answer_encoded(role, cache, item, context, seen)
        if type(item) is Items:  # LitServe's batched loop: see hooks.Hook
            if item.is_opened:
                item = item.open()
            elif role.in_rows:
                return Outputs(answer_lists(cache, self, item.items, context, seen))
            else:
                return Outputs(answer_batch(cache, api, self, item.items, context, seen))
        if role.in_rows:
            lists = list_of(cache.policy, item, context)
            if lists is None:
                return self._uncut(cache, item, context)
            alone = None if seen is None else (seen,)
            if role.is_async:
                return answer_rows_async(cache, self, lists, item, context, alone)
            return answer_rows(cache, self, lists, item, context, alone)
        own = api.__dict__
        by_default = role.batches_by_default and "batch" not in own and "unbatch" not in own
        items = split(item) if by_default else None
        if not items or (context is not None and len(context) != len(items)):
            return self._uncut(cache, item, context)
        return answer_rows(cache, self, Rows(item, items, context), item, context)

    def compute(self, item: Any, context: Any, items: int | None = None) -> Any:
        """Call the user's method; `items` says how many items it gets, if that is known."""
        self._note_call(items)
        if context is not None and self._self_parent.takes_context:
            return call_users(self.__wrapped__, item, context=context)
        return call_users(self.__wrapped__, item)

    def _note_call(self, items: int | None) -> None:
        """Count a call of the user's method, for the metrics and for the APIRunner."""
        api, method, cls = self._self_instance, self._self_parent, type(self._self_instance)
        name = (method._self_roles.get(id(cls)) or method.role_in(cls)).name
        state = state_of(api)
        cache = state.caches.get(name)
        if cache is not None and not is_disabled():
            cache.counters.add_batch(1 if items is None else items)
        if state.on_model_call is not None and name == "predict":
            state.on_model_call(items)

    def _uncut(self, cache: Cache, item: Any, context: Any) -> Any:
        """Call the user's method with an argument that cannot be cut into items."""
        note_uncut(cache, item, context)
        return self.compute(item, context)

    def _pass(self, role: Role, args: Any, kwargs: Any) -> Any:
        """Call the user's method as if it were not decorated."""
        if role.is_overridden:
            role.reporter.warn_once("override", _OVERRIDDEN)
        if args and type(args[0]) is Items:  # see hooks.Hook: LitServe does not pool lists
            if role.in_rows and not args[0].is_opened:
                api, policy = self._self_instance, self._self_parent.policy
                # Without contexts the lists can be pooled.
                contexts = kwargs.get("context") if self._self_parent.takes_context else None
                items = args[0].items
                self._tell_bypassed(items, kwargs)
                return Outputs(pass_lists(self, api, role.qualified, policy, items, contexts))
            args = (args[0].open(), *args[1:])
        if is_disabled():
            self._tell_bypassed(args[0] if args else None, kwargs)
            self._note_call(None)
        if role.shown is not None:
            kwargs.pop("context", None)
        return call_users(self.__wrapped__, *args, **kwargs)

    def _tell_bypassed(self, argument: Any, kwargs: Any) -> None:
        """Tell requests that the caches are off."""
        contexts, requests = kwargs.get("context"), argument
        if not isinstance(contexts, list):
            contexts, requests = [contexts], [argument]
        outcomes.tell_alike(self._self_parent.policy, requests, contexts, BYPASSED)


def _answer_of(role: Role) -> Callable[..., Any]:
    """Return what answers a method of one item."""
    if role.streams:
        return answer_stream_async if role.is_async else answer_stream
    if role.name != "predict":
        return answer_tried_async if role.is_async else answer_tried
    return answer_one_async if role.is_async else answer_one


class CachedMethod(wrapt.FunctionWrapper, Generic[_P, _R]):  # type: ignore[type-arg]
    """A method that `@cached_predict` decorates, in the class that defines it.

    Args:
        function: The user's function; its first parameter is `self`.
        policy: How its outputs are cached.
    """

    __annotations__ = ANNOTATIONS
    __bound_function_wrapper__ = BoundCachedMethod

    def __init__(self, function: Any, policy: CachePolicy) -> None:
        super().__init__(function, _refuse)
        self._self_policy = policy
        self._self_takes_context = takes_context(function)
        self._self_roles: dict[int, Role] = {}

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def __get__(self, instance: None, owner: type, /) -> BoundCachedMethod[_P, _R]: ...
        @overload
        def __get__(
            self: CachedMethod[Concatenate[Any, _Q], _R], instance: object, owner: type = ..., /
        ) -> BoundCachedMethod[_Q, _R]: ...
        def __get__(self, instance: Any, owner: Any = None, /) -> Any: ...

    def __set_name__(self, owner: type, name: str) -> None:
        take_over(owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse the call: Python calls a method of an API on what `__get__` returns."""
        name = self.__qualname__
        if "." not in name.rpartition("<locals>.")[2]:
            raise UnsupportedMethodError(
                name, "it is a plain function; put @cached_predict on a method of a LitAPI"
            )
        raise UnsupportedMethodError(name, "another decorator hides it; put @cached_predict on top")

    @property
    def policy(self) -> CachePolicy:
        """How its outputs are cached."""
        return self._self_policy

    @property
    def takes_context(self) -> bool:
        """Whether the user's function takes `context`."""
        return self._self_takes_context

    def role_in(self, cls: type) -> Role:
        """Return the role of this method in a class."""
        role = self._self_roles.get(id(cls))
        if role is None:
            role = Role(self, self.policy, cls)
            role.answer = _answer_of(role)
            take_over(cls)  # for a class that got the method after it was made
            roles, key = self._self_roles, id(cls)
            roles[key] = role
            # By its id: a reference to the class would keep it from being freed.
            weakref.finalize(cls, roles.pop, key, None).atexit = False
        return role


def _refuse(*_: Any) -> Any:
    """Fill the place of wrapt's wrapper function, which `BoundCachedMethod` never calls."""
    raise AssertionError
