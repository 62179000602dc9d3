"""What holds across processes: the switch of the environment, and forks."""

import os
import subprocess
import sys
import threading

import litserve as ls
import pytest

from litcache import cached_predict

SWITCH = """
import litserve as ls
from litcache import cached_predict

class API(ls.LitAPI):
    calls = 0
    @cached_predict
    def predict(self, x):
        self.calls += 1
        return x

api = API()
api.predict(1), api.predict(1)
print(api.calls)
"""


SHA256 = '@cached_predict(digest="sha256")'


@pytest.mark.parametrize(("value", "calls"), [("1", "2"), ("0", "1"), ("", "1")])
def test_the_environment_turns_every_cache_off(value, calls):
    environment = {**os.environ, "LITCACHE_DISABLED": value}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SWITCH],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == calls


def test_sha256_does_without_any_other_digest():
    # As where a policy of the system (FIPS) refuses BLAKE2.
    code = (
        "import hashlib, sys\n"
        "def refuse(*a, **k): raise ValueError('refused')\n"
        "hashlib.blake2b = refuse\n" + SWITCH.replace("@cached_predict", SHA256)
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_waits_for_no_computation_of_its_parent():
    entered, go = threading.Event(), threading.Event()
    parent = os.getpid()

    class API(ls.LitAPI):
        @cached_predict
        def predict(self, x):
            if os.getpid() == parent:
                entered.set()
                assert go.wait(60)
            return [x]

    api = API()
    thread = threading.Thread(target=api.predict, args=("a",))
    thread.start()
    assert entered.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if api.predict("a") == ["a"] and api.predict("a") == ["a"] else 1)
    _, status = os.waitpid(child, 0)
    go.set()
    thread.join(60)
    assert os.waitstatus_to_exitcode(status) == 0
    assert api.predict("a") == ["a"]
    assert api.predict.cache.info().hits == 1
