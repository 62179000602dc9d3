import math
from datetime import timedelta

import pytest

from litcache import CachePolicy, MemoryStore, SharedStore, Store, TieredStore, Trial

NAMED = {"namespace": "shop", "version": "1"}
SHARED = SharedStore("/nowhere/that/is/opened")


@pytest.mark.parametrize("lease", [2, 2.0, "2s", timedelta(seconds=2)])
@pytest.mark.parametrize("store", [SHARED, TieredStore(MemoryStore(), SHARED), lambda api: SHARED])
def test_a_lease_is_seconds_a_timedelta_or_text(lease, store):
    assert CachePolicy(lease=lease, store=store, **NAMED).lease_seconds == 2.0
    assert CachePolicy(store=store, **NAMED).lease_seconds is None


def test_a_tiered_store_over_memory_grants_no_leases():
    store = TieredStore(MemoryStore(), MemoryStore())
    with pytest.raises(ValueError, match="TieredStore grants no leases"):
        CachePolicy(lease=2, store=store, **NAMED)


async def asynchronous(item):
    return False


class HalfAStore:
    """The client of another cache, which has methods of the same names."""

    def get_many(self, keys): ...
    def set_many(self, values): ...
    def delete_many(self, keys): ...
    def clear(self): ...


class DiskStore(Store):
    persistent = True

    def get_many(self, scope, keys):
        return [None] * len(keys)

    def set_many(self, scope, entries): ...
    def delete_many(self, scope, keys):
        return 0

    def clear(self, namespace=None): ...
    def info(self): ...


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ttl": 0}, ValueError, ["ttl=0", "positive"]),
        ({"ttl": -1.5}, ValueError, ["ttl=-1.5"]),
        ({"ttl": math.nan}, ValueError, ["ttl=nan"]),
        ({"ttl": math.inf}, ValueError, ["ttl=inf", "None"]),
        ({"ttl": timedelta(0)}, ValueError, ["ttl="]),
        ({"ttl": 10**400}, ValueError, ["ttl=1000"]),
        ({"ttl": "60"}, ValueError, ["ttl='60'", "timedelta", "2h30m"]),
        ({"ttl": b"60"}, TypeError, ["ttl=b'60'", "timedelta", "2h30m"]),
        ({"ttl": asynchronous}, TypeError, ["ttl=", "not async"]),
        ({"ttl": True}, TypeError, ["ttl=True"]),
        ({"max_bytes": "lots"}, ValueError, ["max_bytes='lots'", "256 MiB"]),
        ({"max_bytes": 0}, ValueError, ["max_bytes=0"]),
        ({"max_bytes": "1 GiB", "store": MemoryStore()}, ValueError, ["max_bytes", "store"]),
        ({"max_bytes": "256 MiB", "store": MemoryStore()}, ValueError, ["max_bytes", "store"]),
        ({"store": MemoryStore}, TypeError, ["store="]),
        ({"store": "redis://"}, TypeError, ["store='redis://'"]),
        ({"store": DiskStore()}, ValueError, ["namespace and version", "DiskStore"]),
        ({"store": DiskStore(), "namespace": "a"}, ValueError, ["version must be given"]),
        ({"store": DiskStore(), "version": "1"}, ValueError, ["namespace must be given"]),
        ({"lease": 2.0}, ValueError, ["lease=2.0", "default store", "SharedStore"]),
        ({"lease": "2s", "store": MemoryStore()}, ValueError, ["lease='2s'", "MemoryStore"]),
        ({"lease": 2, "store": DiskStore(), **NAMED}, ValueError, ["lease=2", "DiskStore"]),
        ({"lease": 0, "store": SHARED, **NAMED}, ValueError, ["lease=0", "positive"]),
        ({"lease": -1.0, "store": SHARED, **NAMED}, ValueError, ["lease=-1.0"]),
        ({"lease": math.nan, "store": SHARED, **NAMED}, ValueError, ["lease=nan"]),
        ({"lease": "2", "store": SHARED, **NAMED}, ValueError, ["lease='2'", "no process waits"]),
        ({"lease": True, "store": SHARED, **NAMED}, TypeError, ["lease=True"]),
        ({"lease": b"2s", "store": SHARED, **NAMED}, TypeError, ["lease=b'2s'", "timedelta"]),
        ({"version": 1}, TypeError, ["version=1"]),
        ({"version": lambda: "1"}, TypeError, ["version=", "api -> str", "takes ()"]),
        ({"version": None, "store": SHARED, "namespace": "a"}, TypeError, ["version=None", "text"]),
        ({"namespace": 0, "store": SHARED, "version": "1"}, TypeError, ["namespace=0", "text"]),
        ({"store": lambda: SHARED}, TypeError, ["store=", "api -> Store", "takes ()"]),
        ({"store": lambda api, more: SHARED}, TypeError, ["store=", "takes (api, more)"]),
        ({"store": HalfAStore()}, TypeError, ["store=", "must be a Store"]),
        ({"namespace": ""}, ValueError, ["namespace=''"]),
        ({"namespace": 3}, TypeError, ["namespace=3"]),
        ({"context": ["user"]}, TypeError, ["context=['user']", "tuple"]),
        ({"context": "user"}, TypeError, ["context='user'"]),
        ({"context": ("user",), "key": len}, ValueError, ["context", "key="]),
        ({"items": "rows"}, ValueError, ["items='rows'", '"list"']),
        ({"max_items": 5}, ValueError, ["max_items=5", 'items="list"']),
        ({"items": "list", "max_items": 0}, ValueError, ["max_items=0"]),
        ({"items": "list", "max_items": 1.5}, TypeError, ["max_items=1.5"]),
        ({"list_at": "texts"}, ValueError, ["list_at='texts'", 'items="list"']),
        ({"items": "list", "list_at": True}, TypeError, ["list_at=True"]),
        ({"items": "list", "list_at": ("a", 0)}, TypeError, ["list_at=('a', 0)"]),
        ({"result": "output"}, ValueError, ["result='output'", '"prediction"', '"response"']),
        ({"result": "response", "items": "list"}, ValueError, ['result="response"', "list"]),
        ({"result": "response", "outcome_in": "cache"}, ValueError, ["outcome_in='cache'"]),
        ({"max_bytes": 10**5000}, ValueError, ["max_bytes=<int>", "256 MiB"]),
        ({"max_bytes": f"{'9' * 400}.5 GB"}, ValueError, ["max_bytes='999", "256 MiB"]),
        ({"max_bytes": "9" * 5000}, ValueError, ["max_bytes='999", "256 MiB"]),
        ({"ttl": -(10**5000)}, ValueError, ["ttl=<int>", "2h30m"]),
        ({"ttl": lambda item: 1}, TypeError, ["ttl=", "ttl(item, output[, context])", "(item)"]),
        ({"key": lambda: 1}, TypeError, ["key=", "key(item[, context])", "takes ()"]),
        ({"key": lambda context: 1}, TypeError, ["key=", "takes (context)"]),
        ({"bypass_if": lambda: True}, TypeError, ["bypass_if=", "bypass_if(item[, context])"]),
        ({"refresh_if": object}, TypeError, ["refresh_if=", "refresh_if(item[, context])"]),
        ({"store_if": lambda item: True}, TypeError, ["store_if(item, output[, context])"]),
        ({"store_if": len}, TypeError, ["store_if(item, output[, context])", "takes (obj, /)"]),
        ({"store_if": lambda a, b, c, d: 1}, TypeError, ["store_if=", "takes (a, b, c, d)"]),
        ({"bypass_if": True}, TypeError, ["bypass_if=True"]),
        ({"bypass_if": asynchronous}, TypeError, ["bypass_if=", "not async"]),
        ({"version": asynchronous}, TypeError, ["version=", "not async"]),
        ({"store_if": "yes"}, TypeError, ["store_if='yes'"]),
        ({"digest": "md5"}, ValueError, ["digest='md5'", "sha256"]),
    ],
)
def test_a_bad_option_raises_with_its_name_its_value_and_what_is_allowed(options, error, words):
    with pytest.raises(error) as caught:
        CachePolicy(**options)
    for word in words:
        assert word in str(caught.value)


def test_a_persistent_store_is_taken_with_namespace_and_version():
    assert CachePolicy(store=DiskStore(), namespace="shop", version="1").namespace == "shop"


def test_a_policy_cannot_be_changed():
    with pytest.raises(AttributeError):
        CachePolicy().ttl = 5


@pytest.mark.parametrize("place", ["seconds", "$seconds", "$.a b", "$[", "$.", ""])
def test_a_place_to_ignore_that_is_none_is_refused(place):
    with pytest.raises(ValueError, match="is no place of an answer"):
        Trial(ignore=("$.seconds", place))


@pytest.mark.parametrize("options", [{"hits": -1}, {"verify": 2}, {"verify": float("nan")},
                                     {"tolerance": -1}, {"compare": "both"}])  # fmt: skip
def test_an_option_of_the_trial_that_is_not_allowed_is_named_with_its_value(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        Trial(**options)


def test_a_tolerance_beyond_all_floats_is_named():
    with pytest.raises(ValueError, match=r"^tolerance=1000.* must be a number, 0 or more"):
        Trial(tolerance=10**400)
