"""Leases of real processes over a real file and a real server: kills, stops, and many at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from support.lease_worker import work
from support.redis_servers import Server, eventually

SECONDS = 240
SPAWNING = multiprocessing.get_context("spawn")

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["shared", "redis"])
def where(request, tmp_path):
    if request.param == "shared":
        yield str(tmp_path / "store")
        return
    with Server("valkey", tmp_path) as server:
        yield server.url


class Worker:
    """A process that asks for an item when it is told to start, and computes when told to go."""

    def __init__(self, where, lease, start=None):
        self.end, theirs = SPAWNING.Pipe()
        self.start, self.go = start or SPAWNING.Event(), SPAWNING.Event()
        arguments = (where, lease, theirs, self.start, self.go)
        self.process = SPAWNING.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def said(self):
        assert self.end.poll(SECONDS), "the process hangs"
        return self.end.recv()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join(SECONDS)


def test_of_processes_that_start_together_one_calls_the_model(where):
    start = SPAWNING.Event()
    workers = [Worker(where, 3_600.0, start) for _ in range(4)]
    try:
        assert [worker.said() for worker in workers] == ["ready"] * 4
        start.set()
        for worker in workers:
            worker.go.set()
        said = [worker.said() for worker in workers]
        leaders = [worker for worker, word in zip(workers, said, strict=True) if word == "entered"]
        assert len(leaders) == 1
        said = [word for word in said if word != "entered"] + [leaders[0].said()]
        assert sorted(said) == [(["a"] * 3, 0, 1)] * 3 + [(["a"] * 3, 1, 0)]
    finally:
        for worker in workers:
            worker.__exit__()


@pytest.mark.parametrize("fault", ["killed", "stopped"])
def test_a_holder_that_is_killed_or_stopped_costs_one_lease(where, fault):
    with Worker(where, 1.0) as holder, Worker(where, 1.0) as other:
        for worker in (holder, other):
            assert worker.said() == "ready"
        holder.start.set()
        assert holder.said() == "entered"
        holder.signal(signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
        stat = Path(f"/proc/{holder.process.pid}/stat")
        if fault == "stopped":
            eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it stops")
        other.go.set()
        other.start.set()
        assert other.said() == "entered"
        assert other.said() == (["a"] * 3, 1, 0)
        if fault == "stopped":
            holder.signal(signal.SIGCONT)
            holder.go.set()
            assert holder.said() == (["a"] * 3, 1, 0)
        with Worker(where, 3_600.0) as third:
            assert third.said() == "ready"
            third.start.set()
            assert third.said() == (["a"] * 3, 0, 1)
