"""Fuzzes for some seconds, or replays a seed or a plan: `python -m fuzz` in the folder of tests."""

from __future__ import annotations

import argparse
import collections
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fuzz import afterwards, keys
from fuzz.afterwards import ITEMS
from fuzz.draw import draw
from fuzz.known import KNOWN_AFTERWARDS, known
from fuzz.plan import Plan
from fuzz.policies import Stores
from fuzz.shrink import failure, shrink


@contextmanager
def stores_with_redis() -> Iterator[Stores]:
    """Make stores; those of Redis too, if there is a server."""
    try:
        from support.redis_servers import Server, binary

        binary("valkey")
    except BaseException as missing:  # pytest's skip is none of Exception
        if isinstance(missing, KeyboardInterrupt):
            raise
        yield Stores()
        return
    with tempfile.TemporaryDirectory() as folder, Server("valkey", Path(folder)) as server:
        yield Stores(server.url)


def main() -> int:
    """Run what the arguments ask for; return 1 if a plan fails."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--plan", help="replay a plan as it was printed: 'Plan(...)'")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    seconds = float(os.environ.get("LITCACHE_FUZZ_SECONDS") or 60)
    parser.add_argument("--seconds", type=float, default=seconds, help="how long")
    parser.add_argument("--known", action="store_true", help="run known faults too")
    parser.add_argument("--failures", type=int, default=10, help="stop after so many")
    asked = parser.parse_args()
    with stores_with_redis() as stores:
        if asked.plan or asked.seed is not None:
            plan = eval(asked.plan, {"Plan": Plan}) if asked.plan else draw(asked.seed)
            return replay(plan, stores)
        return fuzz(asked, stores)


def replay(plan: Plan, stores: Stores) -> int:
    """Run one plan, and say how it fails, made small."""
    print(plan)
    error = failure(plan, stores)
    if error is None:
        print("passes", f"although known: {known(plan)}" if known(plan) else "")
        return 0
    print(f"FAILS {type(error).__name__}: {error}")
    small = shrink(plan, stores)
    print(f"small: {small}\n  {failure(small, stores)}")
    return 1


def fuzz(asked: argparse.Namespace, stores: Stores) -> int:
    """Run seed after seed until the time is over; keys and plans in turn."""
    until = time.monotonic() + asked.seconds
    seed, failures = asked.start, 0
    counts: collections.Counter[str] = collections.Counter()
    while time.monotonic() < until and failures < asked.failures:
        plan = draw(seed)
        counts["keys"] += keys.check(seed)
        name = random.Random(seed).choice([i for i in ITEMS if i not in KNOWN_AFTERWARDS])
        counts["acts"] += afterwards.check(seed, name)
        if known(plan) and not asked.known:
            counts["known"] += 1
        else:
            counts["plans"] += 1
            counts[plan.driver] += 1
            if failure(plan, stores) is not None:
                failures += 1
                print(f"\nseed {seed}")
                replay(plan, stores)
        seed += 1
    print(f"\nseeds {asked.start} to {seed - 1}: {dict(counts)}, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
