"""A call claims the keys that it computes, and waits for those of other calls and processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from litcache.engine import trials
from litcache.engine.call import COALESCED, Misses
from litcache.engine.leases import Leases
from litcache.engine.steps import Ask, Steps
from litcache.engine.tier import Tier
from litcache.stores.base import Entry

LEADERS = 2
"""After so many leaders that failed one after the other, a call no longer waits for the next."""


def claim(cache: Tier, misses: Misses, missing: Sequence[int], *, force: bool = False) -> Steps:
    """Claim the keys of misses: this call computes them, and waits for those claimed by others.

    Args:
        cache: The call's cache.
        misses: The misses of the call.
        missing: Positions of items without an output.
        force: Whether to claim also keys that others compute, because they take too long.
    """
    keys = [misses.keys[position] for position in missing]
    leaders: dict[Any, int] = dict(zip(keys, missing, strict=True))
    if len(leaders) < len(keys) or None in leaders:
        leaders = {}
    for position in () if leaders else missing:
        key = misses.keys[position]
        if key is None:
            misses.to_compute.append(position)
        elif key in leaders and trials.take_up_equal(misses, position, leaders[key]):
            continue
        elif key in leaders:
            misses.equals.setdefault(leaders[key], []).append(position)
        else:
            leaders[key] = position
    # If one leader fails after the other, waiting for one more does not help.
    if leaders and misses.failed_leaders < LEADERS:
        own = misses.claim = misses.call.new_claim()
        leases = cache.leases
        taken = cache.flight.claim(
            own, leaders, refreshed=misses.call.refreshed, force=force,
            patient=leases is None or leases.is_patient(misses),
        )  # fmt: skip
        for key, other in taken.items():
            position = leaders.pop(key)
            if leases is not None and other.is_away:
                leases.begin_to_wait(misses)
            for waiting in (position, *misses.equals.pop(position, ())):
                misses.waits[waiting] = other
        if not force and _may_have_come(cache, misses):
            yield from _look_again(cache, misses, leaders)
        if leases is not None and not force and leases.is_patient(misses):
            _leave_to_others(leases, misses, leaders)
        if not leaders:
            misses.claim = None
            own.publish(misses.published)
            misses.published = {}
            cache.flight.release(own)
    misses.to_compute = sorted([*misses.to_compute, *leaders.values()])


def _may_have_come(cache: Tier, misses: Misses) -> bool:
    """Return whether another call finished between the look-up and the claim, or has a lease."""
    is_asked = cache.flight.released is misses.released
    if is_asked and cache.leases is not None:
        is_asked = misses.call.away is not None
    return misses.store_works and not is_asked


def _look_again(cache: Tier, misses: Misses, leaders: dict[bytes, int]) -> Steps:
    """Look up claimed keys again."""
    call, released, lease = misses.call, cache.flight.released, cache.lease
    keys = [key for key in leaders if key not in call.refreshed]
    if not keys:
        return
    misses.released = released
    entries: list[Entry | None] | None
    if lease is None:
        entries = yield Ask(partial(cache.guarded.get_many, call.scope, keys))
    else:
        ask = partial(cache.guarded.get_or_lease_many, call.scope, keys, lease)
        entries, call.away = yield Ask(ask)
    for key, entry in zip(keys, entries or (), strict=False):
        position = leaders[key]
        if entry is not None and cache.take(misses, position, entry):
            del leaders[key]
            misses.outcomes[position] = COALESCED
            misses.published[key] = entry  # others may follow this claim already
            cache.share(misses, misses.equals.pop(position, ()), entry)


def _leave_to_others(leases: Leases, misses: Misses, leaders: dict[bytes, int]) -> None:
    """Wait for other processes that have leased keys of this call."""
    own, away = misses.claim, misses.call.away or {}
    assert own is not None
    misses.call.away = {}  # a later claim has to ask again
    for key in away.keys() & leaders.keys() - misses.call.refreshed:
        claim = leases.leave(misses, own, key, away[key])
        if claim is not None:
            position = leaders.pop(key)
            for waiting in (position, *misses.equals.pop(position, ())):
                misses.waits[waiting] = claim
