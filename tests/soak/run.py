"""One soak: servers, traffic, faults, and what is measured meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.redis_servers import Server as Valkey
from support.redis_servers import eventually
from support.servers import Server, serve

from benchmarks import load
from litcache.errors import StoreError
from soak import faults, service, traffic
from soak.clients import CLIENTS, client, record
from soak.judge import Ledger, Revisions
from soak.processes import Survey, at_rest, mebibytes
from soak.stage import VALKEY, Stage, small_disk

WARM_SHARE = 0.2
"""The share of the time that goes to the warm-up, without faults."""

CALM_SECONDS = 5.0
"""So long before the end there is no new fault."""

SECONDS_BETWEEN = 1.0
STORES_AGAIN = "is stored after all faults"


@dataclass
class Soak:
    """What was seen in a soak.

    Attributes:
        seed: What traffic and faults were drawn from.
        ledger: What became of the requests.
        faults: The faults that there were.
        first: What the processes used when all clients of the warm-up had left.
        last: What they used when all clients had left.
        disk: The most that the files of the shared store took, and what they took at the end, MiB.
        silent: Caches that stored nothing after the last fault.
        counted: What the caches counted: items by tier, path and outcome.
        log: What the server wrote.
    """

    seed: int
    ledger: Ledger
    faults: list[faults.Fault] = field(default_factory=list)
    first: Survey = field(default_factory=dict)
    last: Survey = field(default_factory=dict)
    disk: tuple[float, float] = (0.0, 0.0)
    silent: list[str] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    log: str = ""


def soak(seed: int, seconds: float, note: Callable[[str], None]) -> Soak:
    """Run a server under traffic and faults for so many seconds; `note` gets what happens."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        os.environ["SOAK_FOLDER"] = str(folder)
        has_disk = enter(small_disk(folder / "disk"))
        ledger = Ledger({}, Revisions(folder / "revision"))
        with _served("stock") as stock:
            ledger.told = load.run(record(stock.port))
        valkey = enter(Valkey("valkey", folder, *VALKEY))
        os.environ["SOAK_VALKEY"] = valkey.url
        server = enter(_served("cached"))
        caches = {path: api.predict.cache for path, api in service.cached().items()}
        stage = Stage(folder, valkey, caches.values(), ledger, has_disk=has_disk)
        run = Soak(seed, ledger)
        note(f"a warm-up of {seconds * WARM_SHARE:.0f} s")
        load.run(_traffic(run, server.port, seconds * WARM_SHARE))
        run.first = at_rest(folder)
        rest = seconds * (1 - WARM_SHARE)
        load.run(_under_faults(run, server.port, stage, folder, rest, note))
        run.last = at_rest(folder)
        run.silent = _silent(server, caches)
        run.counted = _counted(server.client.get("/metrics").text)
        run.log = server.log
        return run


@contextlib.contextmanager
def _served(kind: str) -> Iterator[Server]:
    script = str(Path(service.__file__))
    with serve(script, kind, environment={"LITCACHE_LOG_SECONDS": "60"}) as server:
        yield server


async def _traffic(run: Soak, port: int, seconds: float, first_client: int = 0) -> None:
    until = time.monotonic() + seconds
    numbers = range(first_client, first_client + CLIENTS)
    await asyncio.gather(
        *(client(port, traffic.draw(run.seed, number), run.ledger, until) for number in numbers)
    )


async def _under_faults(
    run: Soak, port: int, stage: Stage, folder: Path, seconds: float, note: Callable[[str], None]
) -> None:
    until = seconds - CALM_SECONDS
    drawn = faults.draw(run.seed)
    run.faults = [*itertools.takewhile(lambda fault: fault.at + fault.seconds < until, drawn)]
    begun = time.monotonic()
    acting = [asyncio.create_task(_act(each, begun, stage, note)) for each in run.faults]
    watching = asyncio.create_task(_watch(run, folder))
    await _traffic(run, port, seconds, CLIENTS)
    await asyncio.gather(*acting)
    watching.cancel()


async def _act(
    fault: faults.Fault, begun: float, stage: Stage, note: Callable[[str], None]
) -> None:
    await asyncio.sleep(begun + fault.at - time.monotonic())
    note(str(fault))
    end = await asyncio.to_thread(stage.begin, fault)
    await asyncio.sleep(begun + fault.at + fault.seconds - time.monotonic())
    await asyncio.to_thread(end)


async def _watch(run: Soak, folder: Path) -> None:
    """Look again and again how large the files of the shared store are."""
    while True:
        now = await asyncio.to_thread(mebibytes, folder / "disk" / "entries")
        run.disk = (max(run.disk[0], now), now)
        await asyncio.sleep(SECONDS_BETWEEN)


def _silent(server: Server, caches: dict[str, object]) -> list[str]:
    """Return the paths whose cache does not store what it is asked for after the last fault."""
    text, silent = STORES_AGAIN, []
    for path, cache in caches.items():
        server.post(path, {"texts": [text]} if path == "/lists" else {"text": text})
        try:
            eventually(lambda cache=cache: _holds(cache, text), path)
        except AssertionError:
            silent.append(path)
    return silent


def _holds(cache: object, text: str) -> bool:
    with contextlib.suppress(KeyError, StoreError):
        cache.get(text)
        return True
    return False


def _counted(metrics: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    lines = re.findall(r"^litcache_items_total\{(.*)\} (\S+)$", metrics, re.MULTILINE)
    for labels, number in lines:
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found[f"{named['tier']} {named['api']} {named['outcome']}"] += int(float(number))
    return dict(found)
