"""Stores of Redis that are closed after their test, and a writer that is killed in the middle."""

from __future__ import annotations

import pickle

import pytest

from litcache.stores.redis.store import RedisStore

_opened: list[RedisStore] = []


def opened(*arguments, **options) -> RedisStore:
    """Return a store that is closed after the test: the garbage collector might warn in another."""
    store = RedisStore(*arguments, **options)
    _opened.append(store)
    return store


def opened_from(pickled: bytes) -> RedisStore:
    """Return an unpickled store, closed likewise."""
    store: RedisStore = pickle.loads(pickled)
    _opened.append(store)
    return store


def close_opened() -> None:
    while _opened:
        _opened.pop().close()


class Killed(BaseException):
    """Stands for the end of a process."""


def writes_and_is_killed(store, scope, what, monkeypatch):
    """Write as a process does that is killed before it learns what became of it."""
    exchange = store._remote.ask

    def ask_and_die(question):
        exchange(question)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(store._remote, "ask", ask_and_die)
        with pytest.raises(Killed):
            store.set_many(scope, what)
