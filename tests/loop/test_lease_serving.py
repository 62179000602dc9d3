"""A real server of two workers: one waits for what the other computes, and answers meanwhile."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers import ROOT, serve, wait_until

pytestmark = pytest.mark.e2e

SECONDS = 240


def test_a_worker_that_waits_for_another_answers_other_requests(tmp_path):
    script = str(ROOT / "tests" / "support" / "lease_server.py")
    with (
        serve(script, environment={"FOLDER": str(tmp_path)}) as server,
        ThreadPoolExecutor() as pool,
    ):

        def ask(word):
            return server.post("/predict", {"word": word}).json()

        first = pool.submit(ask, "slow")
        wait_until(lambda: list(tmp_path.glob("slow-*")), "a worker computes", SECONDS)
        # The loop of that worker is inside the model: the other one gets all that comes now.
        second = pool.submit(ask, "slow")
        wait_until(lambda: len(list(tmp_path.glob("got-slow-*"))) == 2, "the other has it", SECONDS)
        for number in range(8):
            assert ask(f"fast{number}")["word"] == f"FAST{number}"
        assert not first.done()
        assert not second.done()
        (tmp_path / "go").touch()
        assert first.result(SECONDS)["word"] == second.result(SECONDS)["word"] == "SLOW"
        assert first.result()["worker"] != second.result()["worker"]
        assert len(list(tmp_path.glob("slow-*"))) == 1
