"""The functions that users give: whether they can be called as litcache will call them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from litcache.checks import told

_LENIENT: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    # Annotations may name what is defined later in the file.
    _LENIENT["annotation_format"] = annotationlib.Format.FORWARDREF


def check_clocks(**clocks: object) -> None:
    """Check options that are clocks.

    Args:
        **clocks: What the user gave, by the names of the options.

    Raises:
        TypeError: If one is no function, or cannot be called without arguments.

    Example:
        >>> check_clocks(clock=lambda: 1.0)
    """
    for name, value in clocks.items():
        check_function(name, value, f"a function {name}() that returns seconds")


def check_function(
    name: str, value: object, allowed: str, *arguments: object, **named: object
) -> None:
    """Check an option that is a plain function.

    Args:
        name: The name of the option.
        value: What the user gave.
        allowed: What is allowed, for messages.
        *arguments: Any values for the arguments with which it will be called.
        **named: Any values for those that are given by name.

    Raises:
        TypeError: If it is no function, one that only begins to run when it is called, or if its
            signature says that it cannot be called so. A function of C without a signature passes.

    Example:
        >>> check_function("key", str.lower, "a function key(item)", "any item")
    """
    if not callable(value):
        raise TypeError(told(name, value, allowed))
    if _runs_later(value) or _runs_later(getattr(value, "__call__", None)):  # noqa: B004
        plain = "a plain function, not async and no generator"  # whose answer is always true
        raise TypeError(told(name, value, plain))
    # The signature may be that of a function which this one wraps, and calls in another way.
    signatures = [signature_of(value, follow_wrapped=follow) for follow in (True, False)]
    if not any(_takes(signature, arguments, named) for signature in signatures):
        raise TypeError(f"{told(name, value, allowed)}, and it takes {signatures[0]}")


def signature_of(
    function: Callable[..., object], *, follow_wrapped: bool = True
) -> inspect.Signature | None:
    """Return the signature of a function.

    Args:
        function: The function.
        follow_wrapped: Whether to return that of the function which this one says it wraps.

    Returns:
        The signature; `None` for functions of C that have none.

    Example:
        >>> str(signature_of(lambda item: True))
        '(item)'
    """
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped, **_LENIENT)
    except (TypeError, ValueError):
        return None


def _runs_later(function: Any) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )


def _takes(
    signature: inspect.Signature | None, arguments: tuple[object, ...], named: dict[str, object]
) -> bool:
    if signature is None:
        return True
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


def wants_context(function: Callable[..., object] | None, arguments: int) -> bool:
    """Return whether a policy's function takes the context after its `arguments`.

    Args:
        function: The function, or `None`.
        arguments: How many arguments come before the context.

    Returns:
        Whether the function requires one more positional argument, or has a parameter named
        `context`.

    Example:
        >>> wants_context(lambda item: True, 1), wants_context(lambda item, context: True, 1)
        (False, True)
    """
    if function is None:
        return False
    signature = signature_of(function)
    if signature is None:  # some builtins have none: they take the item alone
        return False
    parameters = signature.parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(required) > arguments or any(p.name == "context" for p in parameters)


def with_context(function: Callable[..., Any] | None, arguments: int) -> Callable[..., Any] | None:
    """Return a policy's function as one that takes the context after its `arguments`.

    Args:
        function: The function, or `None`.
        arguments: How many arguments come before the context.

    Returns:
        A function of `arguments + 1` arguments, or `None`.
    """
    if function is None:
        return None
    if not wants_context(function, arguments):
        return lambda *values: function(*values[:arguments])
    if _names_context(function):
        return lambda *values: function(*values[:arguments], context=values[arguments])
    return function


def _names_context(function: Callable[..., object]) -> bool:
    """Return whether a function that wants the context takes it by its name."""
    signature = signature_of(function)
    named = signature.parameters.get("context") if signature else None
    return named is not None and named.kind is not named.POSITIONAL_ONLY


def check_predicate(name: str, value: object, arguments: Sequence[str]) -> None:
    """Check a function of a policy, which takes the context behind its arguments if it wants to.

    Args:
        name: The name of the option.
        value: What the user gave.
        arguments: The names of its arguments, without the context.

    Raises:
        TypeError: If it is no plain function, or cannot be called so.

    Example:
        >>> check_predicate("key", lambda item, context: item, ["item"])
    """
    allowed = f"a function {name}({', '.join(arguments)}[, context]) or None"
    if not callable(value) or not wants_context(value, len(arguments)):
        check_function(name, value, allowed, *arguments)
    elif _names_context(value):
        check_function(name, value, allowed, *arguments, context="context")
    else:
        check_function(name, value, allowed, *arguments, "context")
