"""Proxies that stand for a user's function and look like it to LitServe."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import wrapt


class Acting(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A bound method that looks as before and does something else.

    Args:
        bound: The method.
        act: What it does.
    """

    def __init__(self, bound: Callable[..., Any], act: Callable[..., Any]) -> None:
        super().__init__(bound)
        self._self_act = act

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do it."""
        return self._self_act(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduce_by_name(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy_by_name(self, memo)


class WithContext(wrapt.CallableObjectProxy):  # type: ignore[type-arg]
    """A function with one more parameter in its signature: `context`.

    Args:
        function: The function.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        signature = inspect.signature(function)
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, default=None)
        parameters = list(signature.parameters.values())
        last = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
        parameters.insert(len(parameters) - last, context)
        self._self_signature = signature.replace(parameters=parameters)

    @property
    def __signature__(self) -> inspect.Signature:
        return self._self_signature


def reduce_by_name(bound: Any) -> tuple[Any, ...]:
    """Return how a proxy of a bound method is pickled: as bound methods are."""
    return getattr, (bound.__self__, bound.__name__)


def copy_by_name(bound: Any, memo: dict[int, Any]) -> Any:
    """Return a deep copy of a proxy of a bound method: that of the copied object."""
    return getattr(copy.deepcopy(bound.__self__, memo), bound.__name__)
