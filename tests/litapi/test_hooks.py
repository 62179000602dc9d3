"""Whom the hooks that are taken over serve: a loop's calls, never the user's own."""

import inspect
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import litserve as ls
import numpy as np
import pytest
from litserve.loops import BatchedLoop
from litserve.utils import LitAPIStatus, LoopResponseType
from support.batches import undecorated

from litcache import cached_predict, disabled
from litcache.litapi.proxies import WithSignature
from litcache.testing import APIRunner

STOP = (None, None, None, None)


class UsersLoop(BatchedLoop):
    """A loop of a user's, in a user's module: no part of LitServe or litcache."""

    def __init__(self, look=lambda container: container, decode_in_threads=False):
        super().__init__()
        self.look = look
        self.map = ThreadPoolExecutor(2).map if decode_in_threads else map

    def run_batched_loop(self, lit_api, request_queue, transport, callback_runner, lit_spec=None):
        while (first := request_queue.get()) != STOP:
            requests = [first]
            while not request_queue.empty():
                requests.append(request_queue.get())
            items = list(self.map(lit_api.decode_request, [payload for *_, payload in requests]))
            outputs = lit_api.unbatch(lit_api.predict(self.look(lit_api.batch(items))))
            for (consumer, uid, *_), output in zip(requests, outputs, strict=True):
                answer = lit_api.encode_response(output)
                kind = (LitAPIStatus.OK, LoopResponseType.REGULAR)
                self.put_response(transport, consumer, uid, answer, *kind)


def doubling(decorate, loop):
    """An API with a container of its own: LitServe's `batch` would give a list."""

    class API(ls.LitAPI):
        def batch(self, inputs):
            return np.array(inputs, dtype=float)

        @decorate
        def predict(self, x):
            return x * 2

        def unbatch(self, output):
            return output.tolist()

    return API(max_batch_size=8, loop=loop)


@pytest.mark.parametrize("decode_in_threads", [False, True])
def test_a_loop_of_the_users_own_is_cached_like_litserves(decode_in_threads, caplog):
    api = doubling(cached_predict, UsersLoop(decode_in_threads=decode_in_threads))
    with APIRunner(api) as runner:
        assert runner.run_batch([1.0, 2.0]) == [2.0, 4.0]
        assert runner.run_batch([2.0, 3.0, 1.0]) == [4.0, 6.0, 2.0]
        assert runner.model_batches == [2, 1]
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x[:],
        lambda x: x + 1,
        lambda x: x.copy(),
        lambda x: np.asarray(x) - 1,
        lambda x: x if isinstance(x, np.ndarray) else None,
        lambda x: x if len(x) and str(x) and 1.0 in x and list(x) and list(reversed(x)) else None,
        lambda x: (x.__setitem__(0, 5.0), x)[1],
        lambda x: x if (x == x).all() else None,
    ],
)
def test_a_loop_that_looks_into_a_batch_finds_the_users_own(look):
    with APIRunner(doubling(undecorated, UsersLoop(look))) as plain:
        expected = [plain.run_batch(batch) for batch in ([1.0, 2.0], [2.0, 1.0, 4.0])]
    with APIRunner(doubling(cached_predict, UsersLoop(look))) as cached:
        assert [cached.run_batch(batch) for batch in ([1.0, 2.0], [2.0, 1.0, 4.0])] == expected


def test_a_loop_that_reads_a_cached_output_is_told_where_to_do_it():
    class ReadingLoop(UsersLoop):
        def run_batched_loop(self, lit_api, *arguments):
            predict = lit_api.predict
            lit_api.decode_request(1.0)
            with pytest.raises(AttributeError, match=r"'cpu'.*in predict or in unbatch"):
                predict(lit_api.batch([1.0])).cpu()
            super().run_batched_loop(lit_api, *arguments)

    with APIRunner(doubling(cached_predict, ReadingLoop())) as runner:
        runner.run_batch([1.0])


def in_a_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def here(function, *arguments):
    return function(*arguments)


@pytest.mark.parametrize("call", [here, in_a_thread])
@pytest.mark.parametrize("items", ["request", "list"])
@pytest.mark.parametrize("off", [False, True])
def test_the_users_own_calls_of_batch_get_the_users_batch(call, items, off):
    places = []

    class API(ls.LitAPI):
        def check(self, place):
            container = call(self.batch, ["c", "d"])
            assert type(container) is str
            assert container == "c d"
            places.append(place)

        def setup(self, device):
            self.check("setup")

        def decode_request(self, request):
            self.check("decode")
            return request

        def batch(self, inputs):
            return " ".join(inputs)

        @cached_predict(items=items)
        def predict(self, x):
            self.check("predict")
            return [word.upper() for word in (x if items == "list" else x.split())]

        def unbatch(self, output):
            self.check("unbatch")
            return output

        def encode_response(self, output):
            self.check("encode")
            return output

    api = API(max_batch_size=4)
    for _ in range(2):  # setup runs again in an API that was served already
        with APIRunner(api) as runner:
            if off:
                with disabled():
                    runner.run_batch(["a", "b"])
            else:
                runner.run_batch(["a", "b"])
    assert set(places) >= {"setup", "decode", "predict", "encode"}


def test_a_thread_of_the_users_own_gets_the_users_batch_at_any_time():
    asked, answered = threading.Semaphore(0), threading.Semaphore(0)
    got = []

    class API(ls.LitAPI):
        def batch(self, inputs):
            return tuple(inputs)

        @cached_predict
        def predict(self, x):
            return list(x)

        def watch(self):
            while asked.acquire() and len(got) < 3:
                got.append(self.batch([len(got)]))
                self.predict(("warm", "up"))  # which does not make the thread a loop's
                answered.release()

    api = API(max_batch_size=4)
    thread = threading.Thread(target=api.watch)
    thread.start()
    with APIRunner(api) as runner:
        for _ in range(3):
            runner.run_batch(["a", "b"])
            asked.release()
            answered.acquire()
    asked.release()
    thread.join()
    assert got == [(0,), (1,), (2,)]


@pytest.mark.parametrize("name", ["setup", "decode_request", "batch", "unbatch", "encode_response"])
def test_a_hook_pickles_and_copies_like_a_bound_method(name):
    import copy
    import pickle

    api = Picklable(max_batch_size=4)
    for twin in (pickle.loads(pickle.dumps(getattr(api, name))), copy.deepcopy(getattr(api, name))):
        assert type(twin.__self__) is Picklable
        assert twin.__self__ is not api
        assert twin.__name__ == name


class Picklable(ls.LitAPI):
    @cached_predict
    def predict(self, x):
        return x


def test_a_function_whose_signature_is_known_is_pickled_as_the_function():
    shown = WithSignature(pickle.dumps, inspect.signature(inspect.getdoc))
    assert pickle.loads(pickle.dumps(shown)) is pickle.dumps
    assert list(inspect.signature(shown).parameters) == ["object"]
