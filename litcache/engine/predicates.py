"""The functions of a policy, asked for each item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from litcache.engine.call import Call, Misses
from litcache.functions import with_context
from litcache.keys.contexts import Context
from litcache.keys.files import rewinding
from litcache.keys.keyer import Keyring
from litcache.observe.log import Reporter
from litcache.policy import CachePolicy
from litcache.ttl import seconds_of


def _asked(function: Callable[..., Any] | None, arguments: int) -> Callable[..., Any] | None:
    """Return a function of the policy as one that takes a context and keeps positions of files."""
    asked = with_context(function, arguments)
    return None if asked is None else rewinding(asked)


class Lifetime(NamedTuple):
    """How long an output stays valid.

    Attributes:
        is_stored: Whether it is stored at all.
        seconds: For how long; `None`: until it is evicted.
    """

    is_stored: bool
    seconds: float | None

    def ends(self, clock: Callable[[], float]) -> float | None:
        """Return when an entry that is stored now expires; `None`: when it is evicted."""
        return None if self.seconds is None else clock() + self.seconds


NOT_STORED = Lifetime(False, None)


class Predicates:
    """Asks the functions of a policy; if one raises, its item is uncacheable.

    Args:
        policy: The policy.
        keyring: Makes the keys.
        reporter: Warns of functions that raise, and of items without a key.
    """

    def __init__(self, policy: CachePolicy, keyring: Keyring, reporter: Reporter) -> None:
        self._keyring = keyring
        self._reporter = reporter
        self._bypass_if = _asked(policy.bypass_if, 1)
        self._refresh_if = _asked(policy.refresh_if, 1)
        self._store_if = _asked(policy.store_if, 2)
        self._seconds = policy.seconds
        self._ttl = _asked(policy.ttl, 2) if callable(policy.ttl) else None

    def ask(self, call: Call) -> None:
        """Give a call the keys of its items, and the answers of the policy's functions."""
        refreshed: set[bytes] = set()
        bypassed: set[int] = set()
        uncacheable: set[int] = set()
        keys: list[bytes | None] = []
        for position, item in enumerate(call.items):
            key = None
            context = call.context(position)
            try:
                if self._bypass_if is not None and self._bypass_if(item, context):
                    bypassed.add(position)
                else:
                    key = call.key_of(self._keyring, position)
                    if self._refresh_if is not None and self._refresh_if(item, context):
                        refreshed.add(key)
            except Exception as error:  # the policy's functions are the user's: they may raise
                self._reporter.swallow("key", error, "an item has no key and goes uncached")
                uncacheable.add(position)
                key = None
            keys.append(key)
        call.is_plain = False
        call.keys, call.refreshed = keys, refreshed
        call.bypassed, call.uncacheable = bypassed, uncacheable

    @property
    def asks_before_storing(self) -> bool:
        """Whether the policy has a `store_if`, or a `ttl` that is a function."""
        return self._store_if is not None or self._ttl is not None

    def lifetime(self, misses: Misses, position: int, output: Any, index: int) -> Lifetime | None:
        """Return how long one output of a part stays valid; `None` if a function raised."""
        call = misses.call
        cause, consequence = "store_if", "store_if failed and nothing is stored"
        try:
            value = call.output_at(output, index)
            asked = call.items[position], value, call.context(position)
            if self._store_if is not None and not self._store_if(*asked):
                return NOT_STORED
            cause, consequence = "ttl", "ttl gave no time and nothing is stored"
            return self.lifetime_of(*asked)
        except Exception as error:  # the policy's functions are the user's: they may raise anything
            self._reporter.swallow(cause, error, consequence)
            return None

    def lifetime_of(self, item: object, output: Any, context: Context | None) -> Lifetime:
        """Return how long the output of an item stays valid by the policy's `ttl`.

        Raises:
            ValueError: If `ttl` returns no time.
            TypeError: If `ttl` returns a value of another type.
        """
        seconds = self._seconds
        if self._ttl is not None:
            answer = self._ttl(item, output, context)
            seconds = seconds_of(answer, name="the answer of ttl", may_be_zero=True)
        return Lifetime(seconds != 0, seconds)
