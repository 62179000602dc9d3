"""Testing a cached LitAPI, and stores, without a server."""

from litcache.switches import strict
from litcache.testing.contract import StoreContract
from litcache.testing.doubles import FailingStore, FakeClock
from litcache.testing.runner import APIRunner, assert_batch_invariant

__all__ = [
    "APIRunner",
    "FailingStore",
    "FakeClock",
    "StoreContract",
    "assert_batch_invariant",
    "strict",
]
