"""What a soak asks for."""

from __future__ import annotations

from collections.abc import Iterable

from soak.clients import CLIENTS
from soak.processes import Survey, Usage
from soak.run import Soak
from soak.service import SHARED_MIB

GROWTH_MIB = 8.0
"""What a process may grow by after the warm-up: its stores take 2 MiB, Python's heap the rest."""

FILES = 1.1
"""What the files of a `SharedStore` take at most, beside its budget."""


def faults_of(run: Soak) -> list[str]:
    """Return what is wrong with a soak, nothing if it is as it should be."""
    ledger = run.ledger
    wrong = [*ledger.wrong, *ledger.failed]
    if len(ledger.lost) > CLIENTS * len(ledger.killed):
        wrong.append(f"{len(ledger.lost)} requests lost with {len(ledger.killed)} workers")
    if run.disk[1] > FILES * SHARED_MIB:
        wrong.append(f"the files take {run.disk[1]:.2f} MiB, of {SHARED_MIB}")
    wrong += [f"{path}: nothing is stored after the faults" for path in run.silent]
    return [*wrong, *_grown(run.first, run.last, len(ledger.lost))]


def _grown(first: Survey, last: Survey, lost: int) -> list[str]:
    """Return which processes hold more at the end than those of their role did at first.

    What belongs to a request that was lost with its worker stays, in stock LitServe too.
    """
    wrong = []
    for name, usage in last.items():
        before = _most(each for other, each in first.items() if _role(other) == _role(name))
        for what, now, most in (
            ("MiB", usage.memory, before.memory + GROWTH_MIB),
            ("descriptors", usage.descriptors, before.descriptors + lost),
            ("threads", usage.threads, before.threads + lost),
            ("tasks", usage.tasks, before.tasks + lost),
        ):
            if now > most:
                wrong.append(f"{name}: {now:.0f} {what} at the end, at most {most:.0f} are right")
    return wrong


def _role(name: str) -> str:
    return name.rpartition(" ")[0]


def _most(usages: Iterable[Usage]) -> Usage:
    found = [*usages]
    return Usage(*map(max, zip(*found, strict=True))) if found else Usage(0, 0, 0, 0)
