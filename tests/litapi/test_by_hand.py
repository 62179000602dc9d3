"""Called by hand, a cached method of batches gives what it gives without the decorator."""

import asyncio
import io
from contextlib import nullcontext

import litserve as ls
import numpy as np
import pytest
from support.batches import undecorated

from litcache import CachedBatchedLoop, MemoryStore, cached_predict, disabled
from litcache.testing import APIRunner


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


UNCUT = {"iterator": iter, "text": "".join, "keys": dict.fromkeys}


@pytest.mark.parametrize("kind", UNCUT)
def test_equal_items_run_once_if_the_output_is_known_to_be_no_rows(kind):
    class API(ls.LitAPI):
        def __init__(self):
            super().__init__(max_batch_size=4)
            self.calls = []

        @cached_predict
        def predict(self, x):
            words = [item.pop() for item in x]  # an item that was consumed has none left
            self.calls.append(words)
            return UNCUT[kind](words)

    api = API()
    for words in (["a", "a", "b"], ["b", "b"], ["c"], ["a", "c", "c"]):
        assert list(api.predict([[word] for word in words])) == list(UNCUT[kind](words))
        assert api.calls.pop() == words
        assert api.calls == ([["a", "b"]] if words == ["a", "a", "b"] else [])
        api.calls.clear()


def test_equal_items_that_cannot_be_copied_run_once_if_the_output_cannot_be_cut():
    class API(ls.LitAPI):
        calls = 0

        @cached_predict
        def predict(self, x):
            self.calls += 1
            return b"".join(file.read() for file in x).decode()

    api = API(max_batch_size=4)
    for count in (1, 2):
        assert api.predict([io.BytesIO(b"a"), io.BytesIO(b"a"), io.BytesIO(b"b")]) == "aab"
        assert api.calls == count


def test_equal_items_reach_the_model_once():
    class API(ls.LitAPI):
        calls = ()

        @cached_predict
        def predict(self, x):
            self.calls += (list(x),)
            return [item.upper() for item in x]

    api = API(max_batch_size=4)
    for words in (["a", "a", "b"], ["c", "c", "a", "d"], ["e", "e"]):
        assert api.predict(words) == [word.upper() for word in words]
    assert api.calls == (["a", "b"], ["c", "d"], ["e"])
    info = api.predict.cache.info()
    assert (info.hits, info.misses, info.coalesced, info.stored) == (1, 5, 3, 5)


def test_equal_items_run_once_again_after_an_output_that_could_not_be_cut():
    class API(ls.LitAPI):
        rows, calls = list, ()

        @cached_predict
        def predict(self, x):
            self.calls += (list(x),)
            return self.rows(x)

    api = API(max_batch_size=4)
    for rows in (list, iter, iter, list, list):
        api.rows = rows
        api.calls = ()
        batch = [f"{rows} {len(api.calls)}", "a", "a"]
        api.predict.cache.clear()
        assert list(api.predict(batch)) == batch
    assert api.calls == (batch[:2],)


def padding(decorate, kind, size=1, **options):
    """Pads its items in place with the length of the longest of the call."""

    class API(ls.LitAPI):
        @decorate
        def predict(self, x):
            longest = max(map(len, x))
            for item in x:
                item += [str(longest)] * (longest - len(item))
            return kind(x)

    return API(max_batch_size=size)


@pytest.mark.parametrize("options", [{}, {"items": "list"}], ids=["a batch", "a list"])
def test_rows_that_do_not_fit_together_are_computed_of_items_as_they_were(options):
    size = 1 if options else 8
    api = padding(cached_predict(**options), np.array, size)
    twin = padding(undecorated, np.array, size)
    for words in (["345"], ["1", "23", "345"], ["3456", "23", "345", "7"]):
        given, expected = ([list(word) for word in words] for _ in range(2))
        assert api.predict(given).tolist() == twin.predict(expected).tolist()


@pytest.mark.parametrize("words", [["a", "a", "bc"], ["a", "bc", "def"]])
def test_a_list_of_several_parts_that_cannot_be_cut_is_computed_of_items_as_they_were(words):
    def text(rows):
        return "\n".join(map("".join, rows))

    api = padding(cached_predict(items="list", max_items=2), text)
    for _ in range(2):
        assert api.predict([list(word) for word in words]) == text(
            [list(word.ljust(max(map(len, words)), str(max(map(len, words))))) for word in words]
        )


def test_the_rest_of_a_batch_that_cannot_be_cut_leaves_its_items_as_they_were():
    kinds = iter([list, lambda rows: "\n".join(map("".join, rows))])
    cached = cached_predict(store=MemoryStore("1 MiB"), namespace="padding")
    first, second = (padding(cached, next(kinds), size=8) for _ in range(2))
    assert first.predict([["a", "a", "a"]]) == [["a", "a", "a"]]
    assert second.predict([["a", "a", "a"], ["b"], ["c", "d"]]) == "aaa\nb33\ncd3"


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("loop", [None, CachedBatchedLoop()], ids=["stock", "cached"])
def test_lists_of_a_batch_that_cannot_be_cut_are_computed_of_items_as_they_were(off, loop):
    class API(ls.LitAPI):
        @cached_predict(items="list")
        def predict(self, x):
            return "+".join(item.pop() for item in x)

        def decode_request(self, request):
            return [[word] for word in request]

    api = API(max_batch_size=4, **({} if loop is None else {"loop": loop}))
    with disabled() if off else nullcontext(), APIRunner(api) as runner:
        for _ in range(2):
            requests = [["a", "b"], ["c", "a"], ["d"]]
            assert runner.run_batch(requests) == ["a+b", "c+a", "d"]


def test_rows_that_cannot_be_stored_are_computed_once_for_each_list_that_has_them():
    class API(ls.LitAPI):
        computed = ()

        @cached_predict(items="list")
        async def predict(self, x):
            self.computed += (*x,)
            await asyncio.sleep(0)
            return [object() for _ in x]

    async def both(api):
        await asyncio.gather(api.predict(["a", "b", "c"]), api.predict(["d", "c"]))

    api = API()
    asyncio.run(both(api))
    assert sorted(api.computed) == ["a", "b", "c", "c", "d"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_list_that_cannot_be_cut_runs_once_when_that_is_known(is_async):
    class API(ls.LitAPI):
        calls = 0

        def answer(self, x):
            self.calls += 1
            return "+".join([item.pop() for item in x])

        if is_async:

            @cached_predict(items="list")
            async def predict(self, x):
                return self.answer(x)
        else:

            @cached_predict(items="list")
            def predict(self, x):
                return self.answer(x)

    async def answer(api, words):
        output = api.predict([[word] for word in words])
        return await output if is_async else output

    api = API()
    assert asyncio.run(answer(api, "aab")) == "a+a+b"
    for _ in range(2):
        api.calls = 0
        assert asyncio.run(answer(api, "aab")) == "a+a+b"
        assert api.calls == 1


def test_a_list_that_cannot_be_cut_waits_for_no_other_once_that_is_known():
    class API(ls.LitAPI):
        computed = ()

        @cached_predict(items="list")
        async def predict(self, x):
            words = [item.pop() for item in x]
            self.computed += tuple(words)
            await asyncio.sleep(0)
            return "+".join(words)

    async def both(api):
        return await asyncio.gather(api.predict([["a"], ["b"]]), api.predict([["c"], ["b"]]))

    api = API()
    assert asyncio.run(api.predict([["a"]])) == "a"
    api.computed = ()
    assert asyncio.run(both(api)) == ["a+b", "c+b"]
    assert sorted(api.computed) == ["a", "b", "b", "c"]


class Row(str):
    """A row that cannot be stored."""


@pytest.mark.parametrize("row", [str, Row], ids=["rows to store", "rows that cannot be stored"])
@pytest.mark.parametrize("items", ["request", "list"])
def test_a_call_that_is_computed_whole_waits_for_none_and_shares_none_if_rows_come(items, row):
    """An output was no rows, so the model gets whole calls; then it returns rows again."""

    class API(ls.LitAPI):
        kind, calls = iter, ()

        @cached_predict(items=items)
        async def predict(self, x):
            self.calls += (list(x),)
            await asyncio.sleep(0)
            return self.kind([row(f"{item} {number}") for number, item in enumerate(x)])

    async def both(api):
        return await asyncio.gather(api.predict(["a", "a", "b"]), api.predict(["b", "b", "c"]))

    api = API(max_batch_size=4)
    assert list(asyncio.run(api.predict(["z", "y"]))) == ["z 0", "y 1"]
    api.kind, api.calls = list, ()
    assert asyncio.run(both(api)) == [["a 0", "a 1", "b 2"], ["b 0", "b 1", "c 2"]]
    assert api.calls == (["a", "a", "b"], ["b", "b", "c"])
