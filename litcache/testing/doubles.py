"""A clock that a test advances, and a store that a test lets fail."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from litcache.checks import check_number, check_store, told
from litcache.errors import StoreError
from litcache.stores.base import Entry, Scope, Store, StoreInfo
from litcache.stores.memory import MemoryStore

_SECONDS = "a number of seconds"
_LONGEST = 1e15  # a float still tells seconds apart
_OPERATIONS = ("get", "set", "delete", "clear", "info")


class FakeClock:
    """A clock that stands still until it is advanced.

    Args:
        start: The first time that it shows, in seconds.

    Raises:
        ValueError: If `start` is not finite.
        TypeError: If `start` is no number.

    Example:
        >>> clock = FakeClock(start=100.0)
        >>> clock.advance(2.5)
        >>> clock()
        102.5
    """

    def __init__(self, start: float = 1_000_000.0) -> None:
        check_number("start", start, _SECONDS, least=-_LONGEST, most=_LONGEST)
        self._now = start

    def __call__(self) -> float:
        """Return the time it shows, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: How many seconds pass.

        Raises:
            ValueError: If `seconds` is not finite.
            TypeError: If `seconds` is no number.

        Example:
            >>> clock = FakeClock(0.0)
            >>> clock.advance(1)
            >>> clock()
            1.0
        """
        check_number("seconds", seconds, _SECONDS, least=-_LONGEST, most=_LONGEST)
        self._now += seconds


class FailingStore(Store):
    """A store whose operations raise `StoreError` while `failing` is true.

    Args:
        store: The store that does the work otherwise; by default a `MemoryStore`.
        fail: The operations that fail: some of `get`, `set`, `delete`, `clear` and `info`.

    Attributes:
        failing: Whether the operations fail now; a test sets it.

    Raises:
        ValueError: If `fail` names another operation.
        TypeError: If `store` is no `Store`, or `fail` is no tuple or list.

    Example:
        >>> store = FailingStore(fail=("get",))
        >>> store.get_many(Scope("shop"), [b"k" * 16])
        Traceback (most recent call last):
        litcache.errors.StoreError: FailingStore: get failed, as it was told to
        >>> store.failing = False
        >>> store.get_many(Scope("shop"), [b"k" * 16])
        [None]
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        fail: Sequence[str] = _OPERATIONS,
    ) -> None:
        if store is not None:
            check_store("store", store, "a Store or None")
        allowed = f"a tuple or list of some of {', '.join(map(repr, _OPERATIONS))}"
        if isinstance(fail, str | bytes) or not isinstance(fail, Collection):
            raise TypeError(told("fail", fail, allowed))
        if not all(operation in _OPERATIONS for operation in fail):
            raise ValueError(told("fail", fail, allowed))
        self._store = MemoryStore() if store is None else store
        self._fail = frozenset(fail)
        self.clock = self._store.clock
        self.failing = True

    def _ask(self, operation: str) -> Store:
        """Return the store that works, unless this operation fails now."""
        if self.failing and operation in self._fail:
            raise StoreError(f"{operation} failed, as it was told to", type(self).__name__)
        return self._store

    def get_many(self, scope: Scope, keys: Sequence[bytes]) -> list[Entry | None]:
        """Fail, or look entries up."""
        return self._ask("get").get_many(scope, keys)

    def set_many(self, scope: Scope, entries: Mapping[bytes, Entry]) -> None:
        """Fail, or store entries."""
        self._ask("set").set_many(scope, entries)

    def delete_many(self, scope: Scope, keys: Sequence[bytes]) -> int:
        """Fail, or delete entries."""
        return self._ask("delete").delete_many(scope, keys)

    def clear(self, namespace: str | None = None) -> None:
        """Fail, or drop the entries of a namespace."""
        self._ask("clear").clear(namespace)

    def info(self) -> StoreInfo:
        """Fail, or return what the store holds and did."""
        return self._ask("info").info()

    def close(self) -> None:
        """Close the store that does the work; this never fails."""
        self._store.close()
