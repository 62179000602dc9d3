"""The hooks of an API that are taken over: `batch`, `unbatch` and `setup`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import wrapt
from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.engine.run import caches_computing
from litcache.litapi.state import (
    CACHEABLE,
    CachedMethod,
    Items,
    Outputs,
    TakenOver,
    attribute_of,
    cache_of,
    is_served,
    state_of,
)
from litcache.observe.log import logger
from litcache.policy import parse_bytes
from litcache.stores.memory import MemoryStore
from litcache.switches import is_disabled

_HOOKS = ("batch", "unbatch", "setup")


class Hook(TakenOver):
    """A descriptor in the place of `batch`, `unbatch` or `setup` of a class.

    By hand, in a `super()` call and while the method computes it gives what stood there before.
    """

    def __get__(self, api: LitAPI | None, cls: type | None = None) -> Any:
        cls = cls or type(api)
        if api is None:
            # What a class without a definition of its own resolves to depends on who asks.
            return getattr(super(self.owner, cls), self.name) if self.own is None else (
                self.own.__get__(None, cls)
            )  # fmt: skip
        if self.own is None:
            original = getattr(super(self.owner, api), self.name)
        else:
            original = self.own.__get__(api, cls)
        if attribute_of(type(api), self.name) is not self:
            return original
        act = getattr(self, f"_{self.name}")(api, original)
        return original if act is None else _Acting(original, act)

    def __getattr__(self, name: str) -> Any:
        """Look like the function (`__code__`, `__doc__`) to whoever reads the class's dict."""
        if name.startswith("__") and self.__dict__.get("own") is not None:
            return getattr(self.own, name)
        raise AttributeError(name)

    def _setup(self, api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any] | None:
        def setup(*args: Any, **kwargs: Any) -> Any:
            state = state_of(api)
            state.ready = False
            for cache in state.caches.values():
                cache.keyring.suspend()
            result = original(*args, **kwargs)
            after_setup(api)
            return result

        return setup

    def _batch(self, api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any] | None:
        if not answers_batches(api):
            return None
        # A loop asks for the token; the user's own calls, from any thread, get the user's batch.
        asking = sys._getframe(2).f_globals.get("__name__", "")
        if not asking.startswith(("litserve.", "litcache.")):
            return None
        if not is_disabled() and cache_of(api, "predict") in caches_computing():
            return None
        return lambda inputs, **context: Items(inputs)

    def _unbatch(self, api: LitAPI, original: Callable[..., Any]) -> Callable[..., Any] | None:
        if not is_served(api):
            return None

        def unbatch(output: Any, *args: Any, **context: Any) -> Any:
            return output.values if type(output) is Outputs else original(output, *args, **context)

        return unbatch


class _Acting(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A bound hook that looks as before and does something else."""

    def __init__(self, original: Callable[..., Any], act: Callable[..., Any]) -> None:
        super().__init__(original)
        self._self_act = act

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._self_act(*args, **kwargs)


def answers_batches(api: LitAPI) -> bool:
    """Say whether the wrapper of `predict` answers the batches of LitServe's loops."""
    method = attribute_of(type(api), "predict")
    return (
        is_served(api)
        and api.max_batch_size > 1
        and not api.stream
        and isinstance(method, CachedMethod)
        # A predict of lists knows nothing of requests: they are pooled with the caches off, too.
        and (not is_disabled() or method._self_policy.items == "list")
        # If somebody replaced it, nothing would open the outputs.
        and isinstance(attribute_of(type(api), "unbatch"), Hook)
        and not {"predict", "unbatch"} & api.__dict__.keys()
    )


def take_over(cls: type) -> None:
    """Take over the hooks of a class and of every class made from it."""
    _follow_subclasses(cls)
    if not issubclass(cls, LitAPI):
        return
    for name in _HOOKS:
        current = attribute_of(cls, name)
        if isinstance(current, Hook):
            continue
        setattr(cls, name, Hook(cls, name, cls.__dict__.get(name)))


def _follow_subclasses(cls: Any) -> None:
    """Have `take_over` called for every class that will be made from this one."""
    if getattr(cls.__init_subclass__, "_litcache", False):
        return
    own = cls.__dict__.get("__init_subclass__")

    def init_subclass(subclass: type, /, **kwargs: Any) -> None:
        if own is not None:
            own.__get__(None, subclass)(**kwargs)
        else:
            super(cls, subclass).__init_subclass__(**kwargs)
        take_over(subclass)

    init_subclass._litcache = True  # type: ignore[attr-defined]
    cls.__init_subclass__ = classmethod(init_subclass)


def after_setup(api: LitAPI) -> None:
    """Take note that the model was set up; in a worker, ask for versions and log the start."""
    state = state_of(api)
    state.ready = True
    for cache in state.caches.values():
        cache.keyring.renew_version()
    if api.request_timeout is None or is_disabled():
        return
    show_log_lines()
    for name in CACHEABLE:
        attribute = attribute_of(type(api), name)
        if isinstance(attribute, CachedMethod):
            _log_start(cache_of(api, name))


def _log_start(cache: Cache) -> None:
    store = cache.store
    memory = isinstance(store, MemoryStore)
    size = getattr(store, "max_bytes", None)
    text = "no budget of its own" if size is None else f"{parse_bytes(size) / 2**20:,.0f} MiB"
    cache.reporter.started(
        cache.scope.namespace,
        cache.keyring.version,
        type(store).__name__,
        f"{text} in each worker" if memory else text,
    )
    # The ids of an API's workers count from 0, so exactly one of several workers is number 1.
    if memory and os.environ.get("LITSERVE_WORKER_ID") == "1":
        cache.reporter.warn_once(
            "workers",
            "several workers, each with a MemoryStore of its own: what one computed, the others "
            "compute again. A SharedStore is used by all of them",
        )


def show_log_lines() -> None:
    """Send litcache's lines where LitServe's go, unless the user has set up logging."""
    if logger.hasHandlers():
        return
    for handler in logging.getLogger("litserve").handlers:
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
