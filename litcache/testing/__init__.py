"""Testing a cached LitAPI, and stores, without a server."""

from litcache.switches import strict
from litcache.testing.cacheable import assert_cacheable
from litcache.testing.contract import StoreContract
from litcache.testing.doubles import FailingStore, FakeClock
from litcache.testing.invariance import assert_batch_invariant
from litcache.testing.runner import APIRunner

__all__ = [
    "APIRunner",
    "FailingStore",
    "FakeClock",
    "StoreContract",
    "assert_batch_invariant",
    "assert_cacheable",
    "strict",
]
