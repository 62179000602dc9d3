import math
from datetime import timedelta

import pytest

from litcache import CachePolicy, MemoryStore, Store
from litcache.policy import parse_bytes, wants_context, with_context


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 1),
        ("1", 1),
        ("5 B", 5),
        ("2kB", 2_000),
        ("2 KiB", 2_048),
        ("256 MiB", 256 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        (" 1 tb ", 10**12),
    ],
)
def test_sizes_are_read(size, expected):
    assert parse_bytes(size) == expected


@pytest.mark.parametrize(
    "size", [0, -1, "0", "-1 MB", "1 XB", "MB", "", "nan", "1e9", 2**63, "0.1"]
)
def test_impossible_sizes_raise(size):
    with pytest.raises(ValueError, match="positive whole number of bytes"):
        parse_bytes(size)


@pytest.mark.parametrize("size", [1.5, True, None, b"1", math.nan])
def test_a_size_of_another_type_raises(size):
    with pytest.raises(TypeError, match="positive whole number of bytes"):
        parse_bytes(size)


async def asynchronous(item):
    return False


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
        ({"version": 1}, TypeError, ["version=1"]),
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


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda item: 1, False),
        (lambda item, context: 1, True),
        (lambda item, ctx: 1, True),
        (lambda item, size=3: 1, False),
        (lambda item, context=None: 1, True),
        (lambda item, *, context: 1, True),
        (len, False),
        (str, False),
    ],
)
def test_a_function_is_given_the_context_if_it_takes_one(function, wanted):
    assert wants_context(function, 1) is wanted


def test_with_context_passes_the_context_as_the_function_takes_it():
    seen = []
    with_context(lambda item: seen.append(item), 1)("a", "c")
    with_context(lambda item, where: seen.append((item, where)), 1)("a", "c")
    with_context(lambda item, *, context: seen.append((item, context)), 1)("a", "c")
    assert seen == ["a", ("a", "c"), ("a", "c")]
