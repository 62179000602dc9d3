"""Every benchmark, one after the other, and what was reached of what DESIGN.md asks.

python -m benchmarks            # all
python -m benchmarks hits keys  # some

Writes benchmarks/RESULTS.md of all results that are there.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks import results
from benchmarks.common import RESULTS, ROOT, note

ALL = (
    "hits", "partial_hits", "misses", "keys", "memory", "hit_rate", "costs", "store_as",
    "admission", "shared_store", "redis_store", "growth", "workers", "loop", "streams", "trial",
    "gpu", "http_hits", "middleware", "end_to_end", "scale",
)  # fmt: skip


def main(names: list[str]) -> bool:
    """Run benchmarks, each in a process of its own, and print the figures that have a target."""
    unknown = sorted(set(names) - set(ALL))
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}")
    failed = []
    for name in names or ALL:
        note(f"== {name}")
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, check=False)
        if done.returncode:
            failed.append(name)
    reached = summary([name for name in names or ALL if name not in failed])
    results.write([name for name in ALL if (RESULTS / f"{name}.json").exists()])
    for name in failed:
        print(f"{name}: did not finish")
    return reached and not failed


def summary(names: list[str]) -> bool:
    """Print target, measured and verdict of every figure that has a target."""
    rows = []
    for name in names:
        content = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for table in content["tables"].values():
            rows += [(name, row) for row in table if row["passed"] is not None]
    print("\nFigures to reach\n----------------")
    for name, row in rows:
        measured = f"{row['value']:.4g} {row['unit']}"
        if row["target"].endswith("×"):
            measured = f"{row['ratio']:.2f} ×"
        verdict = "pass" if row["passed"] else "SHORT"
        print(f"{name:<13}{row['name']:<64.64} {row['target']:<14} {measured:<14} {verdict}")
    return all(row["passed"] for _, row in rows)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
