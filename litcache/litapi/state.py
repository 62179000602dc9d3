"""What litcache keeps of one API in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from litserve import LitAPI

from litcache.engine.cache import Cache
from litcache.keys.writer import class_name
from litcache.litapi.classes import attribute_of, context_takers, is_generator, policy_of
from litcache.litapi.identity import ByIdentity
from litcache.observe import pages
from litcache.observe.counters import Labels
from litcache.policy import CachePolicy
from litcache.stores.base import Store
from litcache.stores.memory import MemoryStore
from litcache.trial_policy import Trial
from litcache.values import chunks

_MOST_EXPECTED = 1_024


class ApiState:
    """What litcache keeps of one API in this process.

    Args:
        api: The API.

    Attributes:
        api: The API.
        caches: The cache of each cached method, by the method's name.
        answering: Those that calls are answered from: `caches`, but none while `setup` runs.
        ready: Whether `setup` has run.
        encodes: Whether the responses of the API are cached (`result="response"`).
        has_helpers: Whether methods beside the hooks are cached and tried.
        has_served: Whether `setup` has run before, and a server has called it.
        store: The store that the `APIRunner` uses instead of those of the policies.
        trial: The trial that the `APIRunner` wants instead of those of the policies, if it
            `has_own_trial`; `None`: no trial.
        arrivals: The digests of the requests whose items are on their way to `predict`; `None` if
            no method is tried.
        expected: The rehearsals of the outputs that are on their way to `encode_response`.
        expected_call: How many calls have had rehearsals.
        hooks: What stands in the place of the hooks that are asked for at each request, by name,
            and what it was made for.
        encodes_in_sight: Whether `encode_response` is called as far as litcache has seen.
        encodes_alone: Whether `encode_response` changes nothing that a twin of the API shares with
            it, as far as litcache has seen; `None` as long as it has not been called.
        encodings: How often `encode_response` was asked for, and was compared.
        encode_watch: What the `APIRunner` has put before `encode_response`.
        model_lock: Held while the model runs in a thread of its own.
        on_model_call: What the `APIRunner` wants called with the number of items of each call.
    """

    def __init__(self, api: LitAPI | None = None) -> None:
        self.api = api
        self.caches: dict[str, Cache] = {}
        self.answering = self.caches
        # LitServe sets the device after `setup`. A method that was decorated later has not seen it.
        self.ready = getattr(api, "device", None) is not None
        self.store: Store | None = None
        self.on_model_call: Callable[[int | None], None] | None = None
        self.trial: Trial | None = None
        self.has_own_trial = False
        self.has_served = False
        self.encodes = self.has_helpers = False
        self.arrivals: ByIdentity[int] | None = None
        self.expected: ByIdentity[Any] = ByIdentity(_MOST_EXPECTED)
        self.expected_call = 0
        self.hooks: dict[str, tuple[Any, Any]] = {}
        self.encodes_in_sight = True
        self.encodes_alone: bool | None = None
        self.encodings = 0
        self.encode_watch: Any = None
        self.model_lock = threading.RLock()  # predict itself may call encode_response

    @property
    def is_setting_up(self) -> bool:
        """Whether `setup` runs. Then the model may still change, and calls go uncached."""
        return self.answering is not self.caches

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Note that `setup` runs."""
        before, self.answering, self.ready = self.answering, {}, False
        for cache in self.caches.values():
            cache.keyring.suspend()
        try:
            yield
        finally:
            self.answering = before

    def __reduce__(self) -> tuple[type[ApiState], tuple[()]]:
        # A worker gets the API of the main process pickled, and each copy has its own entries.
        return ApiState, ()


def state_of(api: LitAPI) -> ApiState:
    """Return what litcache keeps of an API."""
    attributes = api.__dict__
    state = attributes.get("_litcache")
    if state is None:
        state = attributes.setdefault("_litcache", ApiState(api))
    if state.api is not api:  # a copy of another API, with that API's attributes
        state = attributes["_litcache"] = ApiState(api)
    return state  # type: ignore[no-any-return]


def is_served(api: LitAPI) -> bool:
    """Return whether a LitServer (or the APIRunner) has prepared an API and its `setup` has run."""
    return api.request_timeout is not None and state_of(api).ready


def is_elsewhere(api: LitAPI) -> bool:
    """Return whether a LitServer has prepared an API, but other processes serve it."""
    state = state_of(api)
    return api.request_timeout is not None and not (state.ready or state.is_setting_up)


def serving_mode(api: LitAPI, name: str, policy: CachePolicy) -> str:
    """Return the mode in which an API serves a method."""
    if policy.items == "list":
        return "list"
    if is_generator(attribute_of(type(api), name).__wrapped__):
        return chunks.MODE
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
    policy = policy_of(cls, name)
    assert policy is not None
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
            policy.check_given(store)
        except ValueError as error:
            raise ValueError(f"{method}: {error}") from None
    namespace = policy.namespace or f"{class_name(cls)}.{name}{api.api_path}"
    cache = Cache(
        method, namespace, policy, store, api, reads_context=bool(context_takers(cls, name)),
        # A loop that looks items up by itself has a name for the metrics.
        labels=Labels(api.api_path or "", name, getattr(api.loop, "tier", "decorator")),
    )  # fmt: skip
    pages.of_this_process().enter(cache)
    return cache
