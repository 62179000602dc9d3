"""What the functions of a policy say of each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litcache.engine.call import ROWS, Call
from litcache.keys.contexts import Context, changes
from litcache.keys.keyer import Keyring
from litcache.observe.log import Reporter
from litcache.policy import CachePolicy, with_context
from litcache.values.rows import row_at


class Rules:
    """Asks a policy's functions; one that raises makes its item uncacheable.

    Args:
        policy: The policy.
        keyring: What makes the keys.
        reporter: What warns of functions that raise, and of items without a key.
    """

    def __init__(self, policy: CachePolicy, keyring: Keyring, reporter: Reporter) -> None:
        self._keyring = keyring
        self._reporter = reporter
        self._bypass_if = with_context(policy.bypass_if, 1)
        self._refresh_if = with_context(policy.refresh_if, 1)
        self._store_if = with_context(policy.store_if, 2)

    def keys(self, call: Call) -> list[bytes | None]:
        """Return the key of each item of a call, as `key` does."""
        return [self.key(call, position) for position in range(len(call.items))]

    def key(self, call: Call, position: int) -> bytes | None:
        """Return an item's key, or `None` if it is computed for itself, unstored."""
        item, context = call.items[position], call.context(position)
        try:
            if self._bypass_if is not None and self._bypass_if(item, context):
                call.bypassed.add(position)
                return None
            key = self._keyring.key(call.mode, item, context)
            if self._refresh_if is not None and self._refresh_if(item, context):
                call.refreshed.add(key)
        except Exception as error:  # the policy's functions are the user's: they may raise anything
            self._reporter.swallow("key", error, "an item has no key and goes uncached")
            call.uncacheable.add(position)
            return None
        return key

    def unchanged(self, call: Call) -> bool:
        """Say whether the items of a call and their contexts are as they were looked up.

        A method that raised may have changed them in place, and what it makes of them then must
        not be stored under their keys.
        """
        if None in call.keys or self._keyring.is_custom:
            return False
        for position, before in call.snapshots.items():
            context = call.context(position)
            if context is not None and any(changes(before, context)):
                return False
        return self.keys(call) == call.keys

    def renew(
        self, call: Call, items: Sequence[object], contexts: Sequence[Context] | None
    ) -> bool:
        """Give a call its items decoded anew; false if they are not those that it looked up."""
        call.items, call.contexts = items, contexts
        return self.keys(call) == call.keys

    def may_store(self, call: Call, position: int, outputs: Sequence[Any], index: int) -> bool:
        """Say whether the output of a computed item is stored."""
        if self._store_if is None:
            return True
        if call.mode in ROWS:
            output = row_at(outputs, index, columns=call.mode == "list")
        else:
            output = outputs[index]
        try:
            return bool(self._store_if(call.items[position], output, call.context(position)))
        except Exception as error:  # the policy's functions are the user's: they may raise anything
            self._reporter.swallow("store_if", error, "store_if failed and nothing is stored")
            call.uncacheable.add(position)
            return False
