"""True copies: nothing that is done to one is seen in its original, or there is none."""

import collections
import dataclasses
import datetime
import functools
import io
import itertools
import logging
import queue
import random
import tempfile
import threading
import types
import weakref

import numpy as np
import pandas as pd
import pydantic
import pytest
import torch
from PIL import Image
from starlette.datastructures import UploadFile

from litcache.trial.answers.compare import differences, freeze
from litcache.values.copies import Copies, UncopyableError


class Own:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slots:
    __slots__ = ("steps",)

    def __init__(self):
        self.steps = [1]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    steps: list


class Model(pydantic.BaseModel):
    steps: list


class Named(collections.namedtuple("Named", "steps")):
    pass


class Freed(Own):
    def __del__(self):
        pass


class Single(Own):
    def __new__(cls, **attributes):
        return super().__new__(cls)


class Itself(Own):
    def __deepcopy__(self, memo):
        return self


class Reloaded(Own):
    """A model of which a copy loads its weights again."""

    def __setstate__(self, state):
        raise AssertionError("loaded")


def closing_over(value):
    return lambda: value


def upload():
    return UploadFile(io.BytesIO(b"text"))


def half_read():
    file = io.BytesIO(b"text")
    file.read(2)
    return file


def image():
    picture = Image.new("RGB", (2, 2))
    picture.info["dpi"], picture.steps = (72, 72), [1]
    return picture


def marked():
    tensor = torch.ones(2)
    tensor.steps = [1]
    return tensor


def with_gradient():
    tensor = torch.ones(2, requires_grad=True)
    tensor.sum().backward()
    return tensor


# A value, what changes it in place, and what tells of that.
TRUE = {
    "list": (lambda: [[1]], lambda v: v[0].append(2)),
    "dict": (lambda: {"a": {"b": [1]}}, lambda v: v["a"]["b"].append(2)),
    "tuple": (lambda: ([1],), lambda v: v[0].append(2)),
    "named tuple": (lambda: Named([1]), lambda v: v.steps.append(2)),
    "deque": (lambda: collections.deque([[1]], 2), lambda v: v[0].append(2)),
    "Counter": (lambda: collections.Counter("a"), lambda v: v.update("b")),
    "defaultdict": (lambda: collections.defaultdict(list), lambda v: v["a"].append(1)),
    "OrderedDict": (lambda: collections.OrderedDict(a=[1]), lambda v: v["a"].append(2)),
    "bytearray": (lambda: bytearray(b"a"), lambda v: v.extend(b"b")),
    "object": (lambda: Own(steps=[1]), lambda v: v.steps.append(2)),
    "slots": (Slots, lambda v: v.steps.append(2)),
    "frozen dataclass": (lambda: Frozen([1]), lambda v: v.steps.append(2)),
    "pydantic": (lambda: Model(steps=[1]), lambda v: v.steps.append(2)),
    "namespace": (lambda: types.SimpleNamespace(a=[1]), lambda v: v.a.append(2)),
    "array": (lambda: np.ones(2), lambda v: v.__imul__(2)),
    "array of objects": (lambda: np.array([[1], {}], object), lambda v: v[0].append(2)),
    "tensor": (lambda: torch.ones(2), lambda v: v.mul_(2)),
    "tensor with an attribute": (marked, lambda v: v.steps.append(2)),
    "image": (image, lambda v: v.putpixel((0, 0), (9, 9, 9))),
    "table": (lambda: pd.DataFrame({"a": [1.0]}), lambda v: v.__setitem__("a", [2.0])),
    "table of lists": (lambda: pd.DataFrame({"a": [[1]]}), lambda v: v["a"][0].append(2)),
    "random numbers": (lambda: random.Random(1), lambda v: v.random()),
    "generator of numpy": (lambda: np.random.default_rng(1), lambda v: v.random()),
}


@pytest.mark.parametrize(("make", "change"), TRUE.values(), ids=TRUE)
def test_a_copy_is_equal_and_shares_nothing(make, change):
    value = make()
    before = freeze(value)
    copy = Copies().of(value)
    assert type(copy) is type(value)
    assert differences(before, freeze(copy)) == []
    change(copy)
    assert differences(before, freeze(value)) == []
    assert differences(before, freeze(copy)) != []


READ_ONCE = {
    "file in memory": (lambda: io.BytesIO(b"text"), lambda v: v.read()),
    "file half read": (half_read, lambda v: v.read()),
    "text in memory": (lambda: io.StringIO("text"), lambda v: v.read()),
    "upload": (upload, lambda v: v.file.read()),
    "iterator": (lambda: iter(["a", "b"]), list),
    "map": (lambda: map(str, ["a"]), list),
}


@pytest.mark.parametrize(("make", "read"), READ_ONCE.values(), ids=READ_ONCE)
def test_what_is_read_once_is_read_again_from_its_copy(make, read):
    value = make()
    copies = [Copies().of(value) for _ in range(2)]
    assert read(copies[0]) == read(copies[1]) == read(value) == read(make())
    assert not read(value)


NONE = {
    "generator": lambda: (n for n in [1]),
    "lock": threading.Lock,
    "object with a lock": lambda: Own(lock=threading.Lock()),
    "queue": queue.Queue,
    "thread": threading.Thread,
    "local": threading.local,
    "weak reference": lambda: weakref.ref(Own),
    "variables of a function": lambda: closing_over([1]),
    "factory with variables": lambda: collections.defaultdict(closing_over([1])),
    "itertools": itertools.count,
    "module": lambda: torch.nn.Linear(1, 1),
    "view": lambda: memoryview(b"a"),
    "freed": lambda: Freed(handle=1),
    "one object for all": Single,
    "its own way": Itself,
    "arrays that overlap": lambda: (lambda grid: [grid, grid[:1]])(np.ones((2, 2))),
    "sparse": lambda: [torch.eye(2).to_sparse(), torch.eye(2).to_sparse()],
    "gradient": with_gradient,
    "many parts": lambda: [[0] for _ in range(60_000)],
    "many bytes": lambda: np.empty((1 << 28) + 1, "u1"),
}


@pytest.mark.parametrize("make", NONE.values(), ids=NONE)
def test_of_what_cannot_be_copied_truly_there_is_no_copy(make):
    with pytest.raises(UncopyableError):
        Copies().of({"part": make()})


def test_of_a_file_and_of_what_is_behind_it_there_is_no_copy():
    with tempfile.TemporaryFile() as file, tempfile.SpooledTemporaryFile() as spooled:
        memory = np.memmap(file, "u1", "w+", shape=2)
        for value in (file, spooled, UploadFile(spooled), memory):
            with pytest.raises(UncopyableError):
                Copies().of(value)


def test_an_image_keeps_what_was_put_on_it():
    picture = image()
    copy = Copies().of(picture)
    assert (copy.info, copy.steps) == ({"dpi": (72, 72)}, [1])
    assert copy.steps is not picture.steps


SAME = {
    "constant": lambda: "text", "class": lambda: Own, "function": lambda: len,
    "logger": lambda: logging.getLogger("litcache"), "dtype": lambda: np.dtype("f4"),
    "dtype of torch": lambda: torch.float32, "sentinel": object,
    "time zone": lambda: datetime.timezone.utc,
}  # fmt: skip


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_what_is_there_once_stays_the_same_object(make):
    value = make()
    assert Copies().of([value])[0] is value


def test_what_is_one_object_in_several_values_is_one_in_their_copies():
    copies, part = Copies(), Own(steps=[])
    output, context = copies.of([part]), copies.of({"part": part})
    assert output[0] is context["part"] is not part


def test_a_value_that_leads_back_to_itself_is_copied():
    ring = [1]
    ring.append((ring,))
    copy = Copies().of(ring)
    assert copy[1][0] is copy is not ring


def test_a_read_only_array_in_the_order_of_fortran_stays_so():
    value = np.asfortranarray(np.ones((2, 3)))
    value.flags.writeable = False
    copy = Copies().of(value)
    assert (copy.flags.f_contiguous, copy.flags.writeable) == (True, False)


def test_methods_follow_their_object():
    copies, own = Copies(), Own(steps=[])
    copy = copies.of({"own": own, "call": functools.partial(own.steps.append, 1)})
    copy["call"]()
    assert (own.steps, copy["own"].steps) == ([], [1])


def test_after_a_refusal_nothing_of_it_is_taken_for_a_copy():
    copies, part = Copies(), [1]
    with pytest.raises(UncopyableError):
        copies.of([part, threading.Lock()])
    assert copies.of(part) is not part
    part.append(2)
    assert Copies().of(part) == [1, 2]


# ---------------------------------------------------------------------- with what is shared


def test_in_a_container_what_cannot_be_copied_is_shared_and_the_rest_is_not():
    copies, model = Copies(), torch.nn.Linear(1, 1)
    value = {"model": model, "seen": [], "deep": [{"model": model, "n": Own(seen=[])}]}
    copy = copies.sharing(value)
    assert copy["model"] is copy["deep"][0]["model"] is model
    assert copies.shared == [model]
    copy["seen"].append(1)
    copy["deep"][0]["n"].seen.append(1)
    assert value["seen"] == value["deep"][0]["n"].seen == []


def test_an_object_is_copied_as_a_whole_or_shared_as_a_whole():
    copies = Copies()
    value = Own(steps=[], queue=queue.SimpleQueue())
    assert copies.sharing([value])[0] is value
    assert copies.shared == [value]


def test_a_lock_is_the_same_one_in_the_copy_of_its_object():
    copies, value = Copies(), Own(lock=threading.Lock(), steps=[])
    copy = copies.sharing(value)
    assert copy.lock is value.lock
    assert copy.steps is not value.steps
    assert copies.shared == []


def test_a_class_with_a_protocol_of_its_own_is_shared_not_loaded_again():
    copies, model = Copies(), Reloaded(weights=[1])
    assert copies.sharing(model) is model


def test_a_large_value_is_shared_as_a_whole():
    copies, value = Copies(), [[] for _ in range(6_000)]
    assert copies.sharing(value) is value
    assert copies.shared == [value]
