"""What an APIRunner tells of the requests that it ran."""

import litserve as ls
import pytest

from litcache import CachedBatchedLoop, cached_predict
from litcache.testing import APIRunner


class Picky(ls.LitAPI):
    @cached_predict
    def predict(self, texts):
        if "bad" in texts:
            raise ValueError("bad")
        return [text.upper() for text in texts]


class Streaming(ls.LitAPI):
    def predict(self, text):
        yield from text

    def encode_response(self, output):
        yield from output


@pytest.mark.parametrize(
    ("loop", "failed"), [(None, "0, 1"), (CachedBatchedLoop(), "1")], ids=["LitServe's", "ours"]
)
def test_outputs_that_are_not_there_are_named_with_the_reason(loop, failed):
    api = Picky(max_batch_size=4, **({"loop": loop} if loop else {}))
    with APIRunner(api) as runner:
        with pytest.raises(ValueError, match="bad"):
            runner.run_batch(["good", "bad"])
        with pytest.raises(RuntimeError, match=rf"request {failed}, .*failed before encode"):
            _ = runner.outputs
        runner.run_batch(["good", "other"])
        assert runner.outputs == ["GOOD", "OTHER"]


def test_a_streaming_api_has_no_outputs():
    with APIRunner(Streaming(stream=True)) as runner:
        assert runner.run("ab") == ["a", "b"]
        with pytest.raises(RuntimeError, match=r"no output of request 0, .*streams"):
            _ = runner.outputs
