"""`CachedBatchedLoop` in real servers with spawned workers."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers import serve, wait_until

pytestmark = pytest.mark.e2e

SCRIPT = """
import os
import signal
import sys
import threading
import time
from pathlib import Path

import litserve as ls

from litcache import CachedBatchedLoop, SharedStore, cached_predict

overlap, workers, window, folder = sys.argv[1] == "overlap", int(sys.argv[2]), *sys.argv[3:]
store = SharedStore(folder) if folder else None


class WordAPI(ls.LitAPI):
    def decode_request(self, request, context):
        context["worker"] = os.getpid()
        return request["text"]

    @cached_predict(namespace="words", version="1", store=store)
    def predict(self, words):
        assert threading.current_thread() is threading.main_thread()  # where setup ran
        if "die" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if "bad" in words:
            raise ValueError("a bad word")
        if "slow" in words:
            gate = Path(os.environ["GATE"])
            (gate / "entered").touch()
            while not (gate / "open").exists():
                time.sleep(0.01)
        return [{"text": word.upper(), "computed": os.getpid()} for word in words]

    def encode_response(self, output, context):
        return {**output, "worker": context["worker"]}


if __name__ == "__main__":
    api = WordAPI(
        loop=CachedBatchedLoop(overlap=overlap), max_batch_size=3, batch_timeout=float(window)
    )
    server = ls.LitServer(
        api, accelerator="cpu", workers_per_device=workers, restart_workers=True, timeout=60
    )
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False,
        num_api_servers=1, api_server_worker_type=os.environ.get("WORKER_TYPE", "process"),
    )
"""
both_ways = pytest.mark.parametrize("way", ["one thread", "overlap"])


@pytest.fixture
def start(tmp_path):
    """Start a server: how its loop works, how many workers, the window, a folder for its store."""
    script = tmp_path / "words.py"
    script.write_text(SCRIPT)

    def start(way, *, workers=1, window=0.0, folder="", **environment):
        command = (str(script), way, str(workers), str(window), str(folder))
        return serve(*command, environment=environment)

    return start


def ask(server, *texts):
    """Send requests at the same time; return their status, or what they were answered."""

    def one(text):
        response = server.client.post("/predict", json={"text": text})
        return response.json() if response.status_code == 200 else response.status_code

    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(one, texts))


@both_ways
def test_one_bad_request_fails_beside_two_good_ones(start, way):
    with start(way, window=30) as server:
        answers = ask(server, "good", "bad", "better")  # three fill the batch
        assert answers[1] == 500
        assert [answers[0]["text"], answers[2]["text"]] == ["GOOD", "BETTER"]


@both_ways
def test_a_hit_is_answered_while_the_window_of_a_miss_is_open(start, way):
    with start(way, window=30) as server:
        ask(server, "a", "b", "c")
        with ThreadPoolExecutor(1) as pool:
            miss = pool.submit(ask, server, "new")
            for _ in range(5):
                assert ask(server, "a")[0]["text"] == "A"
            assert not miss.done()
            ask(server, "newer", "newest")
            assert miss.result()[0]["text"] == "NEW"


def test_overlap_answers_hits_while_the_model_computes(start, tmp_path):
    with start("overlap", GATE=str(tmp_path)) as server, ThreadPoolExecutor(1) as pool:
        ask(server, "a")
        slow = pool.submit(ask, server, "slow")
        wait_until((tmp_path / "entered").exists, "the model", 30)
        assert [ask(server, "a")[0]["text"] for _ in range(3)] == ["A", "A", "A"]
        assert not slow.done()
        (tmp_path / "open").touch()
        assert slow.result()[0]["text"] == "SLOW"


@both_ways
def test_two_workers_share_what_either_computed(start, way, tmp_path):
    words = [f"word{n % 12}" for n in range(96)]
    with start(way, workers=2, folder=tmp_path / "store") as server:
        ask(server, *words[:12])
        answers = [answer for n in range(0, 96, 8) for answer in ask(server, *words[n : n + 8])]
        assert [answer["text"] for answer in answers] == [word.upper() for word in words]
        assert len({answer["worker"] for answer in answers}) == 2
        first = {answer["text"]: answer["computed"] for answer in answers}
        assert all(answer["computed"] == first[answer["text"]] for answer in answers)
        counters = server.counters("WordAPI.predict")
    assert counters["hits"] >= 96
    assert counters["misses"] <= 12


@both_ways
def test_a_killed_worker_is_restarted_and_its_requests_are_answered(start, way):
    # Where HTTP is served by processes, LitServe's monitor finds no request to answer.
    with start(way, WORKER_TYPE="thread") as server:
        [before] = ask(server, "a")
        assert ask(server, "die") == [500]
        [after] = ask(server, "a")
        assert after["worker"] != before["worker"]
        restarted = "is dead. Restarting it"
        deaths = server.log.count(restarted)
        os.kill(after["worker"], signal.SIGKILL)
        # LitServe notices within two seconds; until then its queue may still feed the dead.
        wait_until(lambda: server.log.count(restarted) > deaths, "the worker's restart", 30)
        assert ask(server, "a", "b", "a")[1]["text"] == "B"


@both_ways
def test_an_idle_worker_takes_next_to_nothing_of_a_core(start, way):
    with start(way, window=0.0) as server:
        worker = ask(server, "a")[0]["worker"]
        seconds = 2.0  # what is measured is what a worker does when nothing happens
        before = _cpu_seconds(worker)
        time.sleep(seconds)
        share = (_cpu_seconds(worker) - before) / seconds
    assert share < 0.05  # 0.02 is the aim; LitServe's own loop takes a whole core here


def _cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
