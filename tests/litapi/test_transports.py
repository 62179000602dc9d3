"""Every tier on each transport of LitServe, with workers by API that come back: real servers."""

import contextlib
import itertools
import os
import signal

import httpx
import pytest
from support.servers import ROOT, serve, wait_until

pytestmark = pytest.mark.e2e

SCRIPT = str(ROOT / "tests" / "support" / "transport_server.py")
WORKERS = {"/one": 2, "/batch": 1, "/loop": 1, "/overlap": 1, "/http": 1}
TIERS = {"/loop": "loop", "/overlap": "loop", "/http": "http"}  # of others, "decorator"
NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=["mp", "zmq"])
def server(request):
    if request.param == "zmq":
        pytest.importorskip("zmq")
    with serve(SCRIPT, environment={"TRANSPORT": request.param}) as up:
        assert f"transport: {request.param}" in up.log
        for path, workers in WORKERS.items():
            wait_for_workers(up, path, lambda pids, n=workers: len(pids) == n)
        yield up


def ask(server, path, text):
    return server.post(path, {"text": text}).json()


def wait_for_workers(server, path, enough):
    """Ask until enough workers have answered; return the process of each.

    Over ZMQ the first answer of a worker can get lost, before its socket is connected; and what
    was on its way to a worker that is killed is lost on any transport.
    """
    pids = set()

    def have_answered():
        text = f"{path} {next(NUMBERS)}"  # never a hit
        with contextlib.suppress(httpx.TransportError):
            answer = server.client.post(path, json={"text": text}, timeout=10)
            if answer.status_code == 200:
                pids.add(answer.json()["pid"])
        return enough(pids)

    wait_until(have_answered, f"the workers of {path}", 240)
    return pids


def counts(server, path):
    """The hits and misses of an API's tier, over all its processes, dead ones too."""
    labels = f'api="{path}"', f'tier="{TIERS.get(path, "decorator")}"'
    lines = [
        line for line in server.client.get("/metrics").text.splitlines()
        if line.startswith("litcache_items_total{") and all(label in line for label in labels)
    ]  # fmt: skip
    return [
        sum(float(line.rpartition(" ")[2]) for line in lines if f'outcome="{outcome}"' in line)
        for outcome in ("hit", "miss")
    ]


@pytest.mark.parametrize("path", WORKERS)
def test_every_tier_answers_hits_and_counts_them(server, path):
    hits, misses = counts(server, path)
    answers = [ask(server, path, "same") for _ in range(8)]
    assert {answer["output"] for answer in answers} == {"SAME"}
    assert ask(server, path, "other")["output"] == "OTHER"
    pids = {answer["pid"] for answer in answers}
    assert len(pids) <= WORKERS[path]
    # Each worker has a store of its own; "other" is one more miss.
    assert counts(server, path) == [hits + 8 - len(pids), misses + len(pids) + 1]


@pytest.mark.parametrize("path", ["/one", "/loop"])
def test_a_killed_worker_comes_back_with_its_cache_and_its_counts(server, path):
    dead = ask(server, path, "same")["pid"]
    before = counts(server, path)
    restarts = server.log.count("is dead. Restarting it")
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: server.log.count("is dead. Restarting it") > restarts, "restart", 120)
    assert counts(server, path) == before
    others = wait_for_workers(server, path, lambda pids: len(pids) == WORKERS[path])
    assert dead not in others
    hits, misses = counts(server, path)
    assert hits == before[0]  # what was asked since was never a hit
    assert misses >= before[1] + WORKERS[path]
    answers = [ask(server, path, "again") for _ in range(8)]
    pids = {answer["pid"] for answer in answers}
    assert pids <= others
    assert counts(server, path) == [hits + 8 - len(pids), misses + len(pids)]
