"""Real servers with spawned workers: an API of the script itself, and one of a module."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers import serve

pytestmark = pytest.mark.e2e

API = """
import os

import litserve as ls

from litcache import cached_predict


class WordAPI(ls.LitAPI):
    def setup(self, device):
        self.computed = 0

    def decode_request(self, request, context):
        context["language"] = request.get("language", "en")
        return request["text"]

    def batch(self, inputs):
        return " ".join(inputs)

    @cached_predict(version="1", trial=0)
    def predict(self, joined, context):
        words = joined.split()
        self.computed += len(words)
        if "bad" in words:
            raise ValueError("a bad word")
        if "short" in words:
            return words[1:]
        for each in context:
            each["worker"] = os.environ["LITSERVE_WORKER_ID"]
        return [f"{each['language']}:{w}" for w, each in zip(words, context)]

    def unbatch(self, output):
        return [{"text": text} for text in output]

    def encode_response(self, output, context):
        output["worker"] = context["worker"]
        return output
"""
MAIN = """

if __name__ == "__main__":
    api = WordAPI(max_batch_size=8, batch_timeout=0.01)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
"""


@pytest.fixture(params=["script", "module"])
def script(request, tmp_path):
    """A script that serves the API, which it defines itself or imports."""
    path = tmp_path / "word_service.py"
    if request.param == "script":
        path.write_text(API + MAIN)
    else:
        (tmp_path / "words.py").write_text(API)
        path.write_text("import os\n\nimport litserve as ls\n\nfrom words import WordAPI\n" + MAIN)
    return path


def test_two_workers_answer_right_each_from_its_own_memory(script):
    texts = [f"word{n % 12}" for n in range(120)]

    with serve(str(script)) as server:

        def ask(text):
            answer = server.post("/predict", {"text": text, "language": "de"}).json()
            assert answer.pop("worker") in ("0", "1")
            return answer

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, texts))
        assert answers == [{"text": f"de:{text}"} for text in texts]

        for text, detail in (("bad", "Internal server error"), ("short", "Batch size mismatch")):
            response = server.client.post("/predict", json={"text": text})
            assert (response.status_code, response.json()["detail"]) == (500, detail)
        assert ask("word1") == {"text": "de:word1"}

        counters = server.counters("WordAPI.predict")
        log = server.log
    # Each of the two workers computes each word once at most.
    assert 12 <= counters["entries"] <= 24
    assert counters["hits"] + counters["coalesced"] >= 120 - 24
    home = "words" if (script.parent / "words.py").exists() else "word_service"
    assert log.count(f"caching under namespace '{home}.WordAPI.predict/predict'") == 2
    assert log.count("SharedStore") == 1
