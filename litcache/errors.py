"""The errors that litcache raises, each carrying what was at fault."""

from __future__ import annotations


class LitCacheError(Exception):
    """The base of every error of litcache."""


class KeyEncodingError(LitCacheError):
    """An item has no canonical form, so no key can be made of it.

    Args:
        reason: What is wrong with the value at `path`.
        path: Where in the item it was met, such as `$.images[3].meta`.
        type: The class of that value.

    Attributes:
        path: Where in the item the culprit is.
        type: The class of the culprit.
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
        path: Where in the output it was met; `$` for stored bytes.
        type: The class of the value there; `bytes` for stored bytes.

    Attributes:
        path: Where in the output the culprit is.
        type: The class of the culprit.
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
    """A method returned another number of outputs than it was given items.

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


class StoreError(LitCacheError):
    """A store could not do what it was asked to.

    Args:
        reason: What went wrong, free of credentials.
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
    """A method of a kind that cannot be cached was decorated.

    Args:
        method: The qualified name of the method.
        reason: Why it cannot be cached and what to do instead.

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
        known: The versions that it was tested with.
        missing: What it needs of LitServe and did not find.
        feature: Which part that is.

    Attributes:
        installed: The installed version.
        known: The versions that it was tested with.
        missing: What it needs of LitServe and did not find.
        feature: Which part that is.
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
