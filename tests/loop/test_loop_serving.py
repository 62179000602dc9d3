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

    @cached_predict(namespace="words", version="1", store=store, trial=0)
    def predict(self, words):
        assert threading.current_thread() is threading.main_thread()  # where setup ran
        if "die" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if "bad" in words:
            raise ValueError("a bad word")
        for word in words:
            if word.startswith("slow"):
                gate = Path(os.environ["GATE"], word)
                gate.with_suffix(".entered").touch()
                while not gate.with_suffix(".open").exists():
                    time.sleep(0.01)
        if any(word.startswith("two seconds") for word in words):
            time.sleep(2)
        return [{"text": word.upper(), "computed": os.getpid()} for word in words]

    def encode_response(self, output, context):
        return {**output, "worker": context["worker"]}


if __name__ == "__main__":
    api = WordAPI(
        loop=CachedBatchedLoop(overlap=overlap), batch_timeout=float(window),
        max_batch_size=int(os.environ.get("SIZE", 3)),
    )
    server = ls.LitServer(
        api, accelerator="cpu", workers_per_device=workers, restart_workers=True,
        timeout=float(os.environ.get("TIMEOUT", 60)),
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
        wait_until((tmp_path / "slow.entered").exists, "the model", 30)
        assert [ask(server, "a")[0]["text"] for _ in range(3)] == ["A", "A", "A"]
        assert not slow.done()
        (tmp_path / "slow.open").touch()
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


def occupy(server, folder, pool, word):
    """Have a worker compute until a file is made; return the file and the answer to come."""
    answer = pool.submit(ask, server, word)
    gate = folder / word
    wait_until(gate.with_suffix(".entered").exists, word, 60)
    return gate.with_suffix(".open"), answer


def test_of_two_workers_the_one_that_is_free_computes_and_hits_wait_for_none(start, tmp_path):
    # In LitServe's own loop no miss waits for a worker while another one is free.
    options = {"workers": 2, "folder": tmp_path / "store", "GATE": str(tmp_path)}
    with start("overlap", **options) as server, ThreadPoolExecutor(8) as pool:
        [hit] = ask(server, "hit")
        open_first, first = occupy(server, tmp_path, pool, "slow1")
        words = [f"word{number}" for number in range(24)]
        answers = [answer for word in words for answer in ask(server, word)]
        answers += ask(server, *(f"{word} too" for word in words))
        assert not first.done()
        free = {answer["computed"] for answer in answers}
        assert len(free) == 1
        open_second, second = occupy(server, tmp_path, pool, "slow2")
        # Both compute: misses wait for the one that is free first.
        misses = [pool.submit(ask, server, f"late{number}") for number in range(6)]
        for _ in range(20):
            assert ask(server, "hit")[0]["computed"] == hit["computed"]
        assert not any(miss.done() for miss in misses)
        open_second.touch()
        assert {miss.result()[0]["computed"] for miss in misses} == free
        assert not first.done()
        open_first.touch()
        assert first.result()[0]["computed"] not in free
        assert second.result()[0]["computed"] in free


def test_a_request_that_waited_for_the_model_too_long_is_answered_504(start):
    # LitServe's test_batch_timeout_with_concurrent_requests, by its own figures.
    with start("overlap", window=1, TIMEOUT="1.9", SIZE="2") as server:
        answers = ask(server, *(f"two seconds {number}" for number in range(3)))
        statuses = [answer if isinstance(answer, int) else 200 for answer in answers]
        assert sorted(statuses) == [200, 200, 504]
