"""Soaks a server for some seconds under faults: `python -m soak` in the folder of tests.

The server has two workers an API and two HTTP processes. Its tiers are `CacheMiddleware`,
`CachedBatchedLoop` and the decorator, on a front with a Valkey, and on a `SharedStore` that two
APIs share. Clients send single texts, lists, streams, and bad or odd requests; a seed draws them,
and the faults. Each answer is compared with that of the model; answers to odd requests with those
of a server without litcache. Answers carry a revision, which must not be older than a clear or
delete.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time

from soak.run import Soak, soak
from soak.verdict import faults_of

_LARGEST = 1 << 31
_SHOWN = 20


def main() -> int:
    """Run what the arguments ask for; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this seed; without it, a random one")
    seconds = float(os.environ.get("LITCACHE_SOAK_SECONDS") or 120)
    parser.add_argument("--seconds", type=float, default=seconds, help="how long")
    asked = parser.parse_args()
    seed = random.randrange(_LARGEST) if asked.seed is None else asked.seed
    print(f"seed {seed}, {asked.seconds:g} s; again: make soak SEED={seed}", flush=True)
    begun = time.monotonic()
    done = soak(seed, asked.seconds, lambda what: print(what, flush=True))
    wrong = faults_of(done)
    show(done, wrong)
    verdict = "FAILS" if wrong else "passes"
    print(f"seed {seed}: {verdict}, {time.monotonic() - begun:.0f} s in all", flush=True)
    return 1 if wrong else 0


def show(done: Soak, wrong: list[str]) -> None:
    """Print what was seen."""
    ledger = done.ledger
    print(f"\n{ledger.kinds.total()} requests: {dict(ledger.kinds.most_common(3))} and odd ones")
    for said, count in ledger.tiers.most_common():
        print(f"  {count:7}  {said}")
    hits = {name: count for name, count in done.counted.items() if name.endswith(" hit")}
    print(f"hits as the caches counted them: {hits}")
    print(f"{len(done.faults)} faults; {len(ledger.wrong)} wrong, {len(ledger.failed)} failed, "
          f"{len(ledger.lost)} lost with {len(ledger.killed)} killed workers")  # fmt: skip
    print(f"clears and deletes held within {ledger.oldest:.1f} s")
    print("files of the shared store: at most {:.1f} MiB, {:.1f} at the end".format(*done.disk))
    for name, usage in done.last.items():
        before = done.first.get(name)
        was = "new" if before is None else f"{before.memory:.1f} MiB after the warm-up"
        print(f"  {name}: {usage.memory:.1f} MiB ({was})")
    for each in wrong[:_SHOWN]:
        print(f"WRONG {each[:1000]}")
    said_by_litcache = [line for line in done.log.splitlines() if " - litcache - " in line]
    for line in said_by_litcache[-_SHOWN:] if wrong else ():
        print(line)


if __name__ == "__main__":
    sys.exit(main())
