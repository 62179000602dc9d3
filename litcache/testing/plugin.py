"""A pytest plugin: the fixtures `api_runner` and `cache_clock`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from litserve import LitAPI

from litcache.stores.base import Store
from litcache.stores.memory import MemoryStore
from litcache.testing.doubles import FakeClock
from litcache.testing.runner import APIRunner


@pytest.fixture
def cache_clock() -> FakeClock:
    """Return the clock by which entries of `api_runner` expire: `cache_clock.advance(60)`."""
    return FakeClock()


@pytest.fixture
def api_runner(request: pytest.FixtureRequest) -> Iterator[Callable[..., APIRunner]]:
    """Yield a function that makes an `APIRunner` of an API, and enters it.

    If the test takes `cache_clock`, entries live in a `MemoryStore` with that clock.
    """
    clock = None
    if "cache_clock" in request.fixturenames:
        clock = request.getfixturevalue("cache_clock")
    with ExitStack() as stack:

        def make(api: LitAPI, store: Store | None = None) -> APIRunner:
            if store is None and clock is not None:
                store = MemoryStore(clock=clock)
            return stack.enter_context(APIRunner(api, store))

        yield make
