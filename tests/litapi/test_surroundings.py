"""What `encode_response` changes beside its API is seen: in classes, globals, variables."""

import collections
import ctypes
import itertools
import logging
import pathlib
import queue
import random
import sqlite3
import threading
import types
from typing import ClassVar

import litserve as ls
import numpy as np
import pytest
import torch

from litcache.litapi.reach import reached
from litcache.litapi.surroundings import Surroundings

total = 0
table = {"n": [0]}
scale = 2.0
module = types.ModuleType("module_of_the_service")
module.count = 0


class Stats:
    total = 0
    seen: ClassVar[list] = []

    def note(self):
        Stats.total += 1


stats = Stats()
folder = pathlib.Path("a") / "b"
logger = logging.getLogger("service")


def helper():
    table["n"].append(1)


def with_default(seen=[]):  # noqa: B006 - that it is kept is the point
    seen.append(1)


def of_function():
    of_function.calls = getattr(of_function, "calls", 0) + 1


def count_global(api):
    global total
    total += 1


def count_in_class(api):
    type(api).count += 1


def count_in_module(api):
    module.count += 1


def draw_of_torch(api):
    torch.rand(1)


def closing():
    count = 0

    def encode(api):
        nonlocal count
        count += 1

    return encode


CHANGES = {
    "global": count_global,
    "table by a helper": lambda api: helper(),
    "class by a method of a global": lambda api: stats.note(),
    "class of an attribute": lambda api: api.stats.note(),
    "class": count_in_class,
    "list of a class": lambda api: api.seen.append(1),
    "module": count_in_module,
    "variable": closing(),
    "default": lambda api: with_default(),
    "attribute of a function": lambda api: of_function(),
    "random": lambda api: random.random(),
    "random of numpy": lambda api: np.random.rand(),
    "random of torch": draw_of_torch,
}


def made(encode):
    class API(ls.LitAPI):
        count = 0
        seen: ClassVar[list] = []

        def setup(self, device):
            self.stats = Stats()

        def predict(self, x):
            return x

        def encode_response(self, output):
            return encode(self)

    api = API()
    api.setup("cpu")
    return api


@pytest.mark.parametrize("encode", CHANGES.values(), ids=CHANGES)
def test_what_the_code_changes_beside_self_is_seen(encode):
    api = made(encode)
    around = Surroundings(reached(api), [])
    assert not around.have_changed()
    api.encode_response("a")
    assert around.have_changed()


def read_all(api):
    logger.info("read %s", api.count)
    str(folder)
    return scale * len(table["n"]) + total + module.count + Stats.total + float("nan")


def test_what_is_read_logged_or_set_on_self_is_no_change():
    api = made(read_all)
    around = Surroundings(reached(api), [])
    api.other = api.encode_response("a")
    assert not around.have_changed()


SHARED = {
    "object": (lambda: types.SimpleNamespace(n=0), lambda v: setattr(v, "n", 1)),
    "deep": (lambda: [{"a": [Stats()]}], lambda v: setattr(v[0]["a"][0], "n", 1)),
    "dict": (lambda: {1: 2}, lambda v: v.update({1: 3})),
    "length": (lambda: [0] * 100_000, lambda v: v.append(0)),
    "itertools": (itertools.count, next),
    "of a thread": (threading.local, lambda v: setattr(v, "n", 1)),
    "queue": (queue.SimpleQueue, lambda v: v.put(1)),
    "Counter": (collections.Counter, lambda v: v.update("a")),
    "array": (lambda: np.zeros(3), lambda v: v.__iadd__(1)),
    "tensor": (lambda: torch.zeros(3), lambda v: v.add_(1)),
    "bytes": (lambda: bytearray(3), lambda v: v.__setitem__(0, 1)),
    "integer of C": (ctypes.c_int, lambda v: setattr(v, "value", 1)),
    "module of torch": (lambda: torch.nn.Linear(1, 1), lambda v: setattr(v, "calls", 1)),
}


@pytest.mark.parametrize(("make", "change"), SHARED.values(), ids=SHARED)
def test_a_change_of_what_a_twin_shares_is_seen(make, change):
    shared = make()
    around = Surroundings(reached(made(read_all)), [shared])
    assert not around.have_changed()
    change(shared)
    assert around.have_changed()


def test_what_is_written_into_a_database_or_a_file_is_seen(tmp_path):
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE t (n)")
    with open(tmp_path / "log", "w") as file:
        for shared, change in (
            (base, lambda: base.execute("INSERT INTO t VALUES (1)")),
            (file, lambda: file.write("a")),
        ):
            around = Surroundings(reached(made(read_all)), [shared])
            assert not around.have_changed()
            change()
            assert around.have_changed()
    base.close()


def test_of_a_large_container_only_the_first_parts_are_looked_at():
    looked_at = itertools.count()

    class Large(list):
        def __iter__(self):
            return (next(looked_at) and part for part in super().__iter__())

    Surroundings(reached(made(read_all)), [Large([0] * 100_000)])
    assert 0 < next(looked_at) <= 1_000


@pytest.mark.parametrize(("length", "is_whole"), [(900, True), (1_000, False), (5_000, False)])
def test_it_is_known_whether_all_parts_were_looked_at(length, is_whole):
    assert Surroundings(reached(made(read_all)), [[0] * length]).is_whole == is_whole


@pytest.mark.parametrize("most", [1_000, 10_000])
def test_a_change_behind_many_parts_is_seen_if_so_many_are_looked_at(most):
    shared = [0] * 5_000 + [[1]]
    around = Surroundings(reached(made(read_all)), [shared], most)
    shared[-1][0] = 2
    assert around.have_changed() == (most > 5_000)
