"""Fuzzes for some seconds, or replays a seed or a plan: `python -m fuzz` in the folder of tests."""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fuzz import afterwards, keys
from fuzz.draw import draw
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


SEEDS_A_PROCESS = 1000
"""The classes of an API and all that LitServe makes for it are kept as long as the process."""


def main() -> int:
    """Run what the arguments ask for; return 1 if a plan fails."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--plan", help="replay a plan as it was printed: 'Plan(...)'")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--stop", type=int, help="the seed to stop before, in one process")
    seconds = float(os.environ.get("LITCACHE_FUZZ_SECONDS") or 60)
    parser.add_argument("--seconds", type=float, default=seconds, help="how long")
    asked = parser.parse_args()
    if asked.seed is None and not asked.plan and asked.stop is None:
        return in_processes(asked)
    with stores_with_redis() as stores:
        if asked.plan or asked.seed is not None:
            plan = eval(asked.plan, {"Plan": Plan}) if asked.plan else draw(asked.seed)
            return replay(plan, stores)
        return fuzz(asked, stores)


def in_processes(asked: argparse.Namespace) -> int:
    """Fuzz in one process after another, until the time is over or one has found something."""
    until = time.monotonic() + asked.seconds
    start = asked.start
    while (left := until - time.monotonic()) > 0:
        stop = start + SEEDS_A_PROCESS
        command = [sys.executable, "-m", "fuzz", "--start", str(start), "--stop", str(stop)]
        command += ["--seconds", f"{left:.1f}"]
        if done := subprocess.run(command).returncode:
            return done
        start = stop
    return 0


def replay(plan: Plan, stores: Stores) -> int:
    """Run one plan, and say how it fails, made small."""
    print(plan)
    error = failure(plan, stores)
    if error is None:
        print("passes")
        return 0
    print(f"FAILS {type(error).__name__}: {error}")
    small = shrink(plan, stores)
    print(f"small: {small}\n  {failure(small, stores)}")
    return 1


def fuzz(asked: argparse.Namespace, stores: Stores) -> int:
    """Run seed after seed until the time is over: keys, acts and plans."""
    until = time.monotonic() + asked.seconds
    failures = 0
    counts: collections.Counter[str] = collections.Counter()
    for seed in range(asked.start, asked.stop):
        if time.monotonic() > until:
            break
        plan = draw(seed)
        counts["keys"] += keys.check(seed)
        counts["acts"] += afterwards.check(seed)
        counts[plan.driver] += 1
        if (error := failure(plan, stores)) is not None:
            failures += 1
            # A race may not show again in the replay.
            print(f"\nseed {seed}: {type(error).__name__}: {error}")
            replay(plan, stores)
    print(
        f"seeds from {asked.start}: {dict(sorted(counts.items()))}, {failures} failures", flush=True
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
