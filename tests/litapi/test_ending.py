"""A real server that is ended cleanly leaves what its workers computed in a shared store."""

import os
import signal

import pytest
from support.servers import serve, wait_until

from litcache import SharedStore

pytestmark = pytest.mark.e2e

SCRIPT = """
import os
import signal
import threading

import litserve as ls

from litcache import SharedStore, cached_predict


class LateStore(SharedStore):
    # It takes nothing before its worker is told to end.
    told = False

    def set_many(self, scope, entries):
        default = signal.SIG_DFL
        assert LateStore.told or signal.getsignal(signal.SIGTERM) is not default
        while signal.getsignal(signal.SIGTERM) is not default:
            threading.Event().wait(0.01)
        LateStore.told = True
        super().set_many(scope, entries)


class WordAPI(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    @cached_predict(
        store=LateStore(os.environ["STORE"], "16 MiB", timeout=2), namespace="words", version="1"
    )
    def predict(self, texts):
        return [text.upper() for text in texts]

    def encode_response(self, text):
        return {"text": text}


if __name__ == "__main__":
    with open(os.environ["PID"], "w") as file:
        file.write(str(os.getpid()))
    server = ls.LitServer(
        WordAPI(max_batch_size=4, batch_timeout=0.01), accelerator="cpu", workers_per_device=2
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
"""
WORDS = [f"word {number}" for number in range(50)]


def test_a_server_that_is_ended_leaves_what_its_workers_computed(tmp_path):
    script = tmp_path / "service.py"
    script.write_text(SCRIPT)
    folder, pid = tmp_path / "store", tmp_path / "pid"
    with serve(str(script), environment={"STORE": str(folder), "PID": str(pid)}) as server:
        for word in WORDS:
            assert server.post("/predict", {"text": word}).json() == {"text": word.upper()}
        store = SharedStore(folder, "16 MiB", timeout=2)
        assert store.info().entries == 0
        os.kill(int(pid.read_text()), signal.SIGINT)  # Ctrl-C: LitServe ends its workers
        wait_until(lambda: store.info().entries == len(WORDS), f"the store\n{server.log}", 30)
