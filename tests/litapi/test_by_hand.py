"""Called by hand, a cached method of batches gives what it gives without the decorator."""

import litserve as ls
import numpy as np
import pytest
from support.batches import undecorated

from litcache import cached_predict


def columns(decorate):
    """`predict` gives two columns, of two items as of any other number; `unbatch` makes rows."""

    class API(ls.LitAPI):
        @decorate
        def predict(self, x):
            return [f"name of {item}" for item in x], [f"label of {item}" for item in x]

        def unbatch(self, output):
            return list(zip(*output, strict=True))

    return API(max_batch_size=4)


def on_the_instance(decorate):
    """As `columns`, with an `unbatch` that `setup` may have put on the instance."""

    class API(ls.LitAPI):
        @decorate
        def predict(self, x):
            return [f"name of {item}" for item in x], [f"label of {item}" for item in x]

    api = API(max_batch_size=4)
    api.unbatch = lambda output: list(zip(*output, strict=True))
    return api


def padded(decorate):
    """A `batch` of the user's own, whose container's length is not the number of items."""

    class API(ls.LitAPI):
        def batch(self, inputs):
            return np.array([[len(text) for text in inputs], [1] * len(inputs)])

        @decorate
        def predict(self, x):
            return x * 2

        def unbatch(self, output):
            return list(output[0])

    return API(max_batch_size=4)


def by_hand(api, inputs):
    return list(api.unbatch(api.predict(api.batch(inputs))))


@pytest.mark.parametrize("make", [columns, on_the_instance, padded])
@pytest.mark.parametrize("inputs", [["a", "bb"], ["a", "bb", "ccc"]])
def test_the_users_own_batch_and_unbatch_get_what_they_get_undecorated(make, inputs):
    api, twin = make(cached_predict), make(undecorated)
    for given in (inputs, inputs[::-1], inputs):
        assert by_hand(api, given) == by_hand(twin, given)


@pytest.mark.parametrize("first", [[], ["a"]], ids=["equal items", "a hit and a miss"])
def test_contexts_change_once_if_the_output_cannot_be_cut(first):
    def make(decorate):
        class API(ls.LitAPI):
            rows = iter

            @decorate
            def predict(self, x, context):
                for item, its in zip(x, context, strict=True):
                    its["trail"].append(item)
                    its["seen"] = its.get("seen", 0) + 1
                return self.rows([text.upper() for text in x])

        return API(max_batch_size=4)

    def answer(api, inputs):
        contexts = [{"trail": []} for _ in inputs]
        return list(api.predict(inputs, contexts)), contexts

    cached, stock = make(cached_predict), make(undecorated)
    if first:
        cached.rows = stock.rows = list
        assert answer(cached, first) == answer(stock, first)
        cached.rows = stock.rows = iter
    assert answer(cached, ["a", "b", "b"]) == answer(stock, ["a", "b", "b"])


class ByContext(ls.LitAPI):
    @cached_predict
    def predict(self, text, context):
        return text, context


class InChunks(ls.LitAPI):
    @cached_predict
    def predict(self, text, context):
        yield text
        yield context


@pytest.mark.parametrize("context", [[{"a": 1}, {"a": 2}], None, 5, "a", ("a",), [5], object()])
def test_a_context_of_the_users_own_kind_reaches_the_method_and_goes_uncached(context):
    for api in (ByContext(), InChunks(stream=True), ByContext(max_batch_size=2)):
        for _ in range(2):
            text, seen = api.predict("ab", context)
            assert (text, seen) == ("ab", context)
        info = api.predict.cache.info()
        assert (info.hits, info.stored) == (0, 0)
