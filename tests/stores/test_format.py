"""Raising the format makes the entries of before misses: nothing fails, and nothing is damaged."""

import asyncio
import uuid

import litserve as ls
import pytest
from support.asgi import Service

from litcache import MemoryStore, RedisStore, SharedStore, cached_predict
from litcache.keys.fingerprint import fingerprint
from litcache.stores.base import FORMAT, NewEntry, Scope
from litcache.testing import APIRunner, strict

KEY = b"sixteen bytes..."


class UpperAPI(ls.LitAPI):
    def decode_request(self, request):
        return request["text"]

    @cached_predict(namespace="upper", version="1")
    def predict(self, text):
        return text.upper()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    from support.redis_servers import Server  # which skips where redis is not installed

    with Server("valkey", tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", "shared", "redis"])
def open_store(request, tmp_path):
    """Open a store on the same entries, as a process that starts again would."""
    opened = [MemoryStore()]
    prefix = uuid.uuid4().hex
    url = request.getfixturevalue("valkey").url if request.param == "redis" else ""

    def open_store():
        if request.param == "shared":
            opened.append(SharedStore(tmp_path / "store", "8 MiB", timeout=10))
        elif request.param == "redis":
            opened.append(RedisStore(url, prefix=prefix, timeout=10))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def raise_format(monkeypatch):
    return lambda: monkeypatch.setattr("litcache.stores.base.FORMAT", FORMAT + 1)


def model_calls(store):
    """Run the model in a new worker, and return how often it was called for one text."""
    with strict(), APIRunner(UpperAPI(), store=store) as runner:
        assert runner.run({"text": "a"}) == "A"
        return len(runner.model_batches)


def test_entries_of_another_format_are_misses_of_a_method(open_store, raise_format, monkeypatch):
    assert [model_calls(open_store()), model_calls(open_store())] == [1, 0]
    raise_format()
    assert [model_calls(open_store()), model_calls(open_store())] == [1, 0]
    assert open_store().info().corrupt == 0
    monkeypatch.undo()
    assert model_calls(open_store()) == 0  # those of before are still there


@pytest.mark.parametrize("open_store", ["shared", "redis"], indirect=True)
def test_entries_of_another_format_are_misses_under_the_same_key(open_store, raise_format):
    store, scope = open_store(), Scope("shop")
    store.get_many(scope, [KEY])
    store.set_many(scope, {KEY: NewEntry(b"layout", b"payload")})
    assert store.get_many(Scope("shop"), [KEY]) == [NewEntry(b"layout", b"payload")]
    raise_format()
    for later in (store, open_store()):
        assert later.get_many(Scope("shop"), [KEY]) == [None]
        assert later.verify()[1] == later.info().corrupt == 0


def test_responses_of_another_format_are_misses(open_store, raise_format):
    def calls():
        async def ask():
            service = Service(store=open_store(), namespace="http", version="1")
            with strict():
                answer = await service.ask()
            assert answer.status == 200
            return service.calls

        return asyncio.run(ask())

    assert [calls(), calls()] == [1, 0]
    raise_format()
    assert [calls(), calls()] == [1, 0]
    assert open_store().info().corrupt == 0


def test_a_fingerprint_of_another_format_is_another(raise_format):
    before = fingerprint("minilm")
    raise_format()
    assert fingerprint("minilm") != before
