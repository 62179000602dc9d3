"""What became of the items of a request, told in its context: the option `outcome_in`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from litcache.engine.call import (
    BYPASSED,
    COALESCED,
    HIT,
    MISS,
    UNCACHEABLE,
    VERIFIED,
    Call,
)
from litcache.engine.lists import Lists
from litcache.keys.contexts import Context
from litcache.policy import CachePolicy
from litcache.values.cuts import cut, is_empty

_WORDS = {
    HIT: "hit", MISS: "miss", COALESCED: "coalesced", VERIFIED: "verified", BYPASSED: "bypassed",
    UNCACHEABLE: "uncacheable", None: "miss",
}  # fmt: skip


def tell(policy: CachePolicy, call: Call) -> None:
    """Tell the requests of a finished call what became of their items.

    Args:
        policy: The policy of the method.
        call: The call, with its outcomes.
    """
    name = policy.outcome_in
    if name is None or not call.outcomes:
        return
    words = [_WORDS[outcome] for outcome in call.outcomes]
    contexts = call.request_contexts or ()
    if not isinstance(call, Lists):
        for context, word in zip(contexts, words, strict=False):
            if isinstance(context, dict):  # a method may put anything in its place
                context[name] = word
        return
    start = 0
    for context, size in zip(contexts, call.sizes, strict=False):
        context[name] = Counter(words[start : start + size])
        start += size


def tell_alike(policy: CachePolicy, decoded: Sequence[Any], contexts: Any, outcome: str) -> None:
    """Tell requests that are answered without the cache so.

    Args:
        policy: The policy of the method.
        decoded: The decoded input of each request.
        contexts: The context of each request; anything else is not told.
        outcome: What became of all their items.
    """
    name = policy.outcome_in
    if name is None or not isinstance(contexts, list | tuple):
        return
    for request, context in zip(decoded, contexts, strict=False):
        if not isinstance(context, dict):
            continue
        if policy.items != "list":
            context[name] = _WORDS[outcome]
            continue
        found, at = cut(request, policy.list_at), policy.list_at
        count = 0 if is_empty(request, at) else 1 if found is None else len(found.items)
        context[name] = Counter({_WORDS[outcome]: count} if count else {})


def foretell(policy: CachePolicy, context: Context, size: int) -> None:
    """Tell a request what it will be told: its items are tried.

    Args:
        policy: The policy of the method.
        context: The context of the request.
        size: How many items it has.
    """
    if policy.outcome_in is not None:
        word = _WORDS[VERIFIED]
        context[policy.outcome_in] = Counter({word: size}) if policy.items == "list" else word
