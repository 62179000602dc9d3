"""What is said when a server with a `CachedBatchedLoop` starts."""

import logging

import litserve as ls
import pytest

from litcache import CachedBatchedLoop, cached_predict, disabled


class Plain(ls.LitAPI):
    def predict(self, x):
        return x


class Cached(ls.LitAPI):
    @cached_predict
    def predict(self, x):
        return x


class Decoded(Plain):
    @cached_predict
    def decode_request(self, request):
        return request


class Helped(Plain):
    @cached_predict
    def encode(self, x):
        return x


class Overridden(Cached):
    def predict(self, x):
        return super().predict(x)


class Inherited(Cached):
    pass


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize(
    ("api", "warned"),
    [
        (Plain, True),
        (Overridden, True),
        (Cached, False),
        (Inherited, False),
        (Decoded, False),
        (Helped, False),
    ],
)
def test_a_loop_with_nothing_to_cache_says_so_once(api, warned, off, caplog):
    made = api(loop=CachedBatchedLoop(), max_batch_size=4)
    if off:
        with disabled():
            ls.LitServer(made, accelerator="cpu")
    else:
        ls.LitServer(made, accelerator="cpu")
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == (1 if warned and not off else 0)
    assert all(line.startswith(f"{api.__name__}: ") and "@cached_predict" in line for line in said)
