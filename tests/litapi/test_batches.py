"""The user's own hooks on the misses of a batch, beside the same API without the decorator."""

import logging
from contextlib import nullcontext

import litserve as ls
import numpy as np
import pytest
from support.loops import running

from litcache import CachedBatchedLoop, cached_predict, disabled
from litcache.testing import APIRunner


def undecorated(function):
    return function


class Opaque:
    """An output that cannot be stored."""

    def __init__(self, text):
        self.text = text


class Series:
    """As of pandas: it iterates over its values, and its positions are labels."""

    def __init__(self, values):
        self._values = dict(zip(range(100, 100 + len(values)), values, strict=True))

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return iter(self._values.values())

    def __getitem__(self, label):
        return self._values[label]


def api_with(unbatch, decorate, predict=None):
    class API(ls.LitAPI):
        @decorate
        def predict(self, texts):
            return [text.upper() for text in texts] if predict is None else predict(texts)

    if unbatch is not None:
        API.unbatch = unbatch
    return API(max_batch_size=8)


UNBATCHES = {
    "values": lambda self, outputs: dict(enumerate(outputs)).values(),
    "series": lambda self, outputs: Series(outputs),
    "tuple": lambda self, outputs: tuple(outputs),
    "keys": lambda self, outputs: dict.fromkeys(outputs).keys(),
}


@pytest.mark.parametrize("unbatch", UNBATCHES.values(), ids=UNBATCHES)
def test_what_unbatch_returns_is_iterated_as_litserve_does(unbatch):
    batches = [["a", "b", "c"], ["c", "new", "a"], ["b"]]
    with APIRunner(api_with(unbatch, undecorated)) as plain:
        expected = [plain.run_batch(batch) for batch in batches]
    with APIRunner(api_with(unbatch, cached_predict)) as cached:
        assert [cached.run_batch(batch) for batch in batches] == expected
        assert cached.model_batches == [3, 1]


def test_a_generator_of_unbatch_fails_as_in_litserve():
    def unbatch(self, outputs):
        return (output for output in outputs)

    for decorate in (undecorated, cached_predict):
        with (
            APIRunner(api_with(unbatch, decorate)) as runner,
            pytest.raises(TypeError, match="len"),
        ):
            runner.run_batch(["a"])


COLUMNS = {
    "dict": lambda texts: dict(zip(texts, texts, strict=True)),
    "str": "".join,
    "bytes": lambda texts: "".join(texts).encode(),
    "set": set,
}


@pytest.mark.filterwarnings("ignore:The 'predict' method returned:UserWarning")
@pytest.mark.parametrize("predict", COLUMNS.values(), ids=COLUMNS)
def test_rows_that_the_default_unbatch_makes_of_no_rows_are_not_kept(predict, caplog):
    caplog.set_level(logging.WARNING, "litcache")
    with APIRunner(api_with(None, undecorated, predict)) as plain:
        expected = plain.run_batch(["a", "b"])
    with APIRunner(api_with(None, cached_predict, predict)) as cached:
        assert cached.run_batch(["a", "b"]) == expected
        info = cached.api.predict.cache.info()
    assert (info.uncacheable, info.stored) == (2, 0)
    assert caplog.text.count("LitServe's own unbatch iterated") == 1


# ---------------------------------------------------------------------- parts of a list


class Reusing(ls.LitAPI):
    """A model that writes every batch into the same buffer."""

    def setup(self, device):
        self.buffer = np.zeros((2, 3), np.float32)
        self.calls = []

    @cached_predict(items="list", max_items=2)
    def predict(self, numbers):
        self.calls.append(len(numbers))
        for row, number in enumerate(numbers):
            self.buffer[row] = number["n"]
        return self.buffer[: len(numbers)]

    def decode_request(self, request):
        return [{"n": number} for number in request]

    def encode_response(self, rows):
        return rows.tolist()


@pytest.mark.parametrize("size", [1, 4])
def test_parts_of_a_list_outlive_the_buffer_that_a_method_uses_again(size):
    expected = [[float(number)] * 3 for number in range(5)]
    with APIRunner(Reusing(max_batch_size=size)) as runner:
        assert runner.run(list(range(5))) == expected
        assert runner.api.calls == [2, 2, 1]
        assert runner.run(list(range(5))) == expected
        assert runner.api.calls == [2, 2, 1]


def test_a_list_that_is_a_part_by_itself_outlives_the_buffer_of_the_next_part():
    api = Reusing(max_batch_size=4, batch_timeout=0.05, loop=CachedBatchedLoop())
    with running(api) as driven:
        asked = [7, 6], [3, 0]
        assert driven.get(*asked) == [[[float(n)] * 3 for n in numbers] for numbers in asked]
        assert api.calls == [2, 2]


def test_parts_of_a_list_outlive_the_buffer_with_the_caches_off():
    with APIRunner(Reusing(max_batch_size=4)) as runner, disabled():
        for _ in range(2):
            answers = runner.run_batch([[0, 1, 2], [3, 4]])
            assert answers == [[[float(n)] * 3 for n in (0, 1, 2)], [[3.0] * 3, [4.0] * 3]]
        assert runner.api.calls == [2, 2, 1] * 2


def test_outputs_outlive_the_buffer_when_equal_items_need_a_second_call():
    class API(ls.LitAPI):
        def setup(self, device):
            self.buffer = np.zeros((4, 3), np.float32)
            self.calls = []

        def decode_request(self, request, context):
            context["seen"] = Opaque("")
            return request

        @cached_predict(context=())
        def predict(self, numbers, context):
            self.calls.append(numbers)
            for row, number in enumerate(numbers):
                self.buffer[row] = number
                context[row]["seen"].text = str(number)  # cannot be stored for an equal item
            return self.buffer[: len(numbers)]

        def encode_response(self, output):
            return output.tolist()

    with APIRunner(API(max_batch_size=4)) as runner:
        assert runner.run_batch([7, 0, 0]) == [[7.0] * 3, [0.0] * 3, [0.0] * 3]
        assert runner.api.calls == [[7, 0], [0]]
        assert [context["seen"].text for context in runner.contexts] == ["7", "0", "0"]


class Whole(ls.LitAPI):
    """As above, but a request is no list: each is computed by itself."""

    def setup(self, device):
        self.buffer = np.zeros(3, np.float32)

    @cached_predict(items="list")
    def predict(self, asked):
        self.buffer[:] = asked["n"]
        return self.buffer

    def encode_response(self, output):
        return output.tolist()


@pytest.mark.parametrize("off", [nullcontext, disabled])
def test_requests_that_cannot_be_cut_outlive_the_buffer_that_a_method_uses_again(off):
    with APIRunner(Whole(max_batch_size=4)) as runner, off():
        assert runner.run_batch([{"n": 1}, {"n": 2}]) == [[1.0] * 3, [2.0] * 3]


class Consuming(ls.LitAPI):
    """A model whose items can be read once, and of whose outputs some cannot be stored."""

    def setup(self, device):
        self.calls = []

    @cached_predict(items="list", max_items=2)
    def predict(self, items):
        self.calls.append(len(items))
        texts = [item.pop("text") for item in items]
        return [Opaque(text) if text.startswith("opaque") else text.upper() for text in texts]

    def decode_request(self, request):
        return [{"text": text} for text in request]

    def encode_response(self, rows):
        return [row.text if isinstance(row, Opaque) else row for row in rows]


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
def test_rows_that_cannot_be_stored_are_answered_as_they_are_by_one_run_of_the_model(size, off):
    request = ["a", "opaque 1", "b", "opaque 2", "c"]
    with APIRunner(Consuming(max_batch_size=size)) as runner, disabled() if off else nullcontext():
        expected = ["A", "opaque 1", "B", "opaque 2", "C"]
        assert runner.run(request) == expected
        if size > 1 or not off:
            assert runner.api.calls == [2, 2, 1]
        assert runner.run(request) == expected
        if not off:
            assert runner.api.calls == [2, 2, 1, 2]
            info = runner.api.predict.cache.info()
            assert (info.hits, info.uncacheable, info.misses) == (3, 4, 3)


def test_rows_of_a_direct_call_that_cannot_be_stored_are_answered_by_one_run():
    class API(ls.LitAPI):
        calls = 0

        @cached_predict
        def predict(self, items):
            self.calls += 1
            return [Opaque(item.pop()) if len(item) > 1 else item.pop() for item in items]

    api = API(max_batch_size=4)
    outputs = api.predict([["a"], ["b", "opaque"]])
    assert (outputs[0], outputs[1].text, api.calls) == ("a", "opaque", 1)
    outputs = api.predict([["a"], ["b", "opaque"]])
    assert (outputs[0], outputs[1].text, api.calls) == ("a", "opaque", 2)
    assert api.predict.cache.info().hits == 1


# ---------------------------------------------------------------------- pools of lists


class Kinds(ls.LitAPI):
    """A model that notes in what container it gets its items."""

    def setup(self, device):
        self.seen = []

    @cached_predict(items="list")
    def predict(self, items):
        shape = getattr(items, "shape", None)
        self.seen.append((type(items).__name__, shape if shape is None else shape[1:]))
        return [float(np.sum(item)) for item in items]

    def decode_request(self, request):
        kind, value = request
        rows = np.array(value, np.float32)
        return rows if kind == "array" else list(rows)

    def encode_response(self, rows):
        return rows


def test_what_predict_gets_depends_only_on_its_own_request():
    lists, arrays = ("list", [[1, 2], [3, 4]]), ("array", [[5, 6]])
    wide, unequal = ("array", [[7, 8, 9]]), ("list", [[1, 1]])
    with APIRunner(Kinds(max_batch_size=8)) as runner:
        alone = []
        for request in (lists, arrays, wide, unequal):
            runner.api.predict.cache.clear()
            runner.api.seen.clear()
            runner.run(request)
            alone += runner.api.seen
        runner.api.predict.cache.clear()
        runner.api.seen.clear()
        answers = runner.run_batch([lists, arrays, wide, unequal])
        assert answers == [[3.0, 7.0], [11.0], [24.0], [2.0]]
        assert sorted(map(str, runner.api.seen)) == sorted({str(kind) for kind in alone})


# ---------------------------------------------------------------------- by hand


def test_a_custom_unbatch_is_not_bypassed_by_hand():
    class API(ls.LitAPI):
        @cached_predict
        def predict(self, texts):
            return [list(texts), [len(text) for text in texts]]

        def unbatch(self, output):
            return list(zip(*output, strict=True))

    api = API(max_batch_size=4)
    for _ in range(2):
        assert api.predict(["a", "bc"]) == [["a", "bc"], [1, 2]]
        assert api.predict(["bc", "a"]) == [["bc", "a"], [2, 1]]


def test_a_predict_may_empty_the_list_that_it_is_given():
    def predict(texts):
        return [texts.pop(0).upper() for _ in range(len(texts))]

    for decorate in (undecorated, cached_predict):
        with APIRunner(api_with(None, decorate, predict)) as runner:
            assert runner.run_batch(["a", "b"]) == ["A", "B"]
            assert runner.run_batch(["b", "c"]) == ["B", "C"]
