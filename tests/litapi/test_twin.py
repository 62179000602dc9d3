"""A twin of an API: its attributes are copies, and it never leads back to the API."""

import queue
import threading

import litserve as ls
import numpy as np
import pytest
import torch

from litcache import cached_predict
from litcache.litapi.state import state_of
from litcache.litapi.twin import twin_of
from litcache.values.copies import Copies, UncopyableError


class API(ls.LitAPI):
    __slots__ = ("_counted",)

    @cached_predict
    def predict(self, x):
        return x

    @property
    def counted(self):
        return self._counted

    @counted.setter
    def counted(self, value):
        self._counted = value

    def note(self, value):
        self.seen.append(value)


def made(**attributes):
    api = API()
    for name, value in attributes.items():
        setattr(api, name, value)
    return api


def test_what_is_set_on_a_twin_is_not_set_on_the_api():
    api = made(count=1, seen=[], counted=[1])
    twin = twin_of(api, Copies())
    assert type(twin) is API
    twin.count += 1
    twin.extra = twin.seen.append(1)
    twin.counted.append(2)
    del twin.count
    assert (api.count, api.seen, api.counted, hasattr(api, "extra")) == (1, [], [1], False)


def test_locks_and_models_are_those_of_the_api():
    api = made(lock=threading.Lock(), model=torch.nn.Linear(1, 1))
    copies = Copies()
    twin = twin_of(api, copies)
    assert (twin.lock, twin.model) == (api.lock, api.model)
    assert copies.shared == [api.model]


def test_a_bound_method_among_the_attributes_is_that_of_the_twin():
    api = made(seen=[])
    api.callback = api.note
    twin = twin_of(api, Copies())
    twin.callback(1)
    assert (api.seen, twin.seen) == ([], [1])


@pytest.mark.parametrize("kept", [lambda api: api, lambda api: api.note], ids=["api", "method"])
def test_a_function_that_keeps_the_api_leaves_it_without_a_twin(kept):
    api = made(seen=[])
    variable = kept(api)
    api.callback = lambda: variable
    with pytest.raises(UncopyableError, match="keeps the API"):
        twin_of(api, Copies())


def test_arrays_that_share_memory_leave_an_api_without_a_twin():
    grid = np.zeros((2, 2))
    with pytest.raises(UncopyableError, match="share memory"):
        twin_of(made(grid=grid, row=grid[0]), Copies())


def test_a_twin_has_entries_and_counters_of_nobody():
    api = made()
    api.predict("a")
    twin = twin_of(api, Copies())
    assert state_of(twin) is not state_of(api)
    assert state_of(twin).caches == {}


def test_what_a_twin_logs_reaches_no_logger():
    api = made()
    api.set_logger_queue(queue.Queue())
    twin_of(api, Copies()).log("key", 1)
    assert api._logger_queue.empty()
