"""The trial on real servers: spawned workers, a shared store, real requests."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers import serve

pytestmark = pytest.mark.e2e

SERVER = """
import os

import litserve as ls

from litcache import CachedBatchedLoop, SharedStore, cached_predict


class API(ls.LitAPI):
    def decode_request(self, request):
        {keeps}
        return request["text"] if {hides} else (request["text"], request["language"])

    @cached_predict(store=SharedStore(os.environ["STORE"]), namespace="n", version="1")
    def predict(self, items):
        if {hides}:
            return [f"{{self.language}}: {{text}}" for text in items]
        return [f"{{language}}: {{text}}" for text, language in items]

    def encode_response(self, output):
        return {{"text": output}}


if __name__ == "__main__":
    loops = {{"stock": {{}}, "loop": {{"loop": CachedBatchedLoop()}}}}
    api = API(max_batch_size=2, batch_timeout=0.001, **loops[os.environ["LOOP"]])
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
"""


def serving(tmp_path, loop, *, hides):
    script = tmp_path / "service.py"
    keeps = 'self.language = request["language"]' if hides else "pass"
    script.write_text(SERVER.format(keeps=keeps, hides=hides))
    environment = {"STORE": str(tmp_path / "store"), "LOOP": loop}
    return serve(str(script), environment=environment)


@pytest.mark.parametrize("loop", ["stock", "loop"])
def test_a_language_on_self_is_never_answered_wrongly_and_ends_caching(tmp_path, loop):
    with serving(tmp_path, loop, hides=True) as server:
        for language in ("en", "en", "fr", "en", "fr", "de") * 6:
            for text in ("a", "b"):
                answer = server.post("/predict", {"text": text, "language": language}).json()
                assert answer == {"text": f"{language}: {text}"}
        log = server.log
    assert "trial: the first 16 hits are computed and compared" in log
    assert "off: this process answers nothing from the cache" in log
    assert "from the cache, '" in log


@pytest.mark.parametrize("loop", ["stock", "loop"])
def test_a_service_whose_items_tell_all_proves_itself_and_then_hits(tmp_path, loop):
    requests = [{"text": f"text {n % 5}", "language": "enfr"[n % 2 :: 2]} for n in range(300)]
    with serving(tmp_path, loop, hides=False) as server, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda r: server.post("/predict", r).json(), requests))
        assert answers == [{"text": f"{r['language']}: {r['text']}"} for r in requests]
        log = server.log
        counters = server.counters("API.predict")
    assert log.count("agreed: answering from the cache") == 2  # each worker for itself
    assert counters["hits"] >= 100
    assert " off" not in log
