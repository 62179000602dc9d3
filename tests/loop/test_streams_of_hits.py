"""Hits are encoded in the stream of hits of their device, and what was computed is not."""

import contextlib

import litserve as ls
import pytest

from litcache import CachedBatchedLoop, cached_predict
from litcache.loop import strategy
from litcache.testing import APIRunner


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("items", ["request", "list"])
def test_only_a_hit_is_encoded_beside_the_model(overlap, items, monkeypatch):
    asked, inside = [], []

    @contextlib.contextmanager
    def beside(device):
        asked.append(device)
        inside.append(True)
        yield
        inside.pop()

    class API(ls.LitAPI):
        @cached_predict(items=items, trial=0)
        def predict(self, texts):
            assert not inside
            return [text.upper() for text in texts]

        def encode_response(self, output):
            return bool(inside)

    monkeypatch.setattr(strategy, "beside", beside)
    with APIRunner(API(max_batch_size=4, loop=CachedBatchedLoop(overlap=overlap))) as runner:
        assert runner.run_batch([["a"], ["b"]] if items == "list" else ["a", "b"]) == [False, False]
        hits = runner.run_batch([["a"], ["c"]] if items == "list" else ["a", "c"])
    assert sorted(hits) == [False, True]
    assert asked == ["cpu"]
