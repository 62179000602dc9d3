"""The hooks of an API that litcache takes over, and what they do while a server runs the API."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from types import MethodType
from typing import Any, TypeVar

from litserve import LitAPI

from litcache.engine.inside import caches_computing
from litcache.engine.stops import write_at_sigterm
from litcache.litapi import in_hand
from litcache.litapi.arrivals import noting
from litcache.litapi.classes import attribute_of, cached_methods, encodes, policy_of
from litcache.litapi.encoding import opening
from litcache.litapi.own import has_own_encoding, warn_of_own
from litcache.litapi.proving import proving
from litcache.litapi.proxies import Acting
from litcache.litapi.start import (
    begin_trial,
    drop_entries,
    log_start,
    warn_of_equals,
    warn_of_source,
)
from litcache.litapi.state import cache_of, is_served, state_of
from litcache.litapi.tokens import Items, Outputs
from litcache.observe.log import show_log_lines
from litcache.policy import CachePolicy
from litcache.switches import is_disabled
from litcache.trial.source.look import look

_T = TypeVar("_T")
_OFTEN = ("decode_request", "encode_response")
"""The hooks that a loop asks for at each request."""
_HOOKS = ("pre_setup", "setup", "decode_request", "batch", "unbatch", "encode_response")


class _Thread(threading.local):
    """Where a thread is: in one of the user's hooks (`True`), or between two of them (`False`).

    Between two hooks a thread runs a loop, LitServe's or the user's own. A thread that ran none of
    `setup`, `decode_request` and `encode_response` (`None`) runs no loop, but the user's code.
    """

    in_hook: bool | None = None


_thread = _Thread()
_in_async_hook: ContextVar[bool] = ContextVar("litcache_in_async_hook", default=False)


def call_users(function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
    """Call the user's code; inside it, `api.batch` is the user's own."""
    before, _thread.in_hook = _thread.in_hook, True
    try:
        return function(*args, **kwargs)
    finally:
        _thread.in_hook = before


def _call_from_loop(function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
    """Call a hook that only loops call, and note that this thread runs a loop afterwards."""
    before, _thread.in_hook = _thread.in_hook, True
    try:
        return function(*args, **kwargs)
    finally:
        _thread.in_hook = before is True


async def _await_from_loop(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call an async hook that only loops call; other tasks of its thread run meanwhile."""
    token = _in_async_hook.set(True)
    try:
        return await function(*args, **kwargs)
    finally:
        _in_async_hook.reset(token)


class Hook:
    """A descriptor that stands in a class in the place of a hook.

    If the API is not served, and in a `super()` call, it gives the hook that was there before.

    Args:
        name: The hook's name.
        own: The hook that the class itself defines; `None` if the class inherits it.
    """

    def __init__(self, name: str, own: Any) -> None:
        self.name = name
        self.own = own
        self._act = getattr(self, f"_{name}", None)

    def __get__(self, api: LitAPI | None, cls: type | None = None) -> Any:
        cls = cls or type(api)
        is_first, behind = self._stands_in(cls)
        original = behind.__get__(api, cls) if hasattr(behind, "__get__") else behind
        if self.name == "__init_subclass__":
            return partial(_init_subclass, cls, original)
        if api is None or not is_first:
            return original
        if self.name in _OFTEN and type(original) is MethodType:
            return self._kept(api, original)
        act = self._act(api, original) if self._act is not None else None
        return original if act is None else Acting(original, act)

    def _kept(self, api: LitAPI, original: Any) -> Any:
        """Return what stands in the place of a hook, made anew only if it would be another."""
        state = state_of(api)
        if self.name == "decode_request":
            tries: Any = None if is_disabled() else state.arrivals
            if state.has_helpers and getattr(api, "enable_async", False):
                in_hand.begin()  # here, in the task: LitServe runs a plain hook in a thread
        else:
            tries = bool(state.expected)
            state.encodings += 1
            if state.has_helpers:
                in_hand.close()
        try:
            served = api.max_batch_size, api.enable_async
        except AttributeError:  # before LitAPI.__init__
            served = 1, False
        made_for = (original, served, state.encodes, tries)
        kept = state.hooks.get(self.name)
        if kept is None or kept[0] != made_for:
            assert self._act is not None
            act = self._act(api, original)
            if act is not None and not isinstance(act, Acting):
                act = Acting(original, act)
            kept = made_for, original if act is None else act
            state.hooks[self.name] = kept
        return kept[1]

    def __getattr__(self, name: str) -> Any:
        """Give the function's `__code__`, `__doc__` … to code that reads the dict of the class."""
        if name.startswith("__") and self.__dict__.get("own") is not None:
            return getattr(self.own, name)
        raise AttributeError(name)

    @property
    def __func__(self) -> Any:
        """The user's function; `None` if the class inherits the hook."""
        return getattr(self.own, "__func__", self.own)

    def _stands_in(self, cls: type) -> tuple[bool, Any]:
        """Return whether a class finds this hook first, and what it finds without this hook.

        It is asked at each call, because `@dataclass(slots=True)` replaces the class by a new one.
        """
        is_first, is_met = True, False
        for base in cls.__mro__:
            attribute = base.__dict__.get(self.name)
            if attribute is self and not is_met:
                if self.own is not None:
                    return is_first, self.own
                is_met = True
            elif attribute is not None and is_met:
                return is_first, attribute
            elif attribute is not None:
                is_first = False
        raise AttributeError(f"{cls.__qualname__} has no {self.name}")

    def _setup(self, api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any]:
        def setup(*args: Any, **kwargs: Any) -> Any:
            if api.request_timeout is not None:
                show_log_lines()
            state = state_of(api)
            with state.setting_up():
                if state.has_served and api.request_timeout is not None:
                    # Before `setup` itself, which may warm the cache.
                    drop_entries(state.caches)
                result = _call_from_loop(original, *args, **kwargs)
            after_setup(api)
            return result

        return setup

    def _pre_setup(self, api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any]:
        def pre_setup(*args: Any, **kwargs: Any) -> Any:
            result = call_users(original, *args, **kwargs)
            warn_of_equals(api)
            return result

        return pre_setup

    def _decode_request(
        self, api: LitAPI, original: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        call = _in_batches(api, original)
        arrivals = state_of(api).arrivals
        if arrivals is None or is_disabled():
            return call
        return noting(api, original, call or original, arrivals)

    def _encode_response(
        self, api: LitAPI, original: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        call = _in_batches(api, original)
        if state_of(api).encodes:  # the responses are compared behind predict
            return opening(original, call or original)
        if not state_of(api).expected:
            return call
        return proving(api, original, call or original)

    def _batch(self, api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any] | None:
        in_hand.close()
        # A loop is between two hooks: it gets the token. The user's code gets the user's batch.
        if _thread.in_hook is not False or not answers_batches(api):
            return None
        computing = caches_computing()
        if computing and not is_disabled() and cache_of(api, "predict") in computing:
            return None

        def batch(inputs: list[Any], *args: Any, **context: Any) -> Items:
            return Items(inputs, partial(call_users, original, inputs, *args, **context))

        return batch

    def _unbatch(self, api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any] | None:
        if not is_served(api):
            return None

        def unbatch(output: Any, *args: Any, **context: Any) -> Any:
            if type(output) is Outputs:
                return output.values
            return call_users(original, output, *args, **context)

        return unbatch


def _in_batches(api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return a hook as one after which its thread is known to run a loop, if that counts."""
    size = getattr(api, "max_batch_size", 1)  # not there before LitAPI.__init__
    if size == 1 and not state_of(api).encodes:
        return None
    if api.enable_async and inspect.iscoroutinefunction(original):
        return partial(_await_from_loop, original)
    return partial(_call_from_loop, original)


def is_encoded_for_loop(api: LitAPI) -> bool:
    """Return whether a call of `predict` by this thread's loop may be answered with responses."""
    in_hook = _thread.in_hook is True or _in_async_hook.get()
    return not in_hook and not caches_computing() and _opens_answers(api)


def _opens_answers(api: LitAPI) -> bool:
    """Return whether the hook that a loop calls as `encode_response` opens responses."""
    return (
        is_served(api)
        and not api.stream
        and isinstance(attribute_of(type(api), "encode_response"), Hook)
        and not has_own_encoding(api)
    )


def caches_batches(api: LitAPI) -> bool:
    """Return whether a loop with its own look-up may use the cache of `predict`."""
    return _batched_policy(api) is not None and "predict" not in api.__dict__


def answers_batches(api: LitAPI) -> bool:
    """Return whether the cached `predict` answers the batches of LitServe's loops."""
    policy = _batched_policy(api)
    return (
        policy is not None
        # A self.predict that calls a predict of lists still needs them pooled.
        and ("predict" not in api.__dict__ or policy.items == "list")
        # If somebody has replaced unbatch, nothing opens the token with the outputs.
        and isinstance(attribute_of(type(api), "unbatch"), Hook)
        and "unbatch" not in api.__dict__
    )


def _batched_policy(api: LitAPI) -> CachePolicy | None:
    """Return the policy of a cached `predict` that is served in batches, else `None`."""
    policy = policy_of(type(api), "predict")
    if policy is None or not is_served(api) or api.max_batch_size == 1 or api.stream:
        return None
    if policy.result == "response" and not _opens_answers(api):
        return None
    # A predict of lists takes items, not requests: they are pooled while caches are off, too.
    return policy if not is_disabled() or policy.items == "list" else None


def take_over(cls: type) -> None:
    """Take over the hooks of a class and of every class made from it."""
    _put_hook(cls, "__init_subclass__")
    if issubclass(cls, LitAPI):
        for name in _HOOKS:
            if policy_of(cls, name) is None:
                _put_hook(cls, name)


def _put_hook(cls: type, name: str) -> None:
    if not isinstance(attribute_of(cls, name), Hook):
        setattr(cls, name, Hook(name, cls.__dict__.get(name)))


def _init_subclass(cls: type, original: Callable[..., Any], **kwargs: Any) -> None:
    """Take over a subclass of a class that was taken over, while Python makes it."""
    original(**kwargs)
    take_over(cls)


def after_setup(api: LitAPI) -> None:
    """Note that `setup` has run; in a worker, ask for the versions and log the start."""
    state = state_of(api)
    state.ready = True
    state.has_served = api.request_timeout is not None
    state.encodes = encodes(type(api))
    for cache in state.caches.values():
        cache.keyring.resume()
    if api.request_timeout is None or is_disabled():
        return
    findings = look(type(api), cached_methods(type(api)))
    for name in cached_methods(type(api)):
        cache = cache_of(api, name)
        begin_trial(api, cache, findings)
        log_start(cache)
        warn_of_own(cache, api, name)
        if cache.store.blocking:
            write_at_sigterm()
    warn_of_source(findings, state.caches)
