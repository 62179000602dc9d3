"""An output that shares with its context what can be changed is answered as without the cache."""

import copy
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal

import litserve as ls
import numpy as np
import pytest
from support.ways import WAYS, answers_of, prepared, undecorated

from litcache import cached_predict
from litcache.engine.aliases import fault_of_changes, fault_of_output
from litcache.testing import APIRunner

# LitServe runs the plain hooks of an async API in threads, and warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*should be an async:UserWarning")


@dataclass
class Document:
    pages: list


class Opaque:
    def __init__(self, part):
        self.part = part


def torch():
    return pytest.importorskip("torch")


# ---------------------------------------------------------------------- which values share

GRID = np.zeros((4, 4))
PART, DEEP = [1], {"a": [{"b": [1]}]}
SHARED = {
    "the output": (PART, PART),
    "a part of the output": ({"a": PART}, PART),
    "a part of an entry": (PART, {"a": [(PART,)]}),
    "a part of both": ([PART, 1], {"a": PART}),
    "a dict": (DEEP["a"][0], DEEP),
    "a set": (*[{1, 2}] * 2,),
    "a bytearray": (*[bytearray(b"a")] * 2,),
    "in a tuple": ((1, PART), (PART, 2)),
    "in an OrderedDict": (PART, OrderedDict(a=PART)),
    "in a deque": (PART, deque([PART])),
    "in a dataclass": (PART, Document(PART)),
    "an array": (GRID, GRID),
    "views that overlap": (GRID[:2], GRID[1:]),
    "a view of the entry": (GRID[0], {"all": GRID}),
    "a read-only view of it": (np.broadcast_to(GRID[0], (2, 4)), GRID),
    "an empty array": (*[np.zeros(0)] * 2,),
}
APART = {
    "equal lists": ([1], [1]),
    "one text": ("text", "text"),
    "one tuple of texts": (("a", "b"), ("a", "b")),
    "one tuple of immutables": ((1, (b"a", None)),) * 2,
    "one frozenset": (frozenset({1}),) * 2,
    "one Decimal": (Decimal(1),) * 2,
    "other rows": (GRID[:2], GRID[2:]),
    "other columns": (GRID[:, 0], GRID[:, 1]),
    "an array and its copy": (GRID, GRID.copy()),
    "one array of bytes that nobody can change": (np.frombuffer(b"abcd"[:4], "u1"),) * 2,
    "an object of a class that hides its parts": ([1], Opaque([1])),
}


@pytest.mark.parametrize(("output", "entry"), SHARED.values(), ids=SHARED)
def test_what_an_output_shares_with_an_entry_is_named(output, entry):
    context = {"id": 7, "names": ["x"], "one": entry}
    before = copy.deepcopy(context)
    fault = fault_of_output(output, context)
    assert "shares a part with context['one']" in fault.reason
    assert "put a copy there" in fault.reason
    assert (fault.path, fault.type) == ("$", type(output))
    fault = fault_of_changes(context, {"one": entry}) or fault_of_changes(
        {**context, "out": output}, {"out": output}
    )
    assert (fault.path, fault.type) == ("$context.out", type(output))
    assert repr(context) == repr(before)


@pytest.mark.parametrize(("output", "entry"), APART.values(), ids=APART)
def test_what_nobody_can_change_at_both_places_is_not_shared(output, entry):
    context = {"id": 7, "names": ["x"], "one": entry, "out": output}
    assert fault_of_output(output, {"id": 7, "one": entry}) is None
    assert fault_of_changes(context, {"out": output}) is None


def test_entries_that_were_changed_may_share_with_one_another():
    part = [1]
    context = {"a": part, "b": {"c": part}, "d": [2]}
    assert fault_of_changes(context, {"a": part, "b": context["b"]}) is None
    assert fault_of_changes(context, {"a": part}) is not None


def test_tensors_and_arrays_share_their_memory():
    grid = torch().zeros(4, 4)
    for output, entry, shares in [
        (grid, grid, True), (grid[0], grid, True), (grid[0], grid[1], False),
        (grid, grid.clone(), False), (grid.numpy(), grid, True), (grid.numpy()[0], grid[1], False),
        (torch().from_numpy(GRID), GRID, True), (torch().from_numpy(GRID)[1:], GRID[:1], False),
        (grid, torch().eye(2).to_sparse(), False), (torch().zeros(0), torch().zeros(0), False),
    ]:  # fmt: skip
        assert (fault_of_output({"a": output}, {"b": entry}) is not None) is shares
        assert (fault_of_output({"a": entry}, {"b": output}) is not None) is shares


def test_the_context_itself_is_shared_as_well():
    context = {"id": 7}
    for output in (context, [context], {"a": (1, context)}):
        assert "it holds its context" in fault_of_output(output, context).reason
        assert fault_of_output(copy.deepcopy(output), context) is None


def test_a_context_that_cannot_be_read_is_a_fault_and_not_an_error():
    class Broken(dict):
        def values(self):
            raise RuntimeError("changed size")

    fault = fault_of_output([1], {"a": Broken()})
    assert "it cannot be told whether it shares" in fault.reason
    assert fault_of_output([1], None) is None


# ---------------------------------------------------------------------- services


class Base(ls.LitAPI):
    """A service whose `encode_response` changes in place what `predict` has left."""

    def decode_request(self, request, context):
        context["given"] = {"marks": [request], "pair": (request,)}
        return context["given"]

    def one(self, item, context):
        raise NotImplementedError

    def encode_response(self, output, context):
        if isinstance(output, dict):
            output["marks"].append("output")
        for name in sorted(context):
            if isinstance(context[name], dict):
                context[name]["marks"].append(name)
        return copy.deepcopy([output, context])


def with_context(one, options):
    def make(cached):
        class API(Base):
            @cached(**options)
            def predict(self, x, context):
                if self.max_batch_size == 1:
                    return one(x, context)
                return [one(*pair) for pair in zip(x, context, strict=True)]

        return API

    return make


def writes_its_output(item, context):
    context["result"] = {"marks": ["new"]}
    return context["result"]


def writes_a_part_of_its_output(item, context):
    context["result"] = {"marks": ["new"]}
    return {"marks": context["result"]["marks"], "more": 1}


def returns_an_entry(item, context):
    return context["given"]


def gives_an_entry_another_name(item, context):
    context["alias"] = context["given"]
    return 1


def writes_copies(item, context):
    context["result"] = {"marks": ["new"]}
    return copy.deepcopy(context["result"])


def writes_one_object_twice(item, context):
    context["one"] = context["other"] = {"marks": ["new"]}
    return 1


def writes_what_nobody_can_change(item, context):
    context["result"] = ("a", b"b", None)
    return context["result"]


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("options", [{}, {"context": ()}, {"store_as": "float16"}])
@pytest.mark.parametrize(
    ("one", "named"),
    [
        (writes_its_output, "context['result']"),
        (writes_a_part_of_its_output, "context['result']"),
        (returns_an_entry, "context['given']"),
        (gives_an_entry_another_name, "context['given']"),
    ],
)
def test_an_output_that_shares_with_its_context_is_answered_as_without_the_cache(
    one, named, options, size, caplog
):
    make = with_context(one, options)
    with APIRunner(make(undecorated)(max_batch_size=size)) as runner:
        expected = [runner.run("a") for _ in range(3)]
    with (
        caplog.at_level(logging.WARNING),
        APIRunner(make(cached_predict)(max_batch_size=size)) as r,
    ):
        assert [r.run("a") for _ in range(3)] == expected
        info = r.api.predict.cache.info()
    assert (info.hits, info.entries, info.uncacheable) == (0, 0, 3)
    (warning,) = caplog.records
    assert f"it shares a part with {named}, and on a hit there would be two: put a copy there" in (
        warning.getMessage()
    )


def test_an_output_that_is_its_context_is_answered_as_without_the_cache():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["given"] = request
            return request

        @cached_predict
        def predict(self, x, context):
            return context

        def encode_response(self, output, context):
            output["seen"] = True
            return dict(context)

    with APIRunner(API()) as runner:
        assert [runner.run("a") for _ in range(3)] == [{"given": "a", "seen": True}] * 3
        assert runner.api.predict.cache.info().uncacheable == 3


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(
    "one", [writes_copies, writes_one_object_twice, writes_what_nobody_can_change]
)
def test_an_output_that_shares_nothing_is_stored_and_a_hit_is_as_without_the_cache(one, size):
    make = with_context(one, {})
    with APIRunner(make(undecorated)(max_batch_size=size)) as runner:
        expected = [runner.run("a") for _ in range(3)]
    with APIRunner(make(cached_predict)(max_batch_size=size)) as runner:
        assert [runner.run("a") for _ in range(3)] == expected
        assert runner.api.predict.cache.info().hits == 2


def returns_its_item(cached):
    class API(Base):
        @cached()
        def predict(self, x):
            return x

    return API


def returns_a_part_of_its_item(cached):
    class API(Base):
        @cached()
        def predict(self, x):
            many = self.max_batch_size > 1
            outputs = [{"marks": item["marks"]} for item in (x if many else [x])]
            return outputs if many else outputs[0]

    return API


def returns_its_array(cached):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["image"] = np.full(4, float(request))
            return context["image"]

        def batch(self, images):
            return images

        @cached()
        def predict(self, x):
            return [image[1:] for image in x] if self.max_batch_size > 1 else x[1:]

        def encode_response(self, output, context):
            output += 1
            return context["image"].tolist()

    return API


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("make", "request_"),
    [(returns_its_item, "a"), (returns_a_part_of_its_item, "a"), (returns_its_array, 2)],
)
def test_so_is_one_that_shares_with_a_context_that_its_method_does_not_take(make, request_, way):
    expected = answers_of(prepared(make, way, undecorated), [request_] * 3, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, [request_] * 3, way) == expected
    info = api.predict.cache.info()
    assert (info.hits, info.entries, info.uncacheable) == (0, 0, 3)


@pytest.mark.parametrize("way", WAYS)
def test_an_output_that_is_its_item_alone_is_stored(way):
    def make(cached):
        class API(ls.LitAPI):
            def decode_request(self, request, context):
                context["user"], context["tags"] = "someone", ["a"]
                return [request]

            @cached()
            def predict(self, x):
                return x

            def encode_response(self, output, context):
                output.append(context["tags"][0])
                return output

        return API

    expected = answers_of(prepared(make, way, undecorated), ["b"] * 3, way)
    api = prepared(make, way, cached_predict)
    assert answers_of(api, ["b"] * 3, way) == expected == [["b", "a"]] * 3
    assert api.predict.cache.info().uncacheable == 0
    assert api.predict.cache.info().entries == 1


@pytest.mark.parametrize("takes_context", [True, False])
def test_a_stream_whose_chunks_share_with_the_context_is_not_stored(takes_context, caplog):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["given"] = [request]
            return context["given"]

        def encode_response(self, chunks, context):
            for chunk in chunks:
                chunk.append("seen")
                yield [list(chunk), copy.deepcopy(context)]

    class Taking(API):
        def predict(self, x, context):
            context["last"] = [1]
            yield context["last"]
            yield [2]

    class Plain(API):
        def predict(self, x):
            yield [1]
            yield x

    plain = Taking if takes_context else Plain

    class Cached(plain):
        predict = cached_predict(plain.predict)

    with APIRunner(plain(stream=True)) as runner:
        expected = [runner.run("a") for _ in range(3)]
    with caplog.at_level(logging.WARNING), APIRunner(Cached(stream=True)) as runner:
        assert [runner.run("a") for _ in range(3)] == expected
        assert runner.api.predict.cache.info().uncacheable == 3
    assert "put a copy there" in caplog.text


def test_a_response_may_share_with_a_context_that_nobody_reads_after_it():
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            return request

        @cached_predict(result="response")
        def predict(self, x):
            return x

        def encode_response(self, output, context):
            context["answer"] = [output]
            return context["answer"]

    with APIRunner(API()) as runner:
        assert [runner.run("a") for _ in range(3)] == [["a"]] * 3
        assert runner.api.predict.cache.info().hits == 2
