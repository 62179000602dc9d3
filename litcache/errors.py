"""The errors that litcache raises; their attributes say what was at fault."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence


def path_of(steps: Iterable[object], root: str = "$") -> str:
    """Return the path to a part of a value, for an error.

    Args:
        steps: The steps from the whole value to the part: attributes or keys, and indices.
        root: The name of the whole value.

    Returns:
        The path, as Python would write it. A key that is neither text nor a number is shown by its
        type.

    Example:
        >>> path_of(["images", 3, "a b", None])
        '$.images[3]["a b"][NoneType]'
    """
    return root + "".join(map(_segment, steps))


def _segment(step: object) -> str:
    if type(step) is str:
        return f".{step}" if step.isidentifier() else f"[{json.dumps(step[:40])}]"
    return f"[{step}]" if type(step) is int else f"[{type(step).__name__}]"


class LitCacheError(Exception):
    """The base of every error of litcache."""


class KeyEncodingError(LitCacheError):
    """An item has no canonical form, so litcache cannot make a key of it.

    Args:
        reason: What is wrong with the value at `path`.
        path: Where that value is in the item, such as `$.images[3].meta`.
        type: The class of that value.

    Attributes:
        path: Where the value at fault is in the item.
        type: The class of the value at fault.
    """

    def __init__(self, reason: str, path: str = "$", type: type = object) -> None:
        super().__init__(reason, path, type)
        self.reason = reason
        self.path = path
        self.type = type

    def __str__(self) -> str:
        name = f"{self.type.__module__}.{self.type.__qualname__}".removeprefix("builtins.")
        return f"cannot make a key: {self.reason} (at {self.path}, of type {name})"


class ValueEncodingError(LitCacheError):
    """An output cannot be stored, or stored bytes cannot be read.

    Args:
        reason: What is wrong.
        path: Where the value at fault is in the output; `$` for stored bytes.
        type: The class of that value; `bytes` for stored bytes.

    Attributes:
        path: Where the value at fault is in the output.
        type: The class of the value at fault.
    """

    def __init__(self, reason: str, path: str = "$", type: type = bytes) -> None:
        super().__init__(reason, path, type)
        self.reason = reason
        self.path = path
        self.type = type

    def __str__(self) -> str:
        name = f"{self.type.__module__}.{self.type.__qualname__}".removeprefix("builtins.")
        return f"cannot store or read an output: {self.reason} (at {self.path}, of type {name})"


class BatchSizeError(LitCacheError):
    """A method did not return one output for each of its items.

    Args:
        method: The qualified name of the method.
        expected: How many items it was given.
        actual: How many outputs it returned.

    Attributes:
        method: The qualified name of the method.
        expected: How many items it was given.
        actual: How many outputs it returned.
    """

    def __init__(self, method: str, expected: int, actual: int) -> None:
        super().__init__(method, expected, actual)
        self.method = method
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return (
            f"{self.method} returned {self.actual} outputs for {self.expected} items; "
            "return one output for each item. Nothing of this call was stored."
        )


class StreamError(LitCacheError):
    """A stream broke off, and its new computation began with other chunks than those given.

    Args:
        method: The qualified name of the method.
        given: How many chunks the caller had got.

    Attributes:
        method: The qualified name of the method.
        given: How many chunks the caller had got.
    """

    def __init__(self, method: str, given: int) -> None:
        super().__init__(method, given)
        self.method = method
        self.given = given

    def __str__(self) -> str:
        return (
            f"{self.method}: the stream that this call had joined broke off after {self.given} "
            "chunks, and computing it again began with other chunks; ask again. A model that "
            "samples gives equal streams only with a seed in the item"
        )


class StoreError(LitCacheError):
    """A store could not do what it was asked to do.

    Args:
        reason: What went wrong, without credentials.
        store: The store's class name.

    Attributes:
        store: The store's class name.
    """

    def __init__(self, reason: str, store: str = "") -> None:
        super().__init__(reason, store)
        self.reason = reason
        self.store = store

    def __str__(self) -> str:
        return f"{self.store}: {self.reason}" if self.store else self.reason


class UnsupportedMethodError(LitCacheError):
    """`@cached_predict` decorates a method that cannot be cached.

    Args:
        method: The qualified name of the method.
        reason: Why it cannot be cached, and what to do instead.

    Attributes:
        method: The qualified name of the method.
    """

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(method, reason)
        self.method = method
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.method} cannot be cached: {self.reason}"


class UnsupportedLitServeError(LitCacheError):
    """A part of litcache does not know the internals of the installed LitServe.

    Args:
        installed: The installed version.
        known: The versions that litcache was tested with.
        missing: What the feature needs from LitServe and did not find.
        feature: The part of litcache that needs it.

    Attributes:
        installed: The installed version.
        known: The versions that litcache was tested with.
        missing: What the feature needs from LitServe and did not find.
        feature: The part of litcache that needs it.
    """

    def __init__(
        self,
        installed: str,
        known: str,
        missing: tuple[str, ...],
        feature: str = "CachedBatchedLoop",
    ) -> None:
        super().__init__(installed, known, missing, feature)
        self.installed = installed
        self.known = known
        self.missing = missing
        self.feature = feature

    def __str__(self) -> str:
        return (
            f"{self.feature} knows LitServe {self.known}; in {self.installed} it misses "
            f"{', '.join(self.missing)}. Install one of those versions, or leave {self.feature} "
            "out: @cached_predict works without it"
        )


class DisagreementError(LitCacheError):
    """A hit would have been another answer than the model's.

    Args:
        method: The method's qualified name.
        differences: Where the answers differ, and how.

    Attributes:
        method: The method's qualified name.
        differences: Where the answers differ, and how.
    """

    def __init__(self, method: str, differences: Sequence[str]) -> None:
        super().__init__(method, differences)
        self.method = method
        self.differences = tuple(differences)

    def __str__(self) -> str:
        return f"a hit would have been another answer: {'; '.join(self.differences)}"
