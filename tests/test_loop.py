"""`CachedBatchedLoop` in one process, beside LitServe's own loop."""

import apis
import litserve as ls
import numpy as np
import pytest
from test_loops import BATCHES, DISTINCT, answers, undecorated

from litcache import CachedBatchedLoop, cached_predict
from litcache.testing import APIRunner, strict

pytestmark = pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
OTHERS = [apis.undecorated_override, apis.decode_request_cached]
UNBATCHED = [apis.one_by_one, apis.one_by_one_with_context]


def looped(api, **options):
    api.loop = CachedBatchedLoop(**options)
    return api


@pytest.mark.parametrize(
    "make", apis.BATCHED + OTHERS + UNBATCHED, ids=lambda make: make.__name__
)
def test_an_api_answers_as_in_litserves_own_loop(make):
    with APIRunner(make(undecorated)) as plain, APIRunner(looped(make(cached_predict))) as cached:
        assert answers(cached) == answers(plain)


@pytest.mark.parametrize("make", apis.BATCHED, ids=lambda make: make.__name__)
def test_the_model_computes_each_distinct_item_once(make):
    with strict(), APIRunner(looped(make(cached_predict))) as runner:
        answers(runner)
        assert runner.model_batches == [2, 3]
        info = runner.api.predict.cache.info()
    asked = sum(map(len, BATCHES))
    assert info.misses == len(DISTINCT)
    assert info.hits + info.coalesced + info.misses == asked
