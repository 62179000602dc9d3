"""An API of words for tests of the loop."""

import threading

import litserve as ls
import pytest
from fastapi import HTTPException

from litcache import CachedBatchedLoop, cached_predict
from support.loops import SECONDS

LONG = 50.0
"""A window that no test waits for."""
both_ways = pytest.mark.parametrize("overlap", [False, True], ids=["one thread", "overlap"])


def looped(api, **options):
    api.loop = CachedBatchedLoop(**options)
    return api


class WordAPI(ls.LitAPI):
    """Words in capitals; it notes the batches that reach the model, and may be held up there."""

    def __init__(self, *, hold=False, window=0.0, size=8, **options):
        super().__init__(
            loop=CachedBatchedLoop(**options), max_batch_size=size, batch_timeout=window
        )
        self.hold = hold

    def setup(self, device):
        self.batches = []
        self.entered, self.free = threading.Semaphore(0), threading.Event()
        self.thread = threading.get_ident()
        self.io_threads = set()

    def decode_request(self, request):
        self.io_threads.add(threading.get_ident())
        if request == "undecodable":
            raise ValueError("undecodable")
        if request == "forbidden":
            raise HTTPException(403, "not you")
        return request

    @cached_predict
    def predict(self, words):
        self.batches.append(list(words))
        assert threading.get_ident() == self.thread, "the model has left the thread of setup"
        if self.hold:
            self.entered.release()
            assert self.free.wait(SECONDS)
        if "bad" in words:
            raise ZeroDivisionError("a bad word")
        if "teapot" in words:
            raise HTTPException(418, "a teapot")
        if "short" in words:
            return []
        return [word.upper() for word in words]

    def encode_response(self, output):
        self.io_threads.add(threading.get_ident())
        if output == "UNENCODABLE":
            raise KeyError("unencodable")
        return threading.Lock() if output == "LOCK" else output

    @property
    def counts(self):
        info = self.predict.cache.info()
        return info.hits, info.misses, info.coalesced
