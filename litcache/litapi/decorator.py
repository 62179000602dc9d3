"""`@cached_predict`, and its checks of what it decorates."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from litcache.errors import UnsupportedMethodError
from litcache.litapi.classes import STREAMS, fault_of, is_generator
from litcache.litapi.method import CachedMethod
from litcache.policy import CacheOptions, CachePolicy
from litcache.sizes import parse_bytes
from litcache.stores.base import Store
from litcache.ttl import seconds_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

_P = ParamSpec("_P")
_R = TypeVar("_R")
_OPTIONS = tuple(field.name for field in fields(CachePolicy))


class Decorator(Protocol):
    """The decorator that `cached_predict` returns when it is called with options."""

    def __call__(self, function: Callable[_P, _R], /) -> CachedMethod[_P, _R]:
        """Return the cached method."""


@overload
def cached_predict(function: Callable[_P, _R], /) -> CachedMethod[_P, _R]: ...
@overload
def cached_predict(*, policy: CachePolicy) -> Decorator: ...
@overload
def cached_predict(**options: Unpack[CacheOptions]) -> Decorator: ...
def cached_predict(
    function: Any = None, /, *, policy: CachePolicy | None = None, **options: Any
) -> Any:
    """Cache the outputs of a method of a `LitAPI`.

    The method is `predict`, `decode_request`, or any other method of one item, such as
    `encode_image(self, image)`, which your own hooks call. Use the decorator bare or with options,
    above all other decorators, on `def` or `async def`. If `predict` is a generator, what it yields
    is recorded as it passes, and yielded again on a hit.

    Args:
        function: The method, if the decorator is used bare.
        policy: All options together.
        **options: The options of `CachePolicy`, as keywords.

    Returns:
        The method, with the same signature, kind and `__code__`. `api.predict.cache` is its cache.

    Raises:
        UnsupportedMethodError: If the method cannot be cached.
        ValueError: If the value of an option is not allowed, or options contradict each other.
        TypeError: If an option is unknown, of the wrong type, or not given as a keyword.

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


def _decorate(
    function: Any, policy: CachePolicy | None, options: dict[str, Any]
) -> CachedMethod[..., Any]:
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
    if policy.items == "list" and function.__name__ == "decode_request":
        raise UnsupportedMethodError(name, 'items="list" is not for decode_request')
    if policy.outcome_in is not None and function.__name__ != "predict":
        raise UnsupportedMethodError(
            name,
            f"outcome_in={policy.outcome_in!r} is for predict alone: what comes after another "
            "method would read it as a part of the request",
        )
    if policy.result == "response" and function.__name__ == "decode_request":
        raise UnsupportedMethodError(name, 'result="response" is for predict alone')
    if is_generator(function):
        _check_stream(policy, name)
    return CachedMethod(function, policy)


def _check_stream(policy: CachePolicy, name: str) -> None:
    """Refuse the options that have no meaning for a generator."""
    if policy.items == "list":
        raise UnsupportedMethodError(name, 'items="list" is not for a generator: it yields no rows')
    if policy.store_as is not None:
        raise UnsupportedMethodError(
            name,
            f"store_as={policy.store_as!r} is not for a generator: a chunk goes to the client "
            "before it is known whether the stream is stored. Let predict yield what is to be sent",
        )
    if policy.result == "response":
        raise UnsupportedMethodError(
            name,
            'result="response" is not for a generator: stored is what it yields, and '
            "encode_response runs on each hit",
        )


def _check_function(function: Any, name: str) -> None:
    """Refuse a function that cannot be cached, as far as the function alone shows it."""
    if isinstance(function, staticmethod | classmethod):
        raise UnsupportedMethodError(name, f"it is a {type(function).__name__}, not a method")
    if inspect.ismethod(function):
        raise UnsupportedMethodError(name, "it is bound to an object; decorate it in its class")
    if isinstance(function, CachedMethod):
        raise UnsupportedMethodError(name, "it is decorated with @cached_predict already")
    if not callable(function):
        raise TypeError(f"cached_predict({function!r}): {_misplaced(function)}")
    if not inspect.isfunction(function):
        raise UnsupportedMethodError(
            name, f"it is no function but a {type(function).__name__}; decorate a method"
        )
    if is_generator(function) and function.__name__ != "predict":
        raise UnsupportedMethodError(name, STREAMS)
    fault = fault_of(function.__name__, function)
    if fault is not None:
        raise UnsupportedMethodError(name, fault)


def _misplaced(value: Any) -> str:
    """Return what to write instead of an option that was given without its name."""
    names = {CachePolicy: "policy", Store: "store", int: "ttl", float: "ttl", timedelta: "ttl"}
    name = next((name for kind, name in names.items() if isinstance(value, kind)), None)
    if isinstance(value, str):
        name = "items" if value in ("request", "list") else "version"
        for option, read in (("ttl", seconds_of), ("max_bytes", parse_bytes)):
            with suppress(ValueError):
                read(value)
                name = option
    return f"options are keywords: {name}={value!r}" if name else "it is no function"
