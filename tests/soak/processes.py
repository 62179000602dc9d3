"""What the processes of a server use, and what their files take."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SECONDS_TO_REST, SECONDS_BETWEEN = 30, 2
MIB = 1 << 20


class Usage(NamedTuple):
    """What a process uses: memory in MiB, and numbers; asyncio's tasks of HTTP processes."""

    memory: float
    descriptors: int
    threads: int
    tasks: int


Survey = Mapping[str, Usage]
"""Usages by role and process id, such as `worker /lists 4711`."""


def roles(folder: Path) -> dict[int, str]:
    """Return what the living processes of a server are, by id, as they noted it themselves."""
    noted = {int(path.suffix[1:]): path.read_text() for path in folder.glob("role.*")}
    return {pid: role for pid, role in sorted(noted.items()) if role and _is_alive(pid)}


def _is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def survey(folder: Path) -> Survey:
    """Return what each process of a server uses."""
    known = roles(folder)
    leader = os.getpgid(next(pid for pid, role in known.items() if role == "HTTP"))
    found = {}
    for path in Path("/proc").iterdir():
        with suppress(OSError, ValueError, KeyError):  # it has ended
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == leader and fields[0] != "Z":
                role = "main" if int(path.name) == leader else known.get(int(path.name), "helper")
                found[f"{role} {path.name}"] = _usage(folder, path)
    return dict(sorted(found.items()))


def _usage(folder: Path, path: Path) -> Usage:
    memory = re.findall(r"VmRSS:\s+(\d+) kB", (path / "status").read_text())
    descriptors, threads = (len(list((path / name).iterdir())) for name in ("fd", "task"))
    noted = folder / f"tasks.{path.name}"
    tasks = int(noted.read_text() or 0) if noted.exists() else 0
    return Usage(int(memory[0]) / 1024, descriptors, threads, tasks)


def at_rest(folder: Path) -> Survey:
    """Wait until connections of clients that left are gone, and return what is used then."""
    deadline = time.monotonic() + SECONDS_TO_REST
    last: list[tuple[int, int]] = []
    while True:
        found = survey(folder)
        held = [(usage.descriptors, usage.tasks) for usage in found.values()]
        if held == last or time.monotonic() > deadline:
            return found
        last = held
        time.sleep(SECONDS_BETWEEN)


def mebibytes(folder: Path) -> float:
    """Return what the files in a folder and below take on the disk."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_blocks * 512
    return total / MIB
