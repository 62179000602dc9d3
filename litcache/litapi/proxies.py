"""Proxies of a user's function, which look like that function to LitServe."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from operator import attrgetter
from types import MethodType
from typing import Any

import wrapt

# Python gives a class that is asked for annotations its own, which would hide the function's.
ANNOTATIONS = property(lambda proxy: proxy.__wrapped__.__annotations__)


class Acting(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A proxy that looks like a bound method and does something else.

    Args:
        bound: The method.
        act: What a call does.
    """

    __annotations__ = ANNOTATIONS

    def __init__(self, bound: Callable[..., Any], act: Callable[..., Any]) -> None:
        super().__init__(bound)
        self._self_act = act

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what stands in the place of the method."""
        return self._self_act(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduce_by_name(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy_by_name(self, memo)


class Noting(Acting):
    """A proxy that looks like a bound method, and notes what it is given and what it returns.

    LitServe's loops look at the signature of a hook before each call. This one has it at hand, so
    that being in the way costs a request nothing.

    Args:
        bound: The method.
        call: What calls it.
        before: Is called with the argument.
        after: Is called with the result, and with what `before` has returned.
    """

    __func__ = property(attrgetter("_self_function"))

    def __init__(
        self,
        bound: Callable[..., Any],
        call: Callable[..., Any],
        before: Callable[[Any], Any],
        after: Callable[[Any, Any], object],
    ) -> None:
        super().__init__(bound, call)
        self._self_parts = before, call, after
        if isinstance(bound, MethodType):
            function = bound.__func__
            self._self_function = WithSignature(function, inspect.signature(function))

    def __call__(self, argument: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the method between the two."""
        before, call, after = self._self_parts
        noted = before(argument)
        result = call(argument, *args, **kwargs)
        after(result, noted)
        return result


class WithSignature(wrapt.CallableObjectProxy):  # type: ignore[type-arg]
    """A proxy of a function whose signature is known.

    Args:
        function: The function.
        signature: Its signature.
    """

    __annotations__ = ANNOTATIONS
    __signature__ = property(attrgetter("_self_signature"))

    def __init__(self, function: Any, signature: inspect.Signature) -> None:
        super().__init__(function)
        self._self_signature = signature

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _itself, (self.__wrapped__,)  # as Python pickles the function

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self  # as a function is its own copy


class WithContext(WithSignature):
    """A proxy of a function, whose signature has one more parameter: `context`.

    Args:
        function: The function.
    """

    def __init__(self, function: Any) -> None:
        signature = inspect.signature(function)
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, default=None)
        parameters = list(signature.parameters.values())
        last = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
        parameters.insert(len(parameters) - last, context)
        super().__init__(function, signature.replace(parameters=parameters))


def _itself(function: Any) -> Any:
    return function


def reduce_by_name(bound: Any) -> tuple[Any, ...]:
    """Return how to pickle a proxy of a bound method: as Python pickles a bound method."""
    return getattr, (bound.__self__, bound.__name__)


def copy_by_name(bound: Any, memo: dict[int, Any]) -> Any:
    """Return a deep copy of a proxy of a bound method: the method of the copied object."""
    return getattr(copy.deepcopy(bound.__self__, memo), bound.__name__)
