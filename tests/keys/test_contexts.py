"""What a method changes in its context is done again on a hit, or its output is not stored."""

import enum
import io
import logging
from collections import namedtuple

import litserve as ls
import pytest

from litcache import cached_predict
from litcache.keys.contexts import changes, snapshot
from litcache.testing import APIRunner


class Session:
    """Some object of a user."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("count", "inner")

    def __init__(self):
        self.count = 0


def changed(value, act):
    context = {"session": value, "other": 1}
    before = snapshot(context)
    act(value)
    return changes(before, context)


CHANGES = {
    "attribute set": (Session(a=1), lambda s: setattr(s, "a", 2)),
    "attribute of another type": (Session(a=1), lambda s: setattr(s, "a", True)),
    "attribute added": (Session(), lambda s: setattr(s, "a", 2)),
    "attribute removed": (Session(a=1), lambda s: delattr(s, "a")),
    "list in an attribute": (Session(a=[1]), lambda s: s.a.append(2)),
    "object in an attribute": (Session(a=Session(b=1)), lambda s: setattr(s.a, "b", 2)),
    "object in a dict": ({"a": Session(b=1)}, lambda d: setattr(d["a"], "b", 2)),
    "object in a list": ([Session(b=1)], lambda many: setattr(many[0], "b", 2)),
    "slot": (Slotted(), lambda s: setattr(s, "count", 1)),
    "another object": (Session(a=Session()), lambda s: setattr(s, "a", Session())),
    "file in an attribute": (Session(f=io.BytesIO(b"ab")), lambda s: s.f.read(1)),
}


@pytest.mark.parametrize(("value", "act"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_an_object_is_noticed(value, act):
    assert changed(value, act) == ({"session": value}, [])
    assert changed(value, lambda value: None) == ({}, [])


def boxes():
    for name in ("width", "height"):
        yield namedtuple("Box", name)(1)


def labels():
    for value in (1, 2):
        yield enum.Enum("Label", {"cat": value})["cat"]


@pytest.mark.parametrize("make", [boxes, labels])
def test_a_value_in_place_of_one_of_its_class_name_is_noticed(make):
    one, other = make()
    before = snapshot({"session": one})
    assert changes(before, {"session": other}) == ({"session": other}, [])
    assert changes(before, {"session": next(make())}) == ({}, [])


def test_a_tensor_in_an_object_is_noted_by_its_version():
    torch = pytest.importorskip("torch")
    model = Session(weights=torch.zeros(1000, 1000))
    assert changed(model, lambda m: m.weights.add_(1)) == ({"session": model}, [])
    assert changed(model, lambda m: m.weights.sum()) == ({}, [])


def test_an_object_that_holds_itself_is_looked_at_once():
    session = Session(n=0)
    session.me = session
    assert changed(session, lambda s: None) == ({}, [])
    assert changed(session, lambda s: setattr(s, "n", 1)) == ({"session": session}, [])


@pytest.mark.parametrize("size", [1, 4])
def test_an_output_is_not_stored_if_an_object_left_out_of_the_key_was_changed(size, caplog):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["session"] = Session(tokens=0)
            return request

        @cached_predict(context=())
        def predict(self, x, context):
            for one in context if isinstance(context, list) else [context]:
                one["session"].tokens += 7
            return x

        def encode_response(self, output, context):
            return {"output": output, "tokens": context["session"].tokens}

    api = API(max_batch_size=size)
    with caplog.at_level(logging.WARNING), APIRunner(api) as runner:
        for _ in range(3):
            assert runner.run("a") == {"output": "a", "tokens": 7}
    assert [record for record in caplog.records if "$context.session" in record.getMessage()]
    assert len(caplog.records) == 1
    assert api.predict.cache.info().uncacheable == 3


NAMES = [None, 1, True, 1.5, "a", b"a", (1, 2), frozenset({1}), 2**100]


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("hidden", [None, "outcome"])
def test_a_change_is_noticed_whatever_the_name_of_the_entry_is(name, hidden):
    before = snapshot({name: [1], "outcome": 0})
    assert changes(before, {name: [1, 2], "outcome": 0}, hidden) == ({name: [1, 2]}, [])
    assert changes(before, {"outcome": 0}, hidden) == ({}, [name])
    assert changes(snapshot({"outcome": 0}), {name: 1, "outcome": 0}, hidden) == ({name: 1}, [])


def removes(context, name):
    del context[name]


def writes(context, name):
    context[name] = "new"


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("act", [removes, writes])
@pytest.mark.parametrize("way", ["single", "batch", "list", "stream"])
def test_a_hit_writes_and_removes_entries_of_any_name(name, act, way):
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context[name] = "old"
            return [request] if way == "list" else request

        @cached_predict(items="list" if way == "list" else "request")
        def predict(self, x, context):
            for one in context if isinstance(context, list) else [context]:
                act(one, name)
            return x

        def encode_response(self, output, context):
            return [output, dict(context)]

    class Streaming(API):
        @cached_predict
        def predict(self, x, context):
            yield x
            act(context, name)
            yield x

        def encode_response(self, chunks, context):
            for chunk in chunks:
                yield [chunk, dict(context)]

    kind = Streaming if way == "stream" else API
    api = kind(max_batch_size=4 if way == "batch" else 1, stream=way == "stream")
    with APIRunner(api) as runner:
        first, hit = runner.run("a"), runner.run("a")
    assert hit == first
    assert api.predict.cache.info().hits == 1
