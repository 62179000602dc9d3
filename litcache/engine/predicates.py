"""The functions of a policy, asked for each item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litcache.engine.call import Call, Misses
from litcache.keys.files import rewinding
from litcache.keys.keyer import Keyring
from litcache.observe.log import Reporter
from litcache.policy import CachePolicy, with_context


def _asked(function: Callable[..., Any] | None, arguments: int) -> Callable[..., Any] | None:
    """Return a function of the policy as one that takes a context and keeps positions of files."""
    asked = with_context(function, arguments)
    return None if asked is None else rewinding(asked)


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
        """Whether the policy has a `store_if`."""
        return self._store_if is not None

    def may_store(self, misses: Misses, position: int, output: Any, index: int) -> bool | None:
        """Return whether one output of a part may be stored; `None` if `store_if` raised."""
        if self._store_if is None:
            return True
        call = misses.call
        try:
            value = call.output_at(output, index)
            return bool(self._store_if(call.items[position], value, call.context(position)))
        except Exception as error:  # the policy's functions are the user's: they may raise anything
            self._reporter.swallow("store_if", error, "store_if failed and nothing is stored")
            return None
